/* SPDX-License-Identifier: Apache-2.0 */
/* recover - what a start finds in the directory of layers: tops that lost power while they were
 * written, and files that nobody knows. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"
#include "server/store/adopt.h"
#include "server/store/batch.h"
#include "server/store/layer_list.h"
#include "server/store/live.h"
#include "server/store/replay.h"
#include "server/store/store_state.h"

#define MARKS_PER_BATCH 512u

/* ---- volumes that were open -------------------------------------------------------------------*/

/* A top that was marked open; or one whose journal is gone, for then nobody knows. */
static bool lost_power(const struct store *s, struct layer_id id, struct layer_info *ret_info)
{
    struct err e = { 0 };
    int rc = lay_read_map(&s->dir, id, ret_info, NULL, &e);

    if (rc < 0) {
        log_error("store recover: %s", e.msg); /* its volume will say so when it is opened */
        return false;
    }
    return ret_info->kind == DISK_TOP &&
           (ret_info->mark == DISK_OPEN || !lay_id_equal(ret_info->store, s->dir.store));
}

struct found {
    int (*open_found)(void *ctx, struct layer_id id);
    void *ctx;
    struct id_set *ids; /* instead of calling open_found */
    int rc;
};

static int tell(struct found *f, struct layer_id id)
{
    if (f->ids)
        id_set_add(f->ids, id);
    else
        f->rc = f->open_found(f->ctx, id);
    return f->rc;
}

static int tell_failed(void *ctx, struct layer_id id, bool failed)
{
    return failed ? tell(ctx, id) : 0;
}

/* After a loss of power: all that are open. */
static int tell_open(struct store *s, struct found *f, struct err *e)
{
    AUTO(layer_list_done) struct layer_list l = { 0 };
    struct layer_info info;
    int rc = layer_list_read(s->state_fd, s->path, &l, e);

    for (size_t i = 0; i < l.count && rc == 0; i++)
        if (l.all[i].has_map && lost_power(s, l.all[i].id, &info)) {
            s->past = STORE_PAST_POWER;
            rc = tell(f, info.id);
        }
    return rc;
}

static int each_lost(struct store *s, struct found *f, struct err *e)
{
    int rc = s->past == STORE_PAST_KILLED ? live_each_layer(s->live, tell_failed, f)
                                          : tell_open(s, f, e);

    if (rc < 0 && (s->past == STORE_PAST_KILLED || f->rc < 0))
        return err_set(e, rc, "store recover: %s", strerror(-rc));
    return rc;
}

int store_recover(struct store *s, int (*open_found)(void *ctx, struct layer_id id), void *ctx,
                  struct err *e)
{
    struct found f = { .open_found = open_found, .ctx = ctx };

    return each_lost(s, &f, e);
}

/* ---- their new life ---------------------------------------------------------------------------*/

struct waiting_append {
    struct store *store;
    struct commit_entry entry;
    struct shard_gate gate;
    int error;
};

static void appended(struct commit_entry *entry, int error)
{
    struct waiting_append *w =
        (struct waiting_append *)((char *)entry - offsetof(struct waiting_append, entry));

    w->error = error;
    shard_gate_open(&w->gate);
}

static void submit(void *arg)
{
    struct waiting_append *w = arg;

    committer_submit(&w->store->committer, &w->entry);
}

int store_append(struct store *s, const struct buf *records, struct err *e)
{
    struct waiting_append w = {
        .store = s,
        .entry = { .records = records->data, .length = records->length, .done = appended },
    };

    if (records->failed)
        return err_set(e, -ENOMEM, "out of memory");
    if (records->length == 0)
        return 0;
    shard_gate_init(&w.gate);
    shard_call(s->shard, submit, &w);
    shard_gate_wait(s->shard, &w.gate, 0);
    return w.error < 0 ? err_set(e, w.error, "journal: %s", strerror(-w.error)) : 0;
}

/* One that is gone, or damaged, has no mark to change. */
static int add_clean(struct store *s, struct layer_id id, struct buf *records)
{
    struct layer_info info;
    struct map map;
    int rc = replay_layer(&s->dir, &s->journal, id, &info, &map, NULL);

    if (rc == 0) {
        map_done(&map);
        batch_add_mark(records, id, DISK_CLEAN, info.generation, info.epoch);
    }
    return rc == -ENOMEM ? rc : 0;
}

static int mark_clean(struct store *s, const struct layer_id *ids, size_t count, struct err *e)
{
    int rc = 0;

    for (size_t at = 0; at < count && rc == 0; at += MARKS_PER_BATCH) {
        AUTO(buf_done) struct buf records = { 0 };
        buf_init(&records, DISK_BATCH_MAX);
        for (size_t i = at; i < count && i < at + MARKS_PER_BATCH && rc == 0; i++)
            rc = add_clean(s, ids[i], &records);
        rc = rc < 0 ? err_set(e, rc, "%s", strerror(-rc)) : store_append(s, &records, e);
    }
    return rc;
}

static void start_settling(void *arg)
{
    adopt_start_settling(arg);
}

int store_recovered(struct store *s, struct err *e)
{
    AUTO(id_set_done) struct id_set lost = { 0 };
    AUTO(auto_free) struct layer_id *ids = NULL;
    struct found f = { .ids = &lost };
    size_t count = 0;
    int rc = each_lost(s, &f, e);

    if (rc == 0 && (lost.incomplete || !(ids = id_set_list(&lost, &count))))
        rc = err_set(e, -ENOMEM, "out of memory");
    if (rc == 0) {
        shard_call(s->shard, start_settling, s); /* the journal may be full until that is done */
        rc = mark_clean(s, ids, count, e);
    }
    if (rc < 0)
        return err_wrap(e, rc, "store recover");
    for (size_t i = 0; i < count; i++)
        live_forget(s->live, ids[i]);
    live_count(s->live);
    return 0;
}

/* ---- files that nobody knows ------------------------------------------------------------------*/

/* Nothing was ever written to it. */
static bool is_empty(struct store *s, const struct layer_file *f)
{
    struct layer_info info;
    struct map map;
    char name[LAYER_NAME_BYTES];
    struct stat st;

    if (!f->has_data)
        return true;
    int rc = replay_layer(&s->dir, &s->journal, f->id, &info, &map, NULL);
    if (rc == -ENOENT) { /* its files were being made */
        lay_file_name(f->id, ".data", name);
        return fstatat(s->dir.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_blocks == 0;
    }
    if (rc < 0)
        return false;
    bool used = false;
    for (uint32_t page = 0; page < map.page_count && !used; page++)
        used = map_page_used(&map, page);
    map_done(&map);
    return !used;
}

static int move_away(struct store *s, struct layer_id id, struct err *e)
{
    static const char *const suffixes[] = { ".data", ".map" };

    for (size_t i = 0; i < 2; i++) {
        char name[LAYER_NAME_BYTES], from[64], to[64];
        lay_file_name(id, suffixes[i], name);
        snprintf(from, sizeof from, "layers/%s", name);
        snprintf(to, sizeof to, "lost+found/%s", name);
        int rc = s->ops->rename_at(s->ops->ctx, s->state_fd, from, to);
        if (rc < 0 && rc != -ENOENT)
            return err_set(e, rc, "move %s to lost+found: %s", from, strerror(-rc));
        if (rc == 0)
            log_warn("store sweep: %s belongs to nothing: moved to %s/%s", from, s->path, to);
    }
    return 0;
}

int store_sweep(struct store *s, bool (*keep)(void *ctx, struct layer_id id), void *ctx,
                struct err *e)
{
    AUTO(layer_list_done) struct layer_list l = { 0 };
    unsigned moved = 0;
    int rc = layer_list_read(s->state_fd, s->path, &l, e);

    for (size_t i = 0; i < l.count && rc == 0; i++) {
        if (keep(ctx, l.all[i].id))
            continue;
        (void)store_settle(s, l.all[i].id, NULL); /* whole, if it is worth looking at */
        adopt_forget(s, l.all[i].id);
        if (is_empty(s, &l.all[i])) {
            rc = lay_delete_files(&s->dir, l.all[i].id, e);
        } else {
            rc = move_away(s, l.all[i].id, e);
            moved++;
        }
    }
    if (rc == 0 && moved) {
        int fd = openat(s->state_fd, "lost+found", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 ? -errno : s->ops->sync_dir(s->ops->ctx, fd); /* there before it is gone here */
        if (rc == 0)
            rc = s->ops->sync_dir(s->ops->ctx, s->dir.fd);
        if (fd >= 0)
            close(fd);
        if (rc < 0)
            err_set(e, rc, "sync lost+found: %s", strerror(-rc));
    }
    return rc < 0 ? err_wrap(e, rc, "store sweep") : 0;
}
