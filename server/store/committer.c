/* SPDX-License-Identifier: Apache-2.0 */
/* committer - takes journal records from volumes and makes them durable. */
#include "server/store/committer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/store/replay.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define RETRY_NS NS_PER_S

static void pump(struct committer *c);
static void checkpointed(struct pool_job *j);

/* Ends every entry, running and waiting, with the error that is final. */
static void fail_all(struct committer *c)
{
    struct commit_entry *lists[2] = { c->running, c->waiting };

    c->running = c->waiting = NULL;
    c->running_end = &c->running;
    c->waiting_end = &c->waiting;
    for (int i = 0; i < 2; i++)
        while (lists[i]) {
            struct commit_entry *entry = lists[i];
            lists[i] = entry->next;
            entry->done(entry, c->error);
        }
}

static void appended(struct pool_job *j)
{
    struct committer *c = (struct committer *)((char *)j - offsetof(struct committer, append));
    struct commit_entry *entry = c->running;

    c->busy = false;
    if (!c->error)
        c->error = c->append_error;
    if (c->error) {
        store_fail(c->store, strerror(-c->error));
        fail_all(c);
        store_background(c->store, -1);
        return;
    }
    jnl_placed(&c->store->journal, &c->place, c->batch, c->length);
    histogram_add(&c->store->stats.append, c->append_ns);
    c->store->stats.journal_bytes += c->length;
    c->running = NULL;
    c->running_end = &c->running;
    while (entry) {
        struct commit_entry *next = entry->next;
        entry->done(entry, 0); /* may submit more */
        entry = next;
    }
    pump(c);
    store_background(c->store, -1);
}

static void run_append(struct pool_job *j)
{
    struct committer *c = (struct committer *)((char *)j - offsetof(struct committer, append));

    int64_t began_ns = clock_mono_ns();
    c->append_error = jnl_append(&c->store->journal, &c->place, c->batch, c->length);
    c->append_ns = clock_mono_ns() - began_ns;
}

/* ---- checkpoint of a full half ----------------------------------------------------------------*/

static struct committer *checkpoint_of(struct pool_job *j)
{
    return (struct committer *)((char *)j - offsetof(struct committer, checkpoint.job));
}

static void run_checkpoint(struct pool_job *j)
{
    struct committer *c = checkpoint_of(j);
    struct store *s = c->store;
    struct journal_view view;

    c->checkpoint.err = (struct err){ 0 };
    jnl_view_half(&s->journal, c->checkpoint.half, &view);
    if (store_replay(s, &view, &c->checkpoint.err) == 0)
        c->checkpoint.err.code = 0;
}

/* Not before the data files hold durably what the half says of their content. */
static void start_checkpoint(struct committer *c)
{
    c->checkpoint.waits = !vol_log_settled(c->store, c->turn);
    if (c->checkpoint.waits)
        return;
    c->checkpoint.job =
        (struct pool_job){ .run = run_checkpoint, .done = checkpointed, .home = c->store->shard };
    store_background(c->store, 1);
    pool_submit(c->store->slow_pool, &c->checkpoint.job);
}

static void retry_checkpoint(struct shard_timer *t)
{
    start_checkpoint(
        (struct committer *)((char *)t - offsetof(struct committer, checkpoint.retry)));
}

/* A full disk is no failure: the journal goes on in its other half, and when that is full too,
 * flushes wait until there is room for the map files. */
static void checkpointed(struct pool_job *j)
{
    struct committer *c = checkpoint_of(j);
    int rc = c->checkpoint.err.code;

    if (rc == 0) {
        c->store->stats.checkpoints++;
        jnl_checkpointed(&c->store->journal, c->checkpoint.half);
        pump(c);
    } else if (c->store->closing) {
        log_warn("store checkpoint: left to the next start: %s", c->checkpoint.err.msg);
    } else if (lay_is_shortage(rc)) {
        log_warn("store checkpoint: will be tried again: %s", c->checkpoint.err.msg);
        shard_timer_set(c->store->shard, &c->checkpoint.retry, clock_mono_ns() + RETRY_NS);
    } else {
        c->error = rc;
        store_fail(c->store, c->checkpoint.err.msg);
        if (!c->busy)
            fail_all(c);
    }
    store_background(c->store, -1);
}

/* ---- the batch --------------------------------------------------------------------------------*/

/* Bytes of whole records of an entry, from what was taken on, that fit into `room`. */
static size_t records_that_fit(const struct commit_entry *entry, size_t room)
{
    size_t length = 0;

    while (entry->taken + length < entry->length) {
        size_t next = batch_record_length(entry->records + entry->taken + length);
        if (next > room - length)
            break;
        length += next;
    }
    return length;
}

/* Takes what is ready into the batch; entries that are wholly in it move to `running`. */
static void fill(struct committer *c, size_t room)
{
    char *records = (char *)(c->batch + 1);

    c->length = 0;
    while (c->waiting) {
        struct commit_entry *entry = c->waiting;
        size_t length = records_that_fit(entry, room - c->length);

        memcpy(records + c->length, entry->records + entry->taken, length);
        c->length += (uint32_t)length;
        entry->taken += length;
        if (entry->taken < entry->length)
            break; /* its rest goes into the next batch */
        c->waiting = entry->next;
        if (!c->waiting)
            c->waiting_end = &c->waiting;
        entry->next = NULL;
        *c->running_end = entry;
        c->running_end = &entry->next;
    }
}

/* How many bytes of records the next batch would like to have. */
static uint32_t wanted(const struct committer *c, size_t room)
{
    size_t length = 0;

    for (const struct commit_entry *entry = c->waiting; entry; entry = entry->next) {
        size_t more = records_that_fit(entry, room - length);
        length += more;
        if (entry->taken + more < entry->length)
            break;
    }
    return (uint32_t)length;
}

static void pump(struct committer *c)
{
    struct journal *j = &c->store->journal;
    size_t room = jnl_batch_max(j) - sizeof(struct disk_batch);

    if (c->busy || c->corked || !c->waiting)
        return;
    uint32_t length = wanted(c, room);
    if (jnl_place(j, length, &c->place) == -EAGAIN)
        return; /* checkpointed() comes back here */
    if (c->place.marker)
        c->length = 0;
    else
        fill(c, length);
    memset((char *)(c->batch + 1) + c->length, 0,
           batch_room(c->length) - sizeof(struct disk_batch) - c->length);
    c->busy = true;
    c->append = (struct pool_job){ .run = run_append, .done = appended, .home = c->store->shard };
    store_background(c->store, 1);
    pool_submit(c->store->journal_pool, &c->append);
    if (c->place.checkpoint >= 0) {
        c->turn++;
        c->checkpoint.half = (unsigned)c->place.checkpoint;
        start_checkpoint(c);
    }
}

void committer_submit(struct committer *c, struct commit_entry *entry)
{
    assert(entry->length);
    if (c->error && !c->busy) {
        entry->done(entry, c->error);
        return;
    }
    entry->taken = 0;
    entry->next = NULL;
    *c->waiting_end = entry;
    c->waiting_end = &entry->next;
    pump(c);
}

void committer_settled(struct committer *c)
{
    if (c->checkpoint.waits && !c->error)
        start_checkpoint(c);
}

void committer_cork(struct committer *c, bool corked)
{
    c->corked = corked;
    pump(c);
}

/* ---- life -------------------------------------------------------------------------------------
 */

int committer_init(struct committer *c, struct store *s)
{
    *c = (struct committer){ .store = s, .turn = 1 };
    c->waiting_end = &c->waiting;
    c->running_end = &c->running;
    c->checkpoint.retry.fn = retry_checkpoint;
    c->batch = malloc(jnl_batch_max(&s->journal));
    return c->batch ? 0 : -ENOMEM;
}

void committer_resume(struct committer *c)
{
    int half = jnl_full_half(&c->store->journal);

    if (half >= 0) {
        c->checkpoint.half = (unsigned)half;
        start_checkpoint(c);
    }
}

void committer_stop(struct committer *c)
{
    shard_timer_cancel(c->store->shard, &c->checkpoint.retry);
}

void committer_done(struct committer *c)
{
    assert(!c->busy && !c->waiting);
    free(c->batch);
    c->batch = NULL;
}
