/* SPDX-License-Identifier: Apache-2.0 */
/* fake_shard - shard and pools on the test's own thread. */
#include "tests/unit/store/fake_shard.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/io/pool.h"
#include "server/io/shard.h"

struct pool {
    struct pool_job *jobs, **end;
    unsigned count;
    bool held, used;
};

struct shard {
    struct shard_msg *messages, **end;
    struct shard_task *tasks, **tasks_end;
    struct shard_timer *timers;
};

enum { SLOW, READ, JOURNAL, POOLS = 8 };
#define WAIT_ROUNDS     1000 /* of timers that a gate waits for */
#define DEADLINE_ROUNDS 8

static struct {
    struct shard shard;
    struct pool pools[POOLS]; /* the others are those of pool_start() */
    uint64_t seed;
} fake;

static void pool_reset(struct pool *p)
{
    *p = (struct pool){ .end = &p->jobs, .used = p->used };
}

void fake_reset(uint64_t seed)
{
    fake.shard = (struct shard){ .end = &fake.shard.messages, .tasks_end = &fake.shard.tasks };
    for (int i = 0; i < POOLS; i++)
        pool_reset(&fake.pools[i]);
    fake.pools[SLOW].used = fake.pools[READ].used = fake.pools[JOURNAL].used = true;
    fake.seed = seed;
}

struct shard *fake_shard(void)
{
    return &fake.shard;
}

struct pool *fake_read_pool(void)
{
    return &fake.pools[READ];
}

struct pool *fake_slow_pool(void)
{
    return &fake.pools[SLOW];
}

struct pool *fake_journal_pool(void)
{
    return &fake.pools[JOURNAL];
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
    if (!j->home) {
        j->done(j);
        return;
    }
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

static void run_task(struct shard *s)
{
    struct shard_task *t = s->tasks;

    s->tasks = t->next;
    if (!s->tasks)
        s->tasks_end = &s->tasks;
    t->queued = false;
    t->fn(t);
}

bool fake_step(void)
{
    struct shard *s = &fake.shard;
    unsigned ready = (s->messages ? 1u : 0) + (s->tasks ? 1u : 0);

    for (int i = 0; i < POOLS; i++)
        ready += fake.pools[i].count && !fake.pools[i].held;
    if (!ready)
        return false;
    uint64_t pick = draw(ready);
    for (int i = 0; i < POOLS; i++)
        if (fake.pools[i].count && !fake.pools[i].held && pick-- == 0) {
            run_job(&fake.pools[i]);
            return true;
        }
    if (s->messages && pick-- == 0)
        run_message(s);
    else
        run_task(s);
    return true;
}

void fake_run(void)
{
    while (fake_step())
        ;
}

static void fire_until(int64_t due_ns)
{
    struct shard_timer *t = fake.shard.timers;

    fake.shard.timers = NULL;
    while (t) {
        struct shard_timer *next = t->next;
        if (t->due_ns > due_ns) {
            t->next = fake.shard.timers;
            fake.shard.timers = t;
        } else {
            t->due_ns = 0;
            t->fn(t);
        }
        t = next;
    }
}

void fake_fire_timers(void)
{
    fire_until(INT64_MAX);
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

void shard_defer(struct shard *s, struct shard_task *t)
{
    if (t->queued)
        return;
    t->queued = true;
    t->next = NULL;
    *s->tasks_end = t;
    s->tasks_end = &t->next;
}

int64_t shard_now(const struct shard *s)
{
    (void)s;
    return clock_mono_ns();
}

int64_t shard_tick(struct shard *s)
{
    return shard_now(s);
}

void shard_gate_init(struct shard_gate *g)
{
    sem_init(&g->opened, 0, 0);
}

void shard_gate_open(struct shard_gate *g)
{
    sem_post(&g->opened);
}

/* Time stands still: with nothing left to run the timers are what is waited for; before a deadline
 * those that are due by then, a few times. */
bool shard_gate_wait(struct shard *s, struct shard_gate *g, int64_t deadline_ns)
{
    unsigned rounds = deadline_ns ? DEADLINE_ROUNDS : WAIT_ROUNDS;

    (void)s;
    for (unsigned round = 0; round < rounds; round++) {
        bool opened;
        while (!(opened = sem_trywait(&g->opened) == 0) && fake_step())
            ;
        if (opened)
            return true;
        fire_until(deadline_ns ? deadline_ns : INT64_MAX);
    }
    if (!deadline_ns)
        abort(); /* it waits for something that cannot come */
    return false;
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

int pool_start(const char *name, unsigned threads, struct pool **ret, struct err *e)
{
    (void)name;
    (void)threads;
    for (int i = 0; i < POOLS; i++)
        if (!fake.pools[i].used) {
            fake.pools[i] = (struct pool){ .end = &fake.pools[i].jobs, .used = true };
            *ret = &fake.pools[i];
            return 0;
        }
    return err_set(e, -ENOMEM, "more pools than the test has room for");
}

void pool_stop(struct pool *p)
{
    if (p)
        p->used = false;
}
