/* SPDX-License-Identifier: Apache-2.0 */
/* journal - the file with what changed in maps since their files were written (layer_disk.h).
 *
 * Owns the file, its two halves and the sequence.  Must never know what a record means.
 * Threads: one appender at a time (the committer: jnl_place and jnl_placed on its shard, jnl_append
 * between them on a pool thread); views and jnl_mentions from any thread.
 * Lock: `lock` guards what a view shows; it is held for a few instructions, never across I/O.
 *
 * Life of a half: active (appended to) -> full: jnl_place switches to the other one and asks for a
 * checkpoint -> jnl_checkpointed: free, may be written over. */
#ifndef GRIDBOX_STORE_JOURNAL_H
#define GRIDBOX_STORE_JOURNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/store/batch.h"
#include "server/store/id_set.h"
#include "server/store/store.h"

struct file_ops;

#define JOURNAL_LEAST_BYTES (16ull << 20) /* of one whose size nobody asked for */
#define JOURNAL_MOST_BYTES  (128ull << 20)
#define JOURNAL_MIN_HALF    (64ull << 10)

struct journal_half {
    uint64_t used_bytes;          /* batches from its start */
    uint64_t first_seq, last_seq; /* of these; 0 = none */
    uint64_t max_applied;         /* of what these batches say */
    struct id_set layers;         /* that have records in it */
    bool busy;                    /* has batches that are not in map files; not the active one */
};

struct journal {
    const struct file_ops *ops;
    int fd;
    struct layer_id store;
    uint64_t half_bytes;
    uint64_t next_seq;
    uint64_t applied; /* batches up to this seq are in map files */
    bool made;        /* this open made it: there was none */
    bool takes_data;  /* DATA records may be appended */

    pthread_mutex_t lock;
    unsigned active;
    struct journal_half half[2];
    uint64_t reused; /* how often a half was begun anew */
};

/* Opens STATE/journal, or makes it: zero-filled, of `bytes` in both halves.  Finds its end.
 * -ENOTSUP: a newer version; -EIO: it contradicts itself (batches are missing in the middle). */
int jnl_open(struct journal *j, const struct file_ops *ops, int state_fd, uint64_t bytes,
             struct err *e);
void jnl_close(struct journal *j);

/* ---- appending --------------------------------------------------------------------------------*/

/* The largest batch, header included. */
uint64_t jnl_batch_max(const struct journal *j);

struct journal_place {
    uint64_t offset, seq, applied;
    bool marker;    /* append an empty batch here first, then ask again */
    int checkpoint; /* half that is full now and wants its checkpoint; -1 = none */
};

/* Where the next batch, with `length` bytes of records, goes.  -EAGAIN: both halves are full; ask
 * again after jnl_checkpointed. */
int jnl_place(struct journal *j, uint32_t length, struct journal_place *ret);

/* Seals, writes and syncs.  batch: header with room, records behind it, zeros up to whole blocks.
 * Any error is final for the store.  Blocks. */
int jnl_append(const struct journal *j, const struct journal_place *place, struct disk_batch *batch,
               uint32_t length);

/* The batch is durable: from now on views show it. */
void jnl_placed(struct journal *j, const struct journal_place *place,
                const struct disk_batch *batch, uint32_t length);

/* All batches of this half are in map files. */
void jnl_checkpointed(struct journal *j, unsigned half);

/* ---- reading ----------------------------------------------------------------------------------*/

/* What was durable at one moment; its batches stay readable until jnl_view_gone() says otherwise.
 */
struct journal_view {
    struct {
        unsigned half;
        uint64_t bytes, first_seq;
    } part[2]; /* older first */
    unsigned parts;
    uint64_t reused;
};
void jnl_view(struct journal *j, struct journal_view *ret);
/* The view of one half alone. */
void jnl_view_half(struct journal *j, unsigned half, struct journal_view *ret);
bool jnl_view_gone(struct journal *j, const struct journal_view *view);

/* Calls each() for every record of the view in order.  Blocks. */
typedef int (*journal_record_fn)(void *ctx, uint64_t seq, const struct disk_record *record);
int jnl_each(const struct journal *j, const struct journal_view *view, journal_record_fn each,
             void *ctx, struct err *e);

/* May the journal hold records of this layer that are not in its map file? */
bool jnl_mentions(struct journal *j, struct layer_id id);

/* ---- start --------------------------------------------------------------------------------------
 * After everything in the journal went into map files: notes that durably, and begins the other
 * half.  Control thread, before the first jnl_place. */
int jnl_restart(struct journal *j, struct err *e);

/* What was found may be in the page cache alone, if a process was killed before it had synced it.
 * Control thread, before anything relies on the journal. */
int jnl_settle(struct journal *j, struct err *e);

/* The other way: goes on behind what is there.  Control thread, before the first jnl_place. */
void jnl_resume(struct journal *j);

/* After that: the half that is full and wants its checkpoint; -1 = none. */
int jnl_full_half(const struct journal *j);

#endif
