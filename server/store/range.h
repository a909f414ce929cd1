/* SPDX-License-Identifier: Apache-2.0 */
/* range - a table of block ranges in which overlapping holders wait for each other, first come
 * first served.  This is what keeps two partial writes of one block, or a late punch and a write,
 * apart.
 *
 * Owns nothing: the holder embeds struct range.  Must never know what is done under a range.
 * Threads: one. */
#ifndef GRIDBOX_STORE_RANGE_H
#define GRIDBOX_STORE_RANGE_H

#include <stdbool.h>
#include <stdint.h>

struct range {
    uint64_t first, last; /* blocks, inclusive */
    bool held;            /* false: waits for an earlier one */
    struct range *prev, *next;
};

struct range_table {
    struct range *oldest, *newest; /* in order of arrival */
    unsigned waiting;
};

/* true: held from now on.  false: range_leave() of another one will give it out. */
bool range_enter(struct range_table *t, struct range *r, uint64_t first, uint64_t last);

/* Lets a held range go, then calls granted() for each that is held because of it, oldest first;
 * granted() may enter and leave ranges. */
void range_leave(struct range_table *t, struct range *r, void (*granted)(struct range *r));

#endif
