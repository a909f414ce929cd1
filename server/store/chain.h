/* SPDX-License-Identifier: Apache-2.0 */
/* chain - what a device reads through: a top, if it has one, on a stack of sealed layers.
 *
 * Owns one count of the stack, and the state of reads that wait for the disk.  Must never know
 * volumes or images.
 * Threads: the shard's, but for the pool jobs inside, chain_open and what their comment says. */
#ifndef GRIDBOX_STORE_CHAIN_H
#define GRIDBOX_STORE_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "server/store/store.h"

struct blk_loan;
struct blk_req;
struct layer;
struct op_cache;
struct stack;
struct store;

/* Part of a device, at one address from chain_open to chain_close.  top and below change only on
 * the shard, at any time between two of its steps: reads in flight count the layers that they use.
 */
struct chain {
    struct layer *top; /* the device's own; NULL: none */
    struct stack *below;
    struct chain *next, **at; /* the store's list */
};

/* Sets up the store's list of reads. */
void chain_init_ops(struct op_cache *c);

/* Takes over the caller's count of below; from now on store_restack may replace it.  top is set
 * before.  Any thread. */
void chain_open(struct store *s, struct chain *c, struct stack *below);

/* Idempotent; legal on one that is all zero, and then on any thread. */
void chain_close(struct store *s, struct chain *c);

/* Takes over the caller's count of `below`.  On the shard. */
void chain_replace_below(struct store *s, struct chain *c, struct stack *below);

/* Which part of a chain is looked at. */
enum chain_part { CHAIN_ALL, CHAIN_BELOW };

/* Who owns `block` and how many blocks from there on (1 to limit) it also owns.  *ret NULL: they
 * read as zeros.  The blocks may lie beyond the end of a layer. */
uint64_t chain_resolve(const struct chain *c, enum chain_part part, uint64_t block, uint64_t limit,
                       struct layer **ret);

/* Reads r->offset, r->length into r->buf, straight from the page cache or by way of the read pool.
 * done(ctx, r) is called once on the shard, with r->error set, perhaps before this returns.  The
 * chain must stay open until then. */
typedef void (*chain_done_fn)(void *ctx, struct blk_req *r);
void chain_read(struct store *s, const struct chain *c, enum chain_part part, struct blk_req *r,
                chain_done_fn done, void *ctx);

/* Lends the range, if sealed layers own all of it and it is in memory (blk_lend, blk_give_back). */
bool chain_lend(struct store *s, const struct chain *c, uint64_t offset, uint64_t length,
                struct blk_loan *ret);
void chain_give_back(struct store *s, struct blk_loan *loan);
/* The layer goes; nothing of it is lent. */
void loan_unmap(struct store *s, struct layer *l);

/* Fills r->extents for BLK_STATUS; done at once. */
void chain_status(const struct chain *c, struct blk_req *r);

/* Has the range read ahead, and forgets it when that is not possible. */
void chain_cache(struct store *s, const struct chain *c, struct blk_req *r, chain_done_fn done,
                 void *ctx);

#endif
