/* SPDX-License-Identifier: Apache-2.0 */
/* blk_fault - a device in front of another one that fails or holds requests on order, for tests.
 * Owns the held requests; must never know files or networks.
 * Threads: as every device, one. */
#ifndef GRIDBOX_BLOCK_BLK_FAULT_H
#define GRIDBOX_BLOCK_BLK_FAULT_H

#include <stdbool.h>

struct blkdev;

/* `under` is borrowed and must outlive this device.  NULL without memory. */
struct blkdev *blk_fault_new(struct blkdev *under);
void blk_fault_free(struct blkdev *d); /* NULL is legal; nothing may be held */

/* The next `times` requests of kind op (enum blk_op), after `skip` more of it, end with `error`
 * (-errno) and do not reach the device below.  Replaces the rule that op had; times 0 = none. */
void blk_fault_fail(struct blkdev *d, unsigned op, unsigned skip, unsigned times, int error);

/* While on, requests of kind op are held, in their order, until blk_fault_release(). */
void blk_fault_hold(struct blkdev *d, unsigned op, bool on);

/* Lets the oldest `count` of the held requests go on; returns how many there were to let go. */
unsigned blk_fault_release(struct blkdev *d, unsigned count);

unsigned blk_fault_held(const struct blkdev *d);

#endif
