/* SPDX-License-Identifier: Apache-2.0 */
/* layer - the two files of one layer. */
#include "server/store/layer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server/base/checked.h"
#include "server/base/clock.h"
#include "server/base/name.h"
#include "server/io/file_ops.h"

#define LOCK_WAIT_NS (10 * NS_PER_S)

void lay_file_name(struct layer_id id, const char *suffix, char ret[static LAYER_NAME_BYTES])
{
    char hex[LAYER_ID_TEXT];

    hex_encode(id.b, sizeof id.b, hex);
    int length = snprintf(ret, LAYER_NAME_BYTES, "%s%s", hex, suffix);
    assert(length > 0 && length < LAYER_NAME_BYTES);
}

bool lay_id_equal(struct layer_id a, struct layer_id b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

const char *lay_id_short(struct layer_id id, char ret[static 9])
{
    hex_encode(id.b, 4, ret);
    return ret;
}

int lay_write_all(const struct file_ops *ops, int fd, const void *data, size_t length,
                  uint64_t offset)
{
    const char *p = data;

    while (length) {
        ssize_t put = ops->write_at(ops->ctx, fd, p, length, offset);
        if (put <= 0)
            return put < 0 ? (int)put : -EIO;
        p += put;
        offset += (uint64_t)put;
        length -= (size_t)put;
    }
    return 0;
}

int lay_read_all(const struct file_ops *ops, int fd, void *buf, size_t length, uint64_t offset)
{
    char *p = buf;

    while (length) {
        ssize_t got = ops->read_at(ops->ctx, fd, p, length, offset);
        if (got < 0)
            return (int)got;
        if (got == 0) {
            memset(p, 0, length);
            return 0;
        }
        p += got;
        offset += (uint64_t)got;
        length -= (size_t)got;
    }
    return 0;
}

/* ---- map files --------------------------------------------------------------------------------*/

struct map_fd {
    const struct file_ops *ops;
    int fd;
    uint64_t size_bytes;
};

static int source_read(void *ctx, void *buf, size_t length, uint64_t offset)
{
    const struct map_fd *f = ctx;

    if (!range_inside(offset, length, f->size_bytes))
        return -ENODATA;
    return lay_read_all(f->ops, f->fd, buf, length, offset);
}

static int sink_write(void *ctx, const void *buf, size_t length, uint64_t offset)
{
    const struct map_fd *f = ctx;

    return lay_write_all(f->ops, f->fd, buf, length, offset);
}

static int read_map(const struct layer_dir *d, struct layer_id id, struct layer_info *ret_info,
                    struct map *ret_map, struct err *e)
{
    const struct file_ops *ops = d->ops;
    char name[LAYER_NAME_BYTES];
    struct layer_info info;
    int rc;

    lay_file_name(id, ".map", name);
    int fd = ops->open_at(ops->ctx, d->fd, name, O_RDONLY, 0);
    if (fd < 0)
        return err_set(e, fd, "layers/%s: %s", name, strerror(-fd));

    struct map_fd file = { .ops = ops, .fd = fd };
    struct map_source source = { .read = source_read, .ctx = &file };
    rc = ops->size(ops->ctx, fd, &file.size_bytes);
    if (rc < 0) {
        err_set(e, rc, "%s", strerror(-rc));
    } else {
        source.size_bytes = file.size_bytes;
        rc = map_file_read(&source, &info, ret_map, e);
    }
    ops->close(ops->ctx, fd);
    if (rc == 0 && !lay_id_equal(info.id, id)) {
        if (ret_map)
            map_done(ret_map);
        rc = err_set(e, -EIO, "it belongs to another layer");
    }
    if (rc < 0)
        return err_wrap(e, rc, "layers/%s", name);
    *ret_info = info;
    return 0;
}

int lay_read_map(const struct layer_dir *d, struct layer_id id, struct layer_info *ret_info,
                 struct map *ret_map, struct err *e)
{
    struct layer_info info;
    char name[LAYER_NAME_BYTES];
    int rc = read_map(d, id, &info, ret_map, e);

    if (rc < 0)
        return rc;
    if (info.mark == DISK_LOST) {
        if (ret_map)
            map_done(ret_map);
        lay_file_name(id, ".data", name);
        return err_set(e, -EIO, "layers/%s lacks what was flushed: the disk refused it", name);
    }
    *ret_info = info;
    return 0;
}

/* ---- map files: writing -----------------------------------------------------------------------*/

/* What is begun has another name; a checkpoint may make one while restore makes the other. */
#define FRESH      ".map.new"
#define FRESH_LOST ".lost.new"

static void drop_map(const struct layer_dir *d, struct layer_id id, const char *suffix, int fd)
{
    char fresh[LAYER_NAME_BYTES];

    lay_file_name(id, suffix, fresh);
    d->ops->close(d->ops->ctx, fd);
    d->ops->unlink_at(d->ops->ctx, d->fd, fresh);
}

static int begin_map(const struct layer_dir *d, const struct layer_info *info,
                     const struct map *map, const struct block_crcs *crcs, const char *suffix,
                     int *ret_fd, struct err *e)
{
    const struct file_ops *ops = d->ops;
    char fresh[LAYER_NAME_BYTES];
    struct map_fd file = { .ops = ops };
    int rc;

    lay_file_name(info->id, suffix, fresh);
    file.fd = ops->open_at(ops->ctx, d->fd, fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file.fd < 0)
        return err_set(e, file.fd, "layers/%s: %s", fresh, strerror(-file.fd));
    rc =
        map_file_write(&(struct map_sink){ .write = sink_write, .ctx = &file }, info, map, crcs, e);
    if (rc == 0) {
        rc = ops->write_back(ops->ctx, file.fd, 0, 0);
        if (rc < 0)
            err_set(e, rc, "write: %s", strerror(-rc));
    }
    if (rc < 0) {
        drop_map(d, info->id, suffix, file.fd);
        return err_wrap(e, rc, "layers/%s", fresh);
    }
    *ret_fd = file.fd;
    return 0;
}

static int end_map(const struct layer_dir *d, struct layer_id id, const char *suffix, int fd,
                   struct err *e)
{
    const struct file_ops *ops = d->ops;
    char name[LAYER_NAME_BYTES], fresh[LAYER_NAME_BYTES];
    const char *what = "sync";
    int rc;

    lay_file_name(id, ".map", name);
    lay_file_name(id, suffix, fresh);
    rc = ops->sync_data(ops->ctx, fd);
    if (rc == 0) {
        what = "rename";
        rc = ops->rename_at(ops->ctx, d->fd, fresh, name);
    }
    if (rc < 0) {
        drop_map(d, id, suffix, fd);
        return err_set(e, rc, "layers/%s: %s: %s", fresh, what, strerror(-rc));
    }
    ops->close(ops->ctx, fd);
    return 0;
}

int lay_begin_map(const struct layer_dir *d, const struct layer_info *info, const struct map *map,
                  const struct block_crcs *crcs, int *ret_fd, struct err *e)
{
    return begin_map(d, info, map, crcs, FRESH, ret_fd, e);
}

void lay_drop_map(const struct layer_dir *d, struct layer_id id, int fd)
{
    drop_map(d, id, FRESH, fd);
}

int lay_end_map(const struct layer_dir *d, struct layer_id id, int fd, struct err *e)
{
    return end_map(d, id, FRESH, fd, e);
}

int lay_write_map(const struct layer_dir *d, const struct layer_info *info, const struct map *map,
                  const struct block_crcs *crcs, struct err *e)
{
    int fd, rc = lay_begin_map(d, info, map, crcs, &fd, e);

    return rc < 0 ? rc : lay_end_map(d, info->id, fd, e);
}

int lay_mark_lost(const struct layer_dir *d, struct layer_id id, struct err *e)
{
    struct layer_info info;
    struct map map;
    int fd, rc = read_map(d, id, &info, &map, e);

    if (rc == -EIO) /* nobody takes it for whole as it is */
        return 0;
    if (rc == -ENOENT) { /* no checkpoint came yet */
        info = (struct layer_info){
            .id = id, .store = d->store, .kind = DISK_TOP, .size_bytes = DISK_BLOCK
        };
        map_init(&map, 1);
    } else if (rc < 0) {
        return rc;
    }
    info.mark = DISK_LOST;
    rc = begin_map(d, &info, &map, NULL, FRESH_LOST, &fd, e);
    map_done(&map);
    if (rc == 0)
        rc = end_map(d, id, FRESH_LOST, fd, e);
    if (rc < 0)
        return rc;
    rc = d->ops->sync_dir(d->ops->ctx, d->fd);
    return rc < 0 ? err_set(e, rc, "sync layers/: %s", strerror(-rc)) : 0;
}

/* ---- data files -------------------------------------------------------------------------------*/

/* Waits for the lock of a server that is ending, but not for ever. */
static int lock_wait(const struct file_ops *ops, int fd)
{
    int64_t deadline = clock_mono_ns() + LOCK_WAIT_NS;
    int rc;

    for (;;) {
        rc = ops->lock(ops->ctx, fd, LOCK_EX | LOCK_NB);
        if (rc != -EWOULDBLOCK)
            return rc;
        if (clock_mono_ns() >= deadline)
            return -EBUSY;
        nanosleep(&(struct timespec){ .tv_nsec = 10 * NS_PER_MS }, NULL);
    }
}

int lay_open_data(const struct layer_dir *d, struct layer_id id, bool writable, int *ret_fd,
                  struct err *e)
{
    const struct file_ops *ops = d->ops;
    char name[LAYER_NAME_BYTES];

    lay_file_name(id, ".data", name);
    int fd = ops->open_at(ops->ctx, d->fd, name, writable ? O_RDWR : O_RDONLY, 0);
    if (fd < 0)
        return err_set(e, fd, "layers/%s: %s", name, strerror(-fd));
    int rc = writable ? lock_wait(ops, fd) : 0;
    if (rc < 0) {
        ops->close(ops->ctx, fd);
        return err_set(e, rc, "layers/%s: lock: %s", name,
                       rc == -EBUSY ? "another gridboxd still writes to it" : strerror(-rc));
    }
    *ret_fd = fd;
    return 0;
}

int lay_has_data(const struct layer_dir *d, struct layer_id id)
{
    char name[LAYER_NAME_BYTES];

    lay_file_name(id, ".data", name);
    int fd = d->ops->open_at(d->ops->ctx, d->fd, name, O_RDONLY, 0);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    d->ops->close(d->ops->ctx, fd);
    return 1;
}

static int make_long_enough(const struct file_ops *ops, int fd, uint64_t size_bytes)
{
    uint64_t bytes, want = round_up(size_bytes, DISK_BLOCK);
    int rc = ops->size(ops->ctx, fd, &bytes);

    return rc < 0 || bytes >= want ? rc : ops->truncate(ops->ctx, fd, want);
}

int lay_set_size(const struct layer_dir *d, const struct layer_info *info)
{
    char name[LAYER_NAME_BYTES];

    lay_file_name(info->id, ".data", name);
    int fd = d->ops->open_at(d->ops->ctx, d->fd, name, O_RDWR, 0);
    if (fd < 0)
        return fd;
    int rc = make_long_enough(d->ops, fd, info->size_bytes);
    d->ops->close(d->ops->ctx, fd);
    return rc;
}

void lay_drop_cached(const struct layer_dir *d, int fd)
{
    (void)d->ops->sync_data(d->ops->ctx, fd); /* what is dirty has its chance */
    if (d->ops->drop_cached)
        d->ops->drop_cached(d->ops->ctx, fd);
}

int lay_open_sealed(const struct layer_dir *d, struct layer_id id, bool with_crcs,
                    struct layer_fds *ret, struct err *e)
{
    struct layer_fds fds = LAYER_NO_FDS;
    char name[LAYER_NAME_BYTES];
    int rc;

    rc = lay_open_data(d, id, false, &fds.data, e);
    if (rc < 0)
        return rc;
    if (with_crcs) {
        lay_file_name(id, ".map", name);
        fds.crcs = d->ops->open_at(d->ops->ctx, d->fd, name, O_RDONLY, 0);
        if (fds.crcs < 0) {
            rc = err_set(e, fds.crcs, "layers/%s: %s", name, strerror(-fds.crcs));
            lay_close_fds(d->ops, &fds);
            return rc;
        }
    }
    *ret = fds;
    return 0;
}

void lay_close_fds(const struct file_ops *ops, struct layer_fds *fds)
{
    if (fds->data >= 0)
        ops->close(ops->ctx, fds->data);
    if (fds->crcs >= 0)
        ops->close(ops->ctx, fds->crcs);
    *fds = LAYER_NO_FDS;
}

/* Does the file hold anything?  (A file system that cannot tell says that it does, if it has
 * blocks.) */
static bool has_content(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_blocks && lseek(fd, 0, SEEK_DATA) >= 0;
}

static int map_is_gone(const char *name, struct err *e)
{
    return err_set(e, -EIO,
                   "layers/%s holds data, but what says where is gone (its map file, or the "
                   "journal)",
                   name);
}

int lay_check_unmade(const struct layer_dir *d, struct layer_id id, struct err *e)
{
    char name[LAYER_NAME_BYTES];

    lay_file_name(id, ".data", name);
    int fd = d->ops->open_at(d->ops->ctx, d->fd, name, O_RDONLY, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return err_set(e, fd, "layers/%s: %s", name, strerror(-fd));
    bool gone = has_content(fd);
    d->ops->close(d->ops->ctx, fd);
    return gone ? map_is_gone(name, e) : 0;
}

int lay_make_data(const struct layer_dir *d, const struct layer_info *info, int *ret_fd,
                  struct err *e)
{
    const struct file_ops *ops = d->ops;
    char name[LAYER_NAME_BYTES];
    int rc;

    lay_file_name(info->id, ".data", name);
    int fd = ops->open_at(ops->ctx, d->fd, name, O_RDWR | O_CREAT, 0600);
    if (fd < 0)
        return err_set(e, fd, "layers/%s: %s", name, strerror(-fd));
    rc = lock_wait(ops, fd);
    if (rc == 0 && has_content(fd)) {
        ops->close(ops->ctx, fd);
        return map_is_gone(name, e);
    }
    if (rc == 0)
        rc = ops->truncate(ops->ctx, fd, round_up(info->size_bytes, DISK_BLOCK));
    if (rc < 0) {
        ops->unlink_at(ops->ctx, d->fd, name);
        ops->close(ops->ctx, fd);
        return err_set(e, rc, "layers/%s: %s", name, strerror(-rc));
    }
    *ret_fd = fd;
    return 0;
}

int lay_unlink_files(const struct layer_dir *d, struct layer_id id, struct err *e)
{
    /* The data first: without it, neither a map file nor a MAKE record means anything. */
    static const char *const suffixes[] = { ".data", ".map" };
    const struct file_ops *ops = d->ops;
    int rc;

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char name[LAYER_NAME_BYTES];
        lay_file_name(id, suffixes[i], name);
        rc = ops->unlink_at(ops->ctx, d->fd, name);
        if (rc < 0 && rc != -ENOENT)
            return err_set(e, rc, "delete layers/%s: %s", name, strerror(-rc));
    }
    return 0;
}

int lay_delete_files(const struct layer_dir *d, struct layer_id id, struct err *e)
{
    int rc = lay_unlink_files(d, id, e);

    if (rc < 0)
        return rc;
    rc = d->ops->sync_dir(d->ops->ctx, d->fd);
    return rc < 0 ? err_set(e, rc, "sync layers/: %s", strerror(-rc)) : 0;
}
