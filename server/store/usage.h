/* SPDX-License-Identifier: Apache-2.0 */
/* usage - how much data the layers hold that are not open now, so that nobody has to read their
 * maps and the journal for it.
 *
 * It is a memory of what was true when a layer was closed or last looked at: forgotten when the
 * layer is opened for writing or removed.  What is not in it is read.
 * Threads: any; it has a lock of its own, under which nothing else is done. */
#ifndef GRIDBOX_STORE_USAGE_H
#define GRIDBOX_STORE_USAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/store/store.h"

#define USAGE_MOST (1u << 20) /* layers that are remembered */

struct usage_entry {
    struct layer_id id; /* all zero: empty */
    uint64_t data_blocks;
};

struct usage {
    pthread_mutex_t lock;
    struct usage_entry *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;    /* slots that are not empty */
};

void usage_init(struct usage *u);
void usage_done(struct usage *u);

/* Without memory it is not remembered.  replace false: what is remembered already is newer. */
void usage_put(struct usage *u, struct layer_id id, uint64_t data_blocks, bool replace);
bool usage_get(struct usage *u, struct layer_id id, uint64_t *ret_data_blocks);
void usage_drop(struct usage *u, struct layer_id id);

#endif
