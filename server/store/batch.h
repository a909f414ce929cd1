/* SPDX-License-Identifier: Apache-2.0 */
/* batch - the bytes of journal batches and their records (layer_disk.h), made and taken apart.
 *
 * Every number in a batch that is read is hostile.  Owns nothing; must never know files.
 * Threads: pure functions. */
#ifndef GRIDBOX_STORE_BATCH_H
#define GRIDBOX_STORE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "server/base/buf.h"
#include "server/base/err.h"
#include "server/store/layer_disk.h"
#include "server/store/map_file.h"
#include "server/store/store.h"

struct map;

/* ---- making -------------------------------------------------------------------------------------
 * No record is longer than this, so a batch with anything in it can always take one. */
#define BATCH_RECORD_MAX sizeof(struct disk_record_page)
static_assert(sizeof(struct disk_record_data) <= BATCH_RECORD_MAX, "that is the longest");

/* Adds one MARK record. */
void batch_add_mark(struct buf *records, struct layer_id layer, enum disk_mark mark,
                    uint64_t generation, uint64_t epoch);

/* Adds one MAKE record: this layer has files now. */
void batch_add_make(struct buf *records, const struct layer_info *info);

/* Adds one DATA record: this block, as it is now. */
void batch_add_data(struct buf *records, struct layer_id layer, uint64_t block,
                    const void *content);

/* Adds one REVOKE record. */
void batch_add_revoke(struct buf *records, struct layer_id layer);

/* Adds records of all changes that the map has noted, with the states that blocks have now.  The
 * map keeps its notes.  records->failed when memory is short. */
void batch_add_changes(struct buf *records, struct layer_id layer, const struct map *map);

/* Length of the record at `records` (made by the functions above). */
size_t batch_record_length(const void *records);

/* Fills the header of a batch whose `length` bytes of records already lie behind it. */
void batch_seal(struct disk_batch *batch, uint32_t length, uint64_t seq, uint64_t applied,
                struct layer_id store);

/* What a batch with so many bytes of records takes up in the journal. */
static inline uint64_t batch_room(size_t length)
{
    return (sizeof(struct disk_batch) + length + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

/* ---- taking apart -------------------------------------------------------------------------------
 * Bytes of records of the batch whose header this is; 0 if it is none of this store. */
uint32_t batch_length(const struct disk_batch *header, struct layer_id store);

/* Is the checksum right?  length: as batch_length said; that many bytes lie behind the header. */
bool batch_intact(const struct disk_batch *header, uint32_t length);

/* Calls each() for every record, whose length and type were checked (not its content); stops at its
 * first error.  0, -EIO (a record contradicts itself), -ENOTSUP (a type of a newer version), or
 * what each() returned. */
typedef int (*batch_record_fn)(void *ctx, const struct disk_record *record);
int batch_each(const void *records, uint32_t length, batch_record_fn each, void *ctx,
               struct err *e);

/* Is it a MAKE record?  Then: what it says of its layer (seq 0, mark CLEAN).  -EIO: impossible. */
bool batch_is_make(const struct disk_record *record);
int batch_read_make(const struct disk_record *record, struct layer_info *ret, struct err *e);

/* The layer that it speaks of. */
static inline struct layer_id batch_layer(const struct disk_record *record)
{
    struct layer_id id;

    memcpy(id.b, record->layer.b, sizeof id.b);
    return id;
}

/* The block that a DATA record speaks of; NULL: it is another one. */
const struct disk_record_data *batch_data(const struct disk_record *record);

/* Does it void the DATA of its layer in earlier batches? */
bool batch_revokes(const struct disk_record *record);

/* Applies a record of this layer to its map and info; MAKE, DATA and REVOKE change nothing.  0,
 * -ENOMEM, or -EIO (impossible content). */
int batch_apply(const struct disk_record *record, struct layer_info *info, struct map *map,
                struct err *e);

#endif
