/* SPDX-License-Identifier: Apache-2.0 */
/* volume - the state of one writable disk, for the volume_*.c files of this room.
 *
 *   volume.c        opened, closed, failed; reads
 *   volume_make.c   the files of its top, at the first write
 *   volume_op.c     a mutating request from its gate to its answer
 *   volume_write.c  one piece of it, under its range: first touch, write, zero, punch
 *   volume_file.c   its bytes into the data file, here or on the pool
 *   volume_commit.c flush: what changed becomes durable; the open and clean marks
 *   volume_log.c    a flush of little: its content goes into the journal, the file is synced later
 *   volume_seal.c   one instant over many volumes: their tops become sealed layers
 *   volume_park.c   writes without room wait for it; quotas
 *
 * The order of steps, which is what keeps data, is in volume_op.c and volume_commit.c.
 * Threads: all of it belongs to the store's shard; pool jobs touch only what their comment names.
 */
#ifndef GRIDBOX_STORE_VOLUME_H
#define GRIDBOX_STORE_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/buf.h"
#include "server/base/clock.h"
#include "server/block/blkdev.h"
#include "server/io/pool.h"
#include "server/store/chain.h"
#include "server/store/committer.h"
#include "server/store/layer.h"
#include "server/store/range.h"
#include "server/store/store.h"

#define VOL_PIECE_BYTES    (64ull << 20) /* a longer trim or zero is done in pieces of this */
#define VOL_CLEAN_AFTER_NS (10 * NS_PER_S)
#define VOL_TICK_NS        NS_PER_S
#define VOL_LOG_BLOCKS     64u /* a flush of more syncs the data file */

/* A run of bytes for the data file. */
struct vol_segment {
    const char *buf; /* NULL: zeros */
    uint64_t length, offset;
};

/* One mutating request or flush. */
struct vol_op {
    struct vol_op *next; /* of the one list it waits in: gated, joined, unanswered */
    struct volume *v;
    struct blk_req *r;        /* NULL once it was answered */
    bool busy;                /* something of it still runs; freed when answered and not busy */
    bool punching;            /* its range goes with the punch, not with the commit */
    bool joined;              /* waits for a commit */
    bool settled;             /* its answer is given, or waits for OPEN alone */
    bool counted;             /* in volume.mutators: it has begun */
    uint32_t connection;      /* volume.connection when it came */
    uint64_t promised_blocks; /* of the volume's, likewise */
    struct range range;
    uint64_t at, end;   /* bytes of the request that are still to be done */
    uint64_t piece_end; /* the piece [at, piece_end) runs */
    char *bounce[2];    /* first and last block of the piece, made whole */
    struct blk_req below;
    struct vol_segment segments[3];
    unsigned segment_count;
    struct pool_job job; /* uses segments, error */
    int error;
};

struct vol_list {
    struct vol_op *first, **end;
};

enum vol_files {
    FILES_NONE,   /* the top was never written to */
    FILES_MAKING, /* until MAKE is durable; mutators are gated */
    FILES_READY,
};

struct volume {
    struct blkdev dev;
    struct store *store;
    char name[64];
    struct layer *top;  /* its map is the live one; info.generation and epoch as the owner said;
                         * replaced by an empty one when it is sealed */
    struct chain chain; /* its top is `top` */
    struct range_table ranges;
    enum vol_files files;
    struct vol_list gated; /* wait for the files */
    struct {
        bool recording; /* the files are there, MAKE is on its way to the journal */
        int error;
        struct err err;
        struct volume *next; /* of those that are made together */
    } make;

    struct {
        bool busy;               /* the job is under way */
        struct vol_op *running;  /* its operations */
        struct vol_list waiting; /* the next job's; set up when busy is set */
        struct pool_job job;
    } writer;

    unsigned running;    /* requests of any kind, answered or not, that are not over */
    unsigned mutators;   /* of these: that change something and have begun */
    uint32_t connection; /* how many have ended: what is left of them is not parked any more */
    bool failed, closing;
    bool adopted;    /* its map is what a process that was killed left; while it is being opened */
    bool discarding; /* closing, and what was written is of no use to anyone */
    struct seal_member *seal; /* volume_seal.c's; NULL: none is under way */
    bool held_back;           /* by it: new mutators and flushes wait in `held` */
    bool sealed_from_under;   /* it closes while a seal counts its top, which holds still */
    struct vol_list held;
    struct volume_events events;
    void (*drained)(void *ctx);
    void *drained_ctx;

    uint64_t quota_bytes;     /* of data in the top; 0 = no limit */
    uint64_t promised_blocks; /* first touches that run will add them */
    struct {
        struct vol_list ops;  /* oldest first */
        struct vol_op *probe; /* the one of them that tries again */
        bool retrying, stuck; /* vol_park_retry() is at work; the probe found no room */
        bool told;            /* the owner knows that writes wait */
        uint64_t round;       /* store.park_round in which it was tried last */
    } park;

    bool dirty;              /* data was written since the last commit began */
    uint64_t dirty_bytes;    /* likewise, how much */
    uint64_t unsynced_bytes; /* written since the last sync of the data file began */
    int64_t last_mutation_ns;
    struct {
        bool running, wanted;  /* wanted: even if nobody waits for it; it syncs the file */
        bool syncs;            /* the one that runs: it does not go by the log */
        bool marks;            /* the CLEAN mark is in its records */
        uint64_t begun, ended; /* how many */
        struct vol_list joined, next;
        struct buf records;
        struct pool_job sync;
        int error;       /* of the sync */
        int64_t sync_ns; /* how long it took */
        uint64_t syncing_bytes, committing_bytes;
        struct commit_entry entry;
    } commit;
    struct {
        uint32_t blocks[VOL_LOG_BLOCKS]; /* written since the last commit began */
        unsigned count;
        bool too_many;    /* more than these, or it is not known which */
        bool owed;        /* the journal holds content that the file may not hold durably */
        bool revoke;      /* it may hold content that is older than what a sync makes durable */
        uint64_t turn;    /* committer.turn when it began to be owed */
        unsigned seconds; /* for so long, about */
        bool busy;        /* a job is under way: it pays, or puts back what was flushed */
        bool waits;       /* for room, to put it back */
        bool told;        /* that it is not back */
        bool more;        /* since the job began, more is owed … */
        uint64_t more_turn;
        uint64_t syncing_bytes;
        struct volume *next; /* in store.payer.group */
        struct pool_job job; /* uses error, told, top->id, top->data_fd */
        int error;
        int64_t sync_ns; /* how long that took */
    } log;
    struct {
        enum disk_mark durable; /* CLEAN also while that is not sure */
        enum disk_mark wanted, writing;
        bool busy;
        struct buf record;
        struct commit_entry entry;
        struct vol_list unanswered; /* done, but OPEN is not durable */
    } mark;

    bool listed; /* in store->volumes */
    struct volume *next;
};

void volume_init_ops(struct store *s);

static inline void vol_list_init(struct vol_list *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static inline void vol_list_add(struct vol_list *l, struct vol_op *op)
{
    op->next = NULL;
    *l->end = op;
    l->end = &op->next;
}

static inline void vol_list_push(struct vol_list *l, struct vol_op *op)
{
    op->next = l->first;
    if (!l->first)
        l->end = &op->next;
    l->first = op;
}

static inline struct vol_op *vol_list_take(struct vol_list *l)
{
    struct vol_op *op = l->first;

    if (op) {
        l->first = op->next;
        if (!l->first)
            l->end = &l->first;
    }
    return op;
}

/* ---- volume.c ---------------------------------------------------------------------------------*/

/* The volume has failed for good: reads go on, all else gets -EIO.  Idempotent. */
void vol_fail(struct volume *v, const char *why);

/* From now on the map's changes are seen by the process after this one. */
void vol_live_home(struct volume *v);

/* A new top without files; info.mark and what is counted begin anew.  NULL without memory. */
struct layer *vol_new_top(const struct layer_info *info);

/* Something of the volume is over: closes it if that was the last thing.  The volume may be gone
 * afterwards. */
void vol_idle(struct volume *v);

/* ---- volume_op.c ------------------------------------------------------------------------------*/

/* Takes a mutator or flush on.  r is answered with -EIO when there is no memory. */
void vol_op_start(struct volume *v, struct blk_req *r);

/* One that was taken on begins. */
void vol_op_begin(struct vol_op *op);

/* A mutator begins, or goes on from the piece at which it was paused. */
void vol_op_go(struct vol_op *op);

/* It has not begun, or begins again later; its range is the caller's business. */
void vol_op_pause(struct vol_op *op);

/* Answers one that has not begun; it is over. */
void vol_op_refuse(struct vol_op *op, int error);

/* The piece that held op->range is over. */
void vol_op_piece_done(struct vol_op *op, int error);

/* Answers now, or when the OPEN mark is durable; the op goes on if it is busy. */
void vol_op_answer(struct vol_op *op, int error);

/* Nothing of it runs any more: freed, once it was answered. */
void vol_op_over(struct vol_op *op);

/* The commit that it had joined is over. */
void vol_op_committed(struct vol_op *op, int error);

/* OPEN is durable, or (error) will never be. */
void vol_op_answer_waiting(struct volume *v, int error);

/* It is looked at once a second from now on. */
void vol_enlist(struct volume *v);

/* All that wait for files go on, or (error) end, or (-ENOSPC) are parked. */
void vol_op_ungate(struct volume *v, int error);

/* ---- volume_make.c ----------------------------------------------------------------------------*/

void vol_make_init(struct store *s);
/* FILES_NONE: makes them; what is gated goes on when they are there, durably. */
void vol_make_files(struct volume *v);
/* vol_mark_made() is over. */
void vol_made(struct volume *v, int error);

/* ---- volume_write.c ---------------------------------------------------------------------------
 * Run one piece whose range is held; each ends with vol_op_piece_done(). */
void vol_write_piece(struct vol_op *op);
void vol_zero_piece(struct vol_op *op); /* whole blocks become zero */
/* Is [at, piece_end) whole blocks that may become zero without being written? */
bool vol_piece_is_hole(const struct vol_op *op);
/* Its segments are in the data file, or op->error says why not. */
void vol_written(struct vol_op *op);

/* ---- volume_file.c ----------------------------------------------------------------------------*/

/* Writes op->segments; vol_written(op) is called once, perhaps before this returns. */
void vol_put_segments(struct vol_op *op);
/* Bytes of all volumes that may wait for their sync before the kernel is likely to hold writers up:
 * half of what it begins to write back at. */
uint64_t vol_unsynced_limit(void);

/* ---- volume_park.c ----------------------------------------------------------------------------*/

/* The request waits until there is room; the caller lets its range go, if it has one.  error:
 * -ENOSPC (of the store) or -EDQUOT (its quota).  0, or what it must be answered with instead. */
int vol_park(struct vol_op *op, int error);

/* Room for the blocks of this range that are not DATA yet, for as long as the piece runs: 0,
 * -EDQUOT, or -ENOSPC because others wait already. */
int vol_park_take_room(struct vol_op *op, uint64_t block, uint64_t count);

/* There may be room now. */
void vol_park_retry(struct volume *v);
/* It has found room: if it was the one that tried, the others go on. */
void vol_park_passed(struct vol_op *op);
/* Those that wait end with this error. */
void vol_park_drop(struct volume *v, int error);
/* The store's timer: tries all again. */
void vol_park_tick(struct shard_timer *t);

/* ---- volume_log.c -----------------------------------------------------------------------------*/

/* These blocks were written. */
void vol_log_note(struct volume *v, uint64_t block, uint64_t count);
/* It is not known what was written: the next commit syncs the file. */
void vol_log_unknown(struct volume *v);
/* May a commit that begins now go by the log?  Then: adds the content of what was written.  False:
 * it must sync the file, nothing is added. */
bool vol_log_add(struct volume *v, struct buf *records);
/* A commit takes what was noted along: by the log, or else its records must say `revoke`. */
void vol_log_begun(struct volume *v, bool by_log);
/* What the file held when the sync began is durable there. */
void vol_log_synced(struct volume *v);
/* Once a second: some of those that have owed for long are made to sync, so that a snapshot, or a
 * full half of the journal, finds little left. */
void vol_log_tick(struct store *s);
/* The volume has just failed. */
void vol_log_failed(struct volume *v);
/* Nothing is written or committed any more: a failed volume gets back what was flushed, and shows
 * what is on the disk.  True: that is under way, or waits for room, and ends with vol_idle(). */
bool vol_log_restore(struct volume *v);
/* Once a second: those that wait for room try again.  False: there are none. */
bool vol_log_retry(struct store *s);
/* On the shard: does no volume owe content that was logged before this turn of the committer?
 * Those that do are made to sync; committer_settled() tells when. */
bool vol_log_settled(struct store *s, uint64_t turn);

/* ---- volume_commit.c --------------------------------------------------------------------------*/

void vol_commit_init(struct volume *v);
/* Nothing that was written is uncommitted. */
bool vol_commit_clean(const struct volume *v);
/* And all of it is in the layer's own files. */
bool vol_synced(const struct volume *v);
/* The op is answered by the next commit that has not begun. */
void vol_commit_join(struct volume *v, struct vol_op *op);
/* Begins a commit if one is due and none runs.  The volume may be gone afterwards. */
void vol_commit_kick(struct volume *v);
void vol_mark_want(struct volume *v, enum disk_mark mark);
/* The data file is there: MAKE, and OPEN with it; then vol_made(). */
void vol_mark_made(struct volume *v);
/* The store's timer: looks once a second for volumes that may be marked clean. */
void vol_tick(struct shard_timer *t);
void vol_tick_start(struct store *s);

#endif
