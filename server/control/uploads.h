/* SPDX-License-Identifier: Apache-2.0 */
/* uploads - disks that a client sends before it has them imported.
 *
 * Each is a file without a name in the scratch directory, so nothing is ever left over.  It is gone
 * when an import has taken it, or an hour after it was sent.
 * Threads: control. */
#ifndef GRIDBOX_CONTROL_UPLOADS_H
#define GRIDBOX_CONTROL_UPLOADS_H

#include "server/base/err.h"

struct control;
struct uploads;

#define UPLOADS_MOST    16
#define UPLOADS_SECONDS 3600

int uploads_new(struct control *c, struct uploads **ret, struct err *e);
void uploads_free(struct uploads *u); /* NULL is legal */

/* The file is the caller's from now on.  -ENOENT: there is no such upload (any more). */
int uploads_take(struct uploads *u, const char *id, int *ret_fd, struct err *e);

#endif
