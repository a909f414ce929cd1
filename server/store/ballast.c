/* SPDX-License-Identifier: Apache-2.0 */
/* ballast - room that is kept for what must work on a full disk.
 * Not by way of file_ops: nothing that is durable depends on it. */
#include "server/store/ballast.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/log.h"

#define NAME "ballast"

static bool is_there(const struct ballast *b)
{
    struct stat st;

    return fstatat(b->dir_fd, NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (uint64_t)st.st_blocks * 512 >= b->bytes;
}

static bool has_plenty(const struct ballast *b)
{
    struct statvfs fs;

    return fstatvfs(b->dir_fd, &fs) == 0 && fs.f_bavail * fs.f_frsize >= 2 * b->bytes;
}

/* 0 or -errno; then nothing of it is there. */
static int make(struct ballast *b)
{
    AUTO(auto_close) int fd = -1;
    int rc = 0;

    if (!has_plenty(b))
        return -ENOSPC;
    fd = openat(b->dir_fd, NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fallocate(fd, 0, 0, (off_t)b->bytes) < 0)
        rc = -errno;
    if (rc < 0 && fd >= 0)
        (void)unlinkat(b->dir_fd, NAME, 0);
    return rc;
}

void ballast_restore(struct ballast *b)
{
    if (b->none || !ballast_gone(b))
        return;
    int rc = is_there(b) ? 0 : make(b);
    if (rc == -EOPNOTSUPP || rc == -ENOSYS)
        atomic_store(&b->none, true);
    if (rc == 0 || b->none)
        atomic_store(&b->gone, false);
    else if (rc != -ENOSPC && rc != -EDQUOT)
        log_warn("store: room for a full disk cannot be kept: error %d", -rc);
}

void ballast_init(struct ballast *b, int dir_fd, uint64_t bytes)
{
    b->dir_fd = dir_fd;
    b->bytes = bytes;
    atomic_init(&b->none, false);
    atomic_init(&b->gone, true);
    ballast_restore(b);
}

bool ballast_drop(struct ballast *b)
{
    if (b->none || atomic_exchange(&b->gone, true))
        return false;
    if (unlinkat(b->dir_fd, NAME, 0) < 0)
        return false;
    log_warn("store: the disk is full: the room that is kept for that is used now");
    return true;
}
