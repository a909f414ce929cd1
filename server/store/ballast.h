/* SPDX-License-Identifier: Apache-2.0 */
/* ballast - room that is kept for what must work on a full disk: a file without use, which is
 * deleted when map files or the catalog find no room, and made again when there is.
 *
 * While it is gone, guests' writes that need room wait, or they would eat what it gave back.
 * Owns STATE/ballast.  Must never know layers.
 * Threads: ballast_gone from any; the others on threads that may block, one at a time. */
#ifndef GRIDBOX_STORE_BALLAST_H
#define GRIDBOX_STORE_BALLAST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ballast {
    int dir_fd; /* the store's */
    uint64_t bytes;
    atomic_bool none; /* this file system cannot keep room */
    atomic_bool gone;
};

/* Makes it, unless it is there. */
void ballast_init(struct ballast *b, int dir_fd, uint64_t bytes);

/* Gives its room back.  False: there is none to give. */
bool ballast_drop(struct ballast *b);

/* Makes it again if it is gone and there is plenty of room (twice as much). */
void ballast_restore(struct ballast *b);

static inline bool ballast_gone(const struct ballast *b)
{
    return atomic_load_explicit(&b->gone, memory_order_relaxed);
}

#endif
