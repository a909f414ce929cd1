/* SPDX-License-Identifier: Apache-2.0 */
/* adopt - what the process before this one left in the live file, when it was killed. */
#include "server/store/adopt.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"
#include "server/store/batch.h"
#include "server/store/id_set.h"
#include "server/store/layer_list.h"
#include "server/store/live.h"
#include "server/store/open_layers.h"
#include "server/store/replay.h"
#include "server/store/store_state.h"

#define SETTLE_AFTER_NS (10 * NS_PER_S) /* hosts come back sooner than that */
#define SETTLE_TICK_NS  NS_PER_S
#define SETTLE_AT_ONCE  8u

/* ---- the list ---------------------------------------------------------------------------------*/

static struct layer **find(struct store *s, struct layer_id id)
{
    struct layer **at = &s->adopted;

    while (*at && !lay_id_equal((*at)->id, id))
        at = &(*at)->next;
    return at;
}

static struct layer *take(struct store *s, struct layer_id id)
{
    struct layer **at = find(s, id), *l = *at;

    if (l)
        *at = l->next;
    return l;
}

static void put(struct store *s, struct layer *l)
{
    l->next = s->adopted;
    s->adopted = l;
}

static void free_adopted(struct layer *l)
{
    map_done(&l->map);
    free(l);
}

bool adopt_take(struct store *s, struct layer *top)
{
    pthread_mutex_lock(&s->lock);
    struct layer *l = take(s, top->id);
    s->opening += l != NULL;
    pthread_mutex_unlock(&s->lock);
    if (!l)
        return false;
    top->info = l->info;
    top->map = l->map;
    top->unsettled = l->unsettled;
    top->not_back = l->not_back;
    free(l);
    return true;
}

void adopt_opened(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->opening--;
    pthread_mutex_unlock(&s->lock);
    committer_settled(&s->committer);
}

void adopt_put_back(struct store *s, struct layer *top)
{
    struct layer *l = calloc(1, sizeof *l);

    if (!l) { /* the next process finds it still */
        log_error("store: out of memory: volume '%s' cannot be opened any more", top->info.name);
        live_fail(s->live, top->id);
        return;
    }
    l->id = top->id;
    l->info = top->info;
    l->map = top->map;
    l->data_fd = -1;
    l->unsettled = top->unsettled;
    l->not_back = top->not_back;
    map_init(&top->map, l->map.blocks);
    pthread_mutex_lock(&s->lock);
    put(s, l);
    pthread_mutex_unlock(&s->lock);
}

bool adopt_usage(struct store *s, struct layer_id id, uint64_t *ret_data_bytes)
{
    pthread_mutex_lock(&s->lock);
    const struct layer *l = *find(s, id);
    if (l)
        *ret_data_bytes = l->map.data_blocks * DISK_BLOCK;
    pthread_mutex_unlock(&s->lock);
    return l != NULL;
}

bool adopt_unsynced(const struct store *s, struct layer_id id)
{
    return id_set_has(&s->unsynced, id);
}

void adopt_forget(struct store *s, struct layer_id id)
{
    pthread_mutex_lock(&s->lock);
    struct layer *l = take(s, id);
    pthread_mutex_unlock(&s->lock);
    if (l)
        free_adopted(l);
    live_forget(s->live, id);
}

void adopt_done(struct store *s)
{
    id_set_done(&s->unsynced);
    while (s->adopted)
        free_adopted(take(s, s->adopted->id));
}

/* ---- at start ---------------------------------------------------------------------------------*/

struct adoption {
    struct store *store;
    struct id_set failed, live;
    struct id_set maybe; /* it is live, or has records, or its map file says OPEN */
    struct err *e;
};

static int note_live(void *ctx, struct layer_id id, bool failed)
{
    struct adoption *a = ctx;

    id_set_add(failed ? &a->failed : &a->live, id);
    if (!failed)
        id_set_add(&a->maybe, id);
    return 0;
}

static int note_record(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct adoption *a = ctx;

    (void)seq;
    id_set_add(&a->maybe, batch_layer(record));
    return 0;
}

static int note_open_files(struct adoption *a)
{
    AUTO(layer_list_done) struct layer_list list = { 0 };
    struct store *s = a->store;
    struct layer_info info;
    int rc = layer_list_read(s->state_fd, s->path, &list, a->e);

    for (size_t i = 0; i < list.count && rc == 0; i++)
        if (list.all[i].has_map && !id_set_has(&a->maybe, list.all[i].id) &&
            lay_read_map(&s->dir, list.all[i].id, &info, NULL, NULL) == 0 &&
            info.kind == DISK_TOP && info.mark == DISK_OPEN)
            id_set_add(&a->maybe, info.id);
    return rc;
}

/* One that is marked open has answered writes that are not durable.  One that is marked clean has
 * none, whatever the live file holds of it; but a write that was not answered may show, and what
 * shows must be synced before anybody is told that it is. */
static int adopt_one(void *ctx, const struct layer_info *info, struct map *map, struct err *e)
{
    struct adoption *a = ctx;
    char text[9];
    int rc;

    if (id_set_has(&a->failed, info->id)) {
        live_release(a->store->live, info->id);
        return 0;
    }
    if (info->kind != DISK_TOP || info->mark != DISK_OPEN) {
        if (id_set_has(&a->live, info->id)) {
            live_written(a->store->live, info->id);
            id_set_add(&a->store->unsynced, info->id);
        }
        return 0;
    }
    struct layer *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, -ENOMEM, "out of memory");
    l->id = info->id;
    l->info = *info;
    l->map = *map;
    l->data_fd = -1;
    map_init(map, l->map.blocks); /* taken */
    rc = live_adopt(a->store->live, l->id, &l->map);
    if (rc < 0) {
        free_adopted(l);
        return err_set(e, rc, "layer %s: %s", lay_id_short(info->id, text),
                       rc == -EBADMSG ? "its live map is impossible" : strerror(-rc));
    }
    put(a->store, l);
    return 0;
}

/* Pages of layers that are not there any more. */
static int drop_gone(void *ctx, struct layer_id id, bool failed)
{
    struct store *s = ctx;

    if (!*find(s, id) && !id_set_has(&s->unsynced, id) && !failed)
        live_forget(s->live, id);
    return 0;
}

/* They get back what was flushed, and show what is on the disk. */
static int restore_failed(struct adoption *a)
{
    const struct layer_dir *d = &a->store->dir;
    AUTO(auto_free) struct layer_id *ids = NULL;
    size_t count = 0;
    int fd, rc = store_restore(a->store, &a->failed, false, a->e);

    if (rc == 0 && !(ids = id_set_list(&a->failed, &count)))
        rc = err_set(a->e, -ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        if (lay_open_data(d, ids[i], false, &fd, NULL) == 0) {
            lay_drop_cached(d, fd);
            d->ops->close(d->ops->ctx, fd);
        }
    return rc;
}

static int adopt_what_counts(struct adoption *a)
{
    struct store *s = a->store;
    AUTO(auto_free) struct layer_id *ids = NULL;
    struct journal_view view;
    size_t count = 0;
    int rc;

    jnl_view(&s->journal, &view);
    rc = live_each_layer(s->live, note_live, a);
    if (rc == 0)
        rc = jnl_each(&s->journal, &view, note_record, a, a->e);
    if (rc == 0)
        rc = note_open_files(a);
    if (rc == 0 && (a->maybe.incomplete || a->live.incomplete || a->failed.incomplete ||
                    !(ids = id_set_list(&a->maybe, &count))))
        rc = err_set(a->e, -ENOMEM, "out of memory");
    if (rc == 0)
        rc = replay_each(&s->dir, &s->journal, ids, count, adopt_one, a, a->e);
    if (rc == 0 && s->unsynced.incomplete)
        rc = err_set(a->e, -ENOMEM, "out of memory");
    if (rc == 0 && a->failed.count)
        rc = restore_failed(a);
    return rc == 0 ? live_each_layer(s->live, drop_gone, s) : rc;
}

int adopt_all(struct store *s, struct err *e)
{
    struct adoption a = { .store = s, .e = e };
    int rc = adopt_what_counts(&a);

    id_set_done(&a.failed);
    id_set_done(&a.live);
    id_set_done(&a.maybe);
    if (rc < 0)
        adopt_done(s);
    return rc < 0 ? err_wrap(e, rc, "live maps") : 0;
}

/* ---- settling ---------------------------------------------------------------------------------*/

/* Those who wait for some to be settled. */
struct settle_group {
    unsigned left; /* the store's lock */
    int error;     /* the first */
    struct shard_gate gate;
};

struct settle {
    struct store *store;
    struct layer_id id;
    struct layer *layer; /* on the list of open layers meanwhile */
    struct pool_job sync;
    bool synced; /* the store's lock; only its records are not durable yet */
    struct buf records;
    struct commit_entry entry;
    struct settle_group *group; /* NULL: nobody waits */
    int error;
    struct settle *next; /* store.settling */
};

static struct settle *find_settle(const struct store *s, struct layer_id id)
{
    for (struct settle *x = s->settling; x; x = x->next)
        if (lay_id_equal(x->id, id))
            return x;
    return NULL;
}

static void unlink_settle(struct store *s, struct settle *x)
{
    struct settle **at = &s->settling;

    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
}

/* What may be there again later. */
static bool is_shortage(int rc)
{
    return rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -EBUSY;
}

static void close_layer(struct store *s, struct layer *l)
{
    if (l->data_fd >= 0)
        s->ops->close(s->ops->ctx, l->data_fd);
    l->data_fd = -1;
}

/* Its last step, on the shard. */
static void settled(struct settle *x)
{
    struct store *s = x->store;
    struct layer *l = x->layer;
    struct settle_group *group = x->group;

    if (x->error < 0 && !is_shortage(x->error) && !l->unsettled) {
        log_error("store: volume '%s': what was written before the server was killed cannot be "
                  "brought to disk: %s",
                  l->info.name, strerror(-x->error));
        live_fail(s->live, l->id);
        l->unsettled = true;
    }
    bool again = x->error < 0 && (is_shortage(x->error) || l->not_back); /* the timer begins it */
    buf_done(&x->records);
    if (x->error < 0) {
        adopt_put_back(s, l);
        adopt_start_settling(s);
    } else {
        map_done(&l->map);
        live_release(s->live, l->id);
    }
    store_layer_put(s, l);
    pthread_mutex_lock(&s->lock);
    unlink_settle(s, x);
    if (group && x->error < 0 && !group->error)
        group->error = x->error;
    bool last = group && --group->left == 0;
    pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
    if (last)
        shard_gate_open(&group->gate);
    free(x);
    if (!again)
        committer_settled(&s->committer);
    store_background(s, -1);
}

static void recorded(struct commit_entry *entry, int error)
{
    struct settle *x = (struct settle *)((char *)entry - offsetof(struct settle, entry));

    x->error = error;
    settled(x);
}

static struct settle *syncing(struct pool_job *j)
{
    return (struct settle *)((char *)j - offsetof(struct settle, sync));
}

/* It lost what was not flushed; what was flushed may be in the journal alone, and stays there as
 * long as there is no room to put it back. */
static void put_back(struct settle *x)
{
    struct store *s = x->store;
    AUTO(id_set_done) struct id_set only = { 0 };
    struct err e = { 0 };

    id_set_add(&only, x->id);
    int rc =
        only.incomplete ? err_set(&e, -ENOMEM, "out of memory") : store_restore(s, &only, true, &e);
    if (rc < 0 && !x->layer->not_back)
        log_error("store: volume '%s': %s", x->layer->info.name, e.msg);
    x->layer->not_back = lay_is_shortage(rc);
}

/* On the slow pool: the layer is nobody else's. */
static void run_sync(struct pool_job *j)
{
    struct settle *x = syncing(j);
    struct layer *l = x->layer;
    const struct file_ops *ops = x->store->ops;

    x->error = l->not_back ? -EIO : lay_open_data(&x->store->dir, l->id, true, &l->data_fd, NULL);
    if (x->error == 0)
        x->error = ops->sync_data(ops->ctx, l->data_fd);
    if (x->error < 0 && !is_shortage(x->error))
        put_back(x);
    if (x->error < 0)
        return;
    buf_init(&x->records, (l->map.changed_pages + 1) * BATCH_RECORD_MAX);
    batch_add_changes(&x->records, l->id, &l->map);
    batch_add_mark(&x->records, l->id, DISK_CLEAN, l->info.generation, l->info.epoch);
    if (x->records.failed)
        x->error = -ENOMEM;
}

static void synced(struct pool_job *j)
{
    struct settle *x = syncing(j);

    close_layer(x->store, x->layer);
    if (x->error < 0) {
        settled(x);
        return;
    }
    x->entry = (struct commit_entry){ .records = x->records.data,
                                      .length = x->records.length,
                                      .done = recorded };
    struct store *s = x->store;
    pthread_mutex_lock(&s->lock);
    x->synced = true;
    pthread_mutex_unlock(&s->lock);
    committer_submit(&s->committer, &x->entry); /* x may be gone; or it waits for a checkpoint … */
    committer_settled(&s->committer);           /* … which perhaps waited for this file alone */
}

/* Begins with one that is on the list: it is an open layer until that is over.  Under the lock. */
static bool start(struct store *s, struct layer_id id, struct settle_group *group)
{
    struct settle *x = store_layer_find(s, id) ? NULL : calloc(1, sizeof *x); /* being opened? */
    struct layer *l = x ? take(s, id) : NULL;

    if (!l) {
        free(x);
        return false;
    }
    atomic_init(&l->refs, 1);
    *x = (struct settle){ .store = s, .id = id, .layer = l, .group = group, .next = s->settling };
    s->settling = x;
    store_top_list_locked(s, l);
    s->background++;
    if (group)
        group->left++;
    x->sync = (struct pool_job){ .run = run_sync, .done = synced, .home = s->shard };
    pool_submit(s->slow_pool, &x->sync);
    return true;
}

static struct layer *next_unsettled(const struct store *s)
{
    for (struct layer *l = s->adopted; l; l = l->next)
        if (!l->unsettled || l->not_back)
            return l;
    return NULL;
}

static void settle_some(struct shard_timer *t)
{
    struct store *s = (struct store *)((char *)t - offsetof(struct store, settle_timer));
    unsigned running = 0;
    struct layer *l;

    if (s->committer.error)
        return;
    pthread_mutex_lock(&s->lock);
    for (const struct settle *x = s->settling; x; x = x->next)
        running += !x->synced;
    while (running < SETTLE_AT_ONCE && (l = next_unsettled(s)) && start(s, l->id, NULL))
        running++;
    bool more = next_unsettled(s) != NULL;
    pthread_mutex_unlock(&s->lock);
    if (more)
        shard_timer_set(s->shard, &s->settle_timer, clock_mono_ns() + SETTLE_TICK_NS);
}

void adopt_start_settling(struct store *s)
{
    s->settle_timer.fn = settle_some;
    committer_settled(&s->committer); /* a checkpoint may wait since the start */
    if (s->adopted && !s->closing)
        shard_timer_set(s->shard, &s->settle_timer, clock_mono_ns() + SETTLE_AFTER_NS);
}

bool adopt_settled(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    bool waiting = next_unsettled(s) != NULL, settled = !waiting && !s->opening;
    for (const struct settle *x = s->settling; x; x = x->next)
        settled = settled && x->synced;
    pthread_mutex_unlock(&s->lock);
    if (waiting && s->settle_timer.fn)
        settle_some(&s->settle_timer); /* committer_settled() brings us back for the next */
    return settled;
}

bool adopt_settling(struct store *s, struct layer_id id)
{
    pthread_mutex_lock(&s->lock);
    bool found = find_settle(s, id) != NULL;
    pthread_mutex_unlock(&s->lock);
    return found;
}

static int wait_for(struct store *s, struct layer_id id, bool begin)
{
    struct settle_group group = { 0 };
    struct settle *x;

    shard_gate_init(&group.gate);
    pthread_mutex_lock(&s->lock);
    while ((x = find_settle(s, id)) && x->group) /* another one waits for it */
        pthread_cond_wait(&s->idle, &s->lock);
    const struct layer *l = *find(s, id);
    if (x) {
        x->group = &group;
        group.left = 1;
    } else if (l && l->unsettled) {
        group.error = -EIO;
    } else if (l && begin) {
        start(s, id, &group);
    }
    bool wait = group.left > 0;
    pthread_mutex_unlock(&s->lock);
    if (wait)
        shard_gate_wait(s->shard, &group.gate, 0);
    return group.error;
}

void adopt_wait(struct store *s, struct layer_id id)
{
    (void)wait_for(s, id, false);
}

/* One that is marked clean, but was being written to. */
static int sync_clean(struct store *s, struct layer_id id)
{
    const struct file_ops *ops = s->ops;
    int fd, rc;

    if (!id_set_has(&s->unsynced, id)) /* made at start; never changed */
        return 0;
    rc = lay_open_data(&s->dir, id, false, &fd, NULL);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    rc = ops->sync_data(ops->ctx, fd);
    ops->close(ops->ctx, fd);
    return rc;
}

int store_settle(struct store *s, struct layer_id id, struct err *e)
{
    char text[9];
    int rc = wait_for(s, id, true);

    if (rc == 0)
        rc = sync_clean(s, id);

    return rc < 0 ? err_set(e, rc,
                            "layer %s: what was written before the server was killed cannot "
                            "be brought to disk: %s",
                            lay_id_short(id, text), strerror(-rc))
                  : 0;
}

void adopt_settle_all(struct store *s)
{
    struct settle_group group = { 0 };
    struct layer *l;

    shard_gate_init(&group.gate);
    pthread_mutex_lock(&s->lock);
    for (struct settle *x = s->settling; x; x = x->next)
        if (!x->group) {
            x->group = &group;
            group.left++;
        }
    while ((l = next_unsettled(s)) && start(s, l->id, &group))
        continue;
    bool wait = group.left > 0;
    pthread_mutex_unlock(&s->lock);
    if (wait)
        shard_gate_wait(s->shard, &group.gate, 0);
}
