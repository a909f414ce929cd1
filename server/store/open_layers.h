/* SPDX-License-Identifier: Apache-2.0 */
/* open_layers - the layers of the store that are open: each once, counted, whoever reads it.
 *
 * Owns the list and the descriptors of sealed layers, of which the least recently used are closed
 * beyond a limit; a read that needs one has it opened again on a pool thread.  A top keeps its own:
 * it is locked.  Must never know stacks, volumes or requests.
 * Threads: as each function says; the store's lock guards the list. */
#ifndef GRIDBOX_STORE_OPEN_LAYERS_H
#define GRIDBOX_STORE_OPEN_LAYERS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "server/base/err.h"
#include "server/store/layer.h"
#include "server/store/store.h"

struct store;

/* Opens a sealed layer, or counts one more user of it; and reads its map, which is the caller's.
 * Blocks; any thread but the shard's.  -EBUSY when it is a volume's top. */
int store_layer_get(struct store *s, struct layer_id id, struct layer **ret, struct map *ret_map,
                    struct err *e);

/* One more, and one less, who uses it.  Any thread, also the shard.  With the last one it is closed
 * and freed, also a top. */
void store_layer_ref(struct layer *l);
void store_layer_put(struct store *s, struct layer *l);

/* A top belongs to one device: -EBUSY if it is open already, or is being sealed.  On the list from
 * then on; loaded when its map is there. */
int store_top_add(struct store *s, struct layer *top, struct layer_id id, struct err *e);
void store_top_loaded(struct store *s, struct layer *top);
/* The same in one step, under the store's lock, of one that is not open. */
void store_top_list_locked(struct store *s, struct layer *top);
/* The new top of a volume whose old one was sealed: on the list, loaded.  Any thread. */
void store_top_list(struct store *s, struct layer *top);

/* The catalog says that it is sealed, and no chain has it as its top any more: frees its map.  On
 * the shard. */
void store_top_sealed(struct store *s, struct layer *l);

/* Is it open?  Under the store's lock. */
struct layer *store_layer_find(const struct store *s, struct layer_id id);

/* ---- descriptors of sealed layers, on the shard ------------------------------------------------
 */

/* How many may be open; 0: as many as the process's limit allows beside sockets and tops. */
void layer_fds_init(struct store *s, unsigned limit);

/* It is being read: the last to be closed. */
static inline void layer_fd_touch(uint64_t *clock, struct layer *l)
{
    if (l->fd_used != *clock)
        l->fd_used = ++*clock;
}

/* A job uses l's files (or opens some of its own while they are closed); closed by nobody until
 * release.  opened: the job's own, or LAYER_NO_FDS; taken over. */
void layer_fd_hold(struct layer *l);
void layer_fd_release(struct store *s, struct layer *l, struct layer_fds opened);

/* A block of it is not what was written: told to the owner of the store and to the log, once.  On
 * the shard. */
void layer_is_damaged(struct store *s, struct layer *l, uint64_t block);

/* Takes one off if it is not the last one; false: it is, and nothing was changed. */
static inline bool store_count_less(_Atomic unsigned *refs)
{
    unsigned now = atomic_load_explicit(refs, memory_order_relaxed);

    while (now > 1)
        if (atomic_compare_exchange_weak_explicit(refs, &now, now - 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return true;
    return false;
}

#endif
