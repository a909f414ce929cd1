/* SPDX-License-Identifier: Apache-2.0 */
/* layer_list - the files in STATE/layers.
 * Owns nothing; threads: any; blocks. */
#ifndef GRIDBOX_STORE_LAYER_LIST_H
#define GRIDBOX_STORE_LAYER_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "server/base/err.h"
#include "server/store/store.h"

struct layer_file {
    struct layer_id id;
    bool has_map, has_data;
};

struct layer_list {
    struct layer_file *all; /* each layer once, sorted by id */
    size_t count, capacity;
};

/* state_fd, state: the store's directory, and its path for messages. */
int layer_list_read(int state_fd, const char *state, struct layer_list *ret, struct err *e);
void layer_list_done(struct layer_list *l); /* also the AUTO function */

#endif
