/* SPDX-License-Identifier: Apache-2.0 */
/* stats - what the requests of one export have come to: how many, how much, how long they took,
 * which of them is the oldest that still runs.
 *
 * Threads: the shard's, plain counters.  The control thread gets copies (export_stats_all). */
#ifndef GRIDBOX_EXPORT_STATS_H
#define GRIDBOX_EXPORT_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "server/base/err.h"
#include "server/base/histogram.h"
#include "server/block/blkdev.h"
#include "server/export/export.h"

enum export_op {
    EXPORT_READ,
    EXPORT_WRITE,
    EXPORT_FLUSH,
    EXPORT_TRIM, /* and zeroing */
    EXPORT_OPS   /* other requests are not counted, but have an age */
};

struct export_op_stats {
    uint64_t bytes;           /* of those that succeeded */
    uint64_t errors;          /* those that did not */
    struct histogram latency; /* of all */
};

/* One request from its arrival to its answer; embedded by whoever carries it. */
struct export_ticket {
    int64_t arrived_ns;
    enum export_op op;
    TAILQ_ENTRY(export_ticket) link;
};

/* Of one grant, since it was made. */
struct export_stats {
    struct export_op_stats op[EXPORT_OPS];
    uint32_t in_flight;
    TAILQ_HEAD(, export_ticket) running; /* oldest first */
};

static inline enum export_op export_op_of(enum blk_op op)
{
    static const uint8_t ops[BLK_OP_COUNT] = {
        [BLK_READ] = EXPORT_READ,  [BLK_WRITE] = EXPORT_WRITE, [BLK_FLUSH] = EXPORT_FLUSH,
        [BLK_TRIM] = EXPORT_TRIM,  [BLK_ZERO] = EXPORT_TRIM,   [BLK_CACHE] = EXPORT_OPS,
        [BLK_STATUS] = EXPORT_OPS,
    };

    return (enum export_op)ops[op];
}

/* A request has arrived.  now_ns: clock_mono_ns(), one reading for all that came together. */
static inline void export_begin(struct export_stats *s, struct export_ticket *t, enum blk_op op,
                                int64_t now_ns)
{
    t->arrived_ns = now_ns;
    t->op = export_op_of(op);
    s->in_flight++;
    TAILQ_INSERT_TAIL(&s->running, t, link);
}

/* It has ended: its answer goes out, or it was dropped (error not 0).  Exactly once for each begin,
 * before export_closed().  bytes: of its data. */
static inline void export_end(struct export_stats *s, struct export_ticket *t, uint64_t bytes,
                              int error, int64_t now_ns)
{
    TAILQ_REMOVE(&s->running, t, link);
    s->in_flight--;
    if (t->op == EXPORT_OPS)
        return;
    struct export_op_stats *o = &s->op[t->op];
    if (error)
        o->errors++;
    else
        o->bytes += bytes;
    histogram_add(&o->latency, now_ns - t->arrived_ns);
}

/* Nanoseconds since the oldest request that still runs has arrived; 0 = none runs. */
static inline int64_t export_oldest_ns(const struct export_stats *s, int64_t now_ns)
{
    const struct export_ticket *t = TAILQ_FIRST(&s->running);

    return t && now_ns > t->arrived_ns ? now_ns - t->arrived_ns : 0;
}

/* Of the session's export; it stays until export_closed(). */
struct export_stats *export_session_stats(struct export_session *session);

/* ---- for people ------------------------------------------------------------------------------ */

struct export_stats_row {
    char name[80], holder[64];
    bool volume; /* false: an image */
    bool connected, failed, parked;
    uint32_t in_flight;
    int64_t oldest_ns;
    uint64_t dirty_bytes; /* answered and not yet durable */
    struct export_op_stats op[EXPORT_OPS];
};

/* control: a copy of the counters of all grants, in no order; the caller frees *ret.  -ENOMEM. */
int export_stats_all(struct export_table *t, struct export_stats_row **ret, unsigned *ret_count,
                     struct err *e);

#endif
