/* SPDX-License-Identifier: Apache-2.0 */
/* chain - what a device reads through. */
#include "server/store/chain.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/base/log.h"
#include "server/block/blkdev.h"
#include "server/io/file_ops.h"
#include "server/io/pool.h"
#include "server/store/open_layers.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"

#define SEGMENTS 16u /* of one trip to the pool */
#define OPS_KEPT 64u /* structures kept for the next reads */

#define INLINE_MAX (1u << 20) /* bytes that are copied on the shard's own thread */

struct segment {
    struct layer *layer;          /* counted */
    struct layer_fds fds, opened; /* opened: by this job, because the layer's were closed */
    char *buf;
    uint64_t length, offset;
};

/* A read that waits for the disk. */
struct read_op {
    struct pool_job job;
    struct store *store;
    const struct chain *chain;
    struct blk_req *r;
    uint64_t at; /* bytes of the request that are there when the segments are */
    chain_done_fn done;
    void *ctx;
    enum chain_part part;
    unsigned count;
    int error;
    struct layer *damaged; /* of a segment: this block of it is wrong */
    uint64_t bad_block;
    struct segment segments[SEGMENTS];
};
static_assert(sizeof(struct read_op) < 1024, "many of them may wait");

void chain_init_ops(struct op_cache *c)
{
    op_cache_init(c, sizeof(struct read_op), OPS_KEPT);
}

/* ---- what a chain stands on -------------------------------------------------------------------*/

void chain_open(struct store *s, struct chain *c, struct stack *below)
{
    c->below = below;
    pthread_mutex_lock(&s->lock);
    c->at = &s->chains;
    c->next = s->chains;
    if (c->next)
        c->next->at = &c->next;
    s->chains = c;
    pthread_mutex_unlock(&s->lock);
}

void chain_close(struct store *s, struct chain *c)
{
    if (!c->at)
        return;
    pthread_mutex_lock(&s->lock);
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
    c->at = NULL;
    pthread_mutex_unlock(&s->lock);
    store_stack_put(s, c->below);
    c->below = NULL;
}

void chain_replace_below(struct store *s, struct chain *c, struct stack *below)
{
    store_stack_put(s, c->below);
    c->below = below;
}

uint64_t chain_resolve(const struct chain *c, enum chain_part part, uint64_t block, uint64_t limit,
                       struct layer **ret)
{
    struct layer *top = c->top;

    assert(limit);
    if (part == CHAIN_ALL && top) {
        enum disk_block_state state;
        limit = map_run(&top->map, block, limit, &state);
        if (state != DISK_INHERIT) {
            *ret = state == DISK_DATA ? top : NULL;
            return limit;
        }
    }
    return stack_resolve(c->below, block, limit, ret);
}

/* Bytes from `offset` on that one layer owns, at most `length`. */
static uint64_t resolve_bytes(const struct chain *c, enum chain_part part, uint64_t offset,
                              uint64_t length, struct layer **ret)
{
    uint64_t block = offset / BLK_BLOCK, inside = offset % BLK_BLOCK;
    uint64_t blocks = (inside + length + BLK_BLOCK - 1) / BLK_BLOCK;
    uint64_t run = chain_resolve(c, part, block, blocks, ret) * BLK_BLOCK - inside;

    return run < length ? run : length;
}

/* ---- reading ----------------------------------------------------------------------------------*/

/* Bytes of a layer with checksums came from the page cache: the whole blocks among them are
 * compared, each once while the layer is open; what comes from the disk is always.
 * 0; -EAGAIN: only the pool can; -EIO. */
static int check_cached(struct store *s, struct layer *l, const char *buf, uint64_t length,
                        uint64_t offset)
{
    uint64_t first = (offset + BLK_BLOCK - 1) / BLK_BLOCK, end = (offset + length) / BLK_BLOCK;
    uint64_t bad;
    int rc;

    if (first >= end || crc_seen_all(&l->seen, first, end - first))
        return 0;
    rc = crc_places_check(&l->crcs, s->ops, l->crcs_fd, CRC_CACHED, first,
                          buf + (first * BLK_BLOCK - offset), end - first, &bad);
    if (rc == -EBADMSG) {
        layer_is_damaged(s, l, bad);
        return -EIO;
    }
    if (rc < 0)
        return -EAGAIN; /* and the pool says why */
    crc_seen_note(&l->seen, &l->crcs, first, end - first);
    return 0;
}

/* From the page cache, on one layer that owns all of it: bytes, short when the rest is not there,
 * or -errno. */
static ssize_t read_layer_cached(struct store *s, struct layer *l, char *buf, uint64_t length,
                                 uint64_t offset)
{
    ssize_t got = s->ops->read_cached(s->ops->ctx, l->data_fd, buf, length, offset);

    if (got > 0 && l->crcs.pages) {
        int rc = check_cached(s, l, buf, (uint64_t)got, offset);
        return rc < 0 ? rc : got;
    }
    return got;
}

/* As much as is in the page cache or is zeros.  Returns how far the request is (bytes from its
 * start), or -errno. */
static int64_t read_cached(struct store *s, const struct chain *c, enum chain_part part,
                           const struct blk_req *r, uint64_t at)
{
    while (at < r->length) {
        char *buf = (char *)r->buf + at;
        struct layer *l;
        uint64_t run = resolve_bytes(c, part, r->offset + at, r->length - at, &l);

        if (!l) {
            memset(buf, 0, run);
            at += run;
            continue;
        }
        layer_fd_touch(&s->fd_clock, l);
        if (s->no_probe || l->data_fd < 0 || l->damaged)
            break;
        ssize_t got = read_layer_cached(s, l, buf, run, r->offset + at);
        if (got == -EOPNOTSUPP)
            s->no_probe = true;
        if (got < 0 && got != -EOPNOTSUPP && got != -EAGAIN)
            return got;
        if (got > 0)
            at += (uint64_t)got;
        if (got < 0 || (uint64_t)got < run)
            break;
    }
    return (int64_t)at;
}

static struct read_op *op_of(struct pool_job *j)
{
    return (struct read_op *)((char *)j - offsetof(struct read_op, job));
}

/* On the pool: files for each segment. */
static int open_segments(struct read_op *op)
{
    struct err e = { 0 };

    for (unsigned i = 0; i < op->count; i++) {
        struct segment *g = &op->segments[i];
        for (unsigned k = 0; k < i && g->fds.data < 0; k++)
            if (op->segments[k].layer == g->layer)
                g->fds = op->segments[k].fds;
        if (g->fds.data >= 0)
            continue;
        int rc =
            lay_open_sealed(&op->store->dir, g->layer->id, g->layer->crcs.pages, &g->opened, &e);
        if (rc < 0) {
            log_error("store %s: %s", op->store->path, e.msg);
            return rc;
        }
        g->fds = g->opened;
    }
    return 0;
}

/* The whole blocks of a segment; returns how many have checksums. */
static uint64_t whole_blocks(const struct segment *g, uint64_t *ret_first)
{
    uint64_t first = (g->offset + BLK_BLOCK - 1) / BLK_BLOCK;
    uint64_t end = (g->offset + g->length) / BLK_BLOCK;

    *ret_first = first;
    return g->layer->crcs.pages && first < end ? end - first : 0;
}

/* On the pool: against their checksums. */
static int check_segment(struct read_op *op, const struct segment *g)
{
    uint64_t first, count = whole_blocks(g, &first), bad;
    int rc;

    if (!count)
        return 0;
    rc = crc_places_check(&g->layer->crcs, op->store->ops, g->fds.crcs, CRC_WAIT, first,
                          g->buf + (first * BLK_BLOCK - g->offset), count, &bad);
    if (rc == -EBADMSG) {
        op->damaged = g->layer;
        op->bad_block = bad;
    }
    return rc;
}

/* On the shard, afterwards. */
static void note_checked(struct read_op *op)
{
    if (op->damaged)
        layer_is_damaged(op->store, op->damaged, op->bad_block);
    for (unsigned i = 0; i < op->count && op->error == 0; i++) {
        struct layer *l = op->segments[i].layer;
        uint64_t first, count = whole_blocks(&op->segments[i], &first);
        if (count)
            crc_seen_note(&l->seen, &l->crcs, first, count);
    }
}

static void run_segments(struct pool_job *j)
{
    struct read_op *op = op_of(j);

    op->error = open_segments(op);
    for (unsigned i = 0; i < op->count && op->error == 0; i++) {
        const struct segment *g = &op->segments[i];
        op->error = lay_read_all(op->store->ops, g->fds.data, g->buf, g->length, g->offset);
        if (op->error == 0)
            op->error = check_segment(op, g);
    }
}

static void add_segment(struct read_op *op, struct layer *l, char *buf, uint64_t length,
                        uint64_t offset)
{
    store_layer_ref(l);
    layer_fd_hold(l);
    op->segments[op->count++] = (struct segment){ .layer = l,
                                                  .fds = { l->data_fd, l->crcs_fd },
                                                  .opened = LAYER_NO_FDS,
                                                  .buf = buf,
                                                  .length = length,
                                                  .offset = offset };
}

/* The next segments, from op->at on; zeros between them are filled in here. */
static void gather(struct read_op *op)
{
    const struct blk_req *r = op->r;

    while (op->at < r->length && op->count < SEGMENTS) {
        struct layer *l;
        char *buf = (char *)r->buf + op->at;
        uint64_t offset = r->offset + op->at;
        uint64_t run = resolve_bytes(op->chain, op->part, offset, r->length - op->at, &l);

        if (l)
            add_segment(op, l, buf, run, offset);
        else
            memset(buf, 0, run);
        op->at += run;
    }
}

static void drop_segments(struct read_op *op)
{
    for (unsigned i = 0; i < op->count; i++) {
        layer_fd_release(op->store, op->segments[i].layer, op->segments[i].opened);
        store_layer_put(op->store, op->segments[i].layer);
    }
    op->count = 0;
}

static void finish(struct read_op *op)
{
    struct store *s = op->store;
    struct blk_req *r = op->r;
    chain_done_fn done = op->done;
    void *ctx = op->ctx;

    r->error = op->error == 0 ? 0 : -EIO;
    op_put(&s->read_ops, op);
    done(ctx, r);
}

static void segments_read(struct pool_job *j)
{
    struct read_op *op = op_of(j);
    int64_t at = (int64_t)op->at;

    note_checked(op);
    drop_segments(op);
    if (op->error == 0 && op->at < op->r->length && op->r->length <= INLINE_MAX)
        at = read_cached(op->store, op->chain, op->part, op->r, op->at);
    if (at < 0)
        op->error = (int)at;
    else
        op->at = (uint64_t)at;
    if (op->error == 0 && op->at < op->r->length)
        gather(op);
    if (op->count)
        pool_submit(op->store->read_pool, &op->job);
    else
        finish(op);
}

static struct read_op *new_op(struct store *s, struct blk_req *r, chain_done_fn done, void *ctx)
{
    struct read_op *op = op_get(&s->read_ops);

    if (op) {
        *op = (struct read_op){ .store = s, .r = r, .done = done, .ctx = ctx };
        op->job.home = s->shard;
    }
    return op;
}

void chain_read(struct store *s, const struct chain *c, enum chain_part part, struct blk_req *r,
                chain_done_fn done, void *ctx)
{
    int64_t at = r->length <= INLINE_MAX ? read_cached(s, c, part, r, 0) : 0;

    if (at < 0 || (uint64_t)at == r->length) {
        r->error = at < 0 ? -EIO : 0;
        done(ctx, r);
        return;
    }
    struct read_op *op = new_op(s, r, done, ctx);
    if (!op) {
        r->error = -EIO;
        done(ctx, r);
        return;
    }
    op->job.run = run_segments;
    op->job.done = segments_read;
    op->chain = c;
    op->part = part;
    op->at = (uint64_t)at;
    gather(op);
    pool_submit(s->read_pool, &op->job);
}

/* ---- hints and extents ------------------------------------------------------------------------*/

static void run_read_ahead(struct pool_job *j)
{
    struct read_op *op = op_of(j);
    const struct file_ops *ops = op->store->ops;

    if (open_segments(op) < 0)
        return;
    for (unsigned i = 0; i < op->count; i++)
        (void)ops->will_read(ops->ctx, op->segments[i].fds.data, op->segments[i].offset,
                             op->segments[i].length); /* a hint: nobody misses it */
}

static void read_ahead_done(struct pool_job *j)
{
    struct read_op *op = op_of(j);

    drop_segments(op);
    finish(op);
}

void chain_cache(struct store *s, const struct chain *c, struct blk_req *r, chain_done_fn done,
                 void *ctx)
{
    struct read_op *op = new_op(s, r, done, ctx);
    uint64_t at = 0;

    r->error = 0;
    if (!op) {
        done(ctx, r);
        return;
    }
    op->job.run = run_read_ahead;
    op->job.done = read_ahead_done;
    while (at < r->length && op->count < SEGMENTS) { /* a hint: its beginning will do */
        struct layer *l;
        uint64_t run = resolve_bytes(c, CHAIN_ALL, r->offset + at, r->length - at, &l);
        if (l)
            add_segment(op, l, NULL, run, r->offset + at);
        at += run;
    }
    if (op->count)
        pool_submit(s->read_pool, &op->job);
    else
        finish(op);
}

void chain_status(const struct chain *c, struct blk_req *r)
{
    unsigned room = (r->flags & BLK_ONE) ? 1 : r->extent_count, used = 0;
    uint64_t at = 0;

    while (at < r->length) {
        struct layer *l;
        uint64_t run = resolve_bytes(c, CHAIN_ALL, r->offset + at, r->length - at, &l);
        uint32_t state = l ? BLK_EXT_DATA : BLK_EXT_HOLE | BLK_EXT_ZERO;

        if (used && r->extents[used - 1].state == state)
            r->extents[used - 1].length += run;
        else if (used < room)
            r->extents[used++] = (struct blk_extent){ .length = run, .state = state };
        else
            break;
        at += run;
    }
    r->extent_count = used;
    r->error = 0;
}
