/* SPDX-License-Identifier: Apache-2.0 */
/* file - small files read and replaced whole.  Blocking; not for the I/O path. */
#ifndef GRIDBOX_BASE_FILE_H
#define GRIDBOX_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "server/base/err.h"

/* Reads a whole file into heap memory with a NUL after it; the caller frees *ret_data.
 *   limit_bytes  a larger file is refused with -EFBIG
 * -errno of open or read otherwise.  ret_length may be NULL. */
int file_read(const char *path, size_t limit_bytes, char **ret_data, size_t *ret_length,
              struct err *e);

/* Replaces (or makes) a file so that after a crash it is the old one or the new one: written beside
 * it as PATH.new, synced, renamed, the directory synced. */
int file_replace(const char *path, const void *data, size_t length, mode_t mode, struct err *e);

/* fsync of the directory that holds `path`. */
int file_sync_dir_of(const char *path, struct err *e);

/* Writes all of it, over short writes and EINTR.  0 or -errno. */
int file_write_all(int fd, const void *data, size_t length);

#endif
