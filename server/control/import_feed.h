/* SPDX-License-Identifier: Apache-2.0 */
/* import_feed - hands the bytes of one file to a program that may open no file itself.
 *
 * The program gets one end of a socket pair and reads from it as from an NBD server: the oldstyle
 * handshake of NetworkBlockDevice/nbd doc/proto.md (no options, so nothing to negotiate), then
 * simple replies.  It can read this file and nothing else; what view_keep kept it sees as it was
 * checked.  A read beyond the end is answered with an error and remembered: such a file is
 * truncated.
 * Threads: one of its own, from feed_start to feed_stop. */
#ifndef GRIDBOX_CONTROL_IMPORT_FEED_H
#define GRIDBOX_CONTROL_IMPORT_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct feed;
struct view;

/* How a program's read went wrong, if one did. */
enum feed_fault { FEED_FINE, FEED_BEYOND_END, FEED_READ_ERROR };

/* view: borrowed until feed_stop.
 * exact: say the file's true size (in whole sectors); otherwise say much more, so that reads beyond
 * its end come here. *ret_fd: the program's end, close-on-exec, the caller's to close. */
int feed_start(const struct view *view, bool exact, struct feed **ret, int *ret_fd, struct err *e);

enum feed_fault feed_fault(const struct feed *f);

/* Ends the connection and the thread.  NULL is legal. */
void feed_stop(struct feed *f);

#endif
