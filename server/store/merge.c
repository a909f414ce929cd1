/* SPDX-License-Identifier: Apache-2.0 */
/* merge - two sealed layers that lie on each other become one.
 *
 * store_merge copies into a new layer what the two show; nothing of the old ones changes.  When the
 * catalog has it, store_restack has all who stand on the two stand on the new one.
 * Owns nothing; must never know volumes: it knows chains.  Threads: a job; the control thread. */
#include <errno.h>
#include <stdlib.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/store/chain.h"
#include "server/store/layer_read.h"
#include "server/store/layer_writer.h"
#include "server/store/open_layers.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"

#define READ_BLOCKS   (LAYER_READ_MAX / DISK_BLOCK)
#define READS_WAIT_NS (2 * NS_PER_S) /* for reads that have begun on the old layers */

/* ---- copying ----------------------------------------------------------------------------------*/

struct merge {
    struct store *store;
    struct layer_reader lower, upper;
    struct layer_id merged;
    struct layer_writer *writer;
    bool (*cancelled)(void *ctx);
    void *ctx;
    char *buf;
};

/* What the two show from this block on: how many blocks alike, and whose they are. */
static uint64_t merged_run(struct merge *m, uint64_t block, enum disk_block_state *ret_state,
                           struct layer_reader **ret_owner)
{
    uint64_t run = map_run(&m->upper.map, block, m->upper.map.blocks - block, ret_state);
    uint64_t end = m->lower.map.blocks;

    *ret_owner = &m->upper;
    if (*ret_state != DISK_INHERIT || block >= end)
        return run;
    *ret_owner = &m->lower;
    return map_run(&m->lower.map, block, run < end - block ? run : end - block, ret_state);
}

static int copy_run(struct merge *m, struct layer_reader *from, uint64_t block, uint64_t count,
                    struct err *e)
{
    uint64_t size = m->upper.info.size_bytes;

    while (count) {
        uint64_t some = count < READ_BLOCKS ? count : READ_BLOCKS;
        uint64_t offset = block * DISK_BLOCK, length = some * DISK_BLOCK;
        if (m->cancelled && m->cancelled(m->ctx))
            return err_set(e, -ECANCELED, "cancelled");
        int rc = layer_reader_read(m->store, from, m->buf, block, some, e);
        if (rc == 0)
            rc = layer_write(m->writer, offset, m->buf,
                             length < size - offset ? length : size - offset, e);
        if (rc < 0)
            return rc;
        block += some;
        count -= some;
    }
    return 0;
}

static int copy_all(struct merge *m, struct err *e)
{
    uint64_t block = 0, blocks = m->upper.map.blocks;
    int rc = 0;

    while (block < blocks && rc == 0) {
        enum disk_block_state state;
        struct layer_reader *owner;
        uint64_t run = merged_run(m, block, &state, &owner);
        if (state == DISK_DATA)
            rc = copy_run(m, owner, block, run, e);
        else if (state == DISK_ZERO && m->writer->on_others)
            rc = layer_writer_zero(m->writer, block, run, e);
        block += run;
    }
    return rc;
}

/* From two open readers to a sealed layer. */
static int write_merged(struct merge *m, struct err *e)
{
    const struct layer_info *lower = &m->lower.info, *upper = &m->upper.info;
    uint64_t data_bytes;
    int rc;

    if (upper->size_bytes < lower->size_bytes)
        return err_set(e, -EIO, "the upper layer is smaller than the lower one");
    rc = layer_create_as(m->store, m->merged, upper->size_bytes, &m->writer, e);
    if (rc < 0)
        return rc;
    struct layer_info *info = &m->writer->info;
    info->kind = lower->kind == DISK_IMAGE ? DISK_IMAGE : DISK_SEALED;
    info->parent = lower->parent;
    info->generation = upper->generation;
    info->epoch = upper->epoch;
    memcpy(info->name, upper->name, sizeof info->name);
    m->writer->on_others = lower->kind != DISK_IMAGE;

    m->buf = malloc(LAYER_READ_MAX);
    rc = m->buf ? copy_all(m, e) : err_set(e, -ENOMEM, "out of memory");
    if (rc == 0)
        rc = layer_seal(m->writer, &data_bytes, e);
    layer_writer_free(m->writer);
    free(m->buf);
    return rc;
}

int store_merge(struct store *s, struct layer_id lower, struct layer_id upper,
                struct layer_id merged, bool (*cancelled)(void *ctx), void *ctx, struct err *e)
{
    struct merge m = { .store = s, .merged = merged, .cancelled = cancelled, .ctx = ctx };
    int rc;

    rc = layer_reader_open(s, lower, false, &m.lower, e);
    if (rc < 0)
        return err_wrap(e, rc, "merge");
    rc = layer_reader_open(s, upper, false, &m.upper, e);
    if (rc == 0) {
        rc = write_merged(&m, e);
        layer_reader_done(s, &m.upper);
    }
    layer_reader_done(s, &m.lower);
    return rc < 0 ? err_wrap(e, rc, "merge") : 0;
}

/* ---- standing on it ---------------------------------------------------------------------------*/

struct restack {
    struct store *store;
    struct stack **old, **fresh;
    unsigned count;
};

static void restack_done(struct restack *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        store_stack_put(r->store, r->old[i]);
        if (r->fresh)
            store_stack_put(r->store, r->fresh[i]);
    }
    free(r->old);
    free(r->fresh);
    r->old = r->fresh = NULL;
    r->count = 0;
}

static void merged_chain(const struct stack *old, struct layer_id lower, struct layer_id merged,
                         struct layer_chain *ret)
{
    struct layer_chain c;
    unsigned kept = 0;

    stack_layers(old, &c);
    for (unsigned i = 0; i < c.count; i++) {
        if (i + 1 < c.count && lay_id_equal(c.id[i + 1], lower))
            ret->id[kept++] = merged; /* instead of the upper one, and then of the lower one */
        else if (!lay_id_equal(c.id[i], lower))
            ret->id[kept++] = c.id[i];
    }
    ret->count = kept;
}

static int make_fresh(struct restack *r, struct layer_id lower, struct layer_id merged,
                      struct err *e)
{
    struct layer_chain c;
    int rc = 0;

    r->fresh = calloc(r->count, sizeof *r->fresh);
    if (!r->fresh)
        return err_set(e, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < r->count && rc == 0; i++) {
        merged_chain(r->old[i], lower, merged, &c);
        rc = store_stack_get(r->store, &c, &r->fresh[i], e);
    }
    return rc;
}

/* On the shard: nothing is read between two steps of it. */
static void swap_all(void *arg)
{
    const struct restack *r = arg;

    pthread_mutex_lock(&r->store->lock);
    for (struct chain *c = r->store->chains; c; c = c->next)
        for (unsigned i = 0; i < r->count; i++)
            if (c->below == r->old[i]) {
                /* Not the last count: r has one.  So this takes no lock. */
                store_stack_put(r->store, c->below);
                c->below = stack_ref(r->fresh[i]);
                break;
            }
    pthread_mutex_unlock(&r->store->lock);
}

/* Waits until reads that have begun are over, which count the layers that they read from. */
static int await_reads(struct store *s, const struct layer_id *ids, unsigned count, struct err *e)
{
    int64_t deadline = clock_mono_ns() + READS_WAIT_NS;
    bool opened = true;

    for (;;) {
        struct shard_gate gate;
        bool used = false;

        shard_gate_init(&gate);
        pthread_mutex_lock(&s->lock);
        for (unsigned i = 0; i < count; i++)
            used = used || (store_layer_find(s, ids[i]) && !store_layer_stacked(s, ids[i]));
        s->layer_gone = used && opened ? &gate : NULL;
        pthread_mutex_unlock(&s->lock);
        if (!used)
            return 0;
        if (!opened)
            return err_set(e, -ETIMEDOUT, "reads of the merged layers do not end");
        opened = shard_gate_wait(s->shard, &gate, deadline);
    }
}

int store_restack(struct store *s, struct layer_id lower, struct layer_id upper,
                  struct layer_id merged, struct err *e)
{
    struct layer_id both[2] = { lower, upper };
    int rc;

    for (;;) { /* again, when somebody was opened meanwhile */
        struct restack r = { .store = s };
        rc = store_stacks_with(s, lower, upper, &r.old, &r.count, e);
        bool some = r.count;
        if (rc == 0 && some)
            rc = make_fresh(&r, lower, merged, e);
        if (rc == 0 && some)
            shard_call(s->shard, swap_all, &r);
        restack_done(&r);
        if (rc < 0)
            return err_wrap(e, rc, "restack");
        if (!some)
            break;
    }
    rc = await_reads(s, both, 2, e);
    return rc < 0 ? err_wrap(e, rc, "restack") : 0;
}
