/* SPDX-License-Identifier: Apache-2.0 */
/* replay - from the journal into maps: at start, at a checkpoint, and when one layer is opened.
 *
 * A layer is there if it has a map file; or a MAKE record in the journal and its data file.
 * Moves only facts that are durable already, so it needs nothing from the volumes that run.
 * Owns nothing; must never know volumes.  Threads: blocks: control or pool threads. */
#ifndef GRIDBOX_STORE_REPLAY_H
#define GRIDBOX_STORE_REPLAY_H

#include <pthread.h>

#include "server/base/err.h"
#include "server/store/journal.h"
#include "server/store/layer.h"

/* A layer as it is durable now: its map file and what the journal adds.  -ENOENT: it is not there,
 * or was never written to; other errors as lay_read_map. */
int replay_layer(const struct layer_dir *d, struct journal *j, struct layer_id id,
                 struct layer_info *ret_info, struct map *ret_map, struct err *e);

/* The same for many at once, with few passes over the journal, while nothing is appended: calls
 * each() with every one that is there; *map is its to take (by map_take), else freed.  One whose
 * map file is damaged is logged and passed over.  Stops at the first error. */
typedef int (*replay_fn)(void *ctx, const struct layer_info *info, struct map *map, struct err *e);
int replay_each(const struct layer_dir *d, struct journal *j, const struct layer_id *ids,
                size_t count, replay_fn each, void *ctx, struct err *e);

/* Writes whole new map files for all layers that the view names, and syncs the directory.  Layers
 * that were deleted are passed over; so is, and logged, one whose map file is damaged: its volume
 * will say so.  files_lock is held while one layer is replaced, against its being deleted
 * meanwhile.
 */
int replay_to_files(const struct layer_dir *d, struct journal *j, const struct journal_view *view,
                    pthread_mutex_t *files_lock, struct err *e);

#endif
