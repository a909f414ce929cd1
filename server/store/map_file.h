/* SPDX-License-Identifier: Apache-2.0 */
/* map_file - the bytes of a map file (layer_disk.h), read and written whole.
 *
 * Every number in it is hostile.  Owns nothing; must never know where the bytes lie: the caller
 * brings a read or write function, so that tests and fuzzing need no file. */
#ifndef GRIDBOX_STORE_MAP_FILE_H
#define GRIDBOX_STORE_MAP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/store/layer_disk.h"
#include "server/store/store.h"

struct block_crcs;
struct map;

/* What a layer says of itself. */
struct layer_info {
    struct layer_id id, parent; /* parent all zero: none */
    struct layer_id store;      /* whose journal seq counts */
    uint64_t size_bytes;        /* of the disk: a multiple of 512 */
    enum disk_layer_kind kind;
    enum disk_mark mark;
    uint64_t seq; /* batches of the journal up to this one are in the map */
    uint64_t generation, epoch;
    char name[64];
    bool has_crcs; /* read, not written: its file has checksums of its blocks */
};

struct map_source {
    /* Exactly length bytes; 0 or -errno (-ENODATA when the file is shorter). */
    int (*read)(void *ctx, void *buf, size_t length, uint64_t offset);
    void *ctx;
    uint64_t size_bytes; /* of the file */
};

struct map_sink {
    int (*write)(void *ctx, const void *buf, size_t length, uint64_t offset); /* 0 or -errno */
    void *ctx;
};

/* Reads header and map.  ret_map NULL: the header alone (its index is read for the checksum).
 * 0, or with *ret_map not initialised: -ENOTSUP (a newer version), -EIO (it contradicts itself, or
 * could not be read), -ENOMEM. */
int map_file_read(const struct map_source *source, struct layer_info *ret_info, struct map *ret_map,
                  struct err *e);

/* crcs: of all blocks that are DATA; NULL: none are kept. */
int map_file_write(const struct map_sink *sink, const struct layer_info *info,
                   const struct map *map, const struct block_crcs *crcs, struct err *e);

/* Where the checksums begin in a file with so many pages. */
uint64_t map_file_crc_offset(uint32_t page_count);

/* Blocks of a disk of so many bytes, the last one perhaps in part. */
static inline uint64_t disk_blocks(uint64_t size_bytes)
{
    return (size_bytes + DISK_BLOCK - 1) / DISK_BLOCK;
}

#endif
