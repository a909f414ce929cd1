/* SPDX-License-Identifier: Apache-2.0 */
/* pool_test - jobs run, in order with one thread, and their answers come home. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/io/pool.h"
#include "server/io/shard.h"

#define JOBS 1000

struct work {
    struct pool_job job;
    struct books *books;
    unsigned number;
};

struct books {
    struct shard *shard;
    unsigned run, done, wrong;
    struct work works[JOBS];
    sem_t over;
};

static struct work *work_of(struct pool_job *j)
{
    return (struct work *)((char *)j - offsetof(struct work, job));
}

static void run(struct pool_job *j)
{
    struct work *w = work_of(j);

    if (shard_here(w->books->shard) || w->number != w->books->run++)
        w->books->wrong++;
}

static void done_at_home(struct pool_job *j)
{
    struct books *b = work_of(j)->books;

    if (!shard_here(b->shard) || work_of(j)->number != b->done++)
        b->wrong++;
    if (b->done == JOBS)
        sem_post(&b->over);
}

static void one_thread_keeps_the_order_and_answers_come_home(void **state)
{
    struct books *b = calloc(1, sizeof *b);
    struct pool *p;

    (void)state;
    sem_init(&b->over, 0, 0);
    assert_int_equal(shard_start("test", &b->shard, NULL), 0);
    assert_int_equal(pool_start("test", 1, &p, NULL), 0);
    for (unsigned i = 0; i < JOBS; i++) {
        b->works[i] = (struct work){ .job = { .run = run, .done = done_at_home, .home = b->shard },
                                     .books = b,
                                     .number = i };
        pool_submit(p, &b->works[i].job);
    }
    sem_wait(&b->over);
    pool_stop(p);
    shard_stop(b->shard);
    assert_int_equal(b->wrong, 0);
    sem_destroy(&b->over);
    free(b);
}

static void meet(struct pool_job *j)
{
    pthread_barrier_wait((pthread_barrier_t *)(void *)work_of(j)->books);
}

static void done_here(struct pool_job *j)
{
    work_of(j)->number = 1;
}

/* Three jobs that wait for each other end only if three threads run them; stop waits for them. */
static void threads_run_side_by_side_and_stop_finishes_the_queue(void **state)
{
    pthread_barrier_t barrier;
    struct work works[3];
    struct pool *p;

    (void)state;
    pthread_barrier_init(&barrier, NULL, 3);
    assert_int_equal(pool_start("test", 3, &p, NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        works[i] = (struct work){ .job = { .run = meet, .done = done_here },
                                  .books = (struct books *)(void *)&barrier };
        pool_submit(p, &works[i].job);
    }
    pool_stop(p);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(works[i].number, 1);
    pthread_barrier_destroy(&barrier);
}

static void note_policy(struct pool_job *j)
{
    struct sched_param ours;
    int policy;

    assert_int_equal(pthread_getschedparam(pthread_self(), &policy, &ours), 0);
    work_of(j)->number = (unsigned)policy;
}

static void ignore(struct pool_job *j)
{
    (void)j;
}

/* Where a test may not ask for that, its jobs run all the same. */
static void threads_that_go_first_do_so_or_run_as_before(void **state)
{
    struct sched_param ours, first = { .sched_priority = 1 };
    struct work w = { .job = { .run = note_policy, .done = ignore }, .number = 100 };
    struct pool *p;
    int before;

    (void)state;
    assert_int_equal(pthread_getschedparam(pthread_self(), &before, &ours), 0);
    bool may = pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) == 0;
    assert_int_equal(pthread_setschedparam(pthread_self(), before, &ours), 0);
    assert_int_equal(pool_start("test", 1, &p, NULL), 0);
    pool_go_first(p);
    pool_submit(p, &w.job);
    pool_stop(p);
    assert_int_equal(w.number, may ? SCHED_FIFO : before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_keeps_the_order_and_answers_come_home),
        cmocka_unit_test(threads_run_side_by_side_and_stop_finishes_the_queue),
        cmocka_unit_test(threads_that_go_first_do_so_or_run_as_before),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
