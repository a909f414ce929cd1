/* SPDX-License-Identifier: Apache-2.0 */
/* usage_test - what is remembered of closed layers, and what is forgotten. */
#include "tests/unit/unit.h"

#include <string.h>

#include "server/store/usage.h"

#define MANY 5000u

static struct layer_id id_of(unsigned n)
{
    struct layer_id id = { { 1 } };

    memcpy(id.b + 1, &n, sizeof n); /* all begin alike: they crowd one place */
    return id;
}

static void test_many_are_remembered(void **state)
{
    struct usage u;
    uint64_t blocks;

    (void)state;
    usage_init(&u);
    assert_false(usage_get(&u, id_of(0), &blocks));
    for (unsigned n = 0; n < MANY; n++)
        usage_put(&u, id_of(n), n, true);
    for (unsigned n = 0; n < MANY; n++) {
        assert_true(usage_get(&u, id_of(n), &blocks));
        assert_int_equal(blocks, n);
    }
    assert_false(usage_get(&u, id_of(MANY), &blocks));
    usage_done(&u);
}

static void test_dropped_are_forgotten(void **state)
{
    struct usage u;
    uint64_t blocks;

    (void)state;
    usage_init(&u);
    usage_drop(&u, id_of(1));
    for (unsigned n = 0; n < MANY; n++) { /* layers that come and go */
        usage_put(&u, id_of(n), n, true);
        if (n % 8)
            usage_drop(&u, id_of(n));
    }
    for (unsigned n = 0; n < MANY; n++)
        assert_int_equal(usage_get(&u, id_of(n), &blocks), n % 8 == 0);
    assert_true(u.capacity <= 8 * MANY / 8 + 64);
    usage_put(&u, id_of(1), 7, false);
    usage_put(&u, id_of(1), 8, false); /* what came first was newer */
    assert_true(usage_get(&u, id_of(1), &blocks));
    assert_int_equal(blocks, 7);
    usage_done(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_are_remembered),
        cmocka_unit_test(test_dropped_are_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
