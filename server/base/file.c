/* SPDX-License-Identifier: Apache-2.0 */
/* file - small files read and replaced whole. */
#include "server/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/auto.h"
#include "server/base/buf.h"

int file_read(const char *path, size_t limit_bytes, char **ret_data, size_t *ret_length,
              struct err *e)
{
    AUTO(auto_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s", path);

    AUTO(buf_done) struct buf b = { 0 };
    buf_init(&b, limit_bytes);
    for (;;) {
        char part[4096];
        ssize_t got = read(fd, part, sizeof part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_errno(e, "read %s", path);
        if (got == 0)
            break;
        buf_add(&b, part, (size_t)got);
        if (b.failed)
            return err_set(e, -EFBIG, "%s: larger than %zu bytes", path, limit_bytes);
    }
    if (!buf_text(&b))
        return err_set(e, -ENOMEM, "read %s: out of memory", path);
    if (ret_length)
        *ret_length = b.length;
    *ret_data = TAKE(b.data);
    return 0;
}

int file_write_all(int fd, const void *data, size_t length)
{
    const char *p = data;

    while (length) {
        ssize_t put = write(fd, p, length);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        p += put;
        length -= (size_t)put;
    }
    return 0;
}

int file_sync_dir_of(const char *path, struct err *e)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length = slash ? (int)(slash - path) : 0;

    if (snprintf(dir, sizeof dir, "%.*s", length ? length : 1, slash ? path : ".") >= PATH_MAX)
        return err_set(e, -ENAMETOOLONG, "%s: path too long", path);
    AUTO(auto_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return err_errno(e, "sync directory %s", dir);
    return 0;
}

/* Writes and syncs the new file; it is not yet in its place. */
static int write_new(const char *path, const void *data, size_t length, mode_t mode, struct err *e)
{
    AUTO(auto_close) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return err_errno(e, "create %s", path);

    int rc = file_write_all(fd, data, length);
    if (rc < 0)
        return err_wrap(e, rc, "write %s", path);
    if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
        return err_errno(e, "sync %s", path);
    return 0;
}

int file_replace(const char *path, const void *data, size_t length, mode_t mode, struct err *e)
{
    char fresh[PATH_MAX];

    if (snprintf(fresh, sizeof fresh, "%s.new", path) >= PATH_MAX)
        return err_set(e, -ENAMETOOLONG, "%s: path too long", path);
    int rc = write_new(fresh, data, length, mode, e);
    if (rc == 0 && rename(fresh, path) < 0)
        rc = err_errno(e, "rename %s", fresh);
    if (rc < 0) {
        unlink(fresh);
        return rc;
    }
    return file_sync_dir_of(path, e);
}
