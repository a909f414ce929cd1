/* SPDX-License-Identifier: Apache-2.0 */
/* import_url - fetches a file by http:// or https:// into a scratch file without a name.
 *
 * A transfer that breaks is taken up where it stopped (Range, with If-Range so that a file that has
 * changed meanwhile is fetched from the front); after some tries in a row that bring nothing new it
 * is given up.  Threads: the thread of the import alone. */
#ifndef GRIDBOX_CONTROL_IMPORT_URL_H
#define GRIDBOX_CONTROL_IMPORT_URL_H

#include "server/base/err.h"
#include "server/control/import.h"

/* *ret_fd: the whole file, open for reading, gone with its last descriptor; blocks of zeros are
 * holes.  source->limit_bytes limits what is fetched.
 *   -ECANCELED; -EINVAL a URL that is none, or an answer that says no; -EFBIG; -ENOSPC;
 *   -EIO the transfer broke off for good */
int url_fetch(const struct import_source *source, struct job_progress *progress, int *ret_fd,
              struct err *e);

#endif
