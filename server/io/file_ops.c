/* SPDX-License-Identifier: Apache-2.0 */
/* file_ops - the kernel's file operations behind the table.
 * Owns nothing; must never know what the files mean. */
#include "server/io/file_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* The result of a system call that may be interrupted. */
#define RETRY(call)                                                                                \
    ({                                                                                             \
        __typeof__(call) _rc;                                                                      \
        do                                                                                         \
            _rc = (call);                                                                          \
        while (_rc < 0 && errno == EINTR);                                                         \
        _rc < 0 ? (__typeof__(_rc))-errno : _rc;                                                   \
    })

static int real_open_at(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    (void)ctx;
    return RETRY(openat(dir_fd, name, flags | O_CLOEXEC, mode));
}

static void real_close(void *ctx, int fd)
{
    (void)ctx;
    close(fd);
}

static ssize_t real_read_at(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    (void)ctx;
    return RETRY(pread(fd, buf, length, (off_t)offset));
}

static ssize_t real_read_cached(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    struct iovec v = { .iov_base = buf, .iov_len = length };

    (void)ctx;
    return RETRY(preadv2(fd, &v, 1, (off_t)offset, RWF_NOWAIT));
}

static ssize_t real_write_at(void *ctx, int fd, const void *buf, size_t length, uint64_t offset)
{
    (void)ctx;
    return RETRY(pwrite(fd, buf, length, (off_t)offset));
}

static int real_sync_data(void *ctx, int fd)
{
    (void)ctx;
    return fdatasync(fd) < 0 ? -errno : 0; /* never repeated: an error here is final */
}

static int real_sync_dir(void *ctx, int dir_fd)
{
    (void)ctx;
    return fsync(dir_fd) < 0 ? -errno : 0;
}

static int real_punch(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    (void)ctx;
    return RETRY(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length));
}

static int real_truncate(void *ctx, int fd, uint64_t size)
{
    (void)ctx;
    return RETRY(ftruncate(fd, (off_t)size));
}

static int real_rename_at(void *ctx, int dir_fd, const char *from, const char *to)
{
    (void)ctx;
    return renameat(dir_fd, from, dir_fd, to) < 0 ? -errno : 0;
}

static int real_unlink_at(void *ctx, int dir_fd, const char *name)
{
    (void)ctx;
    return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
}

static int real_lock(void *ctx, int fd, int operation)
{
    (void)ctx;
    return RETRY(flock(fd, operation));
}

static int real_write_back(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    (void)ctx;
    int rc = RETRY(sync_file_range(fd, (off_t)offset, (off_t)length,
                                   SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                       SYNC_FILE_RANGE_WAIT_AFTER));
    return rc == -ENOSYS || rc == -ESPIPE || rc == -EOPNOTSUPP ? 0 : rc;
}

static int real_size(void *ctx, int fd, uint64_t *ret_bytes)
{
    struct stat st;

    (void)ctx;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}

static int real_will_read(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    (void)ctx;
    return -posix_fadvise(fd, (off_t)offset, (off_t)length, POSIX_FADV_WILLNEED);
}

static void real_drop_cached(void *ctx, int fd)
{
    (void)ctx;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int real_find_hole(void *ctx, int fd, uint64_t *from, uint64_t *ret_to)
{
    off_t end = lseek(fd, 0, SEEK_END), hole, data;

    (void)ctx;
    if (end < 0)
        return -errno;
    hole = lseek(fd, (off_t)*from, SEEK_HOLE);
    if (hole < 0)
        return errno == ENXIO ? 0 : errno == EINVAL ? -EOPNOTSUPP : -errno;
    if (hole >= end)
        return 0;
    data = lseek(fd, hole, SEEK_DATA);
    *from = (uint64_t)hole;
    *ret_to = (uint64_t)(data < 0 ? end : data);
    return 1;
}

static char *real_map(void *ctx, int fd, uint64_t length)
{
    char *mapped = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);

    (void)ctx;
    return mapped == MAP_FAILED ? NULL : mapped;
}

static void real_unmap(void *ctx, char *mapped, uint64_t length)
{
    (void)ctx;
    munmap(mapped, length);
}

static bool real_in_memory(void *ctx, const char *at, uint64_t length)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)at & ~(page - 1);
    uintptr_t end = (uintptr_t)at + length;
    unsigned char there[256];

    (void)ctx;
    while (from < end) {
        uintptr_t pages = (end - from + page - 1) / page;
        if (pages > sizeof there)
            pages = sizeof there;
        if (mincore((void *)from, pages * page, there) < 0)
            return false;
        for (uintptr_t i = 0; i < pages; i++)
            if (!(there[i] & 1))
                return false;
        from += pages * page;
    }
    return true;
}

const struct file_ops file_ops_real = {
    .open_at = real_open_at,
    .close = real_close,
    .read_at = real_read_at,
    .read_cached = real_read_cached,
    .write_at = real_write_at,
    .sync_data = real_sync_data,
    .sync_dir = real_sync_dir,
    .punch = real_punch,
    .truncate = real_truncate,
    .rename_at = real_rename_at,
    .unlink_at = real_unlink_at,
    .lock = real_lock,
    .size = real_size,
    .write_back = real_write_back,
    .will_read = real_will_read,
    .drop_cached = real_drop_cached,
    .find_hole = real_find_hole,
    .map = real_map,
    .unmap = real_unmap,
    .in_memory = real_in_memory,
};
