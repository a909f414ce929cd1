/* SPDX-License-Identifier: Apache-2.0 */
/* chain - a stack of layers, read. */
#include "server/store/chain.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/block/blkdev.h"
#include "server/io/file_ops.h"
#include "server/io/pool.h"
#include "server/store/store_state.h"

#define SEGMENTS 16u /* of one trip to the pool */
#define OPS_KEPT 64u /* structures kept for the next reads */

struct segment {
    int fd;
    char *buf;
    uint64_t length, offset;
};

/* A read that waits for the disk. */
struct read_op {
    struct pool_job job;
    struct store *store;
    const struct chain *chain;
    unsigned from;
    struct blk_req *r;
    uint64_t at; /* bytes of the request that are there when the segments are */
    chain_done_fn done;
    void *ctx;
    unsigned count;
    int error;
    struct segment segments[SEGMENTS];
};
static_assert(sizeof(struct read_op) < 1024, "many of them may wait");

void chain_init_ops(struct op_cache *c)
{
    op_cache_init(c, sizeof(struct read_op), OPS_KEPT);
}

uint64_t chain_resolve(const struct chain *c, unsigned from, uint64_t block, uint64_t limit,
                       struct layer **ret)
{
    assert(limit);
    for (unsigned i = from; i < c->count; i++) {
        struct layer *l = c->layers[i];
        enum disk_block_state state;

        if (block >= l->map.blocks)
            continue; /* it is smaller than what lies on it */
        if (limit > l->map.blocks - block)
            limit = l->map.blocks - block;
        limit = map_run(&l->map, block, limit, &state);
        if (state == DISK_INHERIT)
            continue;
        *ret = state == DISK_DATA ? l : NULL;
        return limit;
    }
    *ret = NULL;
    return limit;
}

/* Bytes from `offset` on that one layer owns, at most `length`. */
static uint64_t resolve_bytes(const struct chain *c, unsigned from, uint64_t offset,
                              uint64_t length, struct layer **ret)
{
    uint64_t block = offset / BLK_BLOCK, inside = offset % BLK_BLOCK;
    uint64_t blocks = (inside + length + BLK_BLOCK - 1) / BLK_BLOCK;
    uint64_t run = chain_resolve(c, from, block, blocks, ret) * BLK_BLOCK - inside;

    return run < length ? run : length;
}

/* ---- reading ----------------------------------------------------------------------------------*/

/* As much as is in the page cache or is zeros.  Returns how far the request is (bytes from its
 * start), or -errno. */
static int64_t read_cached(struct store *s, const struct chain *c, unsigned from,
                           const struct blk_req *r, uint64_t at)
{
    while (at < r->length) {
        char *buf = (char *)r->buf + at;
        struct layer *l;
        uint64_t run = resolve_bytes(c, from, r->offset + at, r->length - at, &l);

        if (!l) {
            memset(buf, 0, run);
            at += run;
            continue;
        }
        if (s->no_probe)
            break;
        ssize_t got = s->ops->read_cached(s->ops->ctx, l->data_fd, buf, run, r->offset + at);
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

static void run_segments(struct pool_job *j)
{
    struct read_op *op = (struct read_op *)((char *)j - offsetof(struct read_op, job));

    for (unsigned i = 0; i < op->count && op->error == 0; i++)
        op->error = lay_read_all(op->store->ops, op->segments[i].fd, op->segments[i].buf,
                                 op->segments[i].length, op->segments[i].offset);
}

/* The next segments, from op->at on; zeros between them are filled in here. */
static void gather(struct read_op *op)
{
    const struct blk_req *r = op->r;

    op->count = 0;
    while (op->at < r->length && op->count < SEGMENTS) {
        struct layer *l;
        char *buf = (char *)r->buf + op->at;
        uint64_t offset = r->offset + op->at;
        uint64_t run = resolve_bytes(op->chain, op->from, offset, r->length - op->at, &l);

        if (l)
            op->segments[op->count++] =
                (struct segment){ .fd = l->data_fd, .buf = buf, .length = run, .offset = offset };
        else
            memset(buf, 0, run);
        op->at += run;
    }
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
    struct read_op *op = (struct read_op *)((char *)j - offsetof(struct read_op, job));
    int64_t at = (int64_t)op->at;

    if (op->error == 0 && op->at < op->r->length)
        at = read_cached(op->store, op->chain, op->from, op->r, op->at);
    if (at < 0)
        op->error = (int)at;
    else
        op->at = (uint64_t)at;
    if (op->error == 0 && op->at < op->r->length)
        gather(op);
    else
        op->count = 0;
    if (op->count)
        pool_submit(op->store->read_pool, &op->job);
    else
        finish(op);
}

void chain_read(struct store *s, const struct chain *c, unsigned from, struct blk_req *r,
                chain_done_fn done, void *ctx)
{
    int64_t at = read_cached(s, c, from, r, 0);

    if (at < 0 || (uint64_t)at == r->length) {
        r->error = at < 0 ? -EIO : 0;
        done(ctx, r);
        return;
    }
    struct read_op *op = op_get(&s->read_ops);
    if (!op) {
        r->error = -EIO;
        done(ctx, r);
        return;
    }
    *op = (struct read_op){
        .job = { .run = run_segments, .done = segments_read, .home = s->shard },
        .store = s,
        .chain = c,
        .from = from,
        .r = r,
        .at = (uint64_t)at,
        .done = done,
        .ctx = ctx,
    };
    gather(op);
    pool_submit(s->read_pool, &op->job);
}

/* ---- hints and extents ------------------------------------------------------------------------*/

static void run_read_ahead(struct pool_job *j)
{
    struct read_op *op = (struct read_op *)((char *)j - offsetof(struct read_op, job));
    const struct file_ops *ops = op->store->ops;

    for (unsigned i = 0; i < op->count; i++)
        (void)ops->will_read(ops->ctx, op->segments[i].fd, op->segments[i].offset,
                             op->segments[i].length); /* a hint: nobody misses it */
}

static void read_ahead_done(struct pool_job *j)
{
    finish((struct read_op *)((char *)j - offsetof(struct read_op, job)));
}

void chain_cache(struct store *s, const struct chain *c, struct blk_req *r, chain_done_fn done,
                 void *ctx)
{
    struct read_op *op = op_get(&s->read_ops);
    uint64_t at = 0;

    r->error = 0;
    if (!op) {
        done(ctx, r);
        return;
    }
    *op = (struct read_op){
        .job = { .run = run_read_ahead, .done = read_ahead_done, .home = s->shard },
        .store = s,
        .r = r,
        .done = done,
        .ctx = ctx,
    };
    while (at < r->length && op->count < SEGMENTS) { /* a hint: its beginning will do */
        struct layer *l;
        uint64_t run = resolve_bytes(c, 0, r->offset + at, r->length - at, &l);
        if (l)
            op->segments[op->count++] =
                (struct segment){ .fd = l->data_fd, .length = run, .offset = r->offset + at };
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
        uint64_t run = resolve_bytes(c, 0, r->offset + at, r->length - at, &l);
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
