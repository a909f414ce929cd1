/* SPDX-License-Identifier: Apache-2.0 */
/* import_nbd - reads a whole disk from an NBD server, several requests at once; what the server
 * says is zeros (base:allocation) is not read.
 *
 * It waits for nothing longer than a fraction of a second without looking at `cancel`, but for the
 * resolver when the URI has a name in it.  A server that says nothing for a minute is given up.
 * Threads: the thread of the import alone. */
#ifndef GRIDBOX_CONTROL_IMPORT_NBD_H
#define GRIDBOX_CONTROL_IMPORT_NBD_H

#include <stdint.h>

#include "server/base/err.h"
#include "server/control/import.h"

struct nbd_reader;
struct sink;

/* Connects and shakes hands.
 *   uri   nbd://, nbds://, nbd+unix://, nbds+unix://; or NULL:
 *   fd    a connected socket, ours from now on in any case; the export is ""
 * -ECANCELED, -ETIMEDOUT, -EINVAL for a URI that is none, or another -errno.  Messages never hold
 * the name of the export: it may be a secret. */
int nbd_reader_open(const char *uri, int fd, struct job_progress *progress, struct nbd_reader **ret,
                    struct err *e);

uint64_t nbd_reader_size(const struct nbd_reader *r);

/* All of it into the sink, which was opened for that size. */
int nbd_reader_read(struct nbd_reader *r, struct sink *sink, struct err *e);

/* NULL is legal. */
void nbd_reader_close(struct nbd_reader *r);

#endif
