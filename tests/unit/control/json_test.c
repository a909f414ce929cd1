/* SPDX-License-Identifier: Apache-2.0 */
/* json_test - what is let in, and the words for what is not. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/control/json.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int rc;
        const char *says;
    } cases[] = {
        { "", 0, "" },
        { "{}", 0, "" },
        { "{\"a\": [1, {\"b\": null}]}", 0, "" },
        { "[]", -EINVAL, "must be a JSON object" },
        { "3", -EINVAL, "body" },
        { "{\"a\": 1", -EINVAL, "line 1" },
        { "{\"a\": 1, \"a\": 2}", -EINVAL, "duplicate" },
        { "{\"a\": \"\x1f\"}", -EINVAL, "not JSON" },
        { "{\"a\": \"\xff\"}", -EINVAL, "not JSON" },
        { "{\"a\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}", -EINVAL, "nested deeper than 16" },
        { "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"[\"}", 0, "" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e = { 0 };
        json_t *o = NULL;
        int rc = json_object_parse(cases[i].text, strlen(cases[i].text), &o, &e);
        if (rc != cases[i].rc || !strstr(e.msg, cases[i].says))
            print_message("# %s: %d %s\n", cases[i].text, rc, e.msg);
        assert_int_equal(rc, cases[i].rc);
        assert_non_null(strstr(e.msg, cases[i].says));
        json_decref(o);
    }
}

static void test_members(void **state)
{
    struct err e = { 0 };
    const char *text;
    uint64_t number;
    bool yes;
    json_t *o = json_pack("{s:s, s:i, s:b, s:s%, s:i, s:f}", "t", "abc", "n", 7, "b", 1, "nul",
                          "a\0b", 3, "neg", -1, "real", 1.5);

    (void)state;
    assert_non_null(o);
    assert_int_equal(json_get_text(o, "t", true, 3, &text, &e), 0);
    assert_string_equal(text, "abc");
    assert_int_equal(json_get_text(o, "t", true, 2, &text, &e), -EINVAL);
    assert_int_equal(json_get_text(o, "n", true, 9, &text, &e), -EINVAL);
    assert_int_equal(json_get_text(o, "nul", true, 9, &text, &e), -EINVAL);
    assert_int_equal(json_get_text(o, "none", true, 9, &text, &e), -EINVAL);
    assert_string_equal(e.msg, "none: is missing");
    assert_int_equal(json_get_text(o, "none", false, 9, &text, &e), 0);
    assert_null(text);
    assert_int_equal(json_get_u64(o, "n", 1, 7, 0, &number, &e), 0);
    assert_int_equal(number, 7);
    assert_int_equal(json_get_u64(o, "n", 8, 9, 0, &number, &e), -EINVAL);
    assert_int_equal(json_get_u64(o, "neg", 0, 9, 0, &number, &e), -EINVAL);
    assert_int_equal(json_get_u64(o, "real", 0, 9, 0, &number, &e), -EINVAL);
    assert_int_equal(json_get_u64(o, "none", 1, 9, 5, &number, &e), 0);
    assert_int_equal(number, 5);
    assert_int_equal(json_get_bool(o, "b", false, &yes, &e), 0);
    assert_true(yes);
    assert_int_equal(json_get_bool(o, "t", false, &yes, &e), -EINVAL);
    json_decref(o);
}

static void test_unknown_member_is_refused(void **state)
{
    static const char *const keys[] = { "name", "image", NULL };
    static const char *const none[] = { NULL };
    struct err e = { 0 };
    json_t *o = json_pack("{s:i, s:i}", "name", 1, "imgae", 2);

    (void)state;
    assert_int_equal(json_only(o, keys, &e), -EINVAL);
    assert_string_equal(e.msg, "imgae: is not known here: this call takes name, image");
    json_object_del(o, "imgae");
    assert_int_equal(json_only(o, keys, &e), 0);
    assert_int_equal(json_only(o, none, &e), -EINVAL);
    json_decref(o);
}

static void test_clean(void **state)
{
    char text[] = "a\nb\x7f \xc3\xa4 \xff \xed\xa0\x80 \xf0\x9f\x98\x80 \xc3";

    (void)state;
    json_text_clean(text);
    assert_string_equal(text, "a?b? \xc3\xa4 ? ??? \xf0\x9f\x98\x80 ?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_unknown_member_is_refused),
        cmocka_unit_test(test_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
