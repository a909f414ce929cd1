/* SPDX-License-Identifier: Apache-2.0 */
/* bufpool_test - sizes, reuse and the limits of the buffer pool. */
#include "tests/unit/unit.h"

#include <stdint.h>
#include <string.h>

#include "server/io/bufpool.h"

static void every_size_fits_and_is_page_aligned(void **state)
{
    static const size_t sizes[] = { 1, 4096, 4097, 65536, 65537, 262144, 1u << 20, 32u << 20 };
    struct bufpool p;

    (void)state;
    bufpool_init(&p, 64u << 20, 1u << 20);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *buf = bufpool_take(&p, sizes[i], false);
        assert_non_null(buf);
        assert_int_equal((uintptr_t)buf % 4096, 0);
        memset(buf, 0x5a, sizes[i]);
        bufpool_give(&p, buf, sizes[i]);
        assert_int_equal(p.out_bytes, 0);
        assert_true(p.kept_bytes <= 1u << 20);
    }
    bufpool_done(&p);
}

static void the_limit_holds_but_for_urgent_ones(void **state)
{
    struct bufpool p;
    void *a, *b;

    (void)state;
    bufpool_init(&p, 8192, 0);
    a = bufpool_take(&p, 8192, false);
    assert_non_null(a);
    assert_null(bufpool_take(&p, 1, false));
    b = bufpool_take(&p, 1, true);
    assert_non_null(b);
    bufpool_give(&p, a, 8192);
    bufpool_give(&p, b, 1);
    bufpool_done(&p);
}

static void a_buffer_given_back_is_the_next_one_taken(void **state)
{
    struct bufpool p;
    void *a;

    (void)state;
    bufpool_init(&p, 1u << 20, 1u << 20);
    a = bufpool_take(&p, 4096, false);
    bufpool_give(&p, a, 4096);
    assert_ptr_equal(bufpool_take(&p, 100, false), a);
    bufpool_give(&p, a, 100);
    bufpool_done(&p);
}

static void trimming_leaves_what_may_be_kept(void **state)
{
    struct bufpool p;
    void *a, *b;

    (void)state;
    bufpool_init(&p, 8u << 20, 8u << 20);
    a = bufpool_take(&p, 4096, false);
    b = bufpool_take(&p, 1u << 20, false);
    bufpool_give(&p, a, 4096);
    bufpool_give(&p, b, 1u << 20);
    assert_int_equal(p.kept_bytes, (1u << 20) + 4096);
    bufpool_trim(&p, 65536);
    assert_int_equal(p.kept_bytes, 4096);
    bufpool_done(&p);
    assert_int_equal(p.kept_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_fits_and_is_page_aligned),
        cmocka_unit_test(the_limit_holds_but_for_urgent_ones),
        cmocka_unit_test(trimming_leaves_what_may_be_kept),
        cmocka_unit_test(a_buffer_given_back_is_the_next_one_taken),
    };
    return cmocka_run_group_tests_name("bufpool", tests, NULL, NULL);
}
