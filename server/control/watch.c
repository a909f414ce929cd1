/* SPDX-License-Identifier: Apache-2.0 */
/* watch - hears from the shard what becomes of the volumes (failed, parked, hanging, taken over),
 * writes it down and tells who must know: people by events, a host's agent of a disk that failed.
 *
 * Many that tell the same at once become one event: the catalog keeps only so many. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/lab.h"
#include "server/control/notices.h"
#include "server/store/stats.h"
#include "server/store/store.h"

#define ONE_BY_ONE 8u /* of a kind in one round; more of them become one event */

/* ---- failures --------------------------------------------------------------------------------*/

static int write_down(struct control *c, const struct cat_volume *v, struct err *e)
{
    int rc = cat_begin(c->catalog, e);

    if (rc < 0)
        return rc;
    rc = cat_volume_set_failed(c->catalog, v->name, true, e);
    if (rc == 0)
        rc = control_lab_disk_moved(c, v, e);
    if (rc == 0)
        rc =
            control_event(c, e, "volume-failed", v->name,
                          "volume %s has failed: it takes no more writes; attach it again to go on "
                          "from its last flush, once its disk is well",
                          v->name);
    return cat_end(c->catalog, rc, e);
}

int control_note_failure(struct control *c, const struct cat_volume *v, bool *ret_failed,
                         struct err *e)
{
    struct export_info info;
    int rc = 0;

    *ret_failed = v->failed;
    if (v->failed)
        return 0;
    export_query(c->exports, v->name, &info);
    if (info.failed)
        rc = write_down(c, v, e);
    *ret_failed = info.failed;
    return rc;
}

static int note_failure(struct control *c, const char *name, struct err *e)
{
    struct cat_volume v;
    bool failed;
    int rc = cat_volume_get(c->catalog, name, &v, e);

    if (rc == -ENOENT)
        return 0; /* removed meanwhile */
    return rc < 0 ? rc : control_note_failure(c, &v, &failed, e);
}

/* ---- all else --------------------------------------------------------------------------------*/

static const char *const events[NOTICE_KINDS] = {
    [NOTICE_FAILED] = "volume-failed",       [NOTICE_PARKED] = "volume-parked",
    [NOTICE_RESUMED] = "volume-resumed",     [NOTICE_STALLED] = "volume-stalled",
    [NOTICE_RECOVERED] = "volume-recovered", [NOTICE_REPLACED] = "volume-reconnected",
    [NOTICE_FENCED] = "volume-fenced",       [NOTICE_DAMAGED] = "layer-damaged",
};

static const char *text_of(const struct notice *n, char ret[static 320])
{
    double seconds = (double)n->ns / (double)NS_PER_S;

    switch (n->kind) {
    case NOTICE_PARKED:
        snprintf(ret, 320, "its writes wait for room: %s", n->why);
        break;
    case NOTICE_RESUMED:
        snprintf(ret, 320, "there is room: its writes go on");
        break;
    case NOTICE_STALLED:
        snprintf(ret, 320, "a request has not been answered for %.1f s", seconds);
        break;
    case NOTICE_RECOVERED:
        snprintf(ret, 320, "requests are answered again; the longest took %.1f s", seconds);
        break;
    case NOTICE_REPLACED:
    case NOTICE_FENCED:
        snprintf(ret, 320, "its connection was cut: %s", n->why);
        break;
    case NOTICE_DAMAGED:
        snprintf(ret, 320, "%s", n->why);
        break;
    case NOTICE_FAILED:
    case NOTICE_KINDS:
        ret[0] = '\0';
    }
    return ret;
}

static const char *what_of(enum notice_kind kind)
{
    return kind == NOTICE_DAMAGED ? "layer" : "volume";
}

/* Its domain waits with it, or goes on: the host's agent sees to that. */
static int tell_host(struct control *c, const char *name, struct err *e)
{
    struct cat_volume v;
    int rc = cat_volume_get(c->catalog, name, &v, e);

    if (rc == -ENOENT)
        return 0; /* removed meanwhile */
    return rc < 0 ? rc : control_lab_disk_moved(c, &v, e);
}

static int tell_hosts(struct control *c, const struct notice *list, size_t count, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++)
        if (list[i].kind == NOTICE_PARKED || list[i].kind == NOTICE_RESUMED)
            rc = tell_host(c, list[i].name, e);
    return rc;
}

static int tell_one(struct control *c, const struct notice *n, struct err *e)
{
    char text[320], more[64] = "";

    if (n->kind == NOTICE_FAILED)
        return note_failure(c, n->name, e);
    if (n->more)
        snprintf(more, sizeof more, " (and %u more of this meanwhile)", n->more);
    return control_event(c, e, events[n->kind], n->name, "%s %s: %s%s", what_of(n->kind), n->name,
                         text_of(n, text), more);
}

/* One event for all of a kind; `first` is one of them. */
static int tell_many(struct control *c, const struct notice *list, size_t count,
                     const struct notice *first, size_t alike, struct err *e)
{
    char names[256], text[320];
    size_t length = 0;

    for (size_t i = 0; i < count && length < sizeof names - sizeof list->name; i++)
        if (list[i].kind == first->kind)
            length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                       length ? ", " : "", list[i].name);
    return control_event(c, e, events[first->kind], first->name, "%zu %ss: %s: %s …", alike,
                         what_of(first->kind), text_of(first, text), names);
}

static int tell_kind(struct control *c, const struct notice *list, size_t count,
                     enum notice_kind kind, struct err *e)
{
    const struct notice *first = NULL;
    size_t alike = 0;
    int rc = 0;

    for (size_t i = 0; i < count; i++)
        if (list[i].kind == kind && alike++ == 0)
            first = &list[i];
    if (alike > ONE_BY_ONE && kind != NOTICE_FAILED) /* each failure is a change of the catalog */
        return tell_many(c, list, count, first, alike, e);
    for (size_t i = 0; i < count && rc == 0; i++)
        if (list[i].kind == kind)
            rc = tell_one(c, &list[i], e);
    return rc;
}

static void on_round(void *ctx, const struct notice *list, size_t count, unsigned lost)
{
    struct control *c = ctx;
    struct err e = { 0 };
    int rc = cat_begin(c->catalog, &e);

    if (rc == 0) {
        for (unsigned kind = 0; kind < NOTICE_KINDS && rc == 0; kind++)
            rc = tell_kind(c, list, count, (enum notice_kind)kind, &e);
        if (rc == 0)
            rc = tell_hosts(c, list, count, &e);
        rc = cat_end(c->catalog, rc, &e);
    }
    if (rc < 0)
        log_error("control: note what became of %zu volumes: %s", count, e.msg);
    if (lost)
        log_warn("control: events of volumes that were not noted, too many at once: %u", lost);
}

/* ---- on the shard ----------------------------------------------------------------------------*/

static void on_failed(void *ctx, const char *name, const char *why)
{
    notices_put(ctx, NOTICE_FAILED, name, why, 0);
}

static void on_parked(void *ctx, const char *name, bool parked, const char *why)
{
    notices_put(ctx, parked ? NOTICE_PARKED : NOTICE_RESUMED, name, why, 0);
}

static void on_stalled(void *ctx, const char *name, bool stalled, int64_t stalled_ns)
{
    notices_put(ctx, stalled ? NOTICE_STALLED : NOTICE_RECOVERED, name, NULL, stalled_ns);
}

static void on_replaced(void *ctx, const char *name, bool fenced, const char *why)
{
    notices_put(ctx, fenced ? NOTICE_FENCED : NOTICE_REPLACED, name, why, 0);
}

static void on_damaged(void *ctx, struct layer_id layer, const char *why)
{
    char id[LAYER_ID_TEXT];

    hex_encode(layer.b, sizeof layer.b, id);
    notices_put(ctx, NOTICE_DAMAGED, id, why, 0);
}

/* ---- life ------------------------------------------------------------------------------------*/

int control_watch(struct control *c, struct err *e)
{
    int rc = notices_new(c->loop, NULL, on_round, c, &c->notices, e);

    if (rc < 0)
        return rc;
    struct export_events hooks = { .failed = on_failed,
                                   .parked = on_parked,
                                   .stalled = on_stalled,
                                   .replaced = on_replaced,
                                   .ctx = c->notices };
    struct store_events store_hooks = { .damaged = on_damaged, .ctx = c->notices };
    export_set_events(c->exports, &hooks);
    store_set_events(c->store, &store_hooks);
    return 0;
}

void control_watch_end(struct control *c)
{
    if (c->notices) {
        export_set_events(c->exports, NULL);
        store_set_events(c->store, NULL);
    }
    notices_free(c->notices);
    c->notices = NULL;
}
