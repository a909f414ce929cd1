/* SPDX-License-Identifier: Apache-2.0 */
/* One failure, told once: messages grow outwards and never overflow. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "server/base/err.h"

static void set_fills_code_and_text(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(err_set(&e, -EINVAL, "size %d", 7), -EINVAL);
    assert_int_equal(e.code, -EINVAL);
    assert_string_equal(e.msg, "size 7");
}

static void wrap_puts_its_text_before(void **state)
{
    struct err e = { 0 };

    (void)state;
    err_set(&e, -EIO, "layer 'a': short");
    assert_int_equal(err_wrap(&e, -ENXIO, "open volume '%s'", "v"), -ENXIO);
    assert_int_equal(e.code, -ENXIO);
    assert_string_equal(e.msg, "open volume 'v': layer 'a': short");
}

static void wrap_of_nothing_says_what_the_code_means(void **state)
{
    struct err e = { 0 };

    (void)state;
    err_wrap(&e, -ENOENT, "open");
    assert_string_equal(e.msg, "open: No such file or directory");
}

static void errno_is_kept_and_returned(void **state)
{
    struct err e = { 0 };

    (void)state;
    errno = EACCES;
    assert_int_equal(err_errno(&e, "read %s", "x"), -EACCES);
    assert_string_equal(e.msg, "read x: Permission denied");
}

static void no_struct_is_legal(void **state)
{
    (void)state;
    errno = EPERM;
    assert_int_equal(err_set(NULL, -EINVAL, "x"), -EINVAL);
    assert_int_equal(err_wrap(NULL, -EIO, "x"), -EIO);
    assert_int_equal(err_errno(NULL, "x"), -EPERM);
}

static void long_messages_are_cut_at_the_end(void **state)
{
    struct err e = { 0 };
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    err_set(&e, -EIO, "%s", text);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    err_wrap(&e, -EIO, "outer");
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    assert_memory_equal(e.msg, "outer: xxx", 10);
    err_wrap(&e, -EIO, "%s", text);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
}

static void the_message_may_be_its_own_argument(void **state)
{
    struct err e = { 0 };

    (void)state;
    err_set(&e, -EIO, "inner");
    err_wrap(&e, -EIO, "[%s]", e.msg);
    assert_string_equal(e.msg, "[inner]: inner");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_fills_code_and_text),
        cmocka_unit_test(wrap_puts_its_text_before),
        cmocka_unit_test(wrap_of_nothing_says_what_the_code_means),
        cmocka_unit_test(errno_is_kept_and_returned),
        cmocka_unit_test(no_struct_is_legal),
        cmocka_unit_test(long_messages_are_cut_at_the_end),
        cmocka_unit_test(the_message_may_be_its_own_argument),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
