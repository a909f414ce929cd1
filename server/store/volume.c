/* SPDX-License-Identifier: Apache-2.0 */
/* volume - one writable disk: a top layer over sealed ones; opened, closed, failed; reads.
 * Must never know sockets, exports or the catalog. */
#include "server/store/volume.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"
#include "server/store/adopt.h"
#include "server/store/live.h"
#include "server/store/open_layers.h"
#include "server/store/replay.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"
#include "server/store/volume_seal.h"

static struct volume *volume_of(struct blkdev *d)
{
    return (struct volume *)((char *)d - offsetof(struct volume, dev));
}

struct blkdev *volume_device(struct volume *v)
{
    return &v->dev;
}

/* ---- requests ---------------------------------------------------------------------------------*/

static void read_done(void *ctx, struct blk_req *r)
{
    struct volume *v = ctx;

    r->done(r);
    v->running--;
    vol_idle(v);
}

static void volume_submit(struct blkdev *d, struct blk_req *r)
{
    struct volume *v = volume_of(d);

    if (v->closing) {
        r->error = -ESHUTDOWN;
        r->done(r);
        return;
    }
    switch (r->op) {
    case BLK_READ:
        v->running++;
        chain_read(v->store, &v->chain, CHAIN_ALL, r, read_done, v);
        break;
    case BLK_CACHE:
        v->running++;
        chain_cache(v->store, &v->chain, r, read_done, v);
        break;
    case BLK_STATUS:
        chain_status(&v->chain, r);
        r->done(r);
        break;
    case BLK_WRITE:
    case BLK_TRIM:
    case BLK_ZERO:
    case BLK_FLUSH:
        vol_op_start(v, r);
        break;
    case BLK_OP_COUNT:
        abort(); /* blk_submit lets none through */
    }
}

static bool volume_lend(struct blkdev *d, uint64_t offset, uint64_t length, struct blk_loan *ret)
{
    struct volume *v = volume_of(d);

    return !v->closing && chain_lend(v->store, &v->chain, offset, length, ret);
}

static void volume_give_back(struct blkdev *d, struct blk_loan *loan)
{
    chain_give_back(volume_of(d)->store, loan);
}

/* Those that have not begun end. */
static void drop_waiting(struct volume *v, int error)
{
    struct vol_op *op;

    v->running++;
    vol_park_drop(v, error);
    while ((op = vol_list_take(&v->held)))
        vol_op_refuse(op, error);
    v->running--;
}

static void volume_drop(struct blkdev *d)
{
    struct volume *v = volume_of(d);

    v->connection++;
    drop_waiting(v, -ESHUTDOWN);
    vol_idle(v);
}

/* ---- failure ----------------------------------------------------------------------------------*/

void vol_fail(struct volume *v, const char *why)
{
    if (v->failed)
        return;
    v->running++; /* stays while others are told */
    v->failed = true;
    vol_log_failed(v);
    live_fail(v->store->live, v->top->id);
    if (v->events.failed)
        v->events.failed(v->events.ctx, v->name, why);
    vol_op_ungate(v, -EIO);
    vol_op_answer_waiting(v, -EIO);
    drop_waiting(v, -EIO);
    v->running--;
    vol_idle(v);
}

static struct volume *first_sound(const struct store *s)
{
    for (struct volume *v = s->volumes; v; v = v->next)
        if (!v->failed)
            return v;
    return NULL;
}

void store_fail(struct store *s, const char *why)
{
    struct volume *v;

    log_error("store %s: failed: %s", s->path, why);
    live_void(s->live);
    while ((v = first_sound(s))) /* from the start again: what is told may close volumes */
        vol_fail(v, why);
}

/* ---- open -------------------------------------------------------------------------------------*/

struct layer *vol_new_top(const struct layer_info *info)
{
    struct layer *top = calloc(1, sizeof *top);

    if (!top)
        return NULL;
    atomic_init(&top->refs, 1);
    top->id = info->id;
    top->info = *info;
    top->info.kind = DISK_TOP;
    top->info.mark = DISK_CLEAN;
    top->info.seq = 0;
    top->data_fd = -1;
    map_init(&top->map, disk_blocks(info->size_bytes));
    return top;
}

/* The top's map: what the process before this one left of it, if it was killed; else what is
 * durable. */
static int read_top(struct volume *v, struct layer_id id, struct err *e)
{
    struct layer *top = v->top;

    v->adopted = adopt_take(v->store, top);
    if (v->adopted && top->unsettled)
        return err_set(e, -EIO,
                       "what was written before the server was killed cannot be brought to disk: "
                       "the next start of the server begins a new epoch");
    if (v->adopted) {
        v->dirty = true;
        v->last_mutation_ns = clock_mono_ns();
        return 0;
    }
    return replay_layer(&v->store->dir, &v->store->journal, id, &top->info, &top->map, e);
}

/* The top's files, if it has any. */
static int open_top(struct volume *v, const struct volume_spec *spec, struct err *e)
{
    const struct layer_dir *d = &v->store->dir;
    struct layer_info *info = &v->top->info;
    struct err why = { 0 };
    int rc;

    rc = read_top(v, spec->top, &why);
    if (rc == -ENOENT) {
        *info = (struct layer_info){ .id = spec->top,
                                     .parent = spec->below->id[0],
                                     .store = d->store,
                                     .size_bytes = spec->size_bytes,
                                     .kind = DISK_TOP };
        map_init(&v->top->map, disk_blocks(spec->size_bytes));
        vol_live_home(v);
        return lay_check_unmade(d, spec->top, e);
    }
    if (rc < 0)
        return err_set(e, rc, "%s", why.msg);
    if (info->kind != DISK_TOP || info->size_bytes != spec->size_bytes)
        return err_set(e, -EIO, "its top layer is another one's: kind or size differ");
    rc = lay_open_data(d, spec->top, true, &v->top->data_fd, e);
    if (rc < 0)
        return rc;
    rc = lay_set_size(d, info);
    if (rc < 0)
        return err_set(e, rc, "the size of its data file: %s", strerror(-rc));
    /* Its content, or its size, was perhaps never synced. */
    v->dirty = v->dirty || adopt_unsynced(v->store, spec->top) || v->top->map.data_blocks == 0;
    if (!v->adopted && info->mark == DISK_OPEN && info->epoch < spec->epoch)
        live_forget(v->store->live, spec->top); /* it had failed; its new epoch has begun */
    vol_live_home(v);
    v->files = FILES_READY;
    v->log.too_many = v->dirty;                   /* by whatever */
    v->log.revoke = v->store->journal.takes_data; /* what is there of it is older, whoever knows */
    v->log.owed = v->adopted && v->log.revoke && jnl_mentions(&v->store->journal, spec->top);
    v->mark.durable = v->mark.wanted = info->mark;
    if (info->generation != spec->generation || info->epoch != spec->epoch)
        v->mark.durable = DISK_CLEAN; /* the next OPEN brings the new ones to disk */
    return 0;
}

static void free_volume(struct volume *v)
{
    chain_close(v->store, &v->chain);
    if (!v->sealed_from_under) { /* else a seal reads the map, and ends it */
        map_done(&v->top->map);
        if (!v->adopted) /* else it went back, and the next process may still need it */
            live_release(v->store->live, v->top->id);
    }
    store_layer_put(v->store, v->top);
    buf_done(&v->commit.records);
    buf_done(&v->mark.record);
    free(v);
}

static int open_layers(struct volume *v, const struct volume_spec *spec, struct err *e)
{
    struct stack *below;
    int rc;

    do { /* first: now nobody else opens it */
        adopt_wait(v->store, spec->top);
        rc = store_top_add(v->store, v->top, spec->top, e);
    } while (rc == -EBUSY && adopt_settling(v->store, spec->top));
    if (rc < 0)
        return rc;
    rc = open_top(v, spec, e);
    if (rc < 0)
        return rc;
    memcpy(v->top->info.name, v->name, sizeof v->name);
    v->top->info.generation = spec->generation;
    v->top->info.epoch = spec->epoch;
    rc = store_stack_get(v->store, spec->below, &below, e);
    if (rc < 0)
        return rc;
    v->chain.top = v->top;
    chain_open(v->store, &v->chain, below);
    if (stack_size_bytes(below) > spec->size_bytes)
        return err_set(e, -EIO, "it is smaller than the layer below it");
    store_top_loaded(v->store, v->top);
    return 0;
}

void vol_live_home(struct volume *v)
{
    struct disk_id key;

    memcpy(key.b, v->top->id.b, sizeof key.b);
    map_set_home(&v->top->map, live_home(v->store->live), key);
}

/* On the shard: one that was being written when the process before this one was killed. */
static void go_on(void *arg)
{
    struct volume *v = arg;

    v->adopted = false;
    vol_enlist(v);
    adopt_opened(v->store);
    vol_mark_want(v, DISK_OPEN); /* with the generation and epoch of today */
}

static void opened(void *arg)
{
    adopt_opened(arg);
}

int volume_open(struct store *s, const struct volume_spec *spec, const struct volume_events *events,
                struct volume **ret, struct err *e)
{
    static const struct blk_ops ops = { .submit = volume_submit,
                                        .drop = volume_drop,
                                        .lend = volume_lend,
                                        .give_back = volume_give_back };
    int rc;

    if (spec->size_bytes == 0 || spec->size_bytes % 512 || spec->size_bytes > DISK_LAYER_MAX)
        return err_set(e, -EINVAL, "open volume '%s': impossible size", spec->name);
    if (spec->below->count == 0 || spec->below->count > LAYER_CHAIN_MAX)
        return err_set(e, -EINVAL, "open volume '%s': stands on %u layers, not 1 to %u", spec->name,
                       spec->below->count, LAYER_CHAIN_MAX);
    struct volume *v = calloc(1, sizeof *v);
    struct layer *top = calloc(1, sizeof *top);
    if (!v || !top) {
        free(v);
        free(top);
        return err_set(e, -ENOMEM, "open volume '%s': out of memory", spec->name);
    }
    atomic_init(&top->refs, 1);
    v->top = top;
    v->store = s;
    v->top->data_fd = -1;
    if (events)
        v->events = *events;
    v->dev = (struct blkdev){ .ops = &ops, .size_bytes = spec->size_bytes };
    memcpy(v->name, spec->name, sizeof v->name - 1);
    v->quota_bytes = spec->quota_bytes;
    vol_list_init(&v->gated);
    vol_list_init(&v->held);
    vol_list_init(&v->park.ops);
    vol_commit_init(v);

    rc = open_layers(v, spec, e);
    if (rc == 0 && v->adopted)
        shard_call(s->shard, go_on, v);
    if (rc < 0) {
        if (v->adopted) {
            adopt_put_back(s, v->top);
            shard_call(s->shard, opened, s);
        }
        free_volume(v);
        return err_wrap(e, rc, "open volume '%s'", spec->name);
    }
    *ret = v;
    return 0;
}

/* ---- close ------------------------------------------------------------------------------------*/

static void unlist(struct volume *v)
{
    struct volume **at = &v->store->volumes;

    if (!v->listed)
        return;
    while (*at != v)
        at = &(*at)->next;
    *at = v->next;
}

void vol_idle(struct volume *v)
{
    if (v->seal)
        vol_seal_step(v);
    if (v->failed && v->log.owed && vol_log_restore(v))
        return;
    if (!v->closing || v->running || v->commit.running || v->mark.busy || v->log.busy ||
        v->files == FILES_MAKING)
        return;
    bool keep = !v->failed && !v->discarding;
    if (keep && !vol_synced(v)) {
        v->commit.wanted = true;
        vol_commit_kick(v);
        return;
    }
    if (keep && v->mark.durable == DISK_OPEN) {
        vol_mark_want(v, DISK_CLEAN);
        return;
    }
    void (*drained)(void *ctx) = v->drained;
    void *ctx = v->drained_ctx;

    unlist(v);
    committer_settled(&v->store->committer);
    v->store->unsynced_bytes -= v->unsynced_bytes;
    free_volume(v);
    drained(ctx);
}

uint64_t volume_dirty_bytes(const struct volume *v)
{
    return v->dirty_bytes + v->commit.committing_bytes;
}

void volume_close(struct volume *v, void (*drained)(void *ctx), void *ctx)
{
    assert(!v->closing);
    v->closing = true;
    v->drained = drained;
    v->drained_ctx = ctx;
    if (v->seal)
        vol_seal_leave(v);
    drop_waiting(v, -ESHUTDOWN);
    vol_idle(v);
}

void volume_discard(struct volume *v, void (*drained)(void *ctx), void *ctx)
{
    v->discarding = true;
    volume_close(v, drained, ctx);
}
