/* SPDX-License-Identifier: Apache-2.0 */
/* loop_test - timers, messages from another thread, watched descriptors. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/control/loop.h"

struct fixture {
    struct loop *loop;
    char order[32];
    struct loop_timer a, b, c, end;
    struct loop_msg msgs[100];
    unsigned heard;
    int pipe[2];
    struct loop_watch *watch;
    unsigned readable;
};

#define OF(p, member) ((struct fixture *)(void *)((char *)(p)-offsetof(struct fixture, member)))

static int start(void **state)
{
    static struct fixture f;
    struct err e;

    memset(&f, 0, sizeof f);
    assert_int_equal(loop_new(&f.loop, &e), 0);
    assert_int_equal(pipe(f.pipe), 0);
    *state = &f;
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;

    loop_free(f->loop);
    close(f->pipe[0]);
    close(f->pipe[1]);
    return 0;
}

static void on_a(struct loop_timer *t)
{
    strcat(OF(t, a)->order, "a");
}

static void on_b(struct loop_timer *t)
{
    struct fixture *f = OF(t, b);

    strcat(f->order, "b");
    if (strlen(f->order) < 5) /* sets itself again from within */
        loop_timer_set(f->loop, t, clock_mono_ns() + NS_PER_MS);
    else
        loop_timer_set(f->loop, &f->end, clock_mono_ns() + 20 * NS_PER_MS);
}

static void on_c(struct loop_timer *t)
{
    strcat(OF(t, c)->order, "c");
}

static void on_end(struct loop_timer *t)
{
    loop_stop(OF(t, end)->loop);
}

static void test_timers(void **state)
{
    struct fixture *f = *state;
    int64_t now = clock_mono_ns();

    f->a.fn = on_a;
    f->b.fn = on_b;
    f->c.fn = on_c;
    f->end.fn = on_end;
    loop_timer_set(f->loop, &f->c, now + 10 * NS_PER_MS);
    loop_timer_set(f->loop, &f->b, now + 20 * NS_PER_MS);
    loop_timer_set(f->loop, &f->a, now + 15 * NS_PER_MS);
    loop_timer_set(f->loop, &f->a, now + 5 * NS_PER_MS); /* moved, not doubled */
    loop_timer_cancel(f->loop, &f->c);
    loop_timer_cancel(f->loop, &f->c);
    loop_run(f->loop);
    assert_string_equal(f->order, "abbbb");
    assert_int_equal(f->a.due_ns, 0);
    assert_true(clock_mono_ns() - now >= 43 * NS_PER_MS); /* 20, 3 times 1, 20 */
}

static struct fixture *counting; /* of the one test that runs */

static void on_count(struct loop_msg *m)
{
    assert_ptr_equal(m, &counting->msgs[counting->heard]); /* in the order of posting */
    if (++counting->heard == 100)
        loop_stop(counting->loop);
}

static void *post_all(void *arg)
{
    struct fixture *f = arg;

    for (unsigned i = 0; i < 100; i++)
        loop_post(f->loop, &f->msgs[i]);
    return NULL;
}

static void test_messages_of_another_thread(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    counting = f;
    for (unsigned i = 0; i < 100; i++)
        f->msgs[i].fn = on_count;
    assert_int_equal(pthread_create(&thread, NULL, post_all, f), 0);
    loop_run(f->loop);
    pthread_join(thread, NULL);
    assert_int_equal(f->heard, 100);
}

static void on_readable(void *arg)
{
    struct fixture *f = arg;
    char byte;

    assert_int_equal(read(f->pipe[0], &byte, 1), 1);
    if (++f->readable == 3) {
        loop_unwatch(f->watch); /* from within: the fourth byte is not heard of */
        f->end.fn = on_end;
        loop_timer_set(f->loop, &f->end, clock_mono_ns() + 20 * NS_PER_MS);
    }
}

static void test_watch(void **state)
{
    struct fixture *f = *state;
    struct err e;

    assert_int_equal(loop_watch(f->loop, f->pipe[0], on_readable, f, &f->watch, &e), 0);
    assert_int_equal(write(f->pipe[1], "1234", 4), 4);
    loop_run(f->loop);
    assert_int_equal(f->readable, 3);
}

static void test_stop_before_run(void **state)
{
    struct fixture *f = *state;

    loop_stop(f->loop);
    loop_run(f->loop); /* returns */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_timers, start, stop),
        cmocka_unit_test_setup_teardown(test_messages_of_another_thread, start, stop),
        cmocka_unit_test_setup_teardown(test_watch, start, stop),
        cmocka_unit_test_setup_teardown(test_stop_before_run, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
