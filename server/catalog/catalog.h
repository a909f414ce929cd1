/* SPDX-License-Identifier: Apache-2.0 */
/* catalog - everything that is not block data, in one SQLite file.
 *
 * It knows rows and transactions, neither files of layers nor sockets.  What is committed here is
 * durable (WAL, synchronous=FULL).  A commit that fails makes the catalog `failed` for good: what
 * reached the disk is then unknown, so every later change is refused and the server must be
 * restarted.
 * Threads: the one that opened it (control). */
#ifndef GRIDBOX_CATALOG_CATALOG_H
#define GRIDBOX_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

#define CAT_SCHEMA_VERSION 2

struct catalog;

/* Opens the file, makes it (0600) or brings its schema up to date.  Nobody else may have it open:
 * it is locked.  It lies where SQLite's default VFS says (a test may have registered its own).
 *   -ENOTSUP  it was written by a newer gridboxd
 *   -EIO      it is damaged, or cannot be read or written
 *   -ENOSPC   no room to make it */
int cat_open(const char *path, struct catalog **ret, struct err *e);

/* Checkpoints and closes; an open transaction is rolled back.  NULL is legal. */
void cat_close(struct catalog *c);

/* Transactions nest: only the outermost pair does something, and one inner rollback makes the
 * outermost commit a rollback (-ECANCELED).  cat_commit: 0, or -errno as db_run; whatever it says,
 * the transaction is over.
 *
 *     int rc = cat_begin(c, e);
 *     if (rc == 0)
 *         rc = cat_end(c, changes(c, e), e);
 */
int cat_begin(struct catalog *c, struct err *e);
int cat_commit(struct catalog *c, struct err *e);
void cat_rollback(struct catalog *c);

/* Commits if rc is 0, else rolls back and returns rc (*e stays as it is). */
int cat_end(struct catalog *c, int rc, struct err *e);

/* True from the first failed commit on; why is one line, borrowed. */
bool cat_failed(const struct catalog *c, const char **ret_why);

#endif
