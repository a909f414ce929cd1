/* SPDX-License-Identifier: Apache-2.0 */
/* op_cache - a short list of memory pieces of one size, so that requests do not allocate.
 * Owns what is on its list.  Threads: one. */
#ifndef GRIDBOX_STORE_OP_CACHE_H
#define GRIDBOX_STORE_OP_CACHE_H

#include <stddef.h>

struct op_cache {
    void *free; /* linked by the first pointer of each piece */
    unsigned count, limit;
    size_t bytes;
};

/* limit: pieces kept; more are allocated and freed as needed.  bytes: at least a pointer. */
void op_cache_init(struct op_cache *c, size_t bytes, unsigned limit);
void op_cache_done(struct op_cache *c); /* idempotent */

/* Not cleared.  NULL without memory. */
void *op_get(struct op_cache *c);
void op_put(struct op_cache *c, void *op);

#endif
