/* SPDX-License-Identifier: Apache-2.0 */
/* block_crc - the CRC32C of each data block of a layer that is written once: images, merged layers.
 *
 * While the layer is written they lie in memory; then in its map file (layer_disk.h), where they
 * are looked up block by block.  Owns nothing but what its functions fill.  Must never know
 * requests.  Threads: a table belongs to one; places that do not change are read by any. */
#ifndef GRIDBOX_STORE_BLOCK_CRC_H
#define GRIDBOX_STORE_BLOCK_CRC_H

#include <stdbool.h>
#include <stdint.h>

#include "server/store/layer_disk.h"

struct file_ops;
struct map;

/* Being made.  All zero is a good beginning; `pages` is allocated with the first note. */
struct block_crcs {
    uint32_t page_count;          /* of the map: set by the owner */
    struct disk_crc_page **pages; /* NULL: none noted; pages[i] likewise */
};

/* Bytes of whole blocks from `block` on, but for the last one of the disk, which is taken as filled
 * up with zeros.  0 or -ENOMEM. */
int block_crcs_note(struct block_crcs *c, uint64_t block, const void *data, uint64_t length);
void block_crcs_done(struct block_crcs *c); /* idempotent */

/* Where they lie in a map file. */
struct crc_places {
    uint64_t base;  /* of the first page of them in the file */
    uint32_t pages; /* of the map; 0: the layer has none */
    uint32_t *rank; /* of each page; UINT32_MAX: there are none for it */
};

/* For the map that the file holds.  0 or -ENOMEM. */
int crc_places_make(struct crc_places *ret, const struct map *map);
void crc_places_done(struct crc_places *p); /* idempotent */

/* Compares `count` whole blocks, from `block` on, with what the map file (fd) says of them.
 * how: CRC_WAIT reads the checksums, which may block; CRC_CACHED has them from the page cache
 * alone. 0; -EBADMSG: *ret_bad is the first that differs; -EAGAIN (CRC_CACHED): not there at
 * present; or what reading gave. */
enum crc_how { CRC_WAIT, CRC_CACHED };
int crc_places_check(const struct crc_places *p, const struct file_ops *ops, int fd,
                     enum crc_how how, uint64_t block, const void *data, uint64_t count,
                     uint64_t *ret_bad);

/* ---- which blocks were compared -----------------------------------------------------------------
 * A bit for each block of the map, in pages that are allocated when something in them is noted. */
struct crc_seen {
    uint64_t **pages; /* NULL: nothing yet */
};

static inline bool crc_seen_one(const struct crc_seen *s, uint64_t block)
{
    const uint64_t *bits = s->pages ? s->pages[block / DISK_PAGE_BLOCKS] : NULL;
    uint64_t i = block % DISK_PAGE_BLOCKS;

    return bits && (bits[i / 64] >> i % 64 & 1);
}

/* All `count` of them? */
bool crc_seen_all(const struct crc_seen *s, uint64_t block, uint64_t count);

/* Without memory nothing is noted: they will be compared again. */
void crc_seen_note(struct crc_seen *s, const struct crc_places *p, uint64_t block, uint64_t count);
void crc_seen_done(struct crc_seen *s, const struct crc_places *p); /* idempotent */

#endif
