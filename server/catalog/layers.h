/* SPDX-License-Identifier: Apache-2.0 */
/* layers - rows of layers: which files the store must keep, and which are still to be removed. */
#ifndef GRIDBOX_CATALOG_LAYERS_H
#define GRIDBOX_CATALOG_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct catalog;

/* below: what it stands on, 16 bytes, or NULL.  -EEXIST: the id is taken. */
int cat_layer_add(struct catalog *c, const uint8_t id[static 16], const uint8_t *below,
                  uint64_t size_bytes, struct err *e);

/* The layer is no longer needed: the row moves to the dead ones.  -EBUSY while something stands on
 * it or names it. */
int cat_layer_bury(struct catalog *c, const uint8_t id[static 16], struct err *e);

/* The files of a dead layer are gone. */
int cat_layer_forget(struct catalog *c, const uint8_t id[static 16], struct err *e);

/* Some dead layers, at most `room`; *ret_count says how many. */
int cat_layer_dead(struct catalog *c, uint8_t (*ret)[16], unsigned room, unsigned *ret_count,
                   struct err *e);

/* True for a layer that is needed.  A catalog that cannot answer says true: nothing is swept. */
bool cat_layer_known(struct catalog *c, const uint8_t id[static 16]);

#endif
