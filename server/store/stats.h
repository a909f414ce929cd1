/* SPDX-License-Identifier: Apache-2.0 */
/* stats - what the work of a store has come to since it was opened, and who is told of it.
 * Threads: the shard's, plain counters; store_stats gives a copy. */
#ifndef GRIDBOX_STORE_STATS_H
#define GRIDBOX_STORE_STATS_H

#include <stdint.h>

#include "server/base/histogram.h"

struct store;
struct store_events;

struct store_stats {
    struct histogram sync;   /* fdatasync of volumes' data files */
    struct histogram append; /* of a batch to the map journal, its sync included */
    uint64_t journal_bytes;  /* of records that were appended */
    uint64_t checkpoints;    /* halves of the journal that were put into map files */
};

/* Any thread but the shard's. */
void store_stats(struct store *s, struct store_stats *ret);

/* Any thread but the shard's: from now on these are told, in place of those that it was opened
 * with.  NULL: none. */
void store_set_events(struct store *s, const struct store_events *events);

#endif
