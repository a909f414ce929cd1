/* SPDX-License-Identifier: Apache-2.0 */
/* layers - rows of layers: what stands on what, which files the store must keep, and which are
 * still to be removed.
 *
 * A layer is needed while a volume writes to it, a snapshot or image names it, or another layer
 * stands on it. */
#ifndef GRIDBOX_CATALOG_LAYERS_H
#define GRIDBOX_CATALOG_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct catalog;

#define CAT_CHAIN_MAX 64u

/* Sealed layers that lie on each other, the uppermost first. */
struct cat_chain {
    unsigned count;
    uint8_t id[CAT_CHAIN_MAX][16];
};

/* below: what it stands on, 16 bytes, or NULL.  -EEXIST: the id is taken. */
int cat_layer_add(struct catalog *c, const uint8_t id[static 16], const uint8_t *below,
                  uint64_t size_bytes, struct err *e);

/* The layer and all that it stands on.
 *   -ENOENT  there is no such layer
 *   -EMLINK  it stands on more than CAT_CHAIN_MAX - 1 others */
int cat_layer_chain(struct catalog *c, const uint8_t id[static 16], struct cat_chain *ret,
                    struct err *e);

/* How many layers a chain from this one down has; 0: there is no such layer. */
int cat_layer_depth(struct catalog *c, const uint8_t id[static 16], unsigned *ret, struct err *e);

/* If nothing needs it, it becomes a dead layer; then the same for what it stood on, and so on.
 * Nothing there is fine. */
int cat_layer_release(struct catalog *c, const uint8_t id[static 16], struct err *e);

/* A layer with this id is about to be written: whatever happens, somebody knows it. */
int cat_layer_expect(struct catalog *c, const uint8_t id[static 16], struct err *e);

/* It is of no use: a dead one.  id NULL: so are all that were expected (nobody writes them any
 * more: the start). */
int cat_layer_unexpect(struct catalog *c, const uint8_t *id, struct err *e);

/* The files of a dead layer are gone. */
int cat_layer_forget(struct catalog *c, const uint8_t id[static 16], struct err *e);

/* Some dead layers, at most `room`, in the order of their ids, behind `after` (NULL: from the
 * first); *ret_count says how many. */
int cat_layer_dead(struct catalog *c, const uint8_t *after, uint8_t (*ret)[16], unsigned room,
                   unsigned *ret_count, struct err *e);

/* A layer that no snapshot and no image names, and the one that stands on it, if that is the only
 * one and no volume writes to it.  In the order of `lower`, behind `after` (NULL: the first one).
 * 1, or 0: there is none. */
int cat_layer_mergeable(struct catalog *c, const uint8_t *after, uint8_t ret_lower[static 16],
                        uint8_t ret_upper[static 16], struct err *e);

/* `merged`, which was expected, takes the places of both; they become dead ones.  -ESTALE: they are
 * no such pair any more. */
int cat_layer_merge(struct catalog *c, const uint8_t lower[static 16],
                    const uint8_t upper[static 16], const uint8_t merged[static 16], struct err *e);

/* Who is there. */
struct cat_layer {
    uint8_t id[16];
    uint64_t size_bytes;
    char owner[128]; /* "volume NAME", "image NAME@VERSION", "snapshot NAME of NAME", or "" */
    bool top;        /* a volume writes to it */
    bool image;      /* an image names it, or it is below one */
};
int cat_layer_list(struct catalog *c, int (*each)(void *ctx, const struct cat_layer *l), void *ctx,
                   struct err *e);

/* True for a layer whose files are the catalog's business, dead and expected ones too.  A catalog
 * that cannot answer says true: nothing is swept. */
bool cat_layer_known(struct catalog *c, const uint8_t id[static 16]);

#endif
