/* SPDX-License-Identifier: Apache-2.0 */
/* live_file - the bytes of a live file (live.h), and whether they can be believed.
 *
 * Header, table, slots: each begins on a block boundary.  Numbers are the machine's own: the file
 * is read on the machine that wrote it, within one boot, or not at all.
 * Every byte that is read is hostile.  Owns nothing; must never know files.  Pure functions. */
#ifndef GRIDBOX_STORE_LIVE_FILE_H
#define GRIDBOX_STORE_LIVE_FILE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/store/layer_disk.h"

#define LIVE_MAGIC   "GBXLIVE"
#define LIVE_VERSION 1u

enum live_state {
    LIVE_STARTING = 0, /* epochs may still have to grow */
    LIVE_COUNTS = 1,
    LIVE_VOID = 2, /* the store has failed */
};

/* The directory of the store, and the mount under which a process sees it. */
struct live_mount {
    uint64_t device, inode; /* of STATE: a copy of it is another store */
    uint64_t name_space;    /* inode of its mount namespace */
    uint64_t id;
    uint64_t unique; /* 1: id is never given twice within one boot */
};

struct live_header {
    char magic[8]; /* LIVE_MAGIC */
    uint32_t version;
    uint32_t slots;
    struct disk_id store, instance, boot; /* boot all zero: not known, never believed */
    struct live_mount mount;
    uint32_t state;   /* enum live_state */
    uint32_t entries; /* of the table that may be in use; the memory of these is there */
    uint8_t rsvd[3984];
};
static_assert(sizeof(struct live_header) == DISK_BLOCK, "the header is one block");
static_assert(offsetof(struct live_header, state) == 104, "no padding");

enum live_entry_state {
    LIVE_FREE = 0,
    LIVE_PAGE = 1,    /* the slot of this number is that page of the layer's map */
    LIVE_FAILED = 2,  /* the layer has failed; page and slot say nothing */
    LIVE_WRITTEN = 3, /* its data file was written to and perhaps not synced; likewise */
};

struct live_entry {
    struct disk_id layer;
    uint32_t page;
    uint32_t state; /* enum live_entry_state; stored last */
    uint64_t rsvd;
};
static_assert(sizeof(struct live_entry) == 32, "128 entries a block");

static inline uint64_t live_table_bytes(uint32_t slots)
{
    return ((uint64_t)slots * sizeof(struct live_entry) + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;
}

static inline uint64_t live_slots_offset(uint32_t slots)
{
    return sizeof(struct live_header) + live_table_bytes(slots);
}

static inline uint64_t live_file_bytes(uint32_t slots)
{
    return live_slots_offset(slots) + (uint64_t)slots * DISK_BLOCK;
}

/* NULL, or why this header is not the one to go on with.  want: as this process would write it, but
 * for state and entries. */
const char *live_header_wrong(const struct live_header *h, const struct live_header *want);

/* NULL, or what is impossible in these entries.  -ENOMEM is "out of memory". */
const char *live_table_wrong(const struct live_entry *table, uint32_t count);

#endif
