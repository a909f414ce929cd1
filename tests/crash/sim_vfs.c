/* SPDX-License-Identifier: Apache-2.0 */
/* sim_vfs - SQLite's files through a table of file operations. */
#include "tests/crash/sim_vfs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/io/file_ops.h"

#define CHECKPOINT_PAGES 60 /* of the WAL: often, so that it is seen */
#define PATH_BYTES       512
#define SECTOR_BYTES     4096 /* as SQLite says on Unix */

static struct {
    const struct file_ops *ops;
    uint64_t seed;
    void (*meanwhile)(void *ctx);
    void *meanwhile_ctx;
    enum sim_vfs_lie lie;
    sqlite3_vfs vfs;
} sim;

struct file {
    sqlite3_file base;
    int fd;
    bool sync_dir; /* its name is not durable yet */
    bool delete_on_close;
    char path[PATH_BYTES];
};

static struct file *file_of(sqlite3_file *f)
{
    return (struct file *)(void *)f;
}

void sim_vfs_meanwhile(void (*fn)(void *ctx), void *ctx)
{
    sim.meanwhile = fn;
    sim.meanwhile_ctx = ctx;
}

void sim_vfs_fail_commit(enum sim_vfs_lie lie)
{
    sim.lie = lie;
}

static bool is_log(const struct file *f)
{
    size_t length = strlen(f->path);

    return length > 4 && strcmp(f->path + length - 4, "-wal") == 0;
}

static void meanwhile(void)
{
    if (sim.meanwhile)
        sim.meanwhile(sim.meanwhile_ctx);
}

/* ---- directories ------------------------------------------------------------------------------*/

/* Opens the directory of a path; *ret_name is its last part. */
static int open_dir(const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_BYTES];

    assert(slash && slash != path);
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    *ret_name = slash + 1;
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int sync_dir_of(const char *path)
{
    const char *name;
    int fd = open_dir(path, &name);
    int rc = fd < 0 ? -errno : sim.ops->sync_dir(sim.ops->ctx, fd);

    if (fd >= 0)
        close(fd);
    return rc;
}

static int unlink_path(const char *path)
{
    const char *name;
    int fd = open_dir(path, &name);
    int rc = fd < 0 ? -errno : sim.ops->unlink_at(sim.ops->ctx, fd, name);

    if (fd >= 0)
        close(fd);
    return rc;
}

/* ---- a file -----------------------------------------------------------------------------------*/

static int vfs_close(sqlite3_file *base)
{
    struct file *f = file_of(base);

    sim.ops->close(sim.ops->ctx, f->fd);
    if (f->delete_on_close)
        (void)unlink_path(f->path);
    return SQLITE_OK;
}

static int vfs_read(sqlite3_file *base, void *buf, int length, sqlite3_int64 offset)
{
    char *at = buf;
    size_t left = (size_t)length;

    while (left) {
        ssize_t got = sim.ops->read_at(sim.ops->ctx, file_of(base)->fd, at, left, (uint64_t)offset);
        if (got < 0)
            return SQLITE_IOERR_READ;
        if (got == 0) {
            memset(at, 0, left);
            return SQLITE_IOERR_SHORT_READ;
        }
        at += got;
        offset += got;
        left -= (size_t)got;
    }
    return SQLITE_OK;
}

static int vfs_write(sqlite3_file *base, const void *buf, int length, sqlite3_int64 offset)
{
    const char *at = buf;
    size_t left = (size_t)length;

    meanwhile();
    while (left) {
        ssize_t put =
            sim.ops->write_at(sim.ops->ctx, file_of(base)->fd, at, left, (uint64_t)offset);
        if (put <= 0)
            return put == -ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        at += put;
        offset += put;
        left -= (size_t)put;
    }
    return SQLITE_OK;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    int rc = sim.ops->truncate(sim.ops->ctx, file_of(base)->fd, (uint64_t)size);

    return rc == 0 ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

static int vfs_sync(sqlite3_file *base, int flags)
{
    struct file *f = file_of(base);

    (void)flags;
    meanwhile();
    if (sim.lie && is_log(f)) {
        if (sim.lie == SIM_VFS_SYNCED)
            sim.ops->sync_data(sim.ops->ctx, f->fd);
        sim.lie = SIM_VFS_HONEST;
        return SQLITE_IOERR_FSYNC;
    }
    if (sim.ops->sync_data(sim.ops->ctx, f->fd) < 0)
        return SQLITE_IOERR_FSYNC;
    if (f->sync_dir && sync_dir_of(f->path) < 0)
        return SQLITE_IOERR_DIR_FSYNC;
    f->sync_dir = false;
    return SQLITE_OK;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    uint64_t bytes;

    if (sim.ops->size(sim.ops->ctx, file_of(base)->fd, &bytes) < 0)
        return SQLITE_IOERR_FSTAT;
    *ret = (sqlite3_int64)bytes;
    return SQLITE_OK;
}

static int vfs_lock(sqlite3_file *base, int level)
{
    (void)base;
    (void)level;
    return SQLITE_OK; /* nobody else is here */
}

static int vfs_reserved(sqlite3_file *base, int *ret)
{
    (void)base;
    *ret = 0;
    return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int what, void *arg)
{
    (void)base;
    (void)what;
    (void)arg;
    return SQLITE_NOTFOUND;
}

static int vfs_sector(sqlite3_file *base)
{
    (void)base;
    return SECTOR_BYTES;
}

static int vfs_traits(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = vfs_close,
    .xRead = vfs_read,
    .xWrite = vfs_write,
    .xTruncate = vfs_truncate,
    .xSync = vfs_sync,
    .xFileSize = vfs_size,
    .xLock = vfs_lock,
    .xUnlock = vfs_lock,
    .xCheckReservedLock = vfs_reserved,
    .xFileControl = vfs_control,
    .xSectorSize = vfs_sector,
    .xDeviceCharacteristics = vfs_traits,
};

/* ---- the file system --------------------------------------------------------------------------*/

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags,
                    int *ret_flags)
{
    struct file *f = file_of(base);
    bool create = flags & SQLITE_OPEN_CREATE;
    bool readonly = flags & SQLITE_OPEN_READONLY;
    const char *name;

    (void)vfs;
    base->pMethods = NULL;
    if (!path) /* a temporary file: the catalog keeps those in memory */
        return SQLITE_CANTOPEN;
    int dir = open_dir(path, &name);
    if (dir < 0)
        return SQLITE_CANTOPEN;
    /* The catalog makes its file itself before SQLite opens it: this is where the disk hears of it.
     */
    bool main_db = flags & SQLITE_OPEN_MAIN_DB;
    f->fd =
        sim.ops->open_at(sim.ops->ctx, dir, name,
                         (readonly ? O_RDONLY : O_RDWR) | (create || main_db ? O_CREAT : 0), 0600);
    close(dir);
    if (f->fd < 0)
        return f->fd == -ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN;
    snprintf(f->path, sizeof f->path, "%s", path);
    f->sync_dir =
        create && flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL | SQLITE_OPEN_SUPER_JOURNAL);
    f->delete_on_close = flags & SQLITE_OPEN_DELETEONCLOSE;
    if (ret_flags)
        *ret_flags = flags;
    base->pMethods = &methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_dir)
{
    (void)vfs;
    int rc = unlink_path(path);
    if (rc == -ENOENT)
        return SQLITE_IOERR_DELETE_NOENT;
    if (rc < 0)
        return SQLITE_IOERR_DELETE;
    return sync_dir && sync_dir_of(path) < 0 ? SQLITE_IOERR_DIR_FSYNC : SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *path, int what, int *ret)
{
    (void)vfs;
    *ret = access(path, what == SQLITE_ACCESS_READWRITE ? R_OK | W_OK : F_OK) == 0;
    return SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int size, char *ret)
{
    (void)vfs;
    assert(path[0] == '/');
    return snprintf(ret, (size_t)size, "%s", path) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int vfs_random(sqlite3_vfs *vfs, int length, char *ret)
{
    (void)vfs;
    for (int i = 0; i < length; i++) {
        sim.seed = sim.seed * 6364136223846793005ull + 1442695040888963407ull;
        ret[i] = (char)(sim.seed >> 56);
    }
    return length;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

/* Days since noon of 4714-11-24 B.C.; some day in 2026. */
static int vfs_time(sqlite3_vfs *vfs, double *ret)
{
    (void)vfs;
    *ret = 2461368.5;
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int size, char *ret)
{
    (void)vfs;
    if (size > 0)
        ret[0] = '\0';
    return 0;
}

static int open_hook(sqlite3 *db, char **ret_why, const struct sqlite3_api_routines *api)
{
    (void)ret_why;
    (void)api;
    return sqlite3_wal_autocheckpoint(db, CHECKPOINT_PAGES);
}

void sim_vfs_use(const struct file_ops *ops, uint64_t seed)
{
    sim.ops = ops;
    sim.seed = seed;
    if (sim.vfs.zName)
        return;
    sim.vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct file),
        .mxPathname = PATH_BYTES,
        .zName = "sim",
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_path,
        .xRandomness = vfs_random,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_time,
        .xGetLastError = vfs_last_error,
    };
    sqlite3_vfs_register(&sim.vfs, 1);
    sqlite3_auto_extension((void (*)(void))open_hook);
}
