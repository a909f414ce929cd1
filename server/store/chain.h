/* SPDX-License-Identifier: Apache-2.0 */
/* chain - a stack of layers, read: which layer owns a block, and its bytes.
 *
 * Owns nothing but the state of reads that wait for the disk.  Must never know volumes or images.
 * Threads: the shard's, but for the pool job inside. */
#ifndef GRIDBOX_STORE_CHAIN_H
#define GRIDBOX_STORE_CHAIN_H

#include <stdint.h>

#include "server/store/store.h"

struct blk_req;
struct layer;
struct op_cache;
struct store;

#define CHAIN_MAX (1 + LAYER_CHAIN_MAX) /* layers of one stack, with the top */

struct chain {
    struct layer *layers[CHAIN_MAX]; /* [0] is the top; all but the last have a parent */
    unsigned count;
};

/* Sets up the store's list of reads. */
void chain_init_ops(struct op_cache *c);

/* Who owns `block` and how many blocks from there on (1 to limit) it also owns.  *ret NULL: they
 * read as zeros.  from: the layer to begin with; the blocks may lie beyond the end of a layer. */
uint64_t chain_resolve(const struct chain *c, unsigned from, uint64_t block, uint64_t limit,
                       struct layer **ret);

/* Reads r->offset, r->length into r->buf from layer `from` down, straight from the page cache or by
 * way of the read pool.  done(ctx, r) is called once on the shard, with r->error set, perhaps
 * before this returns.  The chain and its layers must stay until then. */
typedef void (*chain_done_fn)(void *ctx, struct blk_req *r);
void chain_read(struct store *s, const struct chain *c, unsigned from, struct blk_req *r,
                chain_done_fn done, void *ctx);

/* Fills r->extents for BLK_STATUS; done at once. */
void chain_status(const struct chain *c, struct blk_req *r);

/* Has the range read ahead, and forgets it when that is not possible. */
void chain_cache(struct store *s, const struct chain *c, struct blk_req *r, chain_done_fn done,
                 void *ctx);

#endif
