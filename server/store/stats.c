/* SPDX-License-Identifier: Apache-2.0 */
/* stats - the store's shard is asked for a copy of the counters, and told who listens. */
#include "server/store/stats.h"

#include "server/io/shard.h"
#include "server/store/store_state.h"

struct copy {
    const struct store *store;
    struct store_stats *ret;
};

static void run_copy(void *arg)
{
    const struct copy *c = arg;

    *c->ret = c->store->stats;
}

void store_stats(struct store *s, struct store_stats *ret)
{
    struct copy c = { .store = s, .ret = ret };

    shard_call(s->shard, run_copy, &c);
}

struct events_order {
    struct store *store;
    const struct store_events *events;
};

static void run_set_events(void *arg)
{
    const struct events_order *o = arg;

    o->store->events = o->events ? *o->events : (struct store_events){ 0 };
}

void store_set_events(struct store *s, const struct store_events *events)
{
    struct events_order o = { .store = s, .events = events };

    shard_call(s->shard, run_set_events, &o);
}
