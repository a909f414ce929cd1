/* SPDX-License-Identifier: Apache-2.0 */
/* import_raw - a raw disk in an open file or block device becomes a layer; holes stay holes. */
#ifndef GRIDBOX_CONTROL_IMPORT_RAW_H
#define GRIDBOX_CONTROL_IMPORT_RAW_H

#include <stdint.h>

#include "server/base/err.h"

struct sink;

/* All of `size_bytes` from fd (read with pread; its position moves) into the sink, which was opened
 * for that size.  -EIO when the file becomes shorter meanwhile; -errno of reading; or the sink's.
 */
int raw_read(int fd, uint64_t size_bytes, struct sink *sink, struct err *e);

#endif
