/* SPDX-License-Identifier: Apache-2.0 */
/* adopt - what the process before this one left in the live file, when it was killed: tops with
 * answered writes that are not durable, until somebody opens or settles them.
 *
 * A top that nobody opens is settled: its data synced, its map committed and marked clean, by a job
 * in the background, or when somebody needs it so (store_settle), or at the end (store_close).
 * Owns these layers.  Must never know volumes or requests.
 * Threads: as each function says; the store's lock guards the list. */
#ifndef GRIDBOX_STORE_ADOPT_H
#define GRIDBOX_STORE_ADOPT_H

#include <stdbool.h>

#include "server/base/err.h"
#include "server/store/layer.h"
#include "server/store/store.h"

struct store;

/* At start, when the live file counts: makes the list.  -EBADMSG: the file says what is impossible;
 * nothing is adopted then.  Control thread; blocks. */
int adopt_all(struct store *s, struct err *e);

/* Frees what is still on the list; the live file keeps it.  Nothing is being settled any more. */
void adopt_done(struct store *s);

/* The caller has put a top of this id on the list of open layers: moves what was adopted of it into
 * that.  True if there was any.  Any thread but the shard's. */
bool adopt_take(struct store *s, struct layer *top);
/* On the shard: one that was taken is among the volumes, or on the list again. */
void adopt_opened(struct store *s);
/* It could not be opened: as before. */
void adopt_put_back(struct store *s, struct layer *top);

/* May its data file hold what is not on disk, though it is marked clean?  Any thread. */
bool adopt_unsynced(const struct store *s, struct layer_id id);

/* Is it just being settled?  Then it will be on no list soon.  Any thread. */
bool adopt_settling(struct store *s, struct layer_id id);
/* Waits while it is.  Any thread but the shard's. */
void adopt_wait(struct store *s, struct layer_id id);

/* Its bytes of data, if it is on the list.  Any thread. */
bool adopt_usage(struct store *s, struct layer_id id, uint64_t *ret_data_bytes);

/* Nobody will read it again.  Any thread but the shard's. */
void adopt_forget(struct store *s, struct layer_id id);

/* Begins to settle, some at a time, those that nobody opened within some seconds.  On the shard. */
void adopt_start_settling(struct store *s);

/* On the shard: is everything that was adopted, and is not open, in the layers' own files?  If not,
 * that begins now. */
bool adopt_settled(struct store *s);

/* All of them, now; those that fail stay.  Control thread; blocks. */
void adopt_settle_all(struct store *s);

#endif
