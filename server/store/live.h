/* SPDX-License-Identifier: Apache-2.0 */
/* live - the memory file that keeps the maps of writable tops while the machine lives.
 *
 * One file per store, LIVEDIR/STOREID-INODE.live (INODE of STATE, for a copy of it is another
 * store), shared memory of whoever serves the store: a header, a table, and slots of one map page
 * (4 KiB, 64 MiB of disk) each.  A page of a top's map moves into
 * a slot just before its first change, so that what a process answered is still there when it is
 * killed.  The file is sparse; a slot's memory is allocated and locked before it is touched: a full
 * file system is -ENOSPC, never SIGBUS.
 *
 * What the next process may believe:
 *  - The file counts only if store, instance (STATE/instance, new with each file), boot, version,
 *    mount and state are what they must be.  Anything else is a loss of power.
 *  - An entry of the table is entered when its slot is complete, by a release store; words of a
 *    slot change one at a time, in the order in which they were set.
 *  - An entry is let go when what it says is durable elsewhere (the layer's mark CLEAN is), or when
 *    nobody will read the layer again.  So entries of a layer whose mark is CLEAN say nothing new.
 *  - A failed layer has an entry, too: it begins a new epoch, with what its journal says.
 *
 * The mount: two processes in one mount namespace must see the store under one mount (its unique
 * id, Linux 6.8; before that its id).  Service managers give each start a namespace of its own,
 * where ids differ always: then only the device number is compared.  What is left open: a store in
 * such a service whose device was lost and came back under the same number within one boot, while
 * no server ran.  (Unmounting in good order writes everything, so it loses nothing.)
 *
 * Owns the file and its mapping.  Must never know volumes, requests or the journal.
 * Threads: any, but a slot's words belong to the thread that owns the map; one lock inside. */
#ifndef GRIDBOX_STORE_LIVE_H
#define GRIDBOX_STORE_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/store/map.h"
#include "server/store/store.h"

struct file_ops;
struct live;

#define LIVE_SLOTS_DEFAULT (1u << 20) /* 64 TiB of disk that is being written to; costs nothing */

struct live_options {
    const struct file_ops *ops; /* for STATE/instance */
    int state_fd;
    const char *state;     /* its path; for messages and STATE/live */
    const char *dir;       /* where the file lies, made if absent; NULL: the first that can be
                            * had of /run/gridbox, /dev/shm/gridbox (tmpfs alone), STATE/live */
    struct layer_id store; /* whose file */
    uint32_t slots;        /* 0 = LIVE_SLOTS_DEFAULT */
};

/* The caller has the store's lock.  *ret_adopted: the file of the process before this one counts,
 * and goes on; else it is gone and there is a fresh one, which does not count before live_count().
 * -EACCES … with words when the directory cannot be had. */
int live_open(const struct live_options *o, struct live **ret, bool *ret_adopted, struct err *e);

/* Deletes the file, unless it counts and holds something: then it is the next process's.  NULL is
 * legal.  No map may have pages in it. */
void live_close(struct live *l);

/* The same, but the file stays: as if the process had died.  NULL is legal. */
void live_leave(struct live *l);

/* From now on the next process may believe it: every epoch that had to grow has grown. */
void live_count(struct live *l);

/* Never again: the store has failed. */
void live_void(struct live *l);

/* ---- the pages of maps --------------------------------------------------------------------------
 * A map gets its pages here after map_set_home(map, live_home(l), layer's id). */
struct map_home *live_home(struct live *l);

/* Lets go the layer's pages; that it has failed stays noted.  No map may have pages here any more:
 * map_done came before. */
void live_release(struct live *l, struct layer_id layer);
/* The same, and a failure is forgotten, too: nobody will read it again, or its new epoch has begun.
 */
void live_forget(struct live *l, struct layer_id layer);

/* The layer's pages say nothing new, and are let go; but that it has been written to stays noted
 * until live_release. */
void live_written(struct live *l, struct layer_id layer);

/* The layer has failed: so it is named to the next process, which will not look at its pages.  Its
 * map may go on using them. */
void live_fail(struct live *l, struct layer_id layer);

/* ---- after live_open said adopted ---------------------------------------------------------------
 * Calls each() once per layer that has entries: failed, or written to.  Stops at its first error.
 * -EBADMSG: the table contradicts itself. */
int live_each_layer(struct live *l, int (*each)(void *ctx, struct layer_id id, bool failed),
                    void *ctx);

/* Puts the layer's pages into its map, whole and as changed, over what the map had; the map's home
 * is set.  -EBADMSG: impossible content; -ENOMEM, -ENOSPC. */
int live_adopt(struct live *l, struct layer_id layer, struct map *map);

/* Was there no room for the last page that was asked for? */
bool live_is_full(struct live *l);

/* ---- for tests and figures
 * ---------------------------------------------------------------------*/
const char *live_path(const struct live *l);
uint32_t live_used(struct live *l); /* entries */

#endif
