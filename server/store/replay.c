/* SPDX-License-Identifier: Apache-2.0 */
/* replay - from the journal into maps. */
#include "server/store/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"

#define GROUP 128u /* layers whose maps are in memory at once */

struct target {
    struct layer_info info;
    struct map map;
    bool there; /* info and map are filled */
    bool made;  /* by its MAKE record: it has no map file */
    bool passed_over;
    int fd; /* of its new map file; -1: it has none */
};

struct group {
    struct target *targets;
    unsigned count;
    struct err *e;
};

/* What an earlier journal counted means nothing in this one. */
static void adopt_seq(const struct layer_dir *d, struct layer_info *info)
{
    if (!lay_id_equal(info->store, d->store))
        info->seq = 0;
    info->store = d->store;
}

/* Its map file; without one, its MAKE record is waited for. */
static int load(const struct layer_dir *d, struct layer_id id, struct target *t, struct err *e)
{
    int rc = lay_read_map(d, id, &t->info, &t->map, e);

    t->there = rc == 0;
    if (rc == 0)
        adopt_seq(d, &t->info);
    else
        t->info = (struct layer_info){ .id = id };
    return rc;
}

static int apply(struct target *t, uint64_t seq, const struct disk_record *record, struct err *e)
{
    if (t->passed_over)
        return 0;
    if (!t->there && batch_is_make(record)) {
        int rc = batch_read_make(record, &t->info, e);
        if (rc < 0)
            return rc;
        map_init(&t->map, disk_blocks(t->info.size_bytes));
        t->there = t->made = true;
    }
    return t->there && seq > t->info.seq ? batch_apply(record, &t->info, &t->map, e) : 0;
}

static int apply_group(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct group *g = ctx;

    for (unsigned i = 0; i < g->count; i++)
        if (lay_id_equal(batch_layer(record), g->targets[i].info.id))
            return apply(&g->targets[i], seq, record, g->e);
    return 0;
}

static void drop(struct target *t)
{
    if (t->there)
        map_done(&t->map);
    t->there = false;
}

/* What was made and has no data file any more was deleted. */
static int drop_deleted(const struct layer_dir *d, struct target *t, struct err *e)
{
    char text[9];
    int rc;

    if (!t->there || !t->made)
        return 0;
    t->info.store = d->store;
    rc = lay_has_data(d, t->info.id);
    if (rc < 0)
        return err_set(e, rc, "layer %s: %s", lay_id_short(t->info.id, text), strerror(-rc));
    if (rc == 0)
        drop(t);
    return 0;
}

/* ---- one layer --------------------------------------------------------------------------------*/

static int replay_one(const struct layer_dir *d, struct journal *j, struct layer_id id,
                      bool mentioned, const struct journal_view *view, struct target *t,
                      struct err *e)
{
    struct group g = { .targets = t, .count = 1, .e = e };
    struct err why = { 0 };
    int rc = load(d, id, t, &why);

    if (rc == 0 || (rc == -ENOENT && mentioned))
        rc = mentioned ? jnl_each(j, view, apply_group, &g, &why) : 0;
    if (rc == 0)
        rc = drop_deleted(d, t, &why);
    if (rc == 0 && !t->there)
        rc = err_set(&why, -ENOENT, "it has no files");
    return rc < 0 ? err_set(e, rc, "%s", why.msg) : 0;
}

int replay_layer(const struct layer_dir *d, struct journal *j, struct layer_id id,
                 struct layer_info *ret_info, struct map *ret_map, struct err *e)
{
    for (;;) {
        struct target t = { 0 };
        struct journal_view view;

        /* In this order: what a checkpoint takes out of the journal is in the map file by then. */
        bool mentioned = jnl_mentions(j, id);
        jnl_view(j, &view);
        int rc = replay_one(d, j, id, mentioned, &view, &t, e);
        if (!mentioned || !jnl_view_gone(j, &view)) {
            if (rc == 0) {
                *ret_info = t.info;
                *ret_map = t.map;
            } else {
                drop(&t);
            }
            return rc;
        }
        drop(&t); /* a half was begun anew while we read; what it held is in the map file by now */
    }
}

/* ---- many layers ------------------------------------------------------------------------------*/

static int load_target(const struct layer_dir *d, struct layer_id id, struct target *t,
                       struct err *e)
{
    struct err why = { 0 };
    int rc = load(d, id, t, &why);

    if (rc == -EIO) { /* damaged: the journal's records cannot help it */
        log_error("store replay: %s", why.msg);
        t->passed_over = true;
    } else if (rc < 0 && rc != -ENOENT) { /* it is sound: its records must not be dropped */
        return err_set(e, rc, "%s", why.msg);
    }
    return 0;
}

/* What becomes of the layers of a group. */
typedef int (*group_fn)(void *ctx, struct target *targets, unsigned count, struct err *e);

static int replay_group(const struct layer_dir *d, struct journal *j,
                        const struct journal_view *view, const struct layer_id *ids, unsigned count,
                        group_fn use, void *ctx, struct err *e)
{
    AUTO(auto_free) struct target *targets = calloc(count, sizeof *targets);
    struct group g = { .targets = targets, .count = count, .e = e };
    int rc = targets ? 0 : err_set(e, -ENOMEM, "out of memory");

    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = load_target(d, ids[i], &targets[i], e);
    if (rc == 0)
        rc = jnl_each(j, view, apply_group, &g, e);
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = drop_deleted(d, &targets[i], e);
    if (rc == 0)
        rc = use(ctx, targets, count, e);
    for (unsigned i = 0; targets && i < count; i++)
        drop(&targets[i]);
    return rc;
}

static int replay_groups(const struct layer_dir *d, struct journal *j,
                         const struct journal_view *view, const struct layer_id *ids, size_t count,
                         group_fn use, void *ctx, struct err *e)
{
    int rc = 0;

    for (size_t at = 0; at < count && rc == 0; at += GROUP)
        rc = replay_group(d, j, view, ids + at, count - at < GROUP ? (unsigned)(count - at) : GROUP,
                          use, ctx, e);
    return rc;
}

struct given {
    replay_fn each;
    void *ctx;
};

static int give(void *ctx, struct target *targets, unsigned count, struct err *e)
{
    const struct given *g = ctx;
    int rc = 0;

    for (unsigned i = 0; i < count && rc == 0; i++)
        if (targets[i].there)
            rc = g->each(g->ctx, &targets[i].info, &targets[i].map, e);
    return rc;
}

int replay_each(const struct layer_dir *d, struct journal *j, const struct layer_id *ids,
                size_t count, replay_fn each, void *ctx, struct err *e)
{
    struct given g = { .each = each, .ctx = ctx };
    struct journal_view view;

    jnl_view(j, &view);
    return replay_groups(d, j, &view, ids, count, give, &g, e);
}

/* ---- into files -------------------------------------------------------------------------------*/

struct to_files {
    const struct layer_dir *d;
    uint64_t seq;
    pthread_mutex_t *files_lock;
};

/* Is the layer still there, and worth its map?  1, 0, or -errno. */
static int still_there(const struct layer_dir *d, const struct target *t, struct err *e)
{
    struct layer_info now;
    int rc;

    rc = lay_read_map(d, t->info.id, &now, NULL, e);
    if (rc == -EIO) /* it was marked lost meanwhile */
        return 0;
    if (t->made && (rc == 0 || rc == -ENOENT)) {
        rc = lay_set_size(d, &t->info);
        if (rc < 0 && rc != -ENOENT)
            err_set(e, rc, "the size of a data file: %s", strerror(-rc));
    }
    return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

static int begin(const struct to_files *f, struct target *t, struct err *e)
{
    struct layer_info info = t->info;

    t->fd = -1;
    if (!t->there || f->seq <= info.seq)
        return 0;
    info.seq = f->seq;
    return lay_begin_map(f->d, &info, &t->map, NULL, &t->fd, e);
}

/* One layer, unless it was deleted since its map was read. */
static int end(const struct to_files *f, const struct target *t, struct err *e)
{
    if (t->fd < 0)
        return 0;
    pthread_mutex_lock(f->files_lock);
    int rc = still_there(f->d, t, e);
    if (rc == 1)
        rc = lay_end_map(f->d, t->info.id, t->fd, e);
    else
        lay_drop_map(f->d, t->info.id, t->fd);
    pthread_mutex_unlock(f->files_lock);
    return rc;
}

/* All are written before the first is synced: that brings the file system's own journal to disk for
 * all of them, and every flush that comes meanwhile waits once instead of once a layer.  When room
 * or descriptors are short, those that were begun are ended first. */
static int store_group(void *ctx, struct target *targets, unsigned count, struct err *e)
{
    const struct to_files *f = ctx;
    int rc = 0;

    for (unsigned first = 0, last; first < count; first = last) {
        for (last = first; last < count && (rc = begin(f, &targets[last], e)) == 0;)
            last++;
        bool again = last > first && lay_is_shortage(rc);
        for (unsigned i = first; i < last; i++) {
            int ended = end(f, &targets[i], e);
            if (ended < 0) {
                rc = ended;
                again = false;
            }
        }
        if (rc < 0 && !again)
            return rc;
    }
    return 0;
}

/* What the view names, and its last sequence number. */
struct contents {
    struct id_set layers;
    uint64_t seq;
};

static void contents_done(struct contents *c)
{
    id_set_done(&c->layers);
}

static int collect(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct contents *c = ctx;

    c->seq = seq;
    id_set_add(&c->layers, batch_layer(record));
    return 0;
}

int replay_to_files(const struct layer_dir *d, struct journal *j, const struct journal_view *view,
                    pthread_mutex_t *files_lock, struct err *e)
{
    AUTO(contents_done) struct contents contents = { 0 };
    AUTO(auto_free) struct layer_id *ids = NULL;
    size_t count = 0;
    int rc;

    rc = jnl_each(j, view, collect, &contents, e);
    if (rc == 0 && (contents.layers.incomplete || !(ids = id_set_list(&contents.layers, &count))))
        rc = err_set(e, -ENOMEM, "journal: out of memory");
    struct to_files f = { .d = d, .seq = contents.seq, .files_lock = files_lock };
    if (rc == 0)
        rc = replay_groups(d, j, view, ids, count, store_group, &f, e);
    if (rc < 0)
        return rc;
    rc = d->ops->sync_dir(d->ops->ctx, d->fd);
    return rc < 0 ? err_set(e, rc, "sync layers/: %s", strerror(-rc)) : 0;
}
