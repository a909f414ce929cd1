/* SPDX-License-Identifier: Apache-2.0 */
/* layer_disk - what the store writes to disk, version 1.
 *
 *   STATE/layers/ID.data    block N of the disk at offset N * 4 KiB; sparse; no header, so that
 *                           ordinary tools can read it.  ID is 32 hex digits.
 *   STATE/layers/ID.map     which blocks that file holds: header, index, pages
 *   STATE/layers/ID.import  the data of an image that is not whole yet; deleted at start
 *   STATE/layers/ID.map.new, ID.lost.new  a map file that is not whole yet; deleted at start
 *   STATE/journal           what changed in maps since their files were written
 *
 * Order in which things reach the disk:
 *  - A map file is only ever replaced whole: NAME.new written, synced, renamed, directory synced.
 *  - A top's data file is made, and its directory synced, before its MAKE record is written; that
 *    record makes it exist.  Nothing is written to a data file before that is durable, so one with
 *    content, but neither map file nor MAKE, has lost its map.  Its map file comes with the next
 *    checkpoint.  Other layers: the data file is synced before the map file, which makes it exist.
 *  - A record of a block in the journal is written after fdatasync of the data it speaks of, or
 *    behind a DATA record with that data; a flush is answered after fdatasync of the journal.
 *  - Where the journal holds DATA of a layer, a flush that syncs the data file instead is answered
 *    after a REVOKE record, or a start would put older content over newer.
 *  - A batch lies in whole blocks of its own, so writing one never touches one that is durable.
 *  - A half of the journal is written over only when all its batches are in map files, and the data
 *    files that its DATA records speak of were synced after these were written.
 *
 * All numbers are little-endian; all reserved bytes are zero.  A reader refuses a version or a
 * feature bit that it does not know.  CRC32C everywhere, with the crc field itself as zero. */
#ifndef GRIDBOX_STORE_LAYER_DISK_H
#define GRIDBOX_STORE_LAYER_DISK_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/be.h"

#define DISK_VERSION       1u
#define DISK_BLOCK         4096u
#define DISK_LAYER_MAX     (1ull << 44) /* bytes of one disk: 16 TiB */
#define DISK_PAGE_BLOCKS   16384u       /* blocks that one map page speaks of: 64 MiB of disk */
#define DISK_LAYER_MAGIC   "GBXLAYER"
#define DISK_JOURNAL_MAGIC "GBXJOURN"
#define DISK_BATCH_MAGIC   "GBXBATCH"

struct disk_id {
    uint8_t b[16];
};

/* ---- the map file -------------------------------------------------------------------------------
 * One block of header; the index, padded to whole blocks; the pages in the order of the index; with
 * DISK_FEATURE_CRC as many pages of checksums in the same order.  The file is exactly that long.  A
 * page that is all `inherit` is left out. */

enum disk_layer_feature {
    DISK_FEATURE_CRC = 1, /* the layer was written once, and the checksums of its blocks are here */
};

enum disk_layer_kind {
    DISK_IMAGE = 1,  /* sealed by an import; nothing below it: `inherit` reads as zeros */
    DISK_TOP = 2,    /* the writable top of a volume */
    DISK_SEALED = 3, /* was a top; never changes again */
};

enum disk_mark {
    DISK_CLEAN = 0, /* every answered write is durable */
    DISK_OPEN = 1,  /* answered writes may be lost by a power cut */
    DISK_LOST = 2,  /* flushed ones are: its disk refused them.  In map files; final */
};

struct disk_layer_header {
    char magic[8]; /* DISK_LAYER_MAGIC */
    struct le32 version;
    struct le32 features; /* enum disk_layer_feature: bits that a reader must know */
    struct le32 crc32c;   /* of this block and the padded index */
    struct le32 page_count;
    struct disk_id layer;
    struct disk_id parent; /* all zero: none */
    struct disk_id store;  /* whose journal `seq` counts */
    struct le64 size_bytes;
    struct le32 block_bytes; /* DISK_BLOCK */
    struct le32 kind;        /* enum disk_layer_kind */
    struct le32 mark;        /* enum disk_mark */
    struct le32 rsvd1;
    struct le64 seq; /* batches up to this one are in here */
    struct le64 generation, epoch;
    char name[64]; /* of the volume, for people; NUL-terminated */
    uint8_t rsvd2[3912];
};
static_assert(sizeof(struct disk_layer_header) == DISK_BLOCK, "the header is one block");
static_assert(offsetof(struct disk_layer_header, size_bytes) == 72, "no padding");

struct disk_map_index {
    struct le32 page;   /* number; strictly rising */
    struct le32 crc32c; /* of the page */
};
static_assert(sizeof(struct disk_map_index) == 8, "index entry");

/* 2 bits a block, block i of the page in bits 2 * (i % 32) of word i / 32.  Blocks beyond the end
 * of the disk are `inherit`. */
enum disk_block_state { DISK_INHERIT = 0, DISK_DATA = 1, DISK_ZERO = 2 };

struct disk_map_page {
    struct le64 words[DISK_PAGE_BLOCKS / 32];
};
static_assert(sizeof(struct disk_map_page) == DISK_BLOCK, "a page is one block");

/* CRC32C of each block of the page that is `data`, of others 0. */
struct disk_crc_page {
    struct le32 crc[DISK_PAGE_BLOCKS];
};
static_assert(sizeof(struct disk_crc_page) == 64u << 10, "64 KiB for 64 MiB");

/* ---- the journal --------------------------------------------------------------------------------
 * One block of header, then two halves of half_bytes each, made once and filled with zeros.  A half
 * is a run of batches from its start, each beginning on a block boundary, with seq rising by one.
 * It ends before the first batch that does not fit, has a wrong magic, store, crc or seq. */

enum disk_journal_feature {
    DISK_FEATURE_DATA = 1, /* there may be DATA and REVOKE records */
};

struct disk_journal_header {
    char magic[8]; /* DISK_JOURNAL_MAGIC */
    struct le32 version;
    struct le32 features; /* enum disk_journal_feature: bits that a reader must know */
    struct le32 crc32c;   /* of this block */
    struct le32 rsvd1;
    struct disk_id store;   /* random; made with the journal */
    struct le64 half_bytes; /* whole blocks */
    uint8_t rsvd2[4048];
};
static_assert(sizeof(struct disk_journal_header) == DISK_BLOCK, "the header is one block");
static_assert(offsetof(struct disk_journal_header, half_bytes) == 40, "no padding");

#define DISK_BATCH_MAX (1u << 20) /* bytes of a batch with its header */

struct disk_batch {
    char magic[8]; /* DISK_BATCH_MAGIC */
    struct le64 seq;
    struct le64 applied; /* batches up to this seq are in map files */
    struct le32 length;  /* bytes of records that follow this header */
    struct le32 crc32c;  /* of this header and the records */
    struct disk_id store;
    uint8_t rsvd[16];
};
static_assert(sizeof(struct disk_batch) == 64, "batch header");
static_assert(offsetof(struct disk_batch, length) == 24, "no padding");

enum disk_record_type {
    DISK_REC_MARK = 1, /* struct disk_record_mark */
    DISK_REC_RUNS = 2, /* struct disk_run, one or more */
    DISK_REC_PAGE = 3, /* struct disk_record_page: a whole map page, when runs would be longer */
    DISK_REC_DATA = 4, /* struct disk_record_data: what a flush makes durable without a sync of the
                        * data file; a start after a loss of power writes it there */
    DISK_REC_REVOKE = 5, /* no more than a head: DATA of this layer in earlier batches is void, for
                          * its data file was synced since; so says a MARK that is CLEAN */
    /* Kept for a later version, which will set a feature bit; refused by this one: */
    DISK_REC_SEAL = 6, /* the layer never changes again */
    DISK_REC_MAKE = 7, /* struct disk_record_make: the layer's files are there */
};

struct disk_record {
    struct le16 type; /* enum disk_record_type */
    struct le16 rsvd1;
    struct le32 length; /* bytes with this header; a multiple of 8 */
    struct disk_id layer;
};
static_assert(sizeof(struct disk_record) == 24, "record header");

struct disk_record_mark {
    struct disk_record head;
    struct le32 mark; /* enum disk_mark */
    struct le32 rsvd1;
    struct le64 generation, epoch;
};
static_assert(sizeof(struct disk_record_mark) == 48, "mark record");

/* The first record of a top: it stands for its map file until a checkpoint writes one.  Where there
 * is neither map file nor data file any more, the layer was deleted. */
struct disk_record_make {
    struct disk_record head;
    struct disk_id parent;
    struct le64 size_bytes;
    struct le64 generation, epoch;
    char name[64];
};
static_assert(sizeof(struct disk_record_make) == 128, "make record");

struct disk_run {
    struct le64 block;
    struct le32 count; /* not 0 */
    struct le32 state; /* enum disk_block_state */
};
static_assert(sizeof(struct disk_run) == 16, "run");

struct disk_record_page {
    struct disk_record head;
    struct le32 page;
    struct le32 rsvd1;
    struct disk_map_page content;
};
static_assert(sizeof(struct disk_record_page) == 32 + DISK_BLOCK, "page record");

/* One block as it was when a flush began. */
struct disk_record_data {
    struct disk_record head;
    struct le64 block;
    uint8_t content[DISK_BLOCK];
};
static_assert(sizeof(struct disk_record_data) == 32 + DISK_BLOCK, "data record");

#endif
