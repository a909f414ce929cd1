/* SPDX-License-Identifier: Apache-2.0 */
/* restore - content that flushes left in the journal goes back into data files.
 *
 * A flush of little makes its blocks durable as DATA records, and the data file is synced later, or
 * never if the power goes.  What is behind the last record that voids the DATA of its layer
 * (REVOKE, or a CLEAN mark) is newer than, or the same as, all that is durable in the file.
 * Owns nothing; must never know volumes: whoever calls makes sure that no newer write to these
 * layers was answered, but for what is lost anyway.  Threads: blocks: control or pool threads. */
#ifndef GRIDBOX_STORE_RESTORE_H
#define GRIDBOX_STORE_RESTORE_H

#include <pthread.h>

#include "server/base/err.h"
#include "server/store/id_set.h"
#include "server/store/journal.h"
#include "server/store/layer.h"

/* Writes and syncs the data files of these layers, whose map files were written before, if a loss
 * of power may have cut them short; only: NULL = of all; locked: the caller holds the locks of
 * their files.  Layers that were deleted are passed over.  One that cannot be written to (EIO) is
 * logged and, under files_lock, marked lost: nobody opens it again.  -ENOSPC and other shortages,
 * or -EBUSY (another server still holds a lock): some may be written, all of it can be done again.
 */
int restore_data(const struct layer_dir *d, const struct journal *j,
                 const struct journal_view *view, const struct id_set *only, bool locked,
                 pthread_mutex_t *files_lock, struct err *e);

#endif
