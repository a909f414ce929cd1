/* SPDX-License-Identifier: Apache-2.0 */
/* stats - a copy of the counters for another thread. */
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
