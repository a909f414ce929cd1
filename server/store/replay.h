/* SPDX-License-Identifier: Apache-2.0 */
/* replay - from the journal into maps: at start, at a checkpoint, and when one layer is opened.
 *
 * Moves only facts that are durable already, so it needs nothing from the volumes that run.
 * Owns nothing; must never know volumes.  Threads: blocks: control or pool threads. */
#ifndef GRIDBOX_STORE_REPLAY_H
#define GRIDBOX_STORE_REPLAY_H

#include <pthread.h>

#include "server/base/err.h"
#include "server/store/journal.h"
#include "server/store/layer.h"

/* A layer as it is durable now: its map file and what the journal adds.  Errors as lay_read_map. */
int replay_layer(const struct layer_dir *d, struct journal *j, struct layer_id id,
                 struct layer_info *ret_info, struct map *ret_map, struct err *e);

/* Writes whole new map files for all layers that the view names, and syncs the directory.  Layers
 * without a map file are passed over (they were deleted); one whose map file is damaged is logged
 * and passed over, too: its volume will say so.  files_lock is held while one layer is replaced,
 * against its being deleted meanwhile. */
int replay_to_files(const struct layer_dir *d, struct journal *j, const struct journal_view *view,
                    pthread_mutex_t *files_lock, struct err *e);

#endif
