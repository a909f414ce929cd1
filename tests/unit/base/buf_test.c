/* SPDX-License-Identifier: Apache-2.0 */
/* A growing buffer that keeps to its limit and remembers that something did not fit. */
#include "tests/unit/unit.h"

#include <string.h>

#include "server/base/auto.h"
#include "server/base/buf.h"

static void bytes_come_out_as_they_went_in(void **state)
{
    AUTO(buf_done) struct buf b;

    (void)state;
    buf_init(&b, 100000);
    for (int i = 0; i < 5000; i++)
        buf_add(&b, "ab\0", 3);
    assert_false(b.failed);
    assert_int_equal(b.length, 15000);
    for (size_t i = 0; i < b.length; i += 3)
        assert_memory_equal(b.data + i, "ab\0", 3);
}

static void formatted_text_is_appended_whole(void **state)
{
    AUTO(buf_done) struct buf b;

    (void)state;
    buf_init(&b, 1000);
    buf_add(&b, "n=", 2);
    buf_addf(&b, "%d,%s", 42, "x");
    assert_string_equal(buf_text(&b), "n=42,x");
    assert_int_equal(b.length, 6);
}

static void the_limit_can_be_filled_exactly(void **state)
{
    AUTO(buf_done) struct buf b;

    (void)state;
    buf_init(&b, 8);
    buf_add(&b, "12345678", 8);
    assert_false(b.failed);
    assert_string_equal(buf_text(&b), "12345678");
}

static void past_the_limit_nothing_is_added_any_more(void **state)
{
    AUTO(buf_done) struct buf b;

    (void)state;
    buf_init(&b, 8);
    buf_add(&b, "1234", 4);
    buf_addf(&b, "%s", "56789");
    assert_true(b.failed);
    buf_add(&b, "5", 1); /* would fit, but the text would lack its middle */
    assert_int_equal(b.length, 4);
    assert_null(buf_text(&b));
}

static void a_length_that_overflows_is_refused(void **state)
{
    AUTO(buf_done) struct buf b;

    (void)state;
    buf_init(&b, SIZE_MAX - 1);
    buf_add(&b, "x", 1);
    buf_add(&b, "y", SIZE_MAX);
    assert_true(b.failed);
    assert_int_equal(b.length, 1);
}

static void drop_takes_from_the_front(void **state)
{
    AUTO(buf_done) struct buf b;

    (void)state;
    buf_init(&b, 100);
    buf_add(&b, "abcdef", 6);
    buf_drop(&b, 2);
    assert_string_equal(buf_text(&b), "cdef");
    buf_drop(&b, 100);
    assert_int_equal(b.length, 0);
    assert_string_equal(buf_text(&b), "");
}

static void done_twice_is_legal_and_leaves_it_usable(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 4);
    buf_add(&b, "12345", 5);
    buf_done(&b);
    buf_done(&b);
    assert_false(b.failed);
    buf_add(&b, "1234", 4);
    assert_string_equal(buf_text(&b), "1234");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_as_they_went_in),
        cmocka_unit_test(formatted_text_is_appended_whole),
        cmocka_unit_test(the_limit_can_be_filled_exactly),
        cmocka_unit_test(past_the_limit_nothing_is_added_any_more),
        cmocka_unit_test(a_length_that_overflows_is_refused),
        cmocka_unit_test(drop_takes_from_the_front),
        cmocka_unit_test(done_twice_is_legal_and_leaves_it_usable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
