/* SPDX-License-Identifier: Apache-2.0 */
/* sim_ops - file operations that can fail, be short, and lose power. */
#include "tests/unit/store/sim_ops.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_BYTES 256
#define FDS_MAX    256

/* A change of content that is not synced. */
struct change {
    struct change *next;
    enum sim_op op; /* WRITE, PUNCH, TRUNCATE */
    uint64_t offset, length;
    char data[];
};

struct file {
    struct file *next;
    char *content; /* as synced */
    uint64_t size, capacity;
    struct change *changes, **changes_end;
    bool has_room; /* the journal */
};

/* A name, now or on the disk. */
struct entry {
    struct entry *next;
    char name[NAME_BYTES];
    struct file *file;
};

/* A change of names that is not synced. */
struct rename {
    struct rename *next;
    char name[NAME_BYTES];
    struct file *file; /* NULL: the name is gone */
    unsigned group;    /* a rename is two of them, done together */
};

struct sim {
    struct file_ops ops;
    uint64_t seed, count, counts[SIM_OP_COUNT];
    uint64_t fail_at, fail_times;
    int fail_error;
    struct {
        unsigned times;
        int error;
    } next[SIM_OP_COUNT];
    unsigned full_skip, full_times;
    bool short_writes, cut;
    uint64_t cut_at;
    struct file *files;
    struct entry *now, *disk;
    struct rename *renames, **renames_end;
    unsigned groups;
    struct file *fds[FDS_MAX];
};

static uint64_t draw(struct sim *s, uint64_t limit)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return s->seed % limit;
}

/* ---- what is on the disk ----------------------------------------------------------------------*/

static void content_resize(struct file *f, uint64_t size)
{
    if (size > f->capacity) {
        f->content = realloc(f->content, size);
        assert(f->content);
        memset(f->content + f->capacity, 0, size - f->capacity);
        f->capacity = size;
    }
    if (size < f->size)
        memset(f->content + size, 0, f->size - size);
    f->size = size;
}

static void apply_part(struct file *f, const struct change *c, uint64_t from, uint64_t length)
{
    uint64_t end = c->offset + from + length;

    if (c->op == SIM_WRITE) {
        if (end > f->size)
            content_resize(f, end);
        memcpy(f->content + c->offset + from, c->data + from, length);
    } else if (c->offset + from < f->size) {
        memset(f->content + c->offset + from, 0,
               (end < f->size ? end : f->size) - c->offset - from);
    }
}

static void apply(struct file *f, const struct change *c)
{
    if (c->op == SIM_TRUNCATE)
        content_resize(f, c->length);
    else
        apply_part(f, c, 0, c->length);
}

static void drop_changes(struct file *f)
{
    while (f->changes) {
        struct change *c = f->changes;
        f->changes = c->next;
        free(c);
    }
    f->changes_end = &f->changes;
}

static void sync_file(struct file *f)
{
    for (struct change *c = f->changes; c; c = c->next)
        apply(f, c);
    drop_changes(f);
}

static void note_change(struct file *f, enum sim_op op, uint64_t offset, uint64_t length,
                        const void *data)
{
    size_t bytes = data ? length : 0;
    struct change *c = malloc(sizeof *c + bytes);

    assert(c);
    *c = (struct change){ .op = op, .offset = offset, .length = length };
    if (data)
        memcpy(c->data, data, bytes);
    *f->changes_end = c;
    f->changes_end = &c->next;
}

/* ---- names ------------------------------------------------------------------------------------*/

static void full_name(int dir_fd, const char *name, char ret[static NAME_BYTES])
{
    char link[64], dir[NAME_BYTES] = "";

    snprintf(link, sizeof link, "/proc/self/fd/%d", dir_fd);
    assert(readlink(link, dir, sizeof dir - 1) > 0);
    assert((size_t)snprintf(ret, NAME_BYTES, "%s/%s", dir, name) < NAME_BYTES);
}

static struct file *lookup(const struct entry *list, const char *name)
{
    for (; list; list = list->next)
        if (strcmp(list->name, name) == 0)
            return list->file;
    return NULL;
}

static void set_name(struct entry **list, const char *name, struct file *f)
{
    for (struct entry **at = list; *at; at = &(*at)->next)
        if (strcmp((*at)->name, name) == 0) {
            struct entry *old = *at;
            *at = old->next;
            free(old);
            break;
        }
    if (!f)
        return;
    struct entry *e = calloc(1, sizeof *e);
    assert(e);
    strcpy(e->name, name);
    e->file = f;
    e->next = *list;
    *list = e;
}

static void note_name(struct sim *s, const char *name, struct file *f)
{
    struct rename *r = calloc(1, sizeof *r);

    assert(r);
    strcpy(r->name, name);
    r->file = f;
    r->group = s->groups;
    *s->renames_end = r;
    s->renames_end = &r->next;
    set_name(&s->now, name, f);
}

static bool lies_in(const char *name, const char *dir)
{
    size_t length = strlen(dir);

    return strncmp(name, dir, length) == 0 && name[length] == '/' &&
           !strchr(name + length + 1, '/');
}

/* The changes of one directory's names, and what went together with them, are on the disk. */
static void sync_names(struct sim *s, const char *dir)
{
    struct rename **at = &s->renames;
    unsigned last_group = 0;

    for (struct rename *r = s->renames; r; r = r->next)
        if (lies_in(r->name, dir))
            last_group = r->group;
    while (*at) {
        struct rename *r = *at;
        if (lies_in(r->name, dir) || r->group == last_group) {
            set_name(&s->disk, r->name, r->file);
            *at = r->next;
            free(r);
        } else {
            at = &r->next;
        }
    }
    s->renames_end = at;
}

/* ---- the operations ---------------------------------------------------------------------------*/

/* One more operation: 0, or the error that it must end with. */
static int begin(struct sim *s, enum sim_op op)
{
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
static int begin_with_room(struct sim *s, enum sim_op op, const struct file *f)
{
    int rc = begin(s, op);

    if (rc < 0 || !s->full_times || (f && f->has_room))
        return rc;
    if (s->full_skip) {
        s->full_skip--;
        return 0;
    }
    s->full_times--;
    return -ENOSPC;
}

static struct file *file_of(struct sim *s, int fd)
{
    assert(fd >= 0 && fd < FDS_MAX && s->fds[fd]);
    return s->fds[fd];
}

static int sim_open_at(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    struct sim *s = ctx;
    char path[NAME_BYTES];
    int rc;

    full_name(dir_fd, name, path);
    struct file *f = lookup(s->now, path);
    bool makes = !f && (flags & O_CREAT);
    if (makes || (flags & O_TRUNC)) {
        rc = begin_with_room(s, SIM_OPEN, f);
        if (rc < 0)
            return rc;
    }
    int fd = openat(dir_fd, name, flags | O_CLOEXEC, mode);
    if (fd < 0)
        return -errno;
    assert(fd < FDS_MAX);
    if (makes) {
        f = calloc(1, sizeof *f);
        assert(f);
        f->changes_end = &f->changes;
        f->has_room = strncmp(name, "journal", 7) == 0;
        f->next = s->files;
        s->files = f;
        s->groups++;
        note_name(s, path, f);
    } else if (flags & O_TRUNC) {
        note_change(f, SIM_TRUNCATE, 0, 0, NULL);
    }
    assert(f);
    s->fds[fd] = f;
    return fd;
}

static void sim_close(void *ctx, int fd)
{
    struct sim *s = ctx;

    file_of(s, fd);
    s->fds[fd] = NULL;
    close(fd);
}

static ssize_t sim_read_at(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    struct sim *s = ctx;

    file_of(s, fd);
    if (s->next[SIM_READ].times) {
        s->next[SIM_READ].times--;
        return s->next[SIM_READ].error;
    }
    ssize_t got = pread(fd, buf, length, (off_t)offset);
    return got < 0 ? -errno : got;
}

/* Sometimes it is there, sometimes the first part, sometimes nothing. */
static ssize_t sim_read_cached(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    struct sim *s = ctx;

    if (draw(s, 2))
        return -EAGAIN;
    return sim_read_at(ctx, fd, buf, 1 + draw(s, length), offset);
}

static ssize_t sim_write_at(void *ctx, int fd, const void *buf, size_t length, uint64_t offset)
{
    struct sim *s = ctx;
    struct file *f = file_of(s, fd);
    int rc = begin_with_room(s, SIM_WRITE, f);

    if (rc < 0)
        return rc;
    if (s->short_writes && length > 1)
        length /= 2;
    ssize_t put = pwrite(fd, buf, length, (off_t)offset);
    if (put < 0)
        return -errno;
    note_change(f, SIM_WRITE, offset, (uint64_t)put, buf);
    return put;
}

static int sim_sync_data(void *ctx, int fd)
{
    struct sim *s = ctx;
    struct file *f = file_of(s, fd);
    int rc = begin(s, SIM_SYNC);

    if (rc < 0) {
        if (!s->cut)
            drop_changes(f); /* as the kernel does: what could not be written is clean now */
        return rc;
    }
    sync_file(f);
    return 0;
}

static int sim_sync_dir(void *ctx, int dir_fd)
{
    struct sim *s = ctx;
    char dir[NAME_BYTES];
    int rc = begin(s, SIM_SYNC_DIR);

    if (rc < 0)
        return rc;
    full_name(dir_fd, "", dir);
    dir[strlen(dir) - 1] = '\0';
    sync_names(s, dir);
    return 0;
}

static int sim_punch(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    struct sim *s = ctx;
    struct file *f = file_of(s, fd);
    int rc = begin(s, SIM_PUNCH);

    if (rc < 0)
        return rc;
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) < 0)
        return -errno;
    note_change(f, SIM_PUNCH, offset, length, NULL);
    return 0;
}

static int sim_truncate(void *ctx, int fd, uint64_t size)
{
    struct sim *s = ctx;
    struct file *f = file_of(s, fd);
    int rc = begin_with_room(s, SIM_TRUNCATE, f);

    if (rc < 0)
        return rc;
    if (ftruncate(fd, (off_t)size) < 0)
        return -errno;
    note_change(f, SIM_TRUNCATE, 0, size, NULL);
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
    struct file *f = lookup(s->now, a);
    assert(f);
    s->groups++;
    note_name(s, a, NULL);
    note_name(s, b, f);
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
    note_name(s, path, NULL);
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

static int sim_will_read(void *ctx, int fd, uint64_t offset, uint64_t length)
{
    (void)offset;
    (void)length;
    file_of(ctx, fd);
    return 0;
}

/* ---- power ------------------------------------------------------------------------------------*/

/* Any subset of what was not synced, each sector for itself. */
static void lose_some(struct sim *s, struct file *f)
{
    uint64_t style = draw(s, 4); /* all lost, all kept, some of them, some sectors */

    for (struct change *c = f->changes; c; c = c->next) {
        if (style == 0 || (style >= 2 && c->op != SIM_WRITE && draw(s, 2)) ||
            (style == 2 && draw(s, 2)))
            continue;
        if (style < 3 || c->op == SIM_TRUNCATE) {
            apply(f, c);
            continue;
        }
        for (uint64_t at = 0; at < c->length;) {
            uint64_t step = 512 - (c->offset + at) % 512;
            if (step > c->length - at)
                step = c->length - at;
            if (draw(s, 2))
                apply_part(f, c, at, step);
            at += step;
        }
    }
    drop_changes(f);
}

/* A prefix of the changes of names. */
static void lose_names(struct sim *s)
{
    unsigned kept = 0, last = 0;

    for (struct rename *r = s->renames; r; r = r->next)
        last = r->group;
    kept = (unsigned)draw(s, (uint64_t)last + 2);
    while (s->renames) {
        struct rename *r = s->renames;
        if (r->group <= kept)
            set_name(&s->disk, r->name, r->file);
        s->renames = r->next;
        free(r);
    }
    s->renames_end = &s->renames;
}

static void free_entries(struct entry **list)
{
    while (*list) {
        struct entry *e = *list;
        *list = e->next;
        free(e);
    }
}

void sim_restore(struct sim *s)
{
    for (struct file *f = s->files; f; f = f->next)
        lose_some(s, f);
    lose_names(s);
    for (struct entry *e = s->now; e; e = e->next)
        unlink(e->name);
    free_entries(&s->now);
    for (struct entry *e = s->disk; e; e = e->next) {
        int fd = open(e->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert(fd >= 0);
        assert(e->file->size == 0 ||
               write(fd, e->file->content, e->file->size) == (ssize_t)e->file->size);
        close(fd);
        set_name(&s->now, e->name, e->file);
    }
    s->cut = false;
    s->cut_at = 0;
    s->fail_times = 0;
}

/* ---- life -------------------------------------------------------------------------------------*/

struct sim *sim_new(uint64_t seed)
{
    struct sim *s = calloc(1, sizeof *s);

    assert(s && seed);
    s->seed = seed;
    s->renames_end = &s->renames;
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
        .will_read = sim_will_read,
        .ctx = s,
    };
    return s;
}

void sim_free(struct sim *s)
{
    while (s->files) {
        struct file *f = s->files;
        s->files = f->next;
        drop_changes(f);
        free(f->content);
        free(f);
    }
    while (s->renames) {
        struct rename *r = s->renames;
        s->renames = r->next;
        free(r);
    }
    free_entries(&s->now);
    free_entries(&s->disk);
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
}

void sim_fail_next(struct sim *s, enum sim_op op, unsigned times, int error)
{
    s->next[op].times = times;
    s->next[op].error = error;
}

void sim_short_writes(struct sim *s, bool on)
{
    s->short_writes = on;
}

void sim_cut_at(struct sim *s, uint64_t number)
{
    s->cut_at = number;
}

bool sim_is_cut(const struct sim *s)
{
    return s->cut;
}
