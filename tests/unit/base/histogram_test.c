/* SPDX-License-Identifier: Apache-2.0 */
/* histogram_test - which bucket a time falls into, and what is read from the buckets. */
#include "tests/unit/unit.h"

#include <string.h>

#include "server/base/histogram.h"

static const struct {
    int64_t ns;
    unsigned bucket;
} cases[] = {
    { -1, 0 },         { 0, 0 },         { 3999, 0 },      { 4000, 1 },         { 7999, 1 },
    { 8000, 2 },       { 15999999, 12 }, { 16384000, 13 }, { 33554431999, 23 }, { 33554432000, 24 },
    { INT64_MAX, 24 },
};

static void test_buckets(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct histogram h = { 0 };
        histogram_add(&h, cases[i].ns);
        assert_int_equal(h.count[cases[i].bucket], 1);
        assert_int_equal(histogram_total(&h), 1);
        assert_int_equal(h.sum_ns, cases[i].ns > 0 ? cases[i].ns : 0);
        if (cases[i].bucket < HISTOGRAM_BOUNDS && cases[i].ns > 0)
            assert_true((uint64_t)cases[i].ns < 1000 * histogram_bound_us(cases[i].bucket));
    }
}

static void test_quantiles(void **state)
{
    struct histogram h = { 0 };

    (void)state;
    assert_int_equal(histogram_quantile_us(&h, 0.5), 0);
    for (unsigned i = 0; i < 99; i++)
        histogram_add(&h, 10000); /* in [8, 16) us */
    histogram_add(&h, 1000000000);
    assert_in_range(histogram_quantile_us(&h, 0.5), 8, 16);
    assert_in_range(histogram_quantile_us(&h, 1.0), 524288, 1048576);
    histogram_add(&h, INT64_MAX);
    assert_int_equal(histogram_quantile_us(&h, 1.0), histogram_bound_us(HISTOGRAM_BOUNDS - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_quantiles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
