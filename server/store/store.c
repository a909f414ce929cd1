/* SPDX-License-Identifier: Apache-2.0 */
/* store - one directory with layers and their map journal: opened, locked, closed.  It must never
 * know which image or volume a layer belongs to. */
#include "server/store/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"
#include "server/store/adopt.h"
#include "server/store/chain.h"
#include "server/store/live.h"
#include "server/store/open_layers.h"
#include "server/store/replay.h"
#include "server/store/restore.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define LOCK_WAIT_NS (2 * NS_PER_S)

/* ---- directory and lock -----------------------------------------------------------------------*/

static int make_dir(int at_fd, const char *name, const char *path, struct err *e)
{
    if (mkdirat(at_fd, name, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "make %s%s%s", path, at_fd == AT_FDCWD ? "" : "/",
                         at_fd == AT_FDCWD ? "" : name);
    return 0;
}

static int open_state(struct store *s, struct err *e)
{
    int rc = make_dir(AT_FDCWD, s->path, s->path, e);

    if (rc < 0)
        return rc;
    s->state_fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return s->state_fd < 0 ? err_errno(e, "%s", s->path) : 0;
}

static int open_dirs(struct store *s, struct err *e)
{
    static const char *const names[] = { "layers", "lost+found" };
    int rc;

    if (faccessat(s->state_fd, names[0], F_OK, 0) < 0 && errno == ENOENT)
        s->past = STORE_PAST_NONE;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rc = make_dir(s->state_fd, names[i], s->path, e);
        if (rc < 0)
            return rc;
    }
    s->dir.fd = openat(s->state_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir.fd < 0)
        return err_errno(e, "%s/layers", s->path);
    return 0;
}

/* Names that are there are relied on from now on; a process that was killed may not have synced
 * them. */
static int sync_dirs(struct store *s, struct err *e)
{
    int rc = s->ops->sync_dir(s->ops->ctx, s->state_fd);

    if (rc == 0)
        rc = s->ops->sync_dir(s->ops->ctx, s->dir.fd);
    return rc < 0 ? err_set(e, rc, "sync %s: %s", s->path, strerror(-rc)) : 0;
}

/* Who holds the lock, as far as its file says. */
static long lock_holder(int fd)
{
    char text[32] = "";

    if (pread(fd, text, sizeof text - 1, 0) < 0)
        return 0;
    return strtol(text, NULL, 10);
}

static int take_lock(struct store *s, struct err *e)
{
    int64_t deadline = clock_mono_ns() + LOCK_WAIT_NS;
    char text[32];

    s->lock_fd = openat(s->state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return err_errno(e, "%s/lock", s->path);
    while (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(e, "lock %s", s->path);
        if (clock_mono_ns() >= deadline)
            return err_set(e, -EBUSY, "%s is in use by gridboxd pid %ld", s->path,
                           lock_holder(s->lock_fd));
        nanosleep(&(struct timespec){ .tv_nsec = 20 * NS_PER_MS }, NULL);
    }
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(s->lock_fd, 0) < 0 || pwrite(s->lock_fd, text, (size_t)length, 0) != length)
        return err_errno(e, "write %s/lock", s->path);
    return 0;
}

/* ---- what was left half done ------------------------------------------------------------------*/

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);

    return a >= b && strcmp(text + a - b, end) == 0;
}

/* Imports and map files that were not whole when the server ended. */
static int delete_unfinished(struct store *s, struct err *e)
{
    int fd = openat(s->state_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(auto_closedir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!dir)
        return err_errno(e, "%s/layers", s->path);
    while ((entry = readdir(dir))) {
        if (!ends_with(entry->d_name, ".new") && !ends_with(entry->d_name, ".import"))
            continue;
        int rc = s->ops->unlink_at(s->ops->ctx, s->dir.fd, entry->d_name);
        if (rc < 0)
            return err_set(e, rc, "delete %s/layers/%s: %s", s->path, entry->d_name, strerror(-rc));
    }
    return 0;
}

int store_replay(struct store *s, const struct journal_view *view, struct err *e)
{
    int rc = replay_to_files(&s->dir, &s->journal, view, &s->files_lock, e);

    if ((rc == -ENOSPC || rc == -EDQUOT) && ballast_drop(&s->ballast))
        rc = replay_to_files(&s->dir, &s->journal, view, &s->files_lock, e);
    if (rc == 0)
        ballast_restore(&s->ballast);
    return rc;
}

int store_restore(struct store *s, const struct id_set *only, bool locked, struct err *e)
{
    struct journal_view view;
    int rc;

    do {
        jnl_view(&s->journal, &view);
        rc = restore_data(&s->dir, &s->journal, &view, only, locked, &s->files_lock, e);
        if ((rc == -ENOSPC || rc == -EDQUOT) && ballast_drop(&s->ballast))
            rc = restore_data(&s->dir, &s->journal, &view, only, locked, &s->files_lock, e);
    } while (rc < 0 && jnl_view_gone(&s->journal, &view)); /* begun anew while we read */
    return rc;
}

/* Everything that the journal holds goes into data files and map files. */
static int replay(struct store *s, struct err *e)
{
    struct journal_view view;
    int rc;

    jnl_view(&s->journal, &view);
    if (view.parts == 0)
        return 0;
    rc = store_replay(s, &view, e);
    if (rc == 0) /* now each has a map file, which says how long it must be */
        rc = store_restore(s, NULL, false, e);
    return rc < 0 ? rc : jnl_restart(&s->journal, e);
}

/* ---- after the process before this one --------------------------------------------------------*/

static int open_live(struct store *s, const struct store_options *o, bool *ret_adopted,
                     struct err *e)
{
    const struct live_options lo = { .ops = s->ops,
                                     .state_fd = s->state_fd,
                                     .state = s->path,
                                     .dir = o->live_dir,
                                     .store = s->dir.store,
                                     .slots = o->live_slots };

    return live_open(&lo, &s->live, ret_adopted, e);
}

/* It was killed, and all that it answered is in files, journal and live maps.  Nothing needs to be
 * written before others are served; the journal goes on where it was. */
static int go_on(struct store *s, struct err *e)
{
    int rc = adopt_all(s, e);

    if (rc < 0)
        return rc;
    s->past = STORE_PAST_KILLED;
    jnl_resume(&s->journal);
    return 0;
}

/* Goes on after a kill; else everything begins with what is in the files. */
static int begin(struct store *s, const struct store_options *o, struct err *e)
{
    struct err why = { 0 };
    bool adopted;
    int rc = open_live(s, o, &adopted, e);

    if (rc == 0) {
        rc = jnl_settle(&s->journal, e);
        if (rc < 0) /* final, as ever: what the page cache has of it may not be on disk */
            live_void(s->live);
    }
    if (rc == 0 && adopted) {
        rc = go_on(s, &why);
        if (rc == 0)
            return 0;
        if (rc != -EBADMSG)
            return err_set(e, rc, "%s", why.msg);
        log_error("store %s: %s: all of them are forgotten", s->path, why.msg);
        live_void(s->live);
        live_close(s->live);
        s->live = NULL;
        rc = open_live(s, o, &adopted, e);
    }
    return rc < 0 ? rc : replay(s, e);
}

/* ---- life -------------------------------------------------------------------------------------*/

static void resume_checkpoint(void *arg)
{
    struct store *s = arg;

    committer_resume(&s->committer);
}

static int open_parts(struct store *s, const struct store_options *o, struct err *e)
{
    int rc;

    rc = open_state(s, e);
    if (rc == 0)
        rc = store_check_fs(s->state_fd, &s->durability, e);
    if (rc == 0)
        rc = take_lock(s, e);
    if (rc == 0)
        rc = open_dirs(s, e);
    if (rc == 0)
        rc = sync_dirs(s, e);
    if (rc == 0)
        rc = delete_unfinished(s, e);
    if (rc == 0)
        rc = jnl_open(&s->journal, s->ops, s->state_fd, o->journal_bytes, e);
    if (rc < 0)
        return rc;
    s->dir.store = s->journal.store;
    ballast_init(&s->ballast, s->state_fd, s->journal.half_bytes);
    rc = begin(s, o, e);
    if (rc == 0 && committer_init(&s->committer, s) < 0)
        rc = err_set(e, -ENOMEM, "out of memory");
    if (rc == 0)
        shard_call(s->shard, resume_checkpoint, s);
    return rc;
}

int store_open(const struct store_options *o, struct store **ret, struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    int rc;

    if (!s || !(s->path = strdup(o->dir))) {
        free(s);
        return err_set(e, -ENOMEM, "store: out of memory");
    }
    s->ops = o->ops ? o->ops : &file_ops_real;
    s->shard = o->shard;
    s->read_pool = o->read_pool;
    s->slow_pool = o->slow_pool;
    s->journal_pool = o->journal_pool ? o->journal_pool : o->slow_pool;
    s->state_fd = s->lock_fd = s->dir.fd = -1;
    s->dir.ops = s->ops;
    pthread_mutex_init(&s->files_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    usage_init(&s->usage);
    chain_init_ops(&s->read_ops);
    layer_fds_init(s, o->sealed_fds);
    if (o->events)
        s->events = *o->events;
    volume_init_ops(s);
    s->log_blocks = o->log_blocks ? o->log_blocks : VOL_LOG_BLOCKS;
    if (s->log_blocks > VOL_LOG_BLOCKS)
        s->log_blocks = o->log_blocks == STORE_LOG_NONE ? 0 : VOL_LOG_BLOCKS;

    rc = open_parts(s, o, e);
    if (rc < 0) {
        store_close(s);
        return err_wrap(e, rc, "store %s", o->dir);
    }
    *ret = s;
    return 0;
}

static void close_on_shard(void *arg)
{
    struct store *s = arg;

    s->closing = true;
    shard_timer_cancel(s->shard, &s->tick);
    shard_timer_cancel(s->shard, &s->park_timer);
    shard_timer_cancel(s->shard, &s->settle_timer);
    committer_stop(&s->committer);
}

static void await_background(struct store *s)
{
    struct shard_gate gate;

    shard_gate_init(&gate);
    pthread_mutex_lock(&s->lock);
    bool busy = s->background > 0;
    s->no_background = busy ? &gate : NULL;
    pthread_mutex_unlock(&s->lock);
    if (busy)
        shard_gate_wait(s->shard, &gate, 0);
    pthread_mutex_lock(&s->lock); /* who opened the gate has let go of the lock, too */
    pthread_mutex_unlock(&s->lock);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->committer.batch) {
        adopt_settle_all(s); /* the machine may stop next */
        shard_call(s->shard, close_on_shard, s);
        await_background(s);
    }
    assert(!s->chains && !s->stacks); /* all devices are closed */
    committer_done(&s->committer);
    adopt_done(s);
    live_close(s->live);
    op_cache_done(&s->read_ops);
    op_cache_done(&s->volume_ops);
    op_cache_done(&s->bounces);
    jnl_close(&s->journal);
    if (s->dir.fd >= 0)
        close(s->dir.fd);
    if (s->state_fd >= 0)
        close(s->state_fd);
    if (s->lock_fd >= 0)
        close(s->lock_fd); /* last: with it goes the lock */
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->files_lock);
    usage_done(&s->usage);
    free(s->path);
    free(s);
}

enum store_past store_past(const struct store *s)
{
    return s->past;
}

const char *store_live_place(const struct store *s)
{
    return live_path(s->live);
}

const char *store_durability(const struct store *s)
{
    return s->durability;
}

void store_background(struct store *s, int change)
{
    pthread_mutex_lock(&s->lock);
    s->background = (unsigned)((int)s->background + change);
    if (!s->background && s->no_background) {
        shard_gate_open(s->no_background);
        s->no_background = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- what control asks of single layers -------------------------------------------------------*/

static int unlink_layer(struct store *s, struct layer_id id, struct err *e)
{
    char text[9];
    int rc;

    adopt_wait(s, id);
    pthread_mutex_lock(&s->files_lock);
    pthread_mutex_lock(&s->lock);
    bool open = store_layer_find(s, id) != NULL;
    pthread_mutex_unlock(&s->lock);
    rc = open ? err_set(e, -EBUSY, "it is in use") : lay_unlink_files(&s->dir, id, e);
    if (rc == 0)
        adopt_forget(s, id);
    usage_drop(&s->usage, id);
    pthread_mutex_unlock(&s->files_lock);
    return rc < 0 ? err_wrap(e, rc, "remove layer %s", lay_id_short(id, text)) : 0;
}

int layers_remove(struct store *s, const struct layer_id *ids, unsigned count, bool *ret_removed,
                  struct err *e)
{
    struct err why;
    int failed = 0;

    for (unsigned i = 0; i < count; i++) {
        int rc = unlink_layer(s, ids[i], failed ? &why : e);
        ret_removed[i] = rc == 0;
        failed = failed ? failed : rc;
    }
    int rc = s->ops->sync_dir(s->ops->ctx, s->dir.fd);
    if (rc == 0)
        return failed;
    memset(ret_removed, 0, count * sizeof *ret_removed);
    return err_set(e, rc, "sync layers/: %s", strerror(-rc));
}

int layer_remove(struct store *s, struct layer_id id, struct err *e)
{
    bool removed;

    return layers_remove(s, &id, 1, &removed, e);
}

/* Without a look at any file. */
static bool usage_known(struct store *s, struct layer_id id, uint64_t *ret_data_bytes)
{
    uint64_t blocks;

    pthread_mutex_lock(&s->lock);
    const struct layer *l = store_layer_find(s, id);
    bool known = l && l->loaded;
    if (known)
        *ret_data_bytes =
            atomic_load_explicit(&l->map.data_blocks, memory_order_relaxed) * DISK_BLOCK;
    pthread_mutex_unlock(&s->lock);
    if (known || adopt_usage(s, id, ret_data_bytes))
        return true;
    if (!usage_get(&s->usage, id, &blocks))
        return false;
    *ret_data_bytes = blocks * DISK_BLOCK;
    return true;
}

int layer_usage(struct store *s, struct layer_id id, uint64_t *ret_data_bytes, struct err *e)
{
    struct layer_info info;
    struct map map;

    if (usage_known(s, id, ret_data_bytes))
        return 0;
    int rc = replay_layer(&s->dir, &s->journal, id, &info, &map, e);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    uint64_t blocks = rc == 0 ? map.data_blocks : 0; /* a top that was never written */
    if (rc == 0)
        map_done(&map);
    usage_put(&s->usage, id, blocks, false);
    *ret_data_bytes = blocks * DISK_BLOCK;
    return 0;
}

#define LEARN_AT_ONCE 128u /* layers of one pass over the journal */

struct lesson {
    struct layer_id id[LEARN_AT_ONCE];
    uint64_t data_blocks[LEARN_AT_ONCE]; /* 0 also for one without files */
    unsigned count;
};

static int learn_one(void *ctx, const struct layer_info *info, struct map *map, struct err *e)
{
    struct lesson *n = ctx;

    (void)e;
    for (unsigned i = 0; i < n->count; i++)
        if (lay_id_equal(n->id[i], info->id))
            n->data_blocks[i] = map->data_blocks;
    return 0;
}

static void learn(struct store *s, struct lesson *n)
{
    struct journal_view view;

    jnl_view(&s->journal, &view);
    int rc = replay_each(&s->dir, &s->journal, n->id, n->count, learn_one, n, NULL);
    /* A half that was begun anew under our reading told nothing: they are read one by one, then. */
    for (unsigned i = 0; rc == 0 && !jnl_view_gone(&s->journal, &view) && i < n->count; i++)
        usage_put(&s->usage, n->id[i], n->data_blocks[i], false);
    *n = (struct lesson){ 0 };
}

void layers_learn(struct store *s, const struct layer_id *ids, size_t count,
                  bool (*stop)(void *ctx), void *ctx)
{
    struct lesson n = { 0 };
    uint64_t bytes;

    for (size_t i = 0; i < count && !stop(ctx); i++) {
        if (!usage_known(s, ids[i], &bytes))
            n.id[n.count++] = ids[i];
        if (n.count == LEARN_AT_ONCE)
            learn(s, &n);
    }
    if (n.count)
        learn(s, &n);
}
