/* SPDX-License-Identifier: Apache-2.0 */
/* volume_commit - flush: what was written becomes durable; the open and clean marks.
 *
 * A commit, step by step:
 *   1 begin, on the shard: take the changed blocks with the states they have now
 *   2 slow pool: fdatasync of the data; an error is final.  Of little that was written, the content
 *     goes along with the records instead (volume_log.c)
 *   3 committer: these records, with those of other volumes that are as far, as one batch; append;
 *     fdatasync of the journal; an error is final for the store
 *   4 answer those that had joined before step 1
 * A flush that comes after step 1 waits for the next commit: a page written in between may have
 * been passed by.  With nothing changed, steps 3 and (nothing written) 2 are left out.
 *
 * OPEN is durable before the first answer to a mutator after a clean time; CLEAN is written when
 * nothing was changed for 10 s and all of it is committed. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/io/file_ops.h"
#include "server/store/batch.h"
#include "server/store/live.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

/* ---- marks ------------------------------------------------------------------------------------*/

static void mark_kick(struct volume *v)
{
    if (v->mark.busy || v->failed || v->mark.durable == v->mark.wanted)
        return;
    v->mark.record.length = 0;
    if (v->make.recording)
        batch_add_make(&v->mark.record, &v->top->info);
    batch_add_mark(&v->mark.record, v->top->info.id, v->mark.wanted, v->top->info.generation,
                   v->top->info.epoch);
    if (v->mark.record.failed) {
        vol_fail(v, "out of memory");
        return;
    }
    v->mark.writing = v->mark.wanted;
    v->mark.durable = DISK_CLEAN;
    v->mark.busy = true;
    v->mark.entry.records = v->mark.record.data;
    v->mark.entry.length = v->mark.record.length;
    committer_submit(&v->store->committer, &v->mark.entry);
}

/* Marked clean, and nothing has begun since: the process after this one needs nothing to know what
 * is in the map, and others may have the room.  Not while others wait for a seal, which does it. */
static void leave_live(struct volume *v)
{
    if (!v->held_back && v->mark.wanted == DISK_CLEAN && !v->mutators &&
        map_leave_home(&v->top->map) == 0)
        live_release(v->store->live, v->top->id);
}

static void mark_written(struct commit_entry *entry, int error)
{
    struct volume *v = (struct volume *)((char *)entry - offsetof(struct volume, mark.entry));

    v->running++;
    v->mark.busy = false;
    bool made = v->make.recording, open = v->mark.writing == DISK_OPEN;
    v->make.recording = false;
    if (error < 0) {
        vol_fail(v, strerror(-error));
        if (made)
            vol_made(v, error);
    } else {
        v->mark.durable = v->mark.writing;
        if (open) {
            vol_op_answer_waiting(v, 0);
            vol_tick_start(v->store);
        } else {
            leave_live(v);
        }
        if (made)
            vol_made(v, 0);
        mark_kick(v);
    }
    v->running--;
    vol_idle(v);
}

void vol_mark_want(struct volume *v, enum disk_mark mark)
{
    v->mark.wanted = mark;
    mark_kick(v);
}

void vol_mark_made(struct volume *v)
{
    assert(!v->mark.busy && v->mark.durable == DISK_CLEAN);
    v->make.recording = true;
    vol_mark_want(v, DISK_OPEN);
    if (!v->mark.busy && v->make.recording) { /* it failed at once */
        v->make.recording = false;
        vol_made(v, -EIO);
    }
}

/* Commits, then marks clean, a volume that has been quiet for long. */
static void consider_clean(struct volume *v, int64_t now)
{
    if (v->failed || v->closing || v->running || v->commit.running || v->mark.busy ||
        v->mark.durable != DISK_OPEN || now - v->last_mutation_ns < VOL_CLEAN_AFTER_NS)
        return;
    if (vol_synced(v)) {
        vol_mark_want(v, DISK_CLEAN);
    } else {
        v->commit.wanted = true;
        vol_commit_kick(v);
    }
}

void vol_tick_start(struct store *s)
{
    if (!s->tick.due_ns && !s->closing)
        shard_timer_set(s->shard, &s->tick, clock_mono_ns() + VOL_TICK_NS);
}

void vol_tick(struct shard_timer *t)
{
    struct store *s = (struct store *)((char *)t - offsetof(struct store, tick));
    int64_t now = clock_mono_ns();
    bool again = vol_log_retry(s);

    if (s->committer.error)
        return;
    vol_log_tick(s);
    for (struct volume *v = s->volumes, *next; v; v = next) {
        next = v->next;
        again = again || (v->mark.wanted == DISK_OPEN && !v->failed);
        consider_clean(v, now); /* starts jobs; the list stays */
    }
    if (again)
        vol_tick_start(s);
}

/* ---- commit -----------------------------------------------------------------------------------*/

bool vol_commit_clean(const struct volume *v)
{
    return !v->dirty && v->top->map.changed_pages == 0;
}

bool vol_synced(const struct volume *v)
{
    return vol_commit_clean(v) && !v->log.owed;
}

/* The volume holds still for a seal: it will be clean with this commit. */
static void ride_mark(struct volume *v)
{
    if (!v->held_back || v->mutators || v->mark.busy || v->mark.durable != DISK_OPEN)
        return;
    batch_add_mark(&v->commit.records, v->top->info.id, DISK_CLEAN, v->top->info.generation,
                   v->top->info.epoch);
    v->commit.marks = true;
}

/* Until it is durable no other mark is written, so that they get there in this order. */
static void mark_rides(struct volume *v)
{
    v->mark.busy = true;
    v->mark.wanted = v->mark.durable = DISK_CLEAN;
}

/* Step 4. */
static void finish(struct volume *v, int error)
{
    struct vol_op *op;

    buf_done(&v->commit.records);
    v->commit.committing_bytes = 0;
    v->commit.ended = v->commit.begun;
    if (v->commit.marks) {
        v->commit.marks = v->mark.busy = false;
        mark_kick(v);
    }
    v->running++;
    while ((op = vol_list_take(&v->commit.joined)))
        vol_op_committed(op, error); /* may join the next one */
    v->running--;
    v->commit.running = false;
}

static void finish_later(struct volume *v, int error)
{
    finish(v, error);
    vol_commit_kick(v);
}

static void recorded(struct commit_entry *entry, int error)
{
    struct volume *v = (struct volume *)((char *)entry - offsetof(struct volume, commit.entry));

    v->running++;
    if (error < 0)
        vol_fail(v, strerror(-error));
    v->running--;
    finish_later(v, error < 0 ? -EIO : 0);
}

/* Step 3. */
static void record(struct volume *v)
{
    v->commit.entry.records = v->commit.records.data;
    v->commit.entry.length = v->commit.records.length;
    committer_submit(&v->store->committer, &v->commit.entry);
}

static struct volume *syncing(struct pool_job *j)
{
    return (struct volume *)((char *)j - offsetof(struct volume, commit.sync));
}

/* Step 2, on the slow pool: uses top.data_fd, commit.error and commit.sync_ns. */
static void run_sync(struct pool_job *j)
{
    struct volume *v = syncing(j);
    const struct file_ops *ops = v->store->ops;

    int64_t began_ns = clock_mono_ns();
    v->commit.error = ops->sync_data(ops->ctx, v->top->data_fd);
    v->commit.sync_ns = clock_mono_ns() - began_ns;
}

static void synced(struct pool_job *j)
{
    struct volume *v = syncing(j);

    histogram_add(&v->store->stats.sync, v->commit.sync_ns);
    v->store->unsynced_bytes -= v->commit.syncing_bytes;
    v->commit.syncing_bytes = 0;
    if (v->commit.error < 0) { /* never retried: the kernel has dropped what it could not write */
        v->running++;
        vol_fail(v, strerror(-v->commit.error));
        v->running--;
        finish_later(v, -EIO);
        return;
    }
    if (!v->failed)
        vol_log_synced(v);
    if (v->failed)
        finish_later(v, -EIO);
    else if (v->commit.records.length == 0)
        finish_later(v, 0);
    else
        record(v);
}

/* The commit that begins answers those who wait. */
static void start_commit(struct volume *v)
{
    v->commit.running = true;
    v->commit.wanted = false;
    v->commit.begun++;
    v->commit.joined = v->commit.next;
    if (v->commit.joined.first)
        vol_list_init(&v->commit.next);
    else
        vol_list_init(&v->commit.joined);
}

static void sync_then_record(struct volume *v)
{
    v->commit.syncing_bytes = v->unsynced_bytes;
    v->unsynced_bytes = 0;
    v->commit.sync = (struct pool_job){ .run = run_sync, .done = synced, .home = v->store->shard };
    pool_submit(v->store->slow_pool, &v->commit.sync);
}

/* Step 1.  False: not now, and nothing has changed. */
static bool begin(struct volume *v)
{
    struct buf *records = &v->commit.records;

    if (v->failed || (vol_commit_clean(v) && !(v->commit.wanted && v->log.owed))) {
        start_commit(v);
        finish(v, v->failed ? -EIO : 0);
        return true;
    }
    buf_init(records, (v->top->map.changed_pages + VOL_LOG_BLOCKS + 2) * BATCH_RECORD_MAX);
    v->commit.syncs = !vol_log_add(v, records);
    if (v->commit.syncs && v->log.busy) { /* paid() comes back here */
        buf_done(records);
        return false;
    }
    start_commit(v);
    if (v->commit.syncs && v->log.revoke)
        batch_add_revoke(records, v->top->info.id);
    batch_add_changes(records, v->top->info.id, &v->top->map);
    ride_mark(v);
    if (records->failed) { /* the changes stay noted for the next commit, if there is one */
        if (v->closing)
            vol_fail(v, "out of memory");
        v->commit.marks = false;
        finish(v, -EIO);
        return true;
    }
    if (v->commit.marks)
        mark_rides(v);
    map_clear_changes(&v->top->map);
    vol_log_begun(v, !v->commit.syncs);
    v->dirty = false;
    v->commit.committing_bytes = v->dirty_bytes;
    v->dirty_bytes = 0;
    if (v->commit.syncs)
        sync_then_record(v);
    else
        record(v);
    return true;
}

void vol_commit_kick(struct volume *v)
{
    while (!v->commit.running && (v->commit.wanted || v->commit.next.first) && begin(v))
        continue;
    vol_idle(v);
}

void vol_commit_join(struct volume *v, struct vol_op *op)
{
    op->joined = true;
    vol_list_add(&v->commit.next, op);
    vol_commit_kick(v);
}

void vol_commit_init(struct volume *v)
{
    vol_list_init(&v->commit.joined);
    vol_list_init(&v->commit.next);
    vol_list_init(&v->mark.unanswered);
    buf_init(&v->commit.records, 0);
    buf_init(&v->mark.record, 4096);
    v->commit.entry.done = recorded;
    v->mark.entry.done = mark_written;
}
