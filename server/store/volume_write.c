/* SPDX-License-Identifier: Apache-2.0 */
/* volume_write - one piece of a mutating request, under its range: first touch, write, zero, punch.
 *
 * A first touch writes whole blocks: what the request does not cover is copied from below.  A range
 * that became zero stays held until it is punched. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/base/clock.h"
#include "server/io/file_ops.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define COMMIT_AFTER (32ull << 20) /* of one volume: written back without being asked */

static struct vol_op *op_of_job(struct pool_job *j)
{
    return (struct vol_op *)((char *)j - offsetof(struct vol_op, job));
}

static void drop_bounces(struct vol_op *op)
{
    for (int i = 0; i < 2; i++)
        if (op->bounce[i]) {
            op_put(&op->v->store->bounces, op->bounce[i]);
            op->bounce[i] = NULL;
        }
}

static uint64_t first_block(const struct vol_op *op)
{
    return op->at / BLK_BLOCK;
}

static uint64_t last_block(const struct vol_op *op)
{
    return (op->piece_end - 1) / BLK_BLOCK;
}

static uint64_t block_count(const struct vol_op *op)
{
    return last_block(op) - first_block(op) + 1;
}

/* ---- holes ------------------------------------------------------------------------------------*/

bool vol_piece_is_hole(const struct vol_op *op)
{
    const struct blk_req *r = op->r;

    return r->op != BLK_WRITE && !(r->op == BLK_ZERO && (r->flags & BLK_NO_HOLE)) &&
           op->at % BLK_BLOCK == 0 &&
           (op->piece_end % BLK_BLOCK == 0 || op->piece_end == op->v->dev.size_bytes);
}

/* On a pool: punches the segments.  A failure only costs space. */
static void run_punch(struct pool_job *j)
{
    struct vol_op *op = op_of_job(j);
    const struct file_ops *ops = op->v->store->ops;

    for (unsigned i = 0; i < op->segment_count; i++)
        (void)ops->punch(ops->ctx, op->v->top->data_fd, op->segments[i].offset,
                         op->segments[i].length);
}

static void punched(struct pool_job *j)
{
    struct vol_op *op = op_of_job(j);

    struct volume *v = op->v;
    bool more_room = op->error == 0;

    v->running++;
    op->punching = false;
    if (!op->joined) /* else the commit ends it, range and all */
        vol_op_piece_done(op, op->error);
    if (more_room)
        vol_park_retry(v);
    v->running--;
    vol_idle(v);
}

static void punch(struct vol_op *op)
{
    op->punching = true;
    op->job = (struct pool_job){ .run = run_punch, .done = punched, .home = op->v->store->shard };
    pool_submit(op->v->store->slow_pool, &op->job);
}

void vol_zero_piece(struct vol_op *op)
{
    struct volume *v = op->v;
    uint64_t first = first_block(op), count = block_count(op);

    int rc = map_reserve(&v->top->map, first, count, true);
    if (rc < 0) {
        vol_op_piece_done(op, rc == -ENOSPC ? rc : -EIO);
        return;
    }
    bool had_data = map_any_data(&v->top->map, first, count);
    map_set(&v->top->map, first, count, DISK_ZERO);
    if (!had_data) { /* nothing in the file */
        vol_op_piece_done(op, 0);
        return;
    }
    op->segments[0] =
        (struct vol_segment){ .offset = first * BLK_BLOCK, .length = count * BLK_BLOCK };
    op->segment_count = 1;
    op->error = 0;
    punch(op);
    if (op->piece_end != op->end)
        return;
    v->last_mutation_ns = shard_now(v->store->shard);
    if (op->r->flags & BLK_FUA)
        vol_commit_join(v, op);
    else
        vol_op_answer(op, 0);
}

/* ---- data -------------------------------------------------------------------------------------*/

/* A full disk: gives back what a first touch took, then ends; the blocks stay what they were. */
static void no_space(struct vol_op *op)
{
    const struct map *map = &op->v->top->map;
    uint64_t block = first_block(op), left = block_count(op);

    op->error = -ENOSPC;
    op->segment_count = 0;
    while (left && op->segment_count < 3) {
        enum disk_block_state state;
        uint64_t run = map_run(map, block, left, &state);
        if (state != DISK_DATA)
            op->segments[op->segment_count++] =
                (struct vol_segment){ .offset = block * BLK_BLOCK, .length = run * BLK_BLOCK };
        block += run;
        left -= run;
    }
    if (op->segment_count)
        punch(op);
    else
        vol_op_piece_done(op, -ENOSPC);
}

void vol_written(struct vol_op *op)
{
    struct volume *v = op->v;
    uint64_t bytes = block_count(op) * BLK_BLOCK;

    drop_bounces(op);
    v->dirty = true;
    v->dirty_bytes += bytes;
    v->unsynced_bytes += bytes;
    v->store->unsynced_bytes += bytes;
    if (op->error < 0)
        vol_log_unknown(v);
    if (op->error == -ENOSPC || op->error == -EDQUOT) {
        no_space(op);
        return;
    }
    if (op->error < 0) {
        vol_fail(v, strerror(-op->error));
        vol_op_piece_done(op, -EIO);
        return;
    }
    map_set(&v->top->map, first_block(op), block_count(op), DISK_DATA);
    vol_log_note(v, first_block(op), block_count(op));
    if (v->unsynced_bytes > COMMIT_AFTER && !v->commit.running) {
        v->commit.wanted = true;
        vol_commit_kick(v);
    }
    vol_op_piece_done(op, 0);
}

/* ---- first touch of a block in part -----------------------------------------------------------*/

static void make_whole(struct vol_op *op, int side);

/* The request's bytes for this part of the disk; NULL: zeros. */
static const char *source(const struct vol_op *op, uint64_t offset)
{
    return op->r->op == BLK_WRITE ? (const char *)op->r->buf + (offset - op->r->offset) : NULL;
}

/* Is this block written only in part, and not ours yet? */
static bool needs_bounce(const struct vol_op *op, uint64_t block)
{
    uint64_t begin = block * BLK_BLOCK;

    return (op->at > begin || op->piece_end < begin + BLK_BLOCK) &&
           map_get(&op->v->top->map, block) != DISK_DATA;
}

static void add_segment(struct vol_op *op, const char *buf, uint64_t offset, uint64_t length)
{
    if (length)
        op->segments[op->segment_count++] =
            (struct vol_segment){ .buf = buf, .offset = offset, .length = length };
}

/* All is at hand: first block, middle, last block. */
static void write_all(struct vol_op *op)
{
    uint64_t first = first_block(op) * BLK_BLOCK, last = last_block(op) * BLK_BLOCK;
    uint64_t from = op->at, to = op->piece_end;

    op->segment_count = 0;
    if (op->bounce[0]) {
        add_segment(op, op->bounce[0], first, BLK_BLOCK);
        from = first + BLK_BLOCK;
    }
    if (op->bounce[1])
        to = last;
    if (from < to)
        add_segment(op, source(op, from), from, to - from);
    if (op->bounce[1])
        add_segment(op, op->bounce[1], last, BLK_BLOCK);
    vol_put_segments(op);
}

/* The block of this side is in its bounce buffer: the request's bytes go over it. */
static void overlay(struct vol_op *op, int side)
{
    uint64_t begin = (side == 0 ? first_block(op) : last_block(op)) * BLK_BLOCK;
    uint64_t from = op->at > begin ? op->at : begin;
    uint64_t to = op->piece_end < begin + BLK_BLOCK ? op->piece_end : begin + BLK_BLOCK;
    const char *bytes = source(op, from);

    if (bytes)
        memcpy(op->bounce[side] + (from - begin), bytes, to - from);
    else
        memset(op->bounce[side] + (from - begin), 0, to - from);
    if (side == 0 && last_block(op) != first_block(op))
        make_whole(op, 1);
    else
        write_all(op);
}

static void below_read(void *ctx, struct blk_req *r)
{
    struct vol_op *op = ctx;

    if (r->error < 0) {
        drop_bounces(op);
        vol_op_piece_done(op, -EIO);
        return;
    }
    overlay(op, r->buf == op->bounce[0] ? 0 : 1);
}

/* side 0: the first block of the piece; 1: its last one, which is another. */
static void make_whole(struct vol_op *op, int side)
{
    struct volume *v = op->v;
    uint64_t block = side == 0 ? first_block(op) : last_block(op);

    if (!needs_bounce(op, block)) {
        if (side == 0 && last_block(op) != block)
            make_whole(op, 1);
        else
            write_all(op);
        return;
    }
    op->bounce[side] = op_get(&v->store->bounces);
    if (!op->bounce[side]) {
        drop_bounces(op);
        vol_op_piece_done(op, -EIO);
        return;
    }
    if (map_get(&v->top->map, block) == DISK_ZERO) {
        memset(op->bounce[side], 0, BLK_BLOCK);
        overlay(op, side);
        return;
    }
    op->below = (struct blk_req){
        .op = BLK_READ, .offset = block * BLK_BLOCK, .length = BLK_BLOCK, .buf = op->bounce[side]
    };
    chain_read(v->store, &v->chain, CHAIN_BELOW, &op->below, below_read, op);
}

void vol_write_piece(struct vol_op *op)
{
    struct volume *v = op->v;

    /* Zeros for a part of a block that is zero: nothing to do. */
    if (op->r->op == BLK_ZERO && block_count(op) == 1 && !(op->r->flags & BLK_NO_HOLE) &&
        map_get(&v->top->map, first_block(op)) == DISK_ZERO) {
        vol_op_piece_done(op, 0);
        return;
    }
    int rc = vol_park_take_room(op, first_block(op), block_count(op));
    if (rc == 0) {
        rc = map_reserve(&v->top->map, first_block(op), block_count(op), true);
        if (rc < 0 && rc != -ENOSPC)
            rc = -EIO;
    }
    if (rc < 0)
        vol_op_piece_done(op, rc);
    else
        make_whole(op, 0);
}
