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

#define NAME_BYTES 512
#define FDS_MAX    1024

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
    bool short_writes, cut, was_full, all_cached, lose_all;
    uint64_t cut_at;
    struct sim_history history; /* since the last restore */
    uint64_t history_first;
    struct sim_tree now; /* what lies in the directory */
    unsigned groups;
    void (*on_op)(void *ctx, uint64_t number);
    void *on_op_ctx;
    void (*before_read)(void *ctx);
    void *before_read_ctx;
    struct {
        bool open, has_room;
        unsigned file;
    } fds[FDS_MAX];
};

static uint64_t draw(struct sim *s, uint64_t limit)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return s->seed % limit;
}

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
    assert(fd >= 0 && fd < FDS_MAX && s->fds[fd].open);
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
    assert(fd < FDS_MAX);
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

    if (s->all_cached || draw(s, 4))
        return sim_read_at(ctx, fd, buf, length, offset);
    if (draw(s, 2))
        return -EAGAIN;
    return sim_read_at(ctx, fd, buf, 1 + draw(s, length), offset);
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

/* ---- power ------------------------------------------------------------------------------------*/

static bool same_pages(const struct sim_content *a, const struct sim_content *b)
{
    return a->size == b->size && a->page_count == b->page_count &&
           (a->page_count == 0 ||
            memcmp(a->pages, b->pages, a->page_count * sizeof *a->pages) == 0);
}

static void put_pages(int fd, const struct sim_content *have, const struct sim_content *want)
{
    size_t h = 0;

    for (size_t w = 0; w < want->page_count || h < have->page_count;) {
        const struct sim_page *new = w < want->page_count ? want->pages[w] : NULL;
        const struct sim_page *old = h < have->page_count ? have->pages[h] : NULL;
        bool gone = old && (!new || old->index < new->index);
        off_t at = (off_t)((gone ? old : new)->index * SIM_PAGE);
        if (gone)
            assert(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, SIM_PAGE) == 0);
        else if (old != new)
            assert(pwrite(fd, new->bytes, SIM_PAGE, at) == SIM_PAGE);
        h += gone || (old && old->index == new->index);
        w += !gone;
    }
}

/* Makes a file hold `want`, where it holds `have` (NULL: there is none). */
static void put_file(const char *path, const struct sim_content *have,
                     const struct sim_content *want)
{
    static const struct sim_content nothing;

    if (have && same_pages(have, want))
        return;
    int fd = open(path, O_WRONLY | O_CREAT | (have ? 0 : O_TRUNC) | O_CLOEXEC, 0600);
    assert(fd >= 0);
    put_pages(fd, have ? have : &nothing, want);
    assert(ftruncate(fd, (off_t)want->size) == 0);
    close(fd);
}

/* Puts this tree into the directory; it is the beginning of a new history. */
static void put_tree(struct sim *s, struct sim_tree *t)
{
    for (size_t i = 0; i < s->now.name_count; i++)
        if (sim_tree_find(t, s->now.names[i].path) == SIM_NO_FILE)
            unlink(s->now.names[i].path);
    for (size_t i = 0; i < t->name_count; i++) {
        unsigned old = sim_tree_find(&s->now, t->names[i].path);
        put_file(t->names[i].path, old == SIM_NO_FILE ? NULL : &s->now.files[old],
                 &t->files[t->names[i].file]);
    }
    sim_tree_done(&s->now);
    sim_history_done(&s->history);
    s->now = sim_tree_copy(t);
    s->history.before = *t;
    s->history_first = s->count;
    s->cut = false;
    s->cut_at = 0;
    s->fail_times = 0;
    for (int i = 0; i < FDS_MAX; i++)
        assert(!s->fds[i].open);
}

void sim_restore(struct sim *s)
{
    struct sim_tree t = sim_history_world(&s->history, s->count, draw(s, UINT32_MAX),
                                          s->lose_all ? SIM_LOSE_ALL : SIM_LOSE_SOME);

    put_tree(s, &t);
}

void sim_be_plain(struct sim *s)
{
    s->all_cached = s->lose_all = true;
}

void sim_revive(struct sim *s)
{
    s->cut = false;
    s->cut_at = 0;
    s->fail_times = 0;
    for (int i = 0; i < FDS_MAX; i++)
        assert(!s->fds[i].open);
}

struct sim_past {
    struct sim_history history;
    uint64_t first, end;
};

struct sim_past *sim_past_take(struct sim *s)
{
    struct sim_past *p = calloc(1, sizeof *p);

    assert(p);
    p->history = s->history;
    p->first = s->history_first;
    p->end = s->count;
    s->history = (struct sim_history){ .before = sim_tree_copy(&s->now) };
    s->history_first = s->count;
    return p;
}

void sim_past_free(struct sim_past *p)
{
    if (!p)
        return;
    sim_history_done(&p->history);
    free(p);
}

uint64_t sim_past_first(const struct sim_past *p)
{
    return p->first;
}

uint64_t sim_past_end(const struct sim_past *p)
{
    return p->end;
}

bool sim_past_syncs(const struct sim_past *p, uint64_t number)
{
    for (size_t i = 0; i < p->history.count; i++)
        if (p->history.events[i].number == number)
            return p->history.events[i].kind == SIM_DID_SYNC ||
                   p->history.events[i].kind == SIM_DID_SYNC_DIR;
    return false;
}

/* The last name that a file had before the end of the past. */
static const char *name_of(const struct sim_past *p, unsigned file)
{
    const char *path = "?";

    for (size_t i = 0; i < p->history.before.name_count; i++)
        if (p->history.before.names[i].file == file)
            path = p->history.before.names[i].path;
    for (size_t i = 0; i < p->history.count; i++)
        if (p->history.events[i].kind == SIM_DID_NAME && p->history.events[i].file == file)
            path = p->history.events[i].data;
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void sim_past_show(const struct sim_past *p, uint64_t from, uint64_t to)
{
    static const char *const kinds[] = { "write",       "punch", "truncate",      "sync",
                                         "failed sync", "name",  "sync directory" };

    for (size_t i = 0; i < p->history.count; i++) {
        const struct sim_event *e = &p->history.events[i];
        if (e->number < from || e->number >= to)
            continue;
        printf("# %llu: %s %s %llu+%llu\n", (unsigned long long)(e->number - p->first),
               kinds[e->kind],
               e->kind == SIM_DID_NAME || e->kind == SIM_DID_SYNC_DIR
                   ? strrchr((const char *)e->data, '/') + 1
                   : name_of(p, e->file),
               (unsigned long long)e->offset, (unsigned long long)e->length);
    }
}

uint64_t sim_go_back(struct sim *s, const struct sim_past *p, uint64_t number, enum sim_crash crash,
                     uint64_t seed)
{
    struct sim_tree t = sim_history_world(&p->history, number, seed,
                                          crash == SIM_KILL ? SIM_LOSE_NOTHING : SIM_LOSE_SOME);

    put_tree(s, &t);
    if (crash == SIM_KILL) { /* what was not synced is so still */
        sim_history_done(&s->history);
        s->history = sim_history_copy(&p->history, number);
    }
    return sim_tree_hash(&s->now);
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

void sim_cut_at(struct sim *s, uint64_t number)
{
    s->cut_at = number;
}

bool sim_is_cut(const struct sim *s)
{
    return s->cut;
}
