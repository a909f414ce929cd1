/* SPDX-License-Identifier: Apache-2.0 */
/* volume_op - a mutating request from its gate to its answer.
 *
 * The order of steps:
 *   1 files of the top made (first write of a volume's life)               volume_make.c
 *   2 OPEN asked for, if the volume is clean; we go on                     volume_commit.c
 *   3 range taken, or waited for                                           range.c
 *   4 the blocks written or zeroed, their states set                       volume_write.c
 *   5 FUA: a commit that begins now                                        volume_commit.c
 *   6 range let go; for a hole: when it is punched
 *   7 answered, when OPEN is durable */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/base/clock.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define OPS_KEPT     64u
#define BOUNCES_KEPT 16u

void volume_init_ops(struct store *s)
{
    op_cache_init(&s->volume_ops, sizeof(struct vol_op), OPS_KEPT);
    op_cache_init(&s->bounces, BLK_BLOCK, BOUNCES_KEPT);
    s->unsynced_limit = vol_unsynced_limit();
    s->tick.fn = vol_tick;
    vol_make_init(s);
    s->park_timer.fn = vol_park_tick;
}

/* ---- end --------------------------------------------------------------------------------------*/

void vol_op_pause(struct vol_op *op)
{
    op->v->mutators -= op->counted;
    op->counted = false;
    op->v->promised_blocks -= op->promised_blocks;
    op->promised_blocks = 0;
}

static void free_if_over(struct vol_op *op)
{
    struct volume *v = op->v;

    if (op->r || op->busy)
        return;
    vol_op_pause(op);
    op_put(&v->store->volume_ops, op);
    v->running--;
    vol_idle(v);
}

static void deliver(struct vol_op *op, int error)
{
    struct blk_req *r = op->r;

    op->r = NULL;
    r->error = error;
    op->v->running++;
    r->done(r); /* may submit more, or close the volume */
    op->v->running--;
    free_if_over(op);
}

void vol_op_refuse(struct vol_op *op, int error)
{
    op->busy = false;
    deliver(op, error);
}

void vol_op_over(struct vol_op *op)
{
    op->busy = false;
    free_if_over(op);
}

void vol_op_answer(struct vol_op *op, int error)
{
    struct volume *v = op->v;

    op->settled = true;
    if (error == 0 && v->failed)
        error = -EIO;
    if (error == 0 && v->mark.durable != DISK_OPEN)
        vol_list_add(&v->mark.unanswered, op);
    else
        deliver(op, error);
}

void vol_op_answer_waiting(struct volume *v, int error)
{
    struct vol_op *op;

    v->running++; /* stays until the list is done */
    while ((op = vol_list_take(&v->mark.unanswered)))
        deliver(op, error);
    v->running--;
}

static void granted(struct range *range);

/* The request is over; op->range is held. */
static void end(struct vol_op *op, int error)
{
    struct volume *v = op->v;

    v->last_mutation_ns = shard_now(v->store->shard);
    range_leave(&v->ranges, &op->range, granted);
    vol_park_passed(op);
    if (!op->settled)
        vol_op_answer(op, error);
    vol_op_over(op);
}

void vol_op_committed(struct vol_op *op, int error)
{
    op->joined = false;
    if (op->r->op == BLK_FLUSH) {
        op->busy = false;
        deliver(op, error);
    } else if (op->punching) {
        vol_op_answer(op, error); /* the range goes when the punch is done */
    } else {
        end(op, error);
    }
}

/* ---- pieces -----------------------------------------------------------------------------------*/

static void run_piece(struct vol_op *op)
{
    if (op->v->failed)
        end(op, -EIO);
    else if (vol_piece_is_hole(op))
        vol_zero_piece(op);
    else
        vol_write_piece(op);
}

static void granted(struct range *range)
{
    run_piece((struct vol_op *)((char *)range - offsetof(struct vol_op, range)));
}

/* Where the piece that begins at op->at ends. */
static uint64_t piece_end(const struct vol_op *op)
{
    uint64_t size = op->v->dev.size_bytes;

    if (op->r->op == BLK_WRITE)
        return op->end;
    if (op->at % BLK_BLOCK) { /* the rest of a block */
        uint64_t next = round_up(op->at, BLK_BLOCK);
        return next < op->end ? next : op->end;
    }
    /* Whole blocks, then what is left; the last block of the disk counts as whole. */
    uint64_t whole = op->end == size ? size : round_down(op->end, BLK_BLOCK);
    if (whole <= op->at)
        return op->end;
    return whole - op->at < VOL_PIECE_BYTES ? whole : op->at + VOL_PIECE_BYTES;
}

static void next_piece(struct vol_op *op)
{
    op->piece_end = piece_end(op);
    if (range_enter(&op->v->ranges, &op->range, op->at / BLK_BLOCK,
                    (op->piece_end - 1) / BLK_BLOCK))
        run_piece(op);
}

void vol_op_piece_done(struct vol_op *op, int error)
{
    struct volume *v = op->v;

    v->promised_blocks -= op->promised_blocks;
    op->promised_blocks = 0;
    if (error == -ENOSPC || error == -EDQUOT) {
        error = vol_park(op, error);
        if (error == 0) {
            range_leave(&v->ranges, &op->range, granted);
            vol_idle(v); /* a seal may have waited for it */
            return;
        }
    }
    if (error < 0 || op->piece_end == op->end) {
        if (error == 0 && !op->settled && (op->r->flags & BLK_FUA)) {
            vol_park_passed(op);
            vol_commit_join(v, op); /* goes on in vol_op_committed */
        } else {
            end(op, error);
        }
        return;
    }
    range_leave(&v->ranges, &op->range, granted);
    op->at = op->piece_end;
    next_piece(op);
}

/* ---- start ------------------------------------------------------------------------------------*/

/* The part of the request that changes anything; false: none. */
static bool set_extent(struct vol_op *op)
{
    const struct blk_req *r = op->r;
    uint64_t size = op->v->dev.size_bytes;

    op->at = r->offset;
    op->end = r->offset + r->length;
    if (r->op == BLK_TRIM) { /* blocks that are trimmed in part are left as they are */
        op->at = round_up(op->at, BLK_BLOCK);
        op->end = op->end == size ? size : round_down(op->end, BLK_BLOCK);
    }
    return op->at < op->end;
}

void vol_enlist(struct volume *v)
{
    if (v->listed)
        return;
    v->listed = true;
    v->next = v->store->volumes;
    v->store->volumes = v;
    vol_tick_start(v->store);
}

static void start(struct vol_op *op)
{
    vol_mark_want(op->v, DISK_OPEN);
    next_piece(op);
}

void vol_op_ungate(struct volume *v, int error)
{
    struct vol_op *op;

    v->running++;
    while ((op = vol_list_take(&v->gated))) {
        int rc = error == -ENOSPC ? vol_park(op, error) : error;
        if (rc < 0) {
            vol_park_passed(op);
            vol_op_refuse(op, rc);
        } else if (error == 0) {
            start(op);
        }
    }
    v->running--;
}

static void answer_at_once(struct blk_req *r, int error)
{
    r->error = error;
    r->done(r);
}

void vol_op_go(struct vol_op *op)
{
    struct volume *v = op->v;

    op->counted = true;
    v->mutators++;
    vol_enlist(v);
    if (v->files == FILES_READY) {
        start(op);
        return;
    }
    vol_list_add(&v->gated, op);
    if (v->files == FILES_NONE)
        vol_make_files(v);
}

void vol_op_begin(struct vol_op *op)
{
    if (op->r->op == BLK_FLUSH)
        vol_commit_join(op->v, op);
    else if (!set_extent(op))
        vol_op_refuse(op, 0);
    else
        vol_op_go(op);
}

void vol_op_start(struct volume *v, struct blk_req *r)
{
    if (v->failed) {
        answer_at_once(r, -EIO);
        return;
    }
    if (r->op == BLK_FLUSH && vol_commit_clean(v) && !v->commit.running) {
        answer_at_once(r, 0);
        return;
    }
    struct vol_op *op = op_get(&v->store->volume_ops);
    if (!op) {
        answer_at_once(r, -EIO);
        return;
    }
    *op = (struct vol_op){ .v = v, .r = r, .busy = true, .connection = v->connection };
    v->running++;
    if (v->held_back)
        vol_list_add(&v->held, op);
    else
        vol_op_begin(op);
}
