/* SPDX-License-Identifier: Apache-2.0 */
/* stack - sealed layers that lie on each other, and which of them owns a block.
 *
 * A stack never changes: it is counted, and lent to any thread.  Finding the owner costs the same
 * at every depth, because each stack has an index of its own (store/index.h) that shares with those
 * below what does not differ.  All who stand on the same layers share one stack.
 * Owns its index and one count of each of its layers.  Must never know volumes or images; what they
 * read through is a chain (store/chain.h).
 * Threads: as each function says; inside, the store's lock guards the list of stacks. */
#ifndef GRIDBOX_STORE_STACK_H
#define GRIDBOX_STORE_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/store/store.h"

struct layer;
struct stack;

/* The stack of these layers (1 to LAYER_CHAIN_MAX, nearest first), with one count for the caller.
 * Blocks: reads the maps of layers that no open stack has.  Any thread but the shard's.
 * -EBUSY when one of them is a volume's top still, -EIO (with words) when their files contradict
 * each other, -ENOENT when one is not there, -ENOMEM, -EINVAL (too many). */
int store_stack_get(struct store *s, const struct layer_chain *layers, struct stack **ret,
                    struct err *e);

/* A new stack: `top` on all of `below`; the caller has one count of it, and it one of top.  top is
 * a volume's top on the store's list (store_top_add) that nobody writes to meanwhile, its map
 * complete.  The top stays a top, with map and descriptor, until store_top_sealed(); to undo this,
 * put the new stack.
 * Blocks (memory work alone); any thread but the shard's.
 * -E2BIG when below has LAYER_CHAIN_MAX layers, -EIO when top is smaller than below, -ENOMEM. */
int store_stack_push(struct store *s, struct stack *below, struct layer *top, struct stack **ret,
                     struct err *e);

/* One more, and one less, who uses it.  Any thread, also the shard.  put(NULL) is legal. */
struct stack *stack_ref(struct stack *k);
void store_stack_put(struct store *s, struct stack *k);

/* Who owns `block` and how many blocks from there on (1 to limit) it also owns.  *ret NULL: they
 * read as zeros, as does all beyond the end.  limit: 1 or more. */
uint64_t stack_resolve(const struct stack *k, uint64_t block, uint64_t limit, struct layer **ret);

/* Of the disk that it shows. */
uint64_t stack_size_bytes(const struct stack *k);
unsigned stack_depth(const struct stack *k);

/* Its layers, nearest first. */
void stack_layers(const struct stack *k, struct layer_chain *ret);

/* All open stacks in which upper lies directly on lower, each counted once more for the caller, who
 * frees the array (NULL if there are none).  -ENOMEM. */
int store_stacks_with(struct store *s, struct layer_id lower, struct layer_id upper,
                      struct stack ***ret, unsigned *ret_count, struct err *e);

/* Is the layer part of an open stack?  Under the store's lock. */
bool store_layer_stacked(const struct store *s, struct layer_id id);

/* Memory that this stack alone holds. */
size_t stack_own_bytes(const struct stack *k);

#endif
