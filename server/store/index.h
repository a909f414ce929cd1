/* SPDX-License-Identifier: Apache-2.0 */
/* index - who owns each block of a stack of layers: found in a few steps, shared where equal.
 *
 * A persistent tree.  The root has one word for each 64 MiB of the disk (a map page); a word is an
 * owner of all of it, or a node of 256 leaves; a leaf is an owner of all its 64 blocks, or a byte
 * for each.  A node that differs little from another is kept as the differences.  Making an index
 * from another shares what a layer did not change, so memory follows what was written, and changes
 * nothing that others read.
 * Owns its nodes (counted, with the other indexes that have them).  Must never know layers: owners
 * are numbers.
 * Threads: an index that is made is read by any; making and freeing may run anywhere at once. */
#ifndef GRIDBOX_STORE_INDEX_H
#define GRIDBOX_STORE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "server/store/layer_disk.h"

struct map;

#define INDEX_ZERO      255u /* the owner of blocks that read as zeros */
#define INDEX_OWNER_MAX 254u

struct index {
    uint64_t blocks;
    uint32_t pages; /* words in root */
    uintptr_t *root;
};

/* What one sees when a layer with this map and number lies on `below` (NULL: on nothing).  below
 * has not more blocks than the map.  0 or -ENOMEM. */
int index_make(struct index *ret, const struct index *below, const struct map *map, uint8_t owner);
void index_done(struct index *x); /* idempotent */

/* The owner of `block` and how many blocks from there on (1 to limit) are also its.  limit: 1 or
 * more; beyond the end all is INDEX_ZERO. */
uint64_t index_run(const struct index *x, uint64_t block, uint64_t limit, uint8_t *ret_owner);

/* Memory that this index alone holds. */
size_t index_own_bytes(const struct index *x);

#endif
