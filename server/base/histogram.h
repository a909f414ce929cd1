/* SPDX-License-Identifier: Apache-2.0 */
/* histogram - how long things took: a few counts in buckets that double, small enough to have four
 * of them for each volume.
 *
 * Threads: the owner's alone, plain counters; others get a copy by a message to it. */
#ifndef GRIDBOX_BASE_HISTOGRAM_H
#define GRIDBOX_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BOUNDS   24u /* 4 us, 8 us … 33.6 s */
#define HISTOGRAM_BUCKETS  (HISTOGRAM_BOUNDS + 1)
#define HISTOGRAM_FIRST_US 4u

struct histogram {
    uint64_t count[HISTOGRAM_BUCKETS]; /* [i]: below bound i and not below the one before; the last:
                                        * longer than all bounds */
    uint64_t sum_ns;
};

/* Bound number i, 0 to HISTOGRAM_BOUNDS - 1, in microseconds. */
static inline uint64_t histogram_bound_us(unsigned i)
{
    return (uint64_t)HISTOGRAM_FIRST_US << i;
}

/* Something took so long; a negative time counts as none. */
static inline void histogram_add(struct histogram *h, int64_t ns)
{
    uint64_t t = ns > 0 ? (uint64_t)ns : 0;
    uint64_t firsts = t / (1000u * HISTOGRAM_FIRST_US); /* of the first bucket's width */
    unsigned i = firsts ? 64u - (unsigned)__builtin_clzll(firsts) : 0;

    h->count[i < HISTOGRAM_BOUNDS ? i : HISTOGRAM_BOUNDS]++;
    h->sum_ns += t;
}

/* How many there were. */
uint64_t histogram_total(const struct histogram *h);

/* The time that `share` (0 to 1) of them did not exceed, in microseconds, straight lines inside a
 * bucket; the last bound if it was longer than that; 0 if there were none. */
uint64_t histogram_quantile_us(const struct histogram *h, double share);

#endif
