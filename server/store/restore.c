/* SPDX-License-Identifier: Apache-2.0 */
/* restore - content that flushes left in the journal goes back into data files. */
#include "server/store/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"
#include "server/store/batch.h"

#define OPEN_AT_ONCE 128u /* data files */

struct target {
    struct layer_id id;
    uint64_t after; /* records up to this one (counted from 1) are void */
    int fd;         /* -1: not open yet; -2: to be passed over */
};

struct restore {
    const struct layer_dir *d;
    const struct journal *j;
    const struct journal_view *view;
    struct target *all; /* by id */
    size_t count;
    size_t first, end; /* of those that are written now */
    bool locked;
    pthread_mutex_t *files_lock;
    uint64_t position; /* of the record in the view */
    struct err *e;
};

static int by_id(const void *a, const void *b)
{
    const struct target *x = a, *y = b;

    return memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

static struct target *find(const struct restore *r, const struct disk_record *record)
{
    struct target key = { .id = batch_layer(record) };

    return r->count ? bsearch(&key, r->all, r->count, sizeof key, by_id) : NULL;
}

/* ---- which layers, from where on --------------------------------------------------------------*/

struct collect {
    const struct id_set *only;
    struct id_set found;
};

static int collect(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct collect *c = ctx;
    struct layer_id id = batch_layer(record);

    (void)seq;
    if (batch_data(record) && (!c->only || id_set_has(c->only, id)))
        id_set_add(&c->found, id);
    return 0;
}

static int find_targets(struct restore *r, const struct id_set *only)
{
    struct collect c = { .only = only };
    AUTO(auto_free) struct layer_id *ids = NULL;
    int rc = jnl_each(r->j, r->view, collect, &c, r->e);

    if (rc == 0 && (c.found.incomplete || !(ids = id_set_list(&c.found, &r->count))))
        rc = err_set(r->e, -ENOMEM, "out of memory");
    id_set_done(&c.found);
    if (rc < 0)
        return rc;
    r->all = calloc(r->count + 1, sizeof *r->all);
    if (!r->all)
        return err_set(r->e, -ENOMEM, "out of memory");
    for (size_t i = 0; i < r->count; i++)
        r->all[i] = (struct target){ .id = ids[i], .fd = -1 };
    qsort(r->all, r->count, sizeof *r->all, by_id);
    return 0;
}

static int note_void(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct restore *r = ctx;

    (void)seq;
    r->position++;
    if (batch_revokes(record)) {
        struct target *t = find(r, record);
        if (t)
            t->after = r->position;
    }
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------*/

static void close_target(const struct restore *r, struct target *t)
{
    if (t->fd >= 0)
        r->d->ops->close(r->d->ops->ctx, t->fd);
    t->fd = -2;
}

/* 0: this layer is passed over from now on.  What its disk does not take must not be forgotten
 * unsaid: the journal will be. */
static int give_up(const struct restore *r, struct target *t, int rc)
{
    char text[9];

    close_target(r, t);
    if (rc == -ENOENT) /* deleted since */
        return 0;
    if (lay_is_shortage(rc) || rc == -EBUSY) /* another server still holds its lock */
        return err_set(r->e, rc, "layer %s: %s", lay_id_short(t->id, text), strerror(-rc));
    log_error("store: layer %s: what was flushed cannot be written to its file: %s",
              lay_id_short(t->id, text), strerror(-rc));
    pthread_mutex_lock(r->files_lock);
    rc = lay_mark_lost(r->d, t->id, r->e);
    pthread_mutex_unlock(r->files_lock);
    return rc;
}

static int open_target(const struct restore *r, struct target *t)
{
    char name[LAYER_NAME_BYTES];

    if (!r->locked)
        return lay_open_data(r->d, t->id, true, &t->fd, NULL);
    lay_file_name(t->id, ".data", name);
    int fd = r->d->ops->open_at(r->d->ops->ctx, r->d->fd, name, O_RDWR, 0);
    if (fd < 0)
        return fd;
    t->fd = fd;
    return 0;
}

static int put(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct restore *r = ctx;
    const struct disk_record_data *data = batch_data(record);
    int rc = 0;

    (void)seq;
    r->position++;
    struct target *t = data ? find(r, record) : NULL;
    if (!t || t < r->all + r->first || t >= r->all + r->end || r->position <= t->after ||
        t->fd == -2)
        return 0;
    uint64_t block = get_le64(data->block);
    if (block >= DISK_LAYER_MAX / DISK_BLOCK)
        return err_set(r->e, -EIO, "content of an impossible block");
    if (t->fd == -1)
        rc = open_target(r, t);
    if (rc == 0)
        rc = lay_write_all(r->d->ops, t->fd, data->content, DISK_BLOCK, block * DISK_BLOCK);
    return rc < 0 ? give_up(r, t, rc) : 0;
}

/* All of it is durable, and the file as long as its disk: a flush by the journal has not synced
 * that either. */
static int sync_target(const struct restore *r, const struct target *t)
{
    struct layer_info info;
    int rc = lay_read_map(r->d, t->id, &info, NULL, NULL);

    rc = rc == 0 ? lay_set_size(r->d, &info) : 0; /* without a map file nothing was lost yet */
    return rc < 0 ? rc : r->d->ops->sync_data(r->d->ops->ctx, t->fd);
}

/* One group: written in one pass over the journal, then synced. */
static int put_group(struct restore *r)
{
    int rc;

    r->position = 0;
    rc = jnl_each(r->j, r->view, put, r, r->e);
    for (size_t i = r->first; i < r->end; i++) {
        struct target *t = &r->all[i];
        int failed = rc == 0 && t->fd >= 0 ? sync_target(r, t) : 0;
        if (failed < 0)
            rc = give_up(r, t, failed);
        close_target(r, t);
    }
    return rc;
}

int restore_data(const struct layer_dir *d, const struct journal *j,
                 const struct journal_view *view, const struct id_set *only, bool locked,
                 pthread_mutex_t *files_lock, struct err *e)
{
    struct restore r = {
        .d = d, .j = j, .view = view, .locked = locked, .files_lock = files_lock, .e = e
    };
    int rc = find_targets(&r, only);

    if (rc == 0 && r.count)
        rc = jnl_each(j, view, note_void, &r, e);
    for (; r.first < r.count && rc == 0; r.first = r.end) {
        r.end = r.count - r.first < OPEN_AT_ONCE ? r.count : r.first + OPEN_AT_ONCE;
        rc = put_group(&r);
    }
    free(r.all);
    return rc;
}
