/* SPDX-License-Identifier: Apache-2.0 */
/* Ranges: overlapping ones wait in the order in which they came, others do not. */
#include "server/store/range.h"
#include "tests/unit/unit.h"

struct named {
    struct range range;
    char name;
};

static char order[16];
static unsigned order_length;

static void note(struct range *r)
{
    order[order_length++] = ((struct named *)r)->name;
    order[order_length] = '\0';
}

static void others_do_not_wait(void **state)
{
    struct range_table t = { 0 };
    struct range a, b, c;

    (void)state;
    assert_true(range_enter(&t, &a, 0, 9));
    assert_true(range_enter(&t, &b, 10, 10));
    assert_false(range_enter(&t, &c, 10, 12));
}

static void overlapping_ones_wait_in_order(void **state)
{
    struct range_table t = { 0 };
    struct named a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' }, d = { .name = 'd' };

    (void)state;
    order_length = 0;
    assert_true(range_enter(&t, &a.range, 0, 9));
    assert_false(range_enter(&t, &b.range, 5, 14));
    assert_false(range_enter(&t, &c.range, 14, 20)); /* waits for b, which only waits itself */
    assert_true(range_enter(&t, &d.range, 30, 30));
    range_leave(&t, &d.range, note);
    assert_int_equal(order_length, 0);
    range_leave(&t, &a.range, note);
    assert_string_equal(order, "b");
    range_leave(&t, &b.range, note);
    assert_string_equal(order, "bc");
    range_leave(&t, &c.range, note);
    assert_null(t.oldest);
    assert_null(t.newest);
    assert_int_equal(t.waiting, 0);
}

static struct range_table *leaving;

static void leave_at_once(struct range *r)
{
    note(r);
    range_leave(leaving, r, leave_at_once);
}

static void one_may_leave_while_it_is_granted(void **state)
{
    struct range_table t = { 0 };
    struct named n[5];

    (void)state;
    order_length = 0;
    leaving = &t;
    for (int i = 0; i < 5; i++) {
        n[i].name = (char)('a' + i);
        assert_int_equal(range_enter(&t, &n[i].range, 3, 3), i == 0);
    }
    range_leave(&t, &n[0].range, leave_at_once);
    assert_string_equal(order, "bcde");
    assert_null(t.oldest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_do_not_wait),
        cmocka_unit_test(overlapping_ones_wait_in_order),
        cmocka_unit_test(one_may_leave_while_it_is_granted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
