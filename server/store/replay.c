/* SPDX-License-Identifier: Apache-2.0 */
/* replay - from the journal into maps. */
#include "server/store/replay.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"

#define GROUP 32u /* layers whose maps are in memory at once */

struct target {
    struct layer_info info;
    struct map map;
    bool wanted; /* info and map are filled */
};

static bool same(struct disk_id a, struct layer_id b)
{
    return memcmp(a.b, b.b, sizeof b.b) == 0;
}

/* What an earlier journal counted means nothing in this one. */
static void adopt_seq(const struct layer_dir *d, struct layer_info *info)
{
    if (!lay_id_equal(info->store, d->store))
        info->seq = 0;
    info->store = d->store;
}

struct one {
    struct layer_info *info;
    struct map *map;
    struct err *e;
};

static int apply_one(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct one *x = ctx;

    if (seq <= x->info->seq || !same(record->layer, x->info->id))
        return 0;
    return batch_apply(record, x->info, x->map, x->e);
}

int replay_layer(const struct layer_dir *d, struct journal *j, struct layer_id id,
                 struct layer_info *ret_info, struct map *ret_map, struct err *e)
{
    for (;;) {
        struct journal_view view;
        int rc;

        /* In this order: what a checkpoint takes out of the journal is in the map file by then. */
        bool mentioned = jnl_mentions(j, id);
        jnl_view(j, &view);
        rc = lay_read_map(d, id, ret_info, ret_map, e);
        if (rc < 0)
            return rc;
        adopt_seq(d, ret_info);
        if (!mentioned)
            return 0;
        rc = jnl_each(j, &view, apply_one,
                      &(struct one){ .info = ret_info, .map = ret_map, .e = e }, e);
        if (rc == 0 && !jnl_view_gone(j, &view))
            return 0;
        map_done(ret_map);
        if (rc < 0 && !jnl_view_gone(j, &view))
            return rc;
        /* A half was begun anew while we read; what it held is in the map file by now. */
    }
}

/* ---- many layers ------------------------------------------------------------------------------*/

struct group {
    struct target *targets;
    unsigned count;
    struct err *e;
};

static int apply_group(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct group *g = ctx;

    for (unsigned i = 0; i < g->count; i++) {
        struct target *t = &g->targets[i];
        if (t->wanted && same(record->layer, t->info.id))
            return seq <= t->info.seq ? 0 : batch_apply(record, &t->info, &t->map, g->e);
    }
    return 0;
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
    struct layer_id id;

    (void)seq;
    memcpy(id.b, record->layer.b, sizeof id.b);
    id_set_add(ctx, id);
    return 0;
}

static int load_target(const struct layer_dir *d, struct layer_id id, struct target *t,
                       struct err *e)
{
    struct err why = { 0 };
    int rc = lay_read_map(d, id, &t->info, &t->map, &why);

    t->wanted = rc == 0;
    if (rc == 0)
        adopt_seq(d, &t->info);
    else if (rc == -EIO) /* damaged: the journal's records cannot help it */
        log_error("store replay: %s", why.msg);
    else if (rc != -ENOENT) /* it is sound: its records must not be dropped */
        return err_set(e, rc, "%s", why.msg);
    return 0;
}

/* One layer, unless it was deleted since its map was read. */
static int store_target(const struct layer_dir *d, struct target *t, uint64_t seq,
                        pthread_mutex_t *files_lock, struct err *e)
{
    struct layer_info now;
    int rc;

    if (!t->wanted || seq <= t->info.seq)
        return 0;
    t->info.seq = seq;
    pthread_mutex_lock(files_lock);
    rc = lay_read_map(d, t->info.id, &now, NULL, e);
    if (rc == 0)
        rc = lay_write_map(d, &t->info, &t->map, false, e);
    else if (rc == -ENOENT)
        rc = 0;
    pthread_mutex_unlock(files_lock);
    return rc;
}

static int replay_group(const struct layer_dir *d, struct journal *j,
                        const struct journal_view *view, const struct layer_id *ids, unsigned count,
                        uint64_t seq, pthread_mutex_t *files_lock, struct err *e)
{
    struct target targets[GROUP] = { 0 };
    struct group g = { .targets = targets, .count = count, .e = e };
    int rc = 0;

    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = load_target(d, ids[i], &targets[i], e);
    if (rc == 0)
        rc = jnl_each(j, view, apply_group, &g, e);
    for (unsigned i = 0; i < count; i++) {
        if (rc == 0)
            rc = store_target(d, &targets[i], seq, files_lock, e);
        if (targets[i].wanted)
            map_done(&targets[i].map);
    }
    return rc;
}

int replay_to_files(const struct layer_dir *d, struct journal *j, const struct journal_view *view,
                    pthread_mutex_t *files_lock, struct err *e)
{
    AUTO(id_set_done) struct id_set layers = { 0 };
    struct layer_id ids[GROUP];
    unsigned count = 0;
    uint64_t seq = 0;
    int rc;

    rc = jnl_each(j, view, last_seq, &seq, e);
    if (rc == 0)
        rc = jnl_each(j, view, collect, &layers, e);
    if (rc == 0 && layers.incomplete)
        rc = err_set(e, -ENOMEM, "journal: out of memory");

    for (size_t i = 0; i < layers.capacity && rc == 0; i++) {
        static const struct layer_id none;
        if (!lay_id_equal(layers.slots[i], none))
            ids[count++] = layers.slots[i];
        if (count == GROUP || (count && i + 1 == layers.capacity)) {
            rc = replay_group(d, j, view, ids, count, seq, files_lock, e);
            count = 0;
        }
    }
    if (rc < 0)
        return rc;
    rc = d->ops->sync_dir(d->ops->ctx, d->fd);
    return rc < 0 ? err_set(e, rc, "sync layers/: %s", strerror(-rc)) : 0;
}
