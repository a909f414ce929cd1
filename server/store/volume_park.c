/* SPDX-License-Identifier: Apache-2.0 */
/* volume_park - writes that find no room wait for it instead of failing.
 *
 * A parked request has not begun: it holds no range and no space, a seal does not wait for it, and
 * it runs on whatever layer is the top when its time comes.  Those of one volume go on in the order
 * in which they were parked, one at a time until one has shown that there is room: when the quota
 * changes, when the volume gave space back, when another volume's parked write came through, and
 * once a second.
 * Must never know why its owner may be gone: volume_drop() and vol_fail() say so. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "server/base/clock.h"
#include "server/store/live.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define RETRY_NS NS_PER_S
#define SOON_NS  (20 * NS_PER_MS)

/* ---- who waits is told to the operator --------------------------------------------------------*/

static void say_why(const struct volume *v, int error, char *why, size_t size)
{
    struct store_space space = { 0 };

    if (error == -EDQUOT) {
        snprintf(why, size, "over its quota of %" PRIu64 " bytes", v->quota_bytes);
        return;
    }
    if (live_is_full(v->store->live)) {
        snprintf(why, size, "no room for live maps: see gridboxd --live");
        return;
    }
    (void)store_space(v->store, &space, NULL);
    snprintf(why, size, "the store is full: %" PRIu64 " bytes free", space.free_bytes);
}

static void tell(struct volume *v, bool parked, int error)
{
    char why[96] = "";

    if (v->park.told == parked)
        return;
    v->park.told = parked;
    v->store->parked_volumes += parked ? 1 : -1u;
    if (!v->events.parked)
        return;
    if (parked)
        say_why(v, error, why, sizeof why);
    v->events.parked(v->events.ctx, v->name, parked, why);
}

static void tell_if_over(struct volume *v)
{
    if (!v->park.ops.first && !v->park.probe)
        tell(v, false, 0);
}

static void set_timer(struct store *s, int64_t due_ns)
{
    if (!s->closing && (!s->park_timer.due_ns || s->park_timer.due_ns > due_ns))
        shard_timer_set(s->shard, &s->park_timer, due_ns);
}

/* ---- in and out -------------------------------------------------------------------------------*/

static int refusal(const struct vol_op *op)
{
    const struct volume *v = op->v;

    if (v->failed)
        return -EIO;
    return v->closing || op->connection != v->connection ? -ESHUTDOWN : 0;
}

int vol_park(struct vol_op *op, int error)
{
    struct volume *v = op->v;
    int rc = refusal(op);

    if (rc < 0)
        return rc;
    vol_op_pause(op);
    if (v->park.probe == op) {
        v->park.probe = NULL;
        v->park.stuck = true;
        vol_list_push(&v->park.ops, op);
    } else {
        vol_list_add(&v->park.ops, op);
    }
    tell(v, true, error);
    set_timer(v->store, clock_mono_ns() + RETRY_NS);
    return 0;
}

static bool must_wait(const struct vol_op *op)
{
    const struct volume *v = op->v;

    return op != v->park.probe && (v->park.probe || v->park.ops.first);
}

void vol_park_retry(struct volume *v)
{
    if (v->park.retrying || v->park.probe || v->held_back || v->failed || !v->park.ops.first)
        return;
    v->running++; /* stays until this is over */
    v->park.retrying = true;
    v->park.stuck = false;
    while (!v->park.stuck && !v->park.probe && v->park.ops.first && !v->held_back) {
        v->park.probe = vol_list_take(&v->park.ops);
        vol_op_go(v->park.probe); /* ends, or parks again, or goes on by itself */
    }
    v->park.retrying = false;
    tell_if_over(v);
    v->running--;
    vol_idle(v);
}

void vol_park_passed(struct vol_op *op)
{
    struct volume *v = op->v;

    if (v->park.probe != op)
        return;
    v->park.probe = NULL;
    if (v->store->parked_volumes > 1)
        set_timer(v->store, clock_mono_ns() + SOON_NS);
    if (v->park.ops.first)
        vol_park_retry(v);
    else
        tell_if_over(v);
}

void vol_park_drop(struct volume *v, int error)
{
    struct vol_op *op;

    v->running++;
    while ((op = vol_list_take(&v->park.ops)))
        vol_op_refuse(op, error);
    tell_if_over(v);
    v->running--;
}

/* ---- the store's timer ------------------------------------------------------------------------*/

static struct volume *not_tried(const struct store *s)
{
    for (struct volume *v = s->volumes; v; v = v->next)
        if (v->park.ops.first && v->park.round != s->park_round)
            return v;
    return NULL;
}

static void try_all(struct store *s)
{
    struct volume *v;

    s->park_round++;
    while (s->parked_volumes && (v = not_tried(s))) { /* what is tried may close volumes */
        v->park.round = s->park_round;
        vol_park_retry(v);
    }
    if (s->parked_volumes)
        set_timer(s, clock_mono_ns() + RETRY_NS);
}

static struct store *store_of_reballast(struct pool_job *j)
{
    return (struct store *)((char *)j - offsetof(struct store, reballast));
}

static void run_reballast(struct pool_job *j)
{
    ballast_restore(&store_of_reballast(j)->ballast);
}

static void reballasted(struct pool_job *j)
{
    struct store *s = store_of_reballast(j);

    s->reballasting = false;
    if (!ballast_gone(&s->ballast))
        try_all(s);
    store_background(s, -1);
}

void vol_park_tick(struct shard_timer *t)
{
    struct store *s = (struct store *)((char *)t - offsetof(struct store, park_timer));

    if (ballast_gone(&s->ballast) && !s->reballasting) {
        s->reballasting = true;
        s->reballast =
            (struct pool_job){ .run = run_reballast, .done = reballasted, .home = s->shard };
        store_background(s, 1);
        pool_submit(s->slow_pool, &s->reballast);
    }
    try_all(s);
}

/* ---- quota ------------------------------------------------------------------------------------*/

static uint64_t blocks_not_ours(const struct map *map, uint64_t block, uint64_t left)
{
    uint64_t count = 0;

    while (left) {
        enum disk_block_state state;
        uint64_t run = map_run(map, block, left, &state);
        if (state != DISK_DATA)
            count += run;
        block += run;
        left -= run;
    }
    return count;
}

int vol_park_take_room(struct vol_op *op, uint64_t block, uint64_t count)
{
    struct volume *v = op->v;
    uint64_t limit = v->quota_bytes / BLK_BLOCK;

    if (!v->quota_bytes && !must_wait(op) && !ballast_gone(&v->store->ballast))
        return 0;
    uint64_t more = blocks_not_ours(&v->top->map, block, count);
    if (!more)
        return 0;
    uint64_t held = atomic_load_explicit(&v->top->map.data_blocks, memory_order_relaxed);
    if (v->quota_bytes && (more > limit || held + v->promised_blocks > limit - more))
        return -EDQUOT;
    if (must_wait(op) || ballast_gone(&v->store->ballast))
        return -ENOSPC;
    op->promised_blocks = more;
    v->promised_blocks += more;
    return 0;
}

void volume_set_quota(struct volume *v, uint64_t quota_bytes)
{
    v->quota_bytes = quota_bytes;
    vol_park_retry(v);
}
