/* SPDX-License-Identifier: Apache-2.0 */
/* shard_test - messages, calls, timers and tasks of a real shard. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "server/base/clock.h"
#include "server/io/shard.h"

#define SENDERS  4
#define MESSAGES 5000

struct counted {
    struct shard_msg msg;
    struct inbox *inbox;
    unsigned sender, number;
};

struct inbox {
    struct shard *shard;
    unsigned next[SENDERS];
    unsigned wrong, total;
    sem_t all;
};

static void take(struct shard_msg *m)
{
    struct counted *c = (struct counted *)((char *)m - offsetof(struct counted, msg));
    struct inbox *in = c->inbox;

    if (!shard_here(in->shard) || c->number != in->next[c->sender]++)
        in->wrong++;
    if (++in->total == SENDERS * MESSAGES)
        sem_post(&in->all);
}

struct sender {
    pthread_t thread;
    struct inbox *inbox;
    unsigned number;
    struct counted *messages;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;

    for (unsigned i = 0; i < MESSAGES; i++) {
        s->messages[i] =
            (struct counted){ .msg.fn = take, .inbox = s->inbox, .sender = s->number, .number = i };
        shard_post(s->inbox->shard, &s->messages[i].msg);
    }
    return NULL;
}

static void messages_of_one_thread_keep_their_order(void **state)
{
    struct inbox in = { 0 };
    struct sender senders[SENDERS];

    (void)state;
    assert_int_equal(shard_start("test", &in.shard, NULL), 0);
    sem_init(&in.all, 0, 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){ .inbox = &in, .number = i };
        senders[i].messages = calloc(MESSAGES, sizeof(struct counted));
        pthread_create(&senders[i].thread, NULL, send_all, &senders[i]);
    }
    sem_wait(&in.all);
    assert_int_equal(in.wrong, 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
        free(senders[i].messages);
    }
    shard_stop(in.shard);
    sem_destroy(&in.all);
}

static void what_was_posted_before_stop_still_runs(void **state)
{
    struct inbox in = { 0 };
    struct sender s = { .inbox = &in };

    (void)state;
    assert_int_equal(shard_start("test", &in.shard, NULL), 0);
    sem_init(&in.all, 0, 0);
    s.messages = calloc(MESSAGES, sizeof(struct counted));
    send_all(&s);
    shard_stop(in.shard);
    assert_int_equal(in.total, MESSAGES);
    free(s.messages);
    sem_destroy(&in.all);
}

struct where {
    struct shard *shard;
    bool here;
};

static void note_where(void *arg)
{
    struct where *w = arg;

    w->here = shard_here(w->shard);
}

static void a_call_runs_on_the_shard_and_is_over_when_it_returns(void **state)
{
    struct where w = { 0 };

    (void)state;
    assert_int_equal(shard_start("test", &w.shard, NULL), 0);
    assert_false(shard_here(w.shard));
    shard_call(w.shard, note_where, &w);
    assert_true(w.here);
    shard_stop(w.shard);
}

#define TIMERS 3
struct timers {
    struct shard *shard;
    struct shard_timer timer[TIMERS];
    unsigned fired[TIMERS], count;
    int64_t start_ns, end_ns;
    sem_t over;
};

static struct timers *timers_of_test; /* a timer has no argument but itself */

static void fired(struct shard_timer *t)
{
    struct timers *ts = timers_of_test;

    ts->fired[ts->count++] = (unsigned)(t - ts->timer);
    ts->end_ns = clock_mono_ns();
    if (ts->count == TIMERS - 1)
        sem_post(&ts->over);
}

static void set_timers(void *arg)
{
    struct timers *ts = arg;
    static const int ms[TIMERS] = { 20, 5, 10 };

    ts->start_ns = clock_mono_ns();
    for (unsigned i = 0; i < TIMERS; i++) {
        ts->timer[i].fn = fired;
        shard_timer_set(ts->shard, &ts->timer[i], ts->start_ns + ms[i] * NS_PER_MS);
    }
    shard_timer_cancel(ts->shard, &ts->timer[2]);
    shard_timer_cancel(ts->shard, &ts->timer[2]);
}

static void timers_fire_in_order_and_not_before_their_time(void **state)
{
    struct timers ts = { 0 };

    (void)state;
    timers_of_test = &ts;
    sem_init(&ts.over, 0, 0);
    assert_int_equal(shard_start("test", &ts.shard, NULL), 0);
    shard_call(ts.shard, set_timers, &ts);
    sem_wait(&ts.over);
    shard_stop(ts.shard);
    assert_int_equal(ts.count, 2);
    assert_int_equal(ts.fired[0], 1);
    assert_int_equal(ts.fired[1], 0);
    assert_true(ts.end_ns - ts.start_ns >= 20 * NS_PER_MS);
    sem_destroy(&ts.over);
}

struct batch {
    struct shard *shard;
    struct shard_task task;
    struct shard_msg messages[3];
    unsigned handled, runs, handled_at_run;
    sem_t over;
};

static struct batch *batch_of_test;

static void run_task(struct shard_task *t)
{
    (void)t;
    batch_of_test->runs++;
    batch_of_test->handled_at_run = batch_of_test->handled;
    sem_post(&batch_of_test->over);
}

static void handle(struct shard_msg *m)
{
    (void)m;
    batch_of_test->handled++;
    shard_defer(batch_of_test->shard, &batch_of_test->task);
}

/* Posted from the shard itself, the three arrive as one batch. */
static void post_three(void *arg)
{
    struct batch *b = arg;

    for (unsigned i = 0; i < 3; i++) {
        b->messages[i].fn = handle;
        shard_post(b->shard, &b->messages[i]);
    }
}

static void a_task_runs_once_after_the_whole_batch(void **state)
{
    struct batch b = { .task.fn = run_task };

    (void)state;
    batch_of_test = &b;
    sem_init(&b.over, 0, 0);
    assert_int_equal(shard_start("test", &b.shard, NULL), 0);
    shard_call(b.shard, post_three, &b);
    sem_wait(&b.over);
    shard_stop(b.shard);
    assert_int_equal(b.runs, 1);
    assert_int_equal(b.handled_at_run, 3);
    sem_destroy(&b.over);
}

static void defer_again(struct shard_task *t)
{
    if (batch_of_test->handled == 0)
        shard_defer(batch_of_test->shard, t);
    else
        sem_post(&batch_of_test->over);
}

static void start_endless(void *arg)
{
    struct batch *b = arg;

    shard_defer(b->shard, &b->task);
}

static void handle_only(struct shard_msg *m)
{
    (void)m;
    batch_of_test->handled++;
}

static void a_task_that_comes_back_for_ever_keeps_nobody_out(void **state)
{
    struct batch b = { .task.fn = defer_again };

    (void)state;
    batch_of_test = &b;
    sem_init(&b.over, 0, 0);
    assert_int_equal(shard_start("test", &b.shard, NULL), 0);
    shard_call(b.shard, start_endless, &b);
    b.messages[0].fn = handle_only;
    shard_post(b.shard, &b.messages[0]);
    sem_wait(&b.over);
    shard_stop(b.shard);
    sem_destroy(&b.over);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_one_thread_keep_their_order),
        cmocka_unit_test(what_was_posted_before_stop_still_runs),
        cmocka_unit_test(a_call_runs_on_the_shard_and_is_over_when_it_returns),
        cmocka_unit_test(timers_fire_in_order_and_not_before_their_time),
        cmocka_unit_test(a_task_runs_once_after_the_whole_batch),
        cmocka_unit_test(a_task_that_comes_back_for_ever_keeps_nobody_out),
    };
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
