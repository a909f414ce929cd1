/* SPDX-License-Identifier: Apache-2.0 */
/* device - opening, sharing and closing devices.  Which grant may have which is not decided here.
 */
#include "server/export/device.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/block/blkdev.h"
#include "server/io/shard.h"

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

static void free_device(struct device *d)
{
    for (struct device **at = &d->set->all; *at; at = &(*at)->next)
        if (*at == d) {
            *at = d->next;
            break;
        }
    free(d->failure);
    free(d);
}

static void leave(struct device_user *u)
{
    for (struct device_user **at = &u->device->users; *at; at = &(*at)->next)
        if (*at == u) {
            *at = u->next;
            return;
        }
}

static void on_closed(void *arg)
{
    struct device *d = arg;
    bool told = d->state == DEVICE_CLOSING; /* not from inside close() */

    d->state = DEVICE_CLOSED;
    if (told)
        d->closer->changed(d->closer);
}

/* Closes an open device for its last user; DEVICE_CLOSED if it is over already. */
static void start_closing(struct device *d)
{
    d->opened.discard = d->discard;
    d->set->backend->close(d->set->backend->ctx, &d->opened, on_closed, d);
    if (d->state != DEVICE_CLOSED)
        d->state = DEVICE_CLOSING;
}

static void on_failed(void *arg, const char *why)
{
    struct device *d = arg;

    d->failed = true;
    if (d->failure) {
        d->failure->next = d->set->failures;
        d->set->failures = d->failure;
        d->failure = NULL;
    }
    log_error("export %s: takes no more writes: %s", d->spec.name, why);
    if (d->set->events->failed)
        d->set->events->failed(d->set->events->ctx, d->spec.name, why);
}

static void on_parked(void *arg, bool parked, const char *why)
{
    struct device *d = arg;

    d->parked = parked;
    if (parked)
        log_warn("export %s: its writes wait: %s", d->spec.name, why);
    else
        log_info("export %s: its writes go on", d->spec.name);
    if (d->set->events->parked)
        d->set->events->parked(d->set->events->ctx, d->spec.name, parked, why);
}

bool devices_failed(const struct devices *set, const char *name, uint64_t epoch)
{
    for (const struct failure *f = set->failures; f; f = f->next)
        if (f->epoch >= epoch && strcmp(f->name, name) == 0)
            return true;
    return false;
}

void devices_renew(struct devices *set, const char *name, uint64_t epoch)
{
    struct failure **at = &set->failures;

    while (*at) {
        struct failure *f = *at;
        if (f->epoch < epoch && strcmp(f->name, name) == 0) {
            *at = f->next;
            free(f);
        } else {
            at = &f->next;
        }
    }
}

static void open_job(struct pool_job *j)
{
    struct device *d = OWNER(struct device, job, j);
    const struct export_backend *b = d->set->backend;

    const struct export_told told = { .failed = on_failed, .parked = on_parked, .arg = d };

    d->rc = b->open(b->ctx, &d->spec, &told, &d->opened, &d->e);
}

static void set_quota(struct device *d)
{
    const struct export_backend *b = d->set->backend;

    if (b->set_quota)
        b->set_quota(b->ctx, &d->opened, d->quota_bytes);
}

static void opening_is_over(struct device *d)
{
    if (d->closer) {
        d->closer->changed(d->closer);
        return;
    }
    for (struct device_user *u = d->users; u; u = u->next)
        u->changed(u);
}

static void on_stale_closed(void *arg)
{
    struct device *d = arg;

    d->state = DEVICE_NOT_OPENED;
    d->rc = err_set(&d->e, -EBUSY, "its top was sealed while it was being opened");
    opening_is_over(d);
}

static void on_opened(struct pool_job *j)
{
    struct device *d = OWNER(struct device, job, j);

    if (d->rc == 0 && d->stale) { /* nobody has written to it, and nobody will */
        d->set->backend->close(d->set->backend->ctx, &d->opened, on_stale_closed, d);
        return;
    }
    d->state = d->rc < 0 ? DEVICE_NOT_OPENED : DEVICE_OPEN;
    if (d->state == DEVICE_OPEN && d->requota)
        set_quota(d);
    opening_is_over(d);
}

static struct device *start_opening(struct devices *set, const struct export_grant *g)
{
    struct device *d = calloc(1, sizeof *d);

    if (!d)
        return NULL;
    if (g->writable) {
        d->failure = calloc(1, sizeof *d->failure);
        if (!d->failure) {
            free(d);
            return NULL;
        }
        d->failure->epoch = g->epoch;
        memcpy(d->failure->name, g->name, sizeof d->failure->name);
    }
    d->set = set;
    d->spec = *g;
    d->state = DEVICE_OPENING;
    d->next = set->all;
    set->all = d;
    d->job = (struct pool_job){ .run = open_job, .done = on_opened, .home = set->shard };
    pool_submit(set->opener, &d->job);
    return d;
}

static void do_nothing(struct pool_job *j)
{
    (void)j;
}

void devices_barrier(struct devices *set, struct pool_job *j, void (*passed)(struct pool_job *j))
{
    *j = (struct pool_job){ .run = do_nothing, .done = passed, .home = set->shard };
    pool_submit(set->opener, j); /* one thread: after all that were submitted before */
}

/* An image's layer is opened once for all. */
static struct device *find_shared(struct devices *set, const struct export_grant *g)
{
    for (struct device *d = set->all; d && !g->writable; d = d->next)
        if (!d->spec.writable && !d->closer && d->state <= DEVICE_OPEN &&
            d->spec.size_bytes == g->size_bytes &&
            memcmp(&d->spec.layers.id[0], &g->layers.id[0], sizeof g->layers.id[0]) == 0)
            return d;
    return NULL;
}

int device_get(struct devices *set, struct device_user *u, const struct export_grant *g,
               struct err *e)
{
    if (!u->device && g->writable && devices_failed(set, g->name, g->epoch))
        return err_set(e, -ESHUTDOWN,
                       "the volume has failed: attach it again to go on from its last flush");
    if (!u->device) {
        struct device *d = find_shared(set, g);
        if (!d)
            d = start_opening(set, g);
        if (!d)
            return err_set(e, -ENOMEM, "no memory");
        u->device = d;
        u->next = d->users;
        d->users = u;
    }
    struct device *d = u->device;
    if (d->state == DEVICE_OPEN)
        return 0;
    if (d->state == DEVICE_OPENING)
        return -EINPROGRESS;

    assert(d->state == DEVICE_NOT_OPENED);
    int rc = err_set(e, d->rc, "%s", d->e.msg);
    leave(u);
    u->device = NULL;
    if (!d->users)
        free_device(d);
    return rc;
}

void device_set_quota(struct device_user *u, uint64_t quota_bytes)
{
    struct device *d = u->device;

    if (!d)
        return;
    d->requota = true;
    d->quota_bytes = quota_bytes;
    if (d->state == DEVICE_OPEN)
        set_quota(d);
}

void device_respec(struct device_user *u, struct layer_id top)
{
    struct device *d = u->device;

    if (d && d->state == DEVICE_OPENING && memcmp(&d->spec.volume.top, &top, sizeof top) != 0)
        d->stale = true;
}

void device_discard(struct device_user *u)
{
    if (u->device)
        u->device->discard = true;
}

bool device_put(struct devices *set, struct device_user *u)
{
    struct device *d = u->device;

    (void)set;
    if (!d)
        return true;
    if (!d->closer) {
        leave(u);
        if (d->users) {
            u->device = NULL;
            return true;
        }
        d->closer = u;
    }
    if (d->state == DEVICE_OPEN)
        start_closing(d);
    if (d->state == DEVICE_OPENING || d->state == DEVICE_CLOSING)
        return false;
    u->device = NULL;
    free_device(d);
    return true;
}

int devices_init(struct devices *set, struct shard *shard, const struct export_backend *backend,
                 const struct export_events *events, struct err *e)
{
    *set = (struct devices){ .shard = shard, .backend = backend, .events = events };
    return pool_start("export", 1, &set->opener, e);
}

void devices_done(struct devices *set)
{
    assert(!set->all);
    pool_stop(set->opener);
    while (set->failures) {
        struct failure *next = set->failures->next;
        free(set->failures);
        set->failures = next;
    }
}
