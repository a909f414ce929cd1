/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic that says when it does not fit. */
#include "tests/unit/unit.h"

#include "server/base/checked.h"

static void a_sum_that_fits(void **state)
{
    uint64_t r = 7;

    (void)state;
    assert_true(checked_add(UINT64_MAX - 1, 1, &r));
    assert_true(r == UINT64_MAX);
}

static void a_sum_that_does_not_fit_leaves_the_result(void **state)
{
    uint64_t r = 7;

    (void)state;
    assert_false(checked_add(UINT64_MAX, 1, &r));
    assert_true(r == 7);
}

static void a_product_that_fits(void **state)
{
    uint64_t r = 7;

    (void)state;
    assert_true(checked_mul(UINT64_C(1) << 40, UINT64_C(1) << 23, &r));
    assert_true(r == UINT64_C(1) << 63);
}

static void a_product_that_does_not_fit_leaves_the_result(void **state)
{
    uint64_t r = 7;

    (void)state;
    assert_false(checked_mul(UINT64_C(1) << 40, UINT64_C(1) << 24, &r));
    assert_true(r == 7);
}

static void ranges_inside_and_outside(void **state)
{
    static const struct {
        uint64_t offset, length, size;
        bool inside;
    } cases[] = {
        { 0, 0, 0, true },
        { 0, 10, 10, true },
        { 10, 0, 10, true },
        { 9, 1, 10, true },
        { 9, 2, 10, false },
        { 11, 0, 10, false },
        { 0, 11, 10, false },
        { UINT64_MAX, 1, UINT64_MAX, false },
        { 1, UINT64_MAX, UINT64_MAX, false },
        { UINT64_MAX - 1, 2, 10, false }, /* the sum wraps to 0 */
        { 0, UINT64_MAX, UINT64_MAX, true },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(range_inside(cases[i].offset, cases[i].length, cases[i].size),
                         cases[i].inside);
}

static void rounding_to_a_power_of_two(void **state)
{
    (void)state;
    assert_true(round_up(0, 4096) == 0);
    assert_true(round_up(1, 4096) == 4096);
    assert_true(round_up(4096, 4096) == 4096);
    assert_true(round_up(4097, 4096) == 8192);
    assert_true(round_down(4095, 4096) == 0);
    assert_true(round_down(4096, 4096) == 4096);
    assert_true(round_down((UINT64_C(1) << 40) + 5, 4096) == UINT64_C(1) << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_that_fits),
        cmocka_unit_test(a_sum_that_does_not_fit_leaves_the_result),
        cmocka_unit_test(a_product_that_fits),
        cmocka_unit_test(a_product_that_does_not_fit_leaves_the_result),
        cmocka_unit_test(ranges_inside_and_outside),
        cmocka_unit_test(rounding_to_a_power_of_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
