/* SPDX-License-Identifier: Apache-2.0 */
/* Names from outside: what is a name, what is an image reference, hex, secrets. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/name.h"

#define A62 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void names_are_told_from_other_text(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        { "a", true },        { "0", true },       { "debian-12", true }, { "a..b", true },
        { A62 "b", true },    { A62 "bc", false }, { "", false },         { ".", false },
        { "..", false },      { "-a", false },     { ".a", false },       { "A", false },
        { "a/b", false },     { "a b", false },    { "a_b", false },      { "a@1", false },
        { "a\nb", false },    { "a\x01", false },  { "\xc3\xa4", false }, { "a%d", false },
        { "../../x", false }, { "a\x7f", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (name_valid(cases[i].text) != cases[i].valid)
            fail_msg("'%s' must%s be a name", cases[i].text, cases[i].valid ? "" : " not");
}

static void a_refusal_shows_the_name_without_its_control_characters(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(name_check("volume", "a\x1b[1mb\n", &e), -EINVAL);
    assert_non_null(strstr(e.msg, "volume name 'a?[1mb?' is not valid"));
    assert_int_equal(e.code, -EINVAL);
}

static void a_refusal_of_300_letters_is_short(void **state)
{
    struct err e = { 0 };
    char text[301];

    (void)state;
    memset(text, 'a', 300);
    text[300] = '\0';
    assert_int_equal(name_check("volume", text, &e), -EINVAL);
    assert_true(strlen(e.msg) < 200);
    assert_non_null(strstr(e.msg, "1 to 63"));
}

static void a_good_name_leaves_the_error_alone(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(name_check("volume", "v-1", &e), 0);
    assert_int_equal(e.code, 0);
}

static void image_references_are_split(void **state)
{
    static const struct {
        const char *text;
        int rc;
        const char *name;
        uint32_t version;
    } cases[] = {
        { "debian-12", 0, "debian-12", 0 },
        { "debian-12@3", 0, "debian-12", 3 },
        { "d@2000000000", 0, "d", 2000000000 },
        { "d@0", -EINVAL, NULL, 0 },
        { "d@", -EINVAL, NULL, 0 },
        { "d@-1", -EINVAL, NULL, 0 },
        { "d@1x", -EINVAL, NULL, 0 },
        { "d@ 1", -EINVAL, NULL, 0 },
        { "d@1@2", -EINVAL, NULL, 0 },
        { "d@99999999999999999999", -EINVAL, NULL, 0 },
        { "@1", -EINVAL, NULL, 0 },
        { "", -EINVAL, NULL, 0 },
        { "a/b@1", -EINVAL, NULL, 0 },
        { A62 "bc@1", -EINVAL, NULL, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[NAME_SIZE] = "untouched";
        uint32_t version = 77;
        struct err e = { 0 };
        int rc = name_split_image(cases[i].text, name, &version, &e);

        if (rc != cases[i].rc)
            fail_msg("'%s': %d (%s), not %d", cases[i].text, rc, e.msg, cases[i].rc);
        assert_string_equal(name, rc ? "untouched" : cases[i].name);
        assert_int_equal(version, rc ? 77 : cases[i].version);
        assert_int_equal(e.code, rc);
    }
}

static void hex_goes_both_ways(void **state)
{
    static const uint8_t bytes[] = { 0x00, 0x7f, 0x80, 0xff, 0xa5 };
    uint8_t back[sizeof bytes];
    char text[2 * sizeof bytes + 1];

    (void)state;
    hex_encode(bytes, sizeof bytes, text);
    assert_string_equal(text, "007f80ffa5");
    assert_int_equal(hex_decode(text, back, sizeof back), 0);
    assert_memory_equal(back, bytes, sizeof bytes);
    assert_int_equal(hex_decode("007F80FFA5", back, sizeof back), 0);
    assert_memory_equal(back, bytes, sizeof bytes);
}

static void hex_of_another_length_or_alphabet_is_refused(void **state)
{
    static const char *const bad[] = { "", "0", "00112", "001122", "00112g", "0x11", "00 1" };
    uint8_t back[2] = { 7, 7 };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(hex_decode(bad[i], back, sizeof back), -EINVAL);
    assert_memory_equal(back, ((uint8_t[]){ 7, 7 }), 2);
}

static void secrets_differ_wherever_they_differ(void **state)
{
    (void)state;
    assert_true(secret_equal("abcd", "abcd", 4));
    assert_false(secret_equal("abcd", "xbcd", 4));
    assert_false(secret_equal("abcd", "abcx", 4));
    assert_true(secret_equal("abcd", "abxx", 2));
}

static void random_bytes_fill_all_of_it(void **state)
{
    uint8_t seen[64] = { 0 };

    (void)state;
    for (int turn = 0; turn < 20; turn++) {
        uint8_t bytes[64];
        random_bytes(bytes, sizeof bytes);
        for (size_t i = 0; i < sizeof bytes; i++)
            seen[i] |= bytes[i];
    }
    for (size_t i = 0; i < sizeof seen; i++)
        assert_int_not_equal(seen[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_told_from_other_text),
        cmocka_unit_test(a_refusal_shows_the_name_without_its_control_characters),
        cmocka_unit_test(a_refusal_of_300_letters_is_short),
        cmocka_unit_test(a_good_name_leaves_the_error_alone),
        cmocka_unit_test(image_references_are_split),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(hex_of_another_length_or_alphabet_is_refused),
        cmocka_unit_test(secrets_differ_wherever_they_differ),
        cmocka_unit_test(random_bytes_fill_all_of_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
