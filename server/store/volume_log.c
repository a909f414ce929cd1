/* SPDX-License-Identifier: Apache-2.0 */
/* volume_log - a flush of little goes by the journal: the blocks that were written since the last
 * commit are appended to it, content and all, in place of a sync of the data file.
 *
 * One sync of a file that is written from front to back, shared by all volumes, instead of one of
 * each data file (which allocates: the file system's own journal) and then one of ours.  What the
 * data files are owed by that is paid when the half of the journal is full, or when a commit that
 * is not so small syncs the file anyway.
 *
 * Which block was written is noted until the next commit; its content is read back from the page
 * cache when that begins, on the shard, while nothing else writes to the file: so no sector is
 * torn. Must never know what the requests wanted. */
#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/io/file_ops.h"
#include "server/store/adopt.h"
#include "server/store/batch.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define PAY_AFTER_S 3u
#define PAY_AT_ONCE 32u          /* volumes */
#define BULK_LEAST  (2ull << 20) /* bytes that are worth being written back in slices */
#define SLICES_MOST 4096u
#define SLICE_LEAST (256u << 10)
#define PASSES      3 /* of the bulk: each finds what was written during the one before */

/* ---- what was written -------------------------------------------------------------------------*/

static bool noted(const struct volume *v, uint32_t block)
{
    for (unsigned i = 0; i < v->log.count; i++)
        if (v->log.blocks[i] == block)
            return true;
    return false;
}

void vol_log_note(struct volume *v, uint64_t block, uint64_t count)
{
    for (; count && !v->log.too_many; block++, count--) {
        if (noted(v, (uint32_t)block))
            continue;
        if (v->log.count == VOL_LOG_BLOCKS || count > VOL_LOG_BLOCKS)
            v->log.too_many = true;
        else
            v->log.blocks[v->log.count++] = (uint32_t)block;
    }
}

void vol_log_unknown(struct volume *v)
{
    v->log.too_many = true;
}

/* ---- a commit ---------------------------------------------------------------------------------*/

/* CLEAN is on its way, and OPEN can only come behind what is logged now: a process that finds no
 * more than that takes the file to be synced. */
static bool turns_clean(const struct volume *v)
{
    return v->mark.busy && v->mark.writing == DISK_CLEAN;
}

/* Who waits, and for what, allows it; and nobody else writes to the file just now. */
static bool may_log(const struct volume *v)
{
    const struct journal *j = &v->store->journal;

    return j->takes_data && v->store->log_blocks && !v->commit.wanted && !v->closing &&
           !v->held_back && !turns_clean(v) && !v->writer.busy && !v->log.too_many &&
           v->log.count && v->log.count <= v->store->log_blocks &&
           v->log.count * sizeof(struct disk_record_data) <= jnl_batch_max(j) / 2;
}

bool vol_log_add(struct volume *v, struct buf *records)
{
    const struct file_ops *ops = v->store->ops;
    char content[DISK_BLOCK];

    if (!may_log(v))
        return false;
    for (unsigned i = 0; i < v->log.count; i++) {
        uint64_t block = v->log.blocks[i];
        if (map_get(&v->top->map, block) != DISK_DATA) /* trimmed since */
            continue;
        if (ops->read_cached(ops->ctx, v->top->data_fd, content, sizeof content,
                             block * DISK_BLOCK) != (ssize_t)sizeof content) {
            v->log.too_many = true; /* the page cache has lost it, or never tells */
            buf_drop(records, records->length);
            return false;
        }
        batch_add_data(records, v->top->info.id, block, content);
    }
    return true;
}

void vol_log_begun(struct volume *v, bool by_log)
{
    v->log.count = 0;
    v->log.too_many = false;
    if (!by_log) {
        v->log.revoke = false;
        return;
    }
    if (!v->log.owed) {
        v->log.turn = v->store->committer.turn;
        v->log.seconds = 0;
    }
    v->log.owed = v->log.more = v->log.revoke = true;
}

void vol_log_synced(struct volume *v)
{
    v->log.owed = false;
    committer_settled(&v->store->committer);
}

/* ---- what is owed is paid ---------------------------------------------------------------------*/

static struct store *payer_of(struct pool_job *j)
{
    return (struct store *)((char *)j - offsetof(struct store, payer.job));
}

static int write_back(const struct volume *v)
{
    const struct file_ops *ops = v->store->ops;
    uint64_t size = v->dev.size_bytes, slice = size / SLICES_MOST;
    int rc = 0;

    if (v->log.syncing_bytes < BULK_LEAST) /* looking through a large file costs more */
        return 0;
    slice = slice < SLICE_LEAST ? SLICE_LEAST : slice;
    for (uint64_t at = 0; at < size && rc == 0; at += slice)
        rc = ops->write_back(ops->ctx, v->top->data_fd, at, slice);
    return rc;
}

/* On the slow pool: uses top->data_fd and log.error of the group; no commit syncs these files
 * meanwhile, for of an error the kernel tells only one of two.  The journal is written to at the
 * same time: first the bulk, in slices, so that it finds its turn between them; then the syncs, of
 * which the first brings the file system's own journal to disk for all.  A sync writes in one go
 * what has become dirty since, and each flush waits behind that: so little should be left to it. */
static void run_pay(struct pool_job *j)
{
    struct store *s = payer_of(j);

    for (struct volume *v = s->payer.group; v; v = v->log.next)
        v->log.error = 0;
    for (unsigned pass = 0; pass < PASSES; pass++)
        for (struct volume *v = s->payer.group; v; v = v->log.next)
            if (v->log.error == 0)
                v->log.error = write_back(v);
    for (struct volume *v = s->payer.group; v; v = v->log.next) {
        int64_t began_ns = clock_mono_ns();
        if (v->log.error == 0)
            v->log.error = s->ops->sync_data(s->ops->ctx, v->top->data_fd);
        v->log.sync_ns = clock_mono_ns() - began_ns;
    }
}

static void paid_one(struct volume *v)
{
    v->running++;
    v->log.busy = false;
    histogram_add(&v->store->stats.sync, v->log.sync_ns);
    v->store->unsynced_bytes -= v->log.syncing_bytes;
    v->log.syncing_bytes = 0;
    if (v->log.error < 0) {
        vol_fail(v, strerror(-v->log.error));
    } else if (!v->failed) {
        v->log.owed = v->log.more;
        v->log.turn = v->log.more_turn;
    }
    vol_commit_kick(v);
    v->running--;
    vol_idle(v);
}

static void paid(struct pool_job *j)
{
    struct store *s = payer_of(j);
    struct volume *v = s->payer.group;

    s->payer.group = NULL;
    while (v) {
        struct volume *next = v->log.next;
        paid_one(v); /* it may be gone afterwards */
        v = next;
    }
    committer_settled(&s->committer);
    store_background(s, -1);
}

/* No commit syncs the file just now. */
static bool may_pay(const struct volume *v)
{
    return v->log.owed && !v->failed && !v->log.busy && !(v->commit.running && v->commit.syncs);
}

static void add_to_group(struct volume *v)
{
    v->log.more = v->commit.running; /* by the log: part of it may come into the journal later */
    v->log.more_turn = v->store->committer.turn;
    v->log.seconds = 0;
    v->log.syncing_bytes = v->unsynced_bytes;
    v->unsynced_bytes = 0;
    v->log.busy = true;
    v->log.next = v->store->payer.group;
    v->store->payer.group = v;
}

/* Those who owe since before this turn, or for some seconds, some at a time; nothing, while others
 * pay: paid() comes back here. */
static void pay(struct store *s, uint64_t turn)
{
    unsigned count = 0;

    if (s->payer.group)
        return;
    for (struct volume *v = s->volumes; v && count < PAY_AT_ONCE; v = v->next)
        if (may_pay(v) && (v->log.turn < turn || v->log.seconds > PAY_AFTER_S)) {
            add_to_group(v);
            count++;
        }
    if (!count)
        return;
    store_background(s, 1);
    s->payer.job = (struct pool_job){ .run = run_pay, .done = paid, .home = s->shard };
    pool_submit(s->slow_pool, &s->payer.job);
}

void vol_log_tick(struct store *s)
{
    for (struct volume *v = s->volumes; v; v = v->next)
        v->log.seconds++;
    pay(s, 0);
}

bool vol_log_settled(struct store *s, uint64_t turn)
{
    bool settled = adopt_settled(s);

    for (struct volume *v = s->volumes; v && settled; v = v->next)
        settled = !v->log.owed || v->log.turn >= turn;
    if (!settled)
        pay(s, turn);
    return settled;
}

/* ---- a volume that has failed -----------------------------------------------------------------*/

/* It owes, whatever it had paid: a block may have been written again since, and whatever a sync
 * that failed has made of it, the next epoch reads it, and a loss of power would bring back the
 * older one. */
void vol_log_failed(struct volume *v)
{
    if (v->log.owed || v->files != FILES_READY)
        return;
    v->log.owed = true;
    v->log.turn = v->store->committer.turn;
    vol_enlist(v);
}

static struct volume *owing(struct pool_job *j)
{
    return (struct volume *)((char *)j - offsetof(struct volume, log.job));
}

/* On the slow pool: nobody writes to the file; uses top->id, top->data_fd, log.error, log.told. */
static void run_restore(struct pool_job *j)
{
    struct volume *v = owing(j);
    struct store *s = v->store;
    AUTO(id_set_done) struct id_set only = { 0 };
    struct err e = { 0 };

    id_set_add(&only, v->top->id);
    v->log.error = 0;
    if (only.incomplete)
        v->log.error = err_set(&e, -ENOMEM, "out of memory");
    else /* also of a half that was emptied: a loss of power would find it */
        v->log.error = store_restore(s, &only, true, &e);
    if (v->log.error == 0)
        lay_drop_cached(&s->dir, v->top->data_fd);
    if (v->log.error < 0 && !v->log.told)
        log_error("store: volume '%s': what was flushed is not back in its file%s: %s", v->name,
                  lay_is_shortage(v->log.error) ? " yet" : "", e.msg);
    v->log.told = v->log.error < 0;
}

/* Without room it is still owed: the journal keeps it, and vol_log_retry() comes back. */
static void restored(struct pool_job *j)
{
    struct volume *v = owing(j);

    v->running++;
    v->log.busy = false;
    v->log.waits = lay_is_shortage(v->log.error);
    if (v->log.waits)
        vol_tick_start(v->store);
    else
        vol_log_synced(v);
    v->running--;
    vol_idle(v);
}

bool vol_log_restore(struct volume *v)
{
    if (v->discarding || v->store->committer.error) /* of no use, or for the next start */
        v->log.owed = false;
    if (!v->log.owed || v->mutators || v->commit.running || v->log.busy)
        return v->log.busy;
    if (v->log.waits)
        return true;
    v->log.busy = true;
    v->log.job = (struct pool_job){ .run = run_restore, .done = restored, .home = v->store->shard };
    pool_submit(v->store->slow_pool, &v->log.job);
    return true;
}

static struct volume *first_waiting(const struct store *s)
{
    for (struct volume *v = s->volumes; v; v = v->next)
        if (v->log.waits)
            return v;
    return NULL;
}

bool vol_log_retry(struct store *s)
{
    struct volume *v;
    bool any = false;

    while ((v = first_waiting(s))) { /* from the start again: it may be gone */
        any = true;
        v->log.waits = false;
        vol_idle(v);
    }
    return any;
}
