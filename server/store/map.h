/* SPDX-License-Identifier: Apache-2.0 */
/* map - in memory: for each block of a layer, does the layer hold it, and what changed lately.
 *
 * Owns its pages (2 bits a block, 4 KiB per 64 MiB of disk), which are allocated when something in
 * them is set: memory is proportional to what was written.  Must never know files.
 * Threads: a map that changes belongs to one; one that does not is read by any. */
#ifndef GRIDBOX_STORE_MAP_H
#define GRIDBOX_STORE_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/store/layer_disk.h"

/* Where pages lie that must outlive the process (store/live.h). */
struct map_home {
    const char *begin, *end; /* all of them lie in there */
    /* A page for page `page` of map `key`, with this content (NULL: all inherit); from its return
     * on it is what the next process sees.  0, or -ENOSPC. */
    int (*take)(struct map_home *h, struct disk_id key, uint32_t page, const uint64_t *content,
                uint64_t **ret);
};

struct map {
    uint64_t blocks;              /* of the disk */
    uint32_t page_count;          /* that a full map has */
    uint64_t **pages;             /* NULL = none yet; pages[i] NULL = all inherit */
    uint64_t **changes;           /* likewise; one bit a block; changed since it was last cleared */
    uint32_t changed_pages;       /* how many of changes[] have a bit set */
    _Atomic uint64_t data_blocks; /* blocks that are DATA; may be read by any thread */
    struct map_home *home;        /* NULL: the heap alone */
    struct disk_id home_key;
};

/* blocks: 1 to DISK_LAYER_MAX / DISK_BLOCK.  Allocates nothing. */
void map_init(struct map *m, uint64_t blocks);
void map_done(struct map *m); /* idempotent; pages at home are left there */

/* From now on pages move there before they are changed with track. */
void map_set_home(struct map *m, struct map_home *home, struct disk_id key);

/* Pages move back to the heap; what is at home means nothing any more.  -ENOMEM: all stay. */
int map_leave_home(struct map *m);

enum disk_block_state map_get(const struct map *m, uint64_t block);

/* The state of `block` and how many blocks from there on share it: 1 to limit.
 * limit: 1 or more; block + limit is inside the disk. */
uint64_t map_run(const struct map *m, uint64_t block, uint64_t limit,
                 enum disk_block_state *ret_state);

/* Allocates what map_set needs for this range.  0, -ENOMEM, or -ENOSPC (no room at home); nothing
 * visible changes.  track: changes will be noted, too, and the pages are at home from now on. */
int map_reserve(struct map *m, uint64_t block, uint64_t count, bool track);

/* Sets a range, which must have been reserved unless state is INHERIT.  Notes the change where
 * changes are tracked. */
void map_set(struct map *m, uint64_t block, uint64_t count, enum disk_block_state state);

/* Is any block of the range DATA? */
bool map_any_data(const struct map *m, uint64_t block, uint64_t count);

/* Page `page` as it stands on disk; all inherit if there is none. */
void map_page_export(const struct map *m, uint32_t page, struct disk_map_page *ret);

/* Replaces a page by one from disk.  0, -ENOMEM, or -EBADMSG if it holds an unknown state or speaks
 * of blocks beyond the end; then nothing changed. */
int map_page_import(struct map *m, uint32_t page, const struct disk_map_page *content);

/* Takes over a page that lies at home, all of it noted as changed.  As map_page_import. */
int map_page_adopt(struct map *m, uint32_t page, uint64_t *words);

/* Does the page hold anything but inherit? */
bool map_page_used(const struct map *m, uint32_t page);

/* The next changed run of one state inside `page` at or after block *at of the disk: advances *at
 * to its start and returns its length, or 0 if there is none. */
uint64_t map_next_change(const struct map *m, uint32_t page, uint64_t *at,
                         enum disk_block_state *ret_state);
bool map_page_changed(const struct map *m, uint32_t page);
void map_clear_changes(struct map *m);

#endif
