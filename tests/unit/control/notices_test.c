/* SPDX-License-Identifier: Apache-2.0 */
/* notices_test - what reaches the control thread of many notices, and how often. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/control/loop.h"
#include "server/control/notices.h"

#define HEARD_MAX 4096

struct fixture {
    struct loop *loop;
    struct notices *notices;
    struct loop_timer end;
    struct notice heard[HEARD_MAX];
    size_t count, stop_at;
    unsigned rounds, lost;
};

static void on_round(void *ctx, const struct notice *list, size_t count, unsigned lost)
{
    struct fixture *f = ctx;

    f->rounds++;
    f->lost += lost;
    for (size_t i = 0; i < count && f->count < HEARD_MAX; i++)
        f->heard[f->count++] = list[i];
    if (f->count >= f->stop_at)
        loop_stop(f->loop);
}

static int start(void **state)
{
    static const struct notices_times quick = { .round_ns = NS_PER_MS, .quiet_ns = 20 * NS_PER_MS };
    static struct fixture f;
    struct err e;

    memset(&f, 0, sizeof f);
    assert_int_equal(loop_new(&f.loop, &e), 0);
    assert_int_equal(notices_new(f.loop, &quick, on_round, &f, &f.notices, &e), 0);
    *state = &f;
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;

    notices_free(f->notices);
    loop_free(f->loop);
    return 0;
}

static void on_end(struct loop_timer *t)
{
    loop_stop(((struct fixture *)(void *)((char *)t - offsetof(struct fixture, end)))->loop);
}

/* Until `count` more notices were heard, at most 5 s. */
static void hear(struct fixture *f, size_t count)
{
    f->stop_at = f->count + count;
    f->end.fn = on_end;
    loop_timer_set(f->loop, &f->end, clock_mono_ns() + 5 * NS_PER_S);
    loop_run(f->loop);
    loop_timer_cancel(f->loop, &f->end);
    assert_true(f->count >= f->stop_at);
}

static void test_told_at_once(void **state)
{
    struct fixture *f = *state;

    notices_put(f->notices, NOTICE_PARKED, "v1", "the disk is full", 0);
    hear(f, 1);
    assert_int_equal(f->heard[0].kind, NOTICE_PARKED);
    assert_string_equal(f->heard[0].name, "v1");
    assert_string_equal(f->heard[0].why, "the disk is full");
    assert_int_equal(f->heard[0].more, 0);
}

static void test_latest_of_a_sort(void **state)
{
    struct fixture *f = *state;

    notices_put(f->notices, NOTICE_PARKED, "v1", "full", 0);
    notices_put(f->notices, NOTICE_RESUMED, "v1", NULL, 0);
    notices_put(f->notices, NOTICE_STALLED, "v1", NULL, 7);
    notices_put(f->notices, NOTICE_PARKED, "v2", "full", 0);
    hear(f, 3);
    assert_int_equal(f->rounds, 1);
    for (size_t i = 0; i < f->count; i++)
        if (f->heard[i].kind == NOTICE_RESUMED)
            assert_int_equal(f->heard[i].more, 1);
        else
            assert_true(f->heard[i].kind != NOTICE_PARKED || !strcmp(f->heard[i].name, "v2"));
}

/* After the burst a volume that flaps is told of once in a quiet time, and nothing is forgotten. */
static void test_flapping(void **state)
{
    struct fixture *f = *state;
    unsigned told = 0;

    for (unsigned i = 0; i < NOTICES_BURST; i++) {
        notices_put(f->notices, NOTICE_REPLACED, "v1", "again", 0);
        hear(f, 1);
    }
    int64_t began_ns = clock_mono_ns();
    for (unsigned i = 0; i < 100; i++)
        notices_put(f->notices, i % 2 ? NOTICE_FENCED : NOTICE_REPLACED, "v1", "again", 0);
    hear(f, 1);
    assert_true(clock_mono_ns() - began_ns > NS_PER_MS);
    assert_int_equal(f->heard[f->count - 1].kind, NOTICE_FENCED);
    for (size_t i = 0; i < f->count; i++)
        told += 1 + f->heard[i].more;
    assert_int_equal(told, NOTICES_BURST + 100);
}

static void test_bounded(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < NOTICES_MAX + 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%u", i);
        notices_put(f->notices, NOTICE_STALLED, name, NULL, 1);
    }
    hear(f, NOTICES_MAX);
    assert_int_equal(f->count, NOTICES_MAX);
    assert_int_equal(f->lost, 10);
}

static bool heard_of(const struct fixture *f, enum notice_kind kind)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->heard[i].kind == kind)
            return true;
    return false;
}

static void *put_many(void *arg)
{
    struct fixture *f = arg;

    for (unsigned i = 0; i < 1000; i++)
        notices_put(f->notices, NOTICE_STALLED, "v", NULL, i);
    notices_put(f->notices, NOTICE_FAILED, "v", "over", 0);
    return NULL;
}

static void test_from_another_thread(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, put_many, f), 0);
    while (!heard_of(f, NOTICE_FAILED))
        hear(f, 1);
    pthread_join(thread, NULL);
}

/* Freed with a message under way: the loop must not run into it. */
static void test_freed_under_way(void **state)
{
    struct fixture *f = *state;

    notices_put(f->notices, NOTICE_FAILED, "v", NULL, 0);
    notices_free(f->notices);
    f->notices = NULL;
    loop_stop(f->loop);
    loop_run(f->loop);
    assert_int_equal(f->rounds, 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_told_at_once), TEST(test_latest_of_a_sort),    TEST(test_flapping),
        TEST(test_bounded),      TEST(test_from_another_thread), TEST(test_freed_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
