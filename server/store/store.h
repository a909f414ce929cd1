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

struct store_options {
    const char *dir;            /* made if absent (0700) */
    const struct file_ops *ops; /* NULL = file_ops_real */
    uint64_t journal_bytes;     /* of both halves together; 0 = 16 MiB */
    struct shard *shard;        /* home of the volumes' answers */
    struct pool *read_pool;     /* read misses */
    struct pool *slow_pool;     /* syncs, punches, files to be made */
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

/* After store_open: calls open_found for each top layer whose last mark is "open": power was lost
 * while it was written.  The caller raises the epochs of their volumes in one catalog transaction,
 * then calls vol_open with the new epochs. */
int store_recover(struct store *s, int (*open_found)(void *ctx, struct layer_id id), void *ctx,
                  struct err *e);

/* After that transaction: marks these layers clean, durably, so that the next start does not raise
 * the epochs again.  Before the first volume_open. */
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

/* Bytes of data that the layer holds (whole blocks). */
int layer_usage(struct store *s, struct layer_id id, uint64_t *ret_data_bytes, struct err *e);

/* ---- devices -----------------------------------------------------------------------------------
 */

/* A read-only device of a sealed layer.  Closed by image_close on the shard when nothing runs.
 */
int image_open(struct store *s, struct layer_id id, uint64_t size_bytes, struct blkdev **ret,
               struct err *e);
void image_close(struct blkdev *d);

struct volume;
struct volume_spec {
    char name[64];              /* for log lines */
    struct layer_id top;        /* may have no files yet */
    struct layer_id below;      /* the sealed layer it was made from */
    uint64_t size_bytes;        /* multiple of 512; >= that of the layer below */
    uint64_t generation, epoch; /* written to the layer's header with the next map file */
};

/* Called on the shard when the volume has failed for good (see block-path: an error of fdatasync is
 * final); reads go on, writes and flushes get -EIO. */
typedef void (*volume_failed_fn)(void *ctx, const char *name, const char *why);

int volume_open(struct store *s, const struct volume_spec *spec, volume_failed_fn failed, void *ctx,
                struct volume **ret, struct err *e);
struct blkdev *volume_device(struct volume *v); /* borrowed */

/* On the shard: no request is accepted any more (-ESHUTDOWN); when the running ones are over, one
 * commit and the clean mark are made; then drained() is called on the shard, perhaps before this
 * returns, and the volume is gone. */
void volume_close(struct volume *v, void (*drained)(void *ctx), void *ctx);

#endif
