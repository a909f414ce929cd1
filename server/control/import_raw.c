/* SPDX-License-Identifier: Apache-2.0 */
/* import_raw - reads a raw disk from a descriptor.  It asks the file system for holes (SEEK_DATA),
 * so an almost empty disk costs what its data costs.  It must never know what the bytes mean. */
#include "server/control/import_raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/control/import_sink.h"

#define BLOCK 4096u

/* The next data at or after `at`: [*ret_start, *ret_end), in whole blocks, inside the file; nothing
 * but a hole is left when *ret_start is size.  A file that knows no holes is all data. */
static int next_data(int fd, uint64_t at, uint64_t size, uint64_t *ret_start, uint64_t *ret_end)
{
    off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

    if (data < 0 && errno == ENXIO) {
        *ret_start = *ret_end = size;
        return 0;
    }
    if (data < 0 && errno != EINVAL && errno != ENOTSUP)
        return -errno;
    hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
    uint64_t start = data < 0 ? at : round_down((uint64_t)data, BLOCK);
    uint64_t end = hole < 0 ? size : round_up((uint64_t)hole, BLOCK);

    *ret_start = start < at ? at : start > size ? size : start;
    if (end <= *ret_start) /* the file changes under us: go on in any case */
        end = *ret_start + BLOCK;
    *ret_end = end > size ? size : end;
    return 0;
}

/* Exactly `length` bytes, however many calls it takes. */
static int read_all(int fd, void *buf, uint64_t length, uint64_t offset, struct err *e)
{
    char *p = buf;

    while (length > 0) {
        ssize_t n = pread(fd, p, length, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(e, "reading at byte %llu failed", (unsigned long long)offset);
        if (n == 0)
            return err_set(e, -EIO, "the file became shorter while it was read");
        p += n;
        length -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

/* [sink_at, end) as data; at the end of the disk the last sector is padded with zeros. */
static int read_run(int fd, uint64_t end, uint64_t size, struct sink *sink, uint8_t *buf,
                    struct err *e)
{
    while (sink_at(sink) < end) {
        uint64_t at = sink_at(sink);
        uint64_t step = end - at < SINK_CHUNK_BYTES ? end - at : SINK_CHUNK_BYTES;
        uint64_t padded = at + step == size ? sink_size(sink) - at : step;
        int rc = read_all(fd, buf, step, at, e);

        if (rc < 0)
            return rc;
        memset(buf + step, 0, padded - step);
        rc = sink_data(sink, buf, padded, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int raw_read(int fd, uint64_t size_bytes, struct sink *sink, struct err *e)
{
    AUTO(auto_free) uint8_t *buf = malloc(SINK_CHUNK_BYTES);
    uint64_t start = 0, end = 0;

    if (!buf)
        return err_set(e, -ENOMEM, "out of memory");
    while (sink_at(sink) < size_bytes) {
        int rc = next_data(fd, sink_at(sink), size_bytes, &start, &end);
        if (rc < 0)
            return err_set(e, rc, "finding the next data failed: %s", strerror(-rc));
        if (start == size_bytes)
            start = end = sink_size(sink);
        rc = sink_zeros(sink, start - sink_at(sink), e);
        if (rc == 0 && end > start)
            rc = read_run(fd, end, size_bytes, sink, buf, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}
