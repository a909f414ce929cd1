/* SPDX-License-Identifier: Apache-2.0 */
/* Signals that can be waited for: they count once, and what was ignored stays ignored. */
#include "tests/unit/unit.h"

#include <signal.h>

#include "server/cli/interrupt.h"

static void one_signal_counts_once(void **state)
{
    struct interrupt i;

    (void)state;
    interrupt_begin(&i);
    assert_false(interrupt_take(&i));
    raise(SIGTERM);
    assert_true(interrupt_take(&i));
    assert_false(interrupt_take(&i));
    interrupt_end(&i);
}

static void signals_close_together_are_one(void **state)
{
    struct interrupt i;

    (void)state;
    interrupt_begin(&i);
    raise(SIGINT);
    raise(SIGTERM);
    assert_true(interrupt_take(&i));
    raise(SIGINT);
    assert_false(interrupt_take(&i));
    interrupt_end(&i);
}

static void a_later_one_counts_again(void **state)
{
    struct interrupt i;

    (void)state;
    interrupt_begin(&i);
    raise(SIGINT);
    assert_true(interrupt_take(&i));
    i.last_ns = 1; /* long ago */
    raise(SIGINT);
    assert_true(interrupt_take(&i));
    interrupt_end(&i);
}

static void an_ignored_signal_stays_ignored(void **state)
{
    struct interrupt i;

    (void)state;
    signal(SIGHUP, SIG_IGN);
    interrupt_begin(&i);
    raise(SIGHUP);
    assert_false(interrupt_take(&i));
    interrupt_end(&i);
    signal(SIGHUP, SIG_DFL);
}

static void the_end_gives_the_signals_back(void **state)
{
    struct interrupt i;
    sigset_t blocked;

    (void)state;
    interrupt_begin(&i);
    interrupt_end(&i);
    interrupt_end(&i);
    assert_int_equal(i.fd, -1);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &blocked), 0);
    assert_false(sigismember(&blocked, SIGINT));
    assert_false(interrupt_take(&i));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_signal_counts_once),
        cmocka_unit_test(signals_close_together_are_one),
        cmocka_unit_test(a_later_one_counts_again),
        cmocka_unit_test(an_ignored_signal_stays_ignored),
        cmocka_unit_test(the_end_gives_the_signals_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
