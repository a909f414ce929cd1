/* SPDX-License-Identifier: Apache-2.0 */
/* import_view - a file of unknown origin, of which the parts that were checked stay as they were.
 *
 * Whoever can write the file may do so between our check and its use; so what view_keep has read
 * once is what every later view_read shows.
 * Threads: view_keep while one thread has the view; view_read then by any, also at once. */
#ifndef GRIDBOX_CONTROL_IMPORT_VIEW_H
#define GRIDBOX_CONTROL_IMPORT_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

#define VIEW_KEEP_MAX (2u << 20) /* bytes that one view_keep may ask for */
#define VIEW_KEPT_MAX 16u        /* parts */
#define VIEW_SLACK    512u       /* a file may end inside its last sector */

struct view_part {
    uint64_t offset;
    size_t length;
    uint8_t *data;
};

struct view {
    int fd;        /* borrowed; read with pread */
    uint64_t size; /* bytes in the file, as it was at the beginning */
    struct view_part parts[VIEW_KEPT_MAX];
    unsigned part_count;
};

void view_init(struct view *v, int fd, uint64_t size);
void view_done(struct view *v); /* idempotent; also the AUTO function */

/* Reads a part and keeps it.  *ret is borrowed until view_done.
 *   -EINVAL  the file ends before, or the part is longer than VIEW_KEEP_MAX
 *   -ENOMEM, or -errno of reading */
int view_keep(struct view *v, uint64_t offset, size_t length, const uint8_t **ret, struct err *e);

/* 0, or -ENODATA when the range goes beyond the file's last sector, which is filled up with zeros;
 * -EIO when the file became shorter, or -errno of reading. */
int view_read(const struct view *v, void *buf, size_t length, uint64_t offset);

#endif
