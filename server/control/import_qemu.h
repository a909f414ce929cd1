/* SPDX-License-Identifier: Apache-2.0 */
/* import_qemu - one qemu-nbd that reads one foreign disk file, locked in.
 *
 * It gets two sockets and nothing else: one on which it finds the file's bytes (import_feed), one
 * on which it serves the disk inside.  It is told the format and to look for no other file; it runs
 * as nobody (when we are root), without network, with no right to open files but programs' own
 * (Landlock, where the kernel has it), with limits of memory and time, and dies with our thread.
 * Threads: the thread of the import alone. */
#ifndef GRIDBOX_CONTROL_IMPORT_QEMU_H
#define GRIDBOX_CONTROL_IMPORT_QEMU_H

#include <stddef.h>

#include "server/base/err.h"

struct qemu;

/* driver: "qcow2" …; feed_fd: borrowed; scratch_dir: the socket has a name there for a moment.
 * *ret_fd: a connected socket, close-on-exec, the caller's to close: NBD, export "".
 *   -ENOENT  no qemu-nbd here, in words;  another -errno: it cannot be started */
int qemu_start(const char *scratch_dir, const char *driver, int feed_fd, struct qemu **ret,
               int *ret_fd, struct err *e);

/* Ends it, and waits.  What it said about its failure, one line, goes to ret_why ("" if nothing);
 * ret_why may be NULL.  q is gone.  NULL is legal. */
void qemu_stop(struct qemu *q, char *ret_why, size_t size);

#endif
