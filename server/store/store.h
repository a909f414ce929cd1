/* SPDX-License-Identifier: Apache-2.0 */
/* store - one directory with layers and their map journal.
 *
 * The store knows layers by id; which image, volume or name a layer belongs to is the catalog's
 * business, and the caller brings it along.  What is on disk: store/layer_disk.h.
 * Threads: store_open, store_recover(ed), store_sweep and store_close on the control thread;
 * layer_*, image_open and volume_open on any thread but the shard's, also at once (they block); a
 * volume's or image's device, image_close and volume_close only on the shard. */
#ifndef GRIDBOX_STORE_STORE_H
#define GRIDBOX_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

struct blkdev;
struct file_ops;
struct pool;
struct shard;
struct store;

#define LAYER_ID_BYTES 16
#define LAYER_ID_TEXT  33 /* hex digits and NUL */

struct layer_id {
    uint8_t b[LAYER_ID_BYTES]; /* random, never reused */
};

/* The sealed layers that something stands on, nearest first.  The catalog's word; the files only
 * repeat it. */
#define LAYER_CHAIN_MAX 64u
struct layer_chain {
    unsigned count;
    struct layer_id id[LAYER_CHAIN_MAX];
};

/* What a store tells of itself, on the shard. */
struct store_events {
    /* A block of a layer was read and is not what was written (its checksum is wrong); once for
     * each layer while it is open.  The read got -EIO.  Optional. */
    void (*damaged)(void *ctx, struct layer_id layer, const char *why);
    void *ctx;
};

#define STORE_LOG_NONE (~0u)

struct store_options {
    const char *dir;                   /* made if absent (0700) */
    const struct file_ops *ops;        /* NULL = file_ops_real */
    uint64_t journal_bytes;            /* of both halves together; 0 = 16 to 128 MiB */
    unsigned log_blocks;               /* a flush of so many or fewer blocks goes by the journal;
                                        * 0 = 64, the most; STORE_LOG_NONE: none does */
    struct shard *shard;               /* home of the volumes' answers */
    struct pool *read_pool;            /* read misses */
    struct pool *slow_pool;            /* syncs, punches, files to be made */
    struct pool *journal_pool;         /* what each flush waits for; NULL = slow_pool */
    const char *live_dir;              /* where live maps lie (store/live.h); NULL = chosen */
    uint32_t live_slots;               /* pages of live maps; 0 = enough */
    const struct store_events *events; /* NULL = nobody listens */
    unsigned sealed_fds; /* sealed layers whose files stay open; those read least recently
                          * are closed; 0 = a quarter of RLIMIT_NOFILE */
};

/* Opens or makes the store: takes DIR/lock (waits up to 2 s; then -EBUSY "… is in use by gridboxd
 * pid N"), refuses NFS and a newer format (-ENOTSUP), replays the map journal into whole new map
 * files. -EIO … when a file contradicts itself. */
int store_open(const struct store_options *o, struct store **ret, struct err *e);

/* All devices must be closed; shard and pools must still run (jobs of the store itself are waited
 * for).  Marks nothing: volume_close has done that.  NULL is legal. */
void store_close(struct store *s);

/* "power": flushed writes survive a power cut; "process": the file system underneath (tmpfs,
 * overlayfs) does not promise it. */
const char *store_durability(const struct store *s);

struct store_space {
    uint64_t size_bytes, free_bytes; /* of the file system, for us */
};
int store_space(const struct store *s, struct store_space *ret, struct err *e);

/* How the server before this one ended, as far as the store can tell. */
enum store_past {
    STORE_PAST_CLEAN,  /* everything was closed */
    STORE_PAST_NONE,   /* there was none: the store is new */
    STORE_PAST_KILLED, /* the process died and the machine lived: the live maps were taken over, no
                        * answered write is lost, no epoch moves (but of volumes that had failed) */
    STORE_PAST_POWER, /* flushed writes are there; volumes that were being written begin an epoch */
};
enum store_past store_past(const struct store *s); /* after store_recover */

/* The path of the live maps; good as long as the store is open. */
const char *store_live_place(const struct store *s);

/* After store_open: calls open_found for each top layer that may have lost answered writes, or has
 * failed.  The
 * caller raises the epochs of their volumes in one catalog transaction, then calls vol_open with
 * the new epochs. */
int store_recover(struct store *s, int (*open_found)(void *ctx, struct layer_id id), void *ctx,
                  struct err *e);

/* After that transaction: marks these layers clean, durably, so that the next start does not raise
 * the epochs again.  Only from here on is it no loss of power when the process is killed.  Before
 * the first volume_open. */
int store_recovered(struct store *s, struct err *e);

/* Layers that the caller (the catalog) does not know: empty ones are deleted, others moved to
 * lost+found/ and logged.  keep() says whether an id is known. */
int store_sweep(struct store *s, bool (*keep)(void *ctx, struct layer_id id), void *ctx,
                struct err *e);

/* ---- image layers -------------------------------------------------------------------------------
 * An import writes an image layer once, front to back or in any order, and seals it.  One job
 * thread per writer. */
struct layer_writer;
int layer_create(struct store *s, uint64_t size_bytes, struct layer_writer **ret, struct err *e);
/* The same with an id of the caller's, which no other layer has ever had. */
int layer_create_as(struct store *s, struct layer_id id, uint64_t size_bytes,
                    struct layer_writer **ret, struct err *e);
struct layer_id layer_writer_id(const struct layer_writer *w);

/* offset and length are multiples of 4 KiB but for the last block of the disk.  All-zero blocks are
 * found here and stored as zero.  -ENOSPC with a clear message when the disk is full. */
int layer_write(struct layer_writer *w, uint64_t offset, const void *data, uint64_t length,
                struct err *e);

/* Syncs data and map; from its return on the layer is durable and immutable.
 * ret_data_bytes: what it holds as data. */
int layer_seal(struct layer_writer *w, uint64_t *ret_data_bytes, struct err *e);

/* Frees the writer; if it was not sealed its files are removed.  NULL is legal. */
void layer_writer_free(struct layer_writer *w);

/* Deletes a layer's files (no device on it may be open).  A layer without files is fine. */
int layer_remove(struct store *s, struct layer_id id, struct err *e);
/* The same for many, with one sync.  Goes on after a failure; *e is the first one; ret_removed says
 * for each whether its files are gone for good. */
int layers_remove(struct store *s, const struct layer_id *ids, unsigned count, bool *ret_removed,
                  struct err *e);

/* Bytes of data that the layer holds (whole blocks).  Quick for layers that are open, that were, or
 * that were asked for before; others are read. */
int layer_usage(struct store *s, struct layer_id id, uint64_t *ret_data_bytes, struct err *e);
/* Makes it quick for all of these, with far less reading than one by one.  What cannot be read is
 * passed over.  stop() is asked now and then. */
void layers_learn(struct store *s, const struct layer_id *ids, size_t count,
                  bool (*stop)(void *ctx), void *ctx);

/* ---- devices -----------------------------------------------------------------------------------
 */

/* A read-only device of sealed layers; size_bytes: at least what they have.  Closed by image_close
 * on the shard when nothing runs. */
int image_open(struct store *s, const struct layer_chain *layers, uint64_t size_bytes,
               struct blkdev **ret, struct err *e);
void image_close(struct blkdev *d);

/* What the process before this one left of an unopened top in memory alone (it was killed) is on
 * disk afterwards, and the top is marked clean; 0 also when there was nothing.  Any thread but the
 * shard's; blocks.  -EIO: it cannot be brought to disk; its volume cannot be opened before the next
 * start, which begins an epoch. */
int store_settle(struct store *s, struct layer_id id, struct err *e);

struct volume;
struct volume_spec {
    char name[64];                   /* for log lines */
    const struct layer_chain *below; /* 1 or more; read during volume_open alone */
    struct layer_id top;             /* may have no files yet */
    uint64_t size_bytes;             /* multiple of 512; >= that of the layers below */
    uint64_t generation, epoch;      /* written to the layer's header with the next map file */
    uint64_t quota_bytes;            /* data that its top may hold; 0 = no limit */
};

/* What a volume tells of itself, on the shard. */
struct volume_events {
    /* It has failed for good (an error of fdatasync is final): reads go on, writes and flushes get
     * -EIO. */
    void (*failed)(void *ctx, const char *name, const char *why);
    /* Its writes wait for room, of the store or of its quota; or (parked false) go on. */
    void (*parked)(void *ctx, const char *name, bool parked, const char *why);
    void *ctx;
};

/* events may be NULL, as may each of its functions.  -EBUSY: its top is open already, or is being
 * sealed. */
int volume_open(struct store *s, const struct volume_spec *spec, const struct volume_events *events,
                struct volume **ret, struct err *e);
struct blkdev *volume_device(struct volume *v); /* borrowed */

/* On the shard: no request is accepted any more (-ESHUTDOWN); when the running ones are over, one
 * commit and the clean mark are made; then drained() is called on the shard, perhaps before this
 * returns, and the volume is gone. */
void volume_close(struct volume *v, void (*drained)(void *ctx), void *ctx);

/* The same for a volume whose top nobody will ever read again (reset, rollback, removal): running
 * requests are awaited, what they wrote is not committed. */
void volume_discard(struct volume *v, void (*drained)(void *ctx), void *ctx);

/* On the shard: bytes that were written and answered and are not durable yet, about. */
uint64_t volume_dirty_bytes(const struct volume *v);

/* On the shard: data that the top may hold, from now on; parked writes that fit go on. */
void volume_set_quota(struct volume *v, uint64_t quota_bytes);

/* ---- sealing: one instant over many volumes -----------------------------------------------------
 * Order: store_seal_begin (pre-flush without holding; hold the new writes of all; await the running
 * ones; commit all and mark them clean) -> the caller's catalog transaction, which makes each
 * new_top the top of its volume, on the sealed one -> store_seal_end (the volumes write to their
 * new tops, without files so far; held writes go on).  Reads never wait.  Connections stay. */
struct store_seal;
struct seal_volume {
    struct layer_id top;     /* of a volume, open or not */
    struct layer_id new_top; /* random; what it writes to afterwards */
    bool empty;              /* filled: the top was never written to: it is not sealed but stays the
                              * top, and what the volume shows is what it stands on */
};

/* Control thread; blocks.  0: all of them hold still, and everything that they show is durable.
 * -ETIMEDOUT: not within timeout_ms of holding (a slow disk); -EIO: one of them has failed; -EBUSY:
 * one is being opened, closed or sealed; then nothing is held any more and nothing has changed. */
int store_seal_begin(struct store *s, struct seal_volume *v, unsigned count, unsigned timeout_ms,
                     struct store_seal **ret, struct err *e);

/* Control thread; blocks.  committed: the catalog says so; false: they go on with their old tops.
 * Frees. */
void store_seal_end(struct store_seal *seal, bool committed);

/* ---- merging ------------------------------------------------------------------------------------
 * Writes a new sealed layer, with the id `merged`, that shows what `upper` on `lower` shows (both
 * sealed, `upper` directly on `lower`), durable when this returns.  Any thread but the shard's;
 * blocks.  cancelled() may be NULL; -ECANCELED when it said true.  Nothing is left on failure. */
int store_merge(struct store *s, struct layer_id lower, struct layer_id upper,
                struct layer_id merged, bool (*cancelled)(void *ctx), void *ctx, struct err *e);

/* Control thread; blocks: from its return on no open volume or image reads `lower` or `upper` any
 * more, where `upper` lies directly on `lower`, but `merged`.  After the catalog's transaction;
 * before layer_remove of the two. */
int store_restack(struct store *s, struct layer_id lower, struct layer_id upper,
                  struct layer_id merged, struct err *e);

/* ---- looking after layers -----------------------------------------------------------------------
 * Reads a layer's two files and compares: map file well-formed, data file of the right size, every
 * data block there.  deep: reads all data, past the page cache where the file system can, and
 * checks the CRC32C of blocks of layers that have them.  Any thread but the shard's; blocks.
 * -EIO with words: the first thing that is wrong. */
struct layer_report {
    uint64_t size_bytes, data_blocks, zero_blocks, checked_bytes;
};
int layer_check(struct store *s, struct layer_id id, bool deep, bool (*cancelled)(void *ctx),
                void *ctx, struct layer_report *ret, struct err *e);

/* Quick, for one that layers_learn has read: -EIO with words if what says where its data lie cannot
 * be read, or is gone.  0 also for a top that was never written.  Any thread but the shard's. */
int layer_look(struct store *s, struct layer_id id, struct err *e);

/* Reads what a chain shows, front to back, for hashing: calls each() with up to 1 MiB at a time.
 * Any thread but the shard's; blocks. */
int layer_chain_read(struct store *s, const struct layer_chain *layers, uint64_t size_bytes,
                     int (*each)(void *ctx, const void *data, uint64_t length), void *ctx,
                     struct err *e);

#endif
