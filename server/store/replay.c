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

typedef int (*target_fn)(void *ctx, struct target *t, struct err *e);

static int replay_group(const struct layer_dir *d, struct journal *j,
                        const struct journal_view *view, const struct layer_id *ids, unsigned count,
                        target_fn each, void *ctx, struct err *e)
{
    AUTO(auto_free) struct target *targets = calloc(count, sizeof *targets);
    struct group g = { .targets = targets, .count = count, .e = e };
    int rc = targets ? 0 : err_set(e, -ENOMEM, "out of memory");

    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = load_target(d, ids[i], &targets[i], e);
    if (rc == 0)
        rc = jnl_each(j, view, apply_group, &g, e);
    for (unsigned i = 0; targets && i < count; i++) {
        if (rc == 0)
            rc = drop_deleted(d, &targets[i], e);
        if (rc == 0 && targets[i].there)
            rc = each(ctx, &targets[i], e);
        drop(&targets[i]);
    }
    return rc;
}

static int replay_groups(const struct layer_dir *d, struct journal *j,
                         const struct journal_view *view, const struct layer_id *ids, size_t count,
                         target_fn each, void *ctx, struct err *e)
{
    int rc = 0;

    for (size_t at = 0; at < count && rc == 0; at += GROUP)
        rc = replay_group(d, j, view, ids + at, count - at < GROUP ? (unsigned)(count - at) : GROUP,
                          each, ctx, e);
    return rc;
}

struct given {
    replay_fn each;
    void *ctx;
};

static int give(void *ctx, struct target *t, struct err *e)
{
    const struct given *g = ctx;

    return g->each(g->ctx, &t->info, &t->map, e);
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

/* Is the layer still there?  1, 0, or -errno. */
static int still_there(const struct layer_dir *d, const struct target *t, struct err *e)
{
    struct layer_info now;
    int rc;

    if (t->made) {
        rc = lay_set_size(d, &t->info);
        if (rc < 0 && rc != -ENOENT)
            err_set(e, rc, "the size of a data file: %s", strerror(-rc));
    } else {
        rc = lay_read_map(d, t->info.id, &now, NULL, e);
    }
    return rc == 0 ? 1 : rc == -ENOENT ? 0 : rc;
}

/* One layer, unless it was deleted since its map was read. */
static int store_target(void *ctx, struct target *t, struct err *e)
{
    const struct to_files *f = ctx;
    int rc;

    if (f->seq <= t->info.seq)
        return 0;
    t->info.seq = f->seq;
    pthread_mutex_lock(f->files_lock);
    rc = still_there(f->d, t, e);
    if (rc == 1)
        rc = lay_write_map(f->d, &t->info, &t->map, NULL, false, e);
    pthread_mutex_unlock(f->files_lock);
    return rc;
}

/* The last sequence number of the view. */
static int last_seq(void *ctx, uint64_t seq, const struct disk_record *record)
{
    (void)record;
    *(uint64_t *)ctx = seq;
    return 0;
}

static int collect(void *ctx, uint64_t seq, const struct disk_record *record)
{
    (void)seq;
    id_set_add(ctx, batch_layer(record));
    return 0;
}

int replay_to_files(const struct layer_dir *d, struct journal *j, const struct journal_view *view,
                    pthread_mutex_t *files_lock, struct err *e)
{
    AUTO(id_set_done) struct id_set layers = { 0 };
    AUTO(auto_free) struct layer_id *ids = NULL;
    struct to_files f = { .d = d, .files_lock = files_lock };
    size_t count = 0;
    int rc;

    rc = jnl_each(j, view, last_seq, &f.seq, e);
    if (rc == 0)
        rc = jnl_each(j, view, collect, &layers, e);
    if (rc == 0 && (layers.incomplete || !(ids = id_set_list(&layers, &count))))
        rc = err_set(e, -ENOMEM, "journal: out of memory");
    if (rc == 0)
        rc = replay_groups(d, j, view, ids, count, store_target, &f, e);
    if (rc < 0)
        return rc;
    rc = d->ops->sync_dir(d->ops->ctx, d->fd);
    return rc < 0 ? err_set(e, rc, "sync layers/: %s", strerror(-rc)) : 0;
}
