/* SPDX-License-Identifier: Apache-2.0 */
/* blk_mem - a disk in memory, for tests: every request is done before blk_submit() returns.
 * Owns its bytes; must never know files or networks.
 * Threads: as every device, one. */
#ifndef GRIDBOX_BLOCK_BLK_MEM_H
#define GRIDBOX_BLOCK_BLK_MEM_H

#include <stdbool.h>
#include <stdint.h>

struct blkdev;

/* A disk of zeros.  size_bytes: a multiple of BLK_SECTOR, not 0.  NULL without memory. */
struct blkdev *blk_mem_new(uint64_t size_bytes, bool read_only);
void blk_mem_free(struct blkdev *d); /* NULL is legal */

/* The content, borrowed; the test may change it. */
uint8_t *blk_mem_bytes(struct blkdev *d);

/* How many requests of this kind (enum blk_op) have been carried out. */
uint64_t blk_mem_count(const struct blkdev *d, unsigned op);

/* Whether it lends its bytes (at first not), and how many loans are out. */
void blk_mem_lending(struct blkdev *d, bool on);
unsigned blk_mem_loans(const struct blkdev *d);

#endif
