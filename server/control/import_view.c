/* SPDX-License-Identifier: Apache-2.0 */
/* import_view - reads a file, and remembers what was checked.  It must never know formats. */
#include "server/control/import_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/checked.h"

void view_init(struct view *v, int fd, uint64_t size)
{
    *v = (struct view){ .fd = fd, .size = size };
}

void view_done(struct view *v)
{
    for (unsigned i = 0; i < v->part_count; i++)
        free(v->parts[i].data);
    v->part_count = 0;
}

/* Puts what is kept of [offset, offset + length) over what was read. */
static void put_kept(const struct view *v, uint8_t *buf, size_t length, uint64_t offset)
{
    for (unsigned i = 0; i < v->part_count; i++) {
        const struct view_part *p = &v->parts[i];
        uint64_t start = p->offset > offset ? p->offset : offset;
        uint64_t p_end = p->offset + p->length, end = offset + length;

        if (p_end < end)
            end = p_end;
        if (start < end)
            memcpy(buf + (start - offset), p->data + (start - p->offset), end - start);
    }
}

int view_read(const struct view *v, void *buf, size_t length, uint64_t offset)
{
    uint8_t *p = buf;
    size_t done = 0;

    if (!range_inside(offset, length, round_up(v->size, VIEW_SLACK)))
        return -ENODATA;
    while (done < length && offset + done < v->size) {
        ssize_t n = pread(v->fd, p + done, length - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        done += (size_t)n;
    }
    memset(p + done, 0, length - done);
    put_kept(v, p, length, offset);
    return 0;
}

int view_keep(struct view *v, uint64_t offset, size_t length, const uint8_t **ret, struct err *e)
{
    if (!range_inside(offset, length, v->size))
        return err_set(e, -EINVAL, "it is truncated, or names places that are not in the file");
    if (length > VIEW_KEEP_MAX || v->part_count == VIEW_KEPT_MAX)
        return err_set(e, -EINVAL, "its header is larger than any real one");
    uint8_t *data = malloc(length ? length : 1);
    if (!data)
        return err_set(e, -ENOMEM, "out of memory");
    int rc = view_read(v, data, length, offset);
    if (rc < 0) {
        free(data);
        return err_set(e, rc, "reading it failed: %s", strerror(-rc));
    }
    v->parts[v->part_count++] =
        (struct view_part){ .offset = offset, .length = length, .data = data };
    *ret = data;
    return 0;
}
