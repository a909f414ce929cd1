/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of zeros and data: which part of a chunk has to be read. */
#include "tests/unit/unit.h"

#include "server/control/import_extents.h"

static void expect(const struct extents *x, uint64_t at, uint64_t length, uint64_t first,
                   uint64_t end)
{
    uint64_t got_first = 0, got_end = 0;

    assert_int_equal(extents_data(x, at, length, &got_first, &got_end), first < end);
    if (first < end) {
        assert_int_equal(got_first, first);
        assert_int_equal(got_end, end);
    }
}

static void only_data_has_to_be_read(void **state)
{
    static struct extents x;

    (void)state;
    extents_add(&x, 100, true);
    extents_add(&x, 50, true);
    extents_add(&x, 0, false);
    extents_add(&x, 50, false);
    extents_add(&x, 100, true);
    extents_add(&x, 100, false);
    assert_int_equal(x.count, 4);
    assert_int_equal(x.end, 400);
    expect(&x, 0, 150, 0, 0);
    expect(&x, 0, 151, 150, 151);
    expect(&x, 160, 20, 160, 180);
    expect(&x, 0, 400, 150, 400);
    expect(&x, 200, 100, 0, 0);
    expect(&x, 190, 120, 190, 310);
    extents_drop(&x, 200);
    assert_int_equal(x.count, 2);
    expect(&x, 200, 200, 300, 400);
    extents_drop(&x, 350);
    expect(&x, 350, 50, 350, 400);
    extents_drop(&x, 400);
    assert_int_equal(x.count, 0);
    extents_add(&x, 10, true);
    expect(&x, 400, 10, 0, 0);
}

static void a_full_list_takes_the_rest_for_data(void **state)
{
    static struct extents x;

    (void)state;
    for (unsigned i = 0; i < 3 * EXTENTS_MAX; i++)
        extents_add(&x, 10, i % 2 == 0);
    assert_int_equal(x.count, EXTENTS_MAX);
    assert_int_equal(x.end, 30 * EXTENTS_MAX);
    expect(&x, 10 * EXTENTS_MAX, 20 * EXTENTS_MAX, 10 * EXTENTS_MAX, 30 * EXTENTS_MAX);
    expect(&x, 0, 10, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_data_has_to_be_read),
        cmocka_unit_test(a_full_list_takes_the_rest_for_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
