/* SPDX-License-Identifier: Apache-2.0 */
/* id_set - a set of layer ids (random, so their first bytes are the hash).
 * Owns its slots; threads: one at a time. */
#ifndef GRIDBOX_STORE_ID_SET_H
#define GRIDBOX_STORE_ID_SET_H

#include <stdbool.h>
#include <stddef.h>

#include "server/store/store.h"

struct id_set {
    struct layer_id *slots; /* all zero = empty */
    size_t capacity;        /* a power of two, or 0 */
    size_t count;
    bool incomplete; /* memory was short: any id may be missing */
};

void id_set_done(struct id_set *s); /* idempotent; leaves an empty set; also the AUTO function */
void id_set_add(struct id_set *s, struct layer_id id);
bool id_set_has(const struct id_set *s, struct layer_id id);

/* All of them in a list that the caller frees; NULL: no memory. */
struct layer_id *id_set_list(const struct id_set *s, size_t *ret_count);

#endif
