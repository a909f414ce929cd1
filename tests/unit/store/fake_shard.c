/* SPDX-License-Identifier: Apache-2.0 */
/* fake_shard - shard and pools on the test's own thread. */
#include "tests/unit/store/fake_shard.h"

#include <stddef.h>

#include "server/io/pool.h"
#include "server/io/shard.h"

struct pool {
    struct pool_job *jobs, **end;
    unsigned count;
    bool held;
};

struct shard {
    struct shard_msg *messages, **end;
    struct shard_timer *timers;
};

static struct {
    struct shard shard;
    struct pool read, slow;
    uint64_t seed;
} fake;

static void pool_reset(struct pool *p)
{
    *p = (struct pool){ .end = &p->jobs };
}

void fake_reset(uint64_t seed)
{
    fake.shard = (struct shard){ .end = &fake.shard.messages };
    pool_reset(&fake.read);
    pool_reset(&fake.slow);
    fake.seed = seed;
}

struct shard *fake_shard(void)
{
    return &fake.shard;
}

struct pool *fake_read_pool(void)
{
    return &fake.read;
}

struct pool *fake_slow_pool(void)
{
    return &fake.slow;
}

void fake_hold(struct pool *p, bool held)
{
    p->held = held;
}

unsigned fake_jobs(const struct pool *p)
{
    return p->count;
}

static uint64_t draw(uint64_t limit)
{
    if (fake.seed == 0)
        return 0;
    fake.seed ^= fake.seed << 13;
    fake.seed ^= fake.seed >> 7;
    fake.seed ^= fake.seed << 17;
    return fake.seed % limit;
}

static void deliver(struct shard_msg *m)
{
    struct pool_job *j = (struct pool_job *)((char *)m - offsetof(struct pool_job, msg));

    j->done(j);
}

static void run_job(struct pool *p)
{
    struct pool_job **at = &p->jobs;

    for (uint64_t skip = draw(p->count); skip; skip--)
        at = &(*at)->next;
    struct pool_job *j = *at;
    *at = j->next;
    if (!*at)
        p->end = at;
    p->count--;
    j->run(j);
    j->msg.fn = deliver;
    shard_post(j->home, &j->msg);
}

static void run_message(struct shard *s)
{
    struct shard_msg *m = s->messages;

    s->messages = m->next;
    if (!s->messages)
        s->end = &s->messages;
    m->fn(m);
}

bool fake_step(void)
{
    struct pool *pools[2] = { &fake.slow, &fake.read };
    unsigned ready = 0;

    for (int i = 0; i < 2; i++)
        ready += pools[i]->count && !pools[i]->held;
    ready += fake.shard.messages != NULL;
    if (!ready)
        return false;
    uint64_t pick = draw(ready);
    for (int i = 0; i < 2; i++)
        if (pools[i]->count && !pools[i]->held && pick-- == 0) {
            run_job(pools[i]);
            return true;
        }
    run_message(&fake.shard);
    return true;
}

void fake_run(void)
{
    while (fake_step())
        ;
}

void fake_fire_timers(void)
{
    struct shard_timer *t = fake.shard.timers;

    fake.shard.timers = NULL;
    while (t) {
        struct shard_timer *next = t->next;
        t->due_ns = 0;
        t->fn(t);
        t = next;
    }
}

/* ---- io/shard.h and io/pool.h -----------------------------------------------------------------*/

void shard_post(struct shard *s, struct shard_msg *m)
{
    m->next = NULL;
    *s->end = m;
    s->end = &m->next;
}

void shard_call(struct shard *s, void (*fn)(void *arg), void *arg)
{
    (void)s;
    fn(arg);
}

bool shard_here(const struct shard *s)
{
    return s == &fake.shard;
}

void shard_timer_cancel(struct shard *s, struct shard_timer *t)
{
    for (struct shard_timer **at = &s->timers; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            break;
        }
    t->due_ns = 0;
}

void shard_timer_set(struct shard *s, struct shard_timer *t, int64_t due_ns)
{
    shard_timer_cancel(s, t);
    t->due_ns = due_ns;
    t->next = s->timers;
    s->timers = t;
}

void pool_submit(struct pool *p, struct pool_job *j)
{
    j->next = NULL;
    *p->end = j;
    p->end = &j->next;
    p->count++;
}
