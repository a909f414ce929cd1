/* SPDX-License-Identifier: Apache-2.0 */
/* sim_ops - file operations that can fail, be short, and lose power. */
#include "tests/unit/store/sim_ops.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/store/sim_disk.h"
#include "tests/unit/store/sim_state.h"

#define NAME_BYTES 512

/* ---- what happened ----------------------------------------------------------------------------*/

/* A change of content, by the operation that was counted last. */
static void note_change(struct sim *s, unsigned file, enum sim_event_kind kind, uint64_t offset,
                        uint64_t length, const void *data)
{
    struct sim_event e = {
        .kind = kind, .number = s->count - 1, .file = file, .offset = offset, .length = length
    };
    struct sim_content *c = &s->now.files[file];

    sim_history_add(&s->history, &e, data, data ? length : 0);
    if (kind == SIM_DID_WRITE)
        sim_content_write(c, offset, data, length);
    else if (kind == SIM_DID_PUNCH)
        sim_content_punch(c, offset, length);
    else if (kind == SIM_DID_TRUNCATE)
        sim_content_resize(c, length);
}

static void note_name(struct sim *s, const char *path, unsigned file)
{
    struct sim_event e = {
        .kind = SIM_DID_NAME, .number = s->count - 1, .file = file, .group = s->groups
    };

    sim_history_add(&s->history, &e, path, strlen(path) + 1);
    sim_tree_set(&s->now, path, file);
}

static void full_name(int dir_fd, const char *name, char ret[static NAME_BYTES])
{
    char link[64], dir[NAME_BYTES] = "";

    snprintf(link, sizeof link, "/proc/self/fd/%d", dir_fd);
    assert(readlink(link, dir, sizeof dir - 1) > 0);
    assert((size_t)snprintf(ret, NAME_BYTES, "%s/%s", dir, name) < NAME_BYTES);
}

/* A file that somebody made past us: it counts as durable. */
static unsigned adopt(struct sim *s, const char *path, int fd)
{
    unsigned file = sim_tree_add(&s->now);
    struct sim_content *c = &s->now.files[file];
    uint8_t page[SIM_PAGE];
    struct stat st;
    ssize_t got;

    assert(fstat(fd, &st) == 0);
    for (uint64_t at = 0; (got = pread(fd, page, sizeof page, (off_t)at)) > 0; at += (uint64_t)got)
        sim_content_write(c, at, page, (uint64_t)got);
    sim_content_resize(c, (uint64_t)st.st_size);
    sim_tree_set(&s->now, path, file);
    while (s->history.before.file_count <= file)
        sim_tree_add(&s->history.before);
    s->history.before.files[file] = sim_content_copy(c);
    sim_tree_set(&s->history.before, path, file);
    return file;
}

/* ---- the operations ---------------------------------------------------------------------------*/

/* One more operation: 0, or the error that it must end with. */
static int begin(struct sim *s, enum sim_op op)
{
    if (s->on_op)
        s->on_op(s->on_op_ctx, s->count);
    uint64_t number = s->count++;

    s->counts[op]++;
    if (s->cut_at && number >= s->cut_at)
        s->cut = true;
    if (s->cut)
        return -EIO;
    if (s->next[op].times) {
        s->next[op].times--;
        return s->next[op].error;
    }
    if (s->fail_times && number >= s->fail_at) {
        s->fail_times--;
        return s->fail_error;
    }
    return 0;
}

/* The same for one that needs room on the disk. */
static int begin_with_room(struct sim *s, enum sim_op op, bool has_room)
{
    int rc = begin(s, op);

    if (rc < 0 || !s->full_times || has_room)
        return rc;
    if (s->full_skip) {
        s->full_skip--;
        return 0;
    }
    s->full_times--;
    s->was_full = true;
    return -ENOSPC;
}

/* One that changes nothing: 0, or the error that it must end with. */
static int look(struct sim *s, enum sim_op op)
{
    s->counts[op]++;
    if (!s->next[op].times)
        return 0;
    s->next[op].times--;
    return s->next[op].error;
}

static unsigned file_of(const struct sim *s, int fd)
{
    assert(fd >= 0 && fd < SIM_FDS && s->fds[fd].open);
    return s->fds[fd].file;
}

static int sim_open_at(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    struct sim *s = ctx;
    bool has_room = strncmp(name, "journal", 7) == 0; /* it has its room in advance */
    char path[NAME_BYTES];
    int rc;

    full_name(dir_fd, name, path);
    unsigned file = sim_tree_find(&s->now, path);
    bool makes = file == SIM_NO_FILE && (flags & O_CREAT);
    rc = makes || (flags & O_TRUNC) ? begin_with_room(s, SIM_OPEN, has_room) : look(s, SIM_REOPEN);
    if (rc < 0)
        return rc;
    int fd = openat(dir_fd, name, flags | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    assert(fd < SIM_FDS);
    if (makes) {
        s->groups++;
        note_name(s, path, sim_tree_add(&s->now));
        file = sim_tree_find(&s->now, path);
    } else if (file == SIM_NO_FILE) {
        file = adopt(s, path, fd);
    } else if (flags & O_TRUNC) {
        note_change(s, file, SIM_DID_TRUNCATE, 0, 0, NULL);
    }
    s->fds[fd].open = true;
    s->fds[fd].file = file;
    s->fds[fd].has_room = has_room;
    return fd;
}

static void sim_close(void *ctx, int fd)
{
    struct sim *s = ctx;

    file_of(s, fd);
    s->fds[fd].open = false;
    close(fd);
}

static ssize_t sim_read_at(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    struct sim *s = ctx;

    void (*before)(void *ctx) = s->before_read;
    int rc;

    file_of(s, fd);
    s->before_read = NULL;
    if (before)
        before(s->before_read_ctx);
    rc = look(s, SIM_READ);
    if (rc < 0)
        return rc;
    ssize_t got = pread(fd, buf, length, (off_t)offset);
    return got < 0 ? -errno : got;
}

/* Often it is there, sometimes the first part, sometimes nothing. */
static ssize_t sim_read_cached(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    struct sim *s = ctx;

    if (s->all_cached || sim_draw(s, 4))
        return sim_read_at(ctx, fd, buf, length, offset);
    if (sim_draw(s, 2))
        return -EAGAIN;
    return sim_read_at(ctx, fd, buf, 1 + sim_draw(s, length), offset);
}

static ssize_t sim_write_at(void *ctx, int fd, const void *buf, size_t length, uint64_t offset)
{
    struct sim *s = ctx;
    unsigned file = file_of(s, fd);
    int rc = begin_with_room(s, SIM_WRITE, s->fds[fd].has_room);

    if (rc < 0)
        return rc;
    if (s->short_writes && length > 1)
        length /= 2;
    ssize_t put = pwrite(fd, buf, length, (off_t)offset);
    if (put < 0)
        return -errno;
    note_change(s, file, SIM_DID_WRITE, offset, (uint64_t)put, buf);
    return put;
}

static int sim_sync_data(void *ctx, int fd)
{
    struct sim *s = ctx;
    unsigned file = file_of(s, fd);
    int rc = begin(s, SIM_SYNC);

    if (rc < 0 && s->cut)
        return rc;
    note_change(s, file, rc < 0 ? SIM_DID_NOT_SYNC : SIM_DID_SYNC, 0, 0, NULL);
    return rc;
}

static int sim_sync_dir(void *ctx, int dir_fd)
{
    struct sim *s = ctx;
    struct sim_event e = { .kind = SIM_DID_SYNC_DIR, .file = SIM_NO_FILE };
    char dir[NAME_BYTES];
    int rc = begin(s, SIM_SYNC_DIR);

    if (rc < 0)
        return rc;
    full_name(dir_fd, "", dir);
    dir[strlen(dir) - 1] = '\0';
    e.number = s->count - 1;
    sim_history_add(&s->history, &e, dir, strlen(dir) + 1);
    return 0;
}

static int sim_punch(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    struct sim *s = ctx;
    unsigned file = file_of(s, fd);
    int rc = begin(s, SIM_PUNCH);

    if (rc < 0)
        return rc;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) < 0)
        return -errno;
    note_change(s, file, SIM_DID_PUNCH, offset, length, NULL);
    return 0;
}

static int sim_truncate(void *ctx, int fd, uint64_t size)
{
    struct sim *s = ctx;
    unsigned file = file_of(s, fd);
    int rc = begin_with_room(s, SIM_TRUNCATE, s->fds[fd].has_room);

    if (rc < 0)
        return rc;
    if (ftruncate(fd, (off_t)size) < 0)
        return -errno;
    note_change(s, file, SIM_DID_TRUNCATE, 0, size, NULL);
    return 0;
}

static int sim_rename_at(void *ctx, int dir_fd, const char *from, const char *to)
{
    struct sim *s = ctx;
    char a[NAME_BYTES], b[NAME_BYTES];
    int rc = begin(s, SIM_RENAME);

    if (rc < 0)
        return rc;
    if (renameat(dir_fd, from, dir_fd, to) < 0)
        return -errno;
    full_name(dir_fd, from, a);
    full_name(dir_fd, to, b);
    unsigned file = sim_tree_find(&s->now, a);
    assert(file != SIM_NO_FILE);
    s->groups++;
    note_name(s, a, SIM_NO_FILE);
    note_name(s, b, file);
    return 0;
}

static int sim_unlink_at(void *ctx, int dir_fd, const char *name)
{
    struct sim *s = ctx;
    char path[NAME_BYTES];
    int rc = begin(s, SIM_UNLINK);

    if (rc < 0)
        return rc;
    if (unlinkat(dir_fd, name, 0) < 0)
        return -errno;
    full_name(dir_fd, name, path);
    s->groups++;
    note_name(s, path, SIM_NO_FILE);
    return 0;
}

static int sim_lock(void *ctx, int fd, int operation)
{
    file_of(ctx, fd);
    return file_ops_real.lock(NULL, fd, operation);
}

static int sim_size(void *ctx, int fd, uint64_t *ret_bytes)
{
    file_of(ctx, fd);
    return file_ops_real.size(NULL, fd, ret_bytes);
}

/* Nothing is durable by that. */
static int sim_write_back(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    struct sim *s = ctx;

    (void)offset;
    (void)length;
    file_of(s, fd);
    int rc = look(s, SIM_WRITE_BACK);
    return rc == 0 && s->cut ? -EIO : rc;
}

static int sim_will_read(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    (void)offset;
    (void)length;
    file_of(ctx, fd);
    return 0;
}

/* ---- life -------------------------------------------------------------------------------------*/

struct sim *sim_new(uint64_t seed)
{
    struct sim *s = calloc(1, sizeof *s);

    assert(s && seed);
    s->seed = seed;
    s->ops = (struct file_ops){
        .open_at = sim_open_at,
        .close = sim_close,
        .read_at = sim_read_at,
        .read_cached = sim_read_cached,
        .write_at = sim_write_at,
        .sync_data = sim_sync_data,
        .sync_dir = sim_sync_dir,
        .punch = sim_punch,
        .truncate = sim_truncate,
        .rename_at = sim_rename_at,
        .unlink_at = sim_unlink_at,
        .lock = sim_lock,
        .size = sim_size,
        .write_back = sim_write_back,
        .will_read = sim_will_read,
        .ctx = s,
    };
    return s;
}

void sim_free(struct sim *s)
{
    sim_history_done(&s->history);
    sim_tree_done(&s->now);
    free(s);
}

const struct file_ops *sim_ops(struct sim *s)
{
    return &s->ops;
}

uint64_t sim_count(const struct sim *s)
{
    return s->count;
}

void sim_reseed(struct sim *s, uint64_t seed)
{
    s->seed = seed * 2 + 1;
}

void sim_on_op(struct sim *s, void (*fn)(void *ctx, uint64_t number), void *ctx)
{
    s->on_op = fn;
    s->on_op_ctx = ctx;
}

uint64_t sim_count_of(const struct sim *s, enum sim_op op)
{
    return s->counts[op];
}

void sim_fail_at(struct sim *s, uint64_t number, uint64_t times, int error)
{
    s->fail_at = number;
    s->fail_times = times;
    s->fail_error = error;
}

void sim_full(struct sim *s, unsigned skip, unsigned times)
{
    s->full_skip = skip;
    s->full_times = times;
    s->was_full = s->was_full && !times;
}

void sim_before_read(struct sim *s, void (*fn)(void *ctx), void *ctx)
{
    s->before_read = fn;
    s->before_read_ctx = ctx;
}

void sim_fail_next(struct sim *s, enum sim_op op, unsigned times, int error)
{
    s->next[op].times = times;
    s->next[op].error = error;
}

bool sim_was_full(const struct sim *s)
{
    return s->was_full;
}

void sim_short_writes(struct sim *s, bool on)
{
    s->short_writes = on;
}
