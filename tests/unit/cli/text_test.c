/* SPDX-License-Identifier: Apache-2.0 */
/* What people read: sizes, durations, foreign words, URL paths. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/cli/text.h"

static void sizes(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        { 0, "0 B" },
        { 1, "1 B" },
        { 1023, "1023 B" },
        { 1024, "1 KiB" },
        { 1536, "1.5 KiB" },
        { 1048575, "1023 KiB" },
        { UINT64_C(64) << 20, "64 MiB" },
        { (UINT64_C(2) << 30) + (UINT64_C(512) << 20), "2.5 GiB" },
        { UINT64_C(20) << 30, "20 GiB" },
        { UINT64_C(5) << 40, "5 TiB" },
        { UINT64_MAX, "15.9 EiB" },
    };
    char text[TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(text_bytes(cases[i].bytes, text), cases[i].text);
}

static void sizes_as_they_are_written(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        { "0", 0 },
        { "4096", 4096 },
        { "7B", 7 },
        { "20G", UINT64_C(20) << 30 },
        { "20 GiB", UINT64_C(20) << 30 },
        { "512m", UINT64_C(512) << 20 },
        { "1kib", 1024 },
        { "3T", UINT64_C(3) << 40 },
        { "2P", UINT64_C(2) << 50 },
        { "18446744073709551615", UINT64_MAX },
    };
    static const char *const bad[] = {
        "",   "G",    "-1",  "+1",  "1.5G", "20GB",  "20 ",    " 20",
        "1x", "1BiB", "1Gi", "1GG", "0x10", "20  G", "16384P", "18446744073709551616",
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t bytes = 1;
        if (text_read_bytes(cases[i].text, &bytes) != 0 || bytes != cases[i].bytes)
            fail_msg("'%s'", cases[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes = 77;
        if (text_read_bytes(bad[i], &bytes) != -EINVAL || bytes != 77)
            fail_msg("'%s' must be refused", bad[i]);
    }
}

static void durations(void **state)
{
    static const struct {
        int64_t seconds;
        const char *text;
    } cases[] = {
        { -5, "0 s" },
        { 0, "0 s" },
        { 59, "59 s" },
        { 60, "1 min 0 s" },
        { 3599, "59 min 59 s" },
        { 3600, "1 h 0 min" },
        { 86399, "23 h 59 min" },
        { 86400, "1 d 0 h" },
        { 273600, "3 d 4 h" },
    };
    char text[TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(text_duration(cases[i].seconds, text), cases[i].text);
}

static void times_are_local(void **state)
{
    char text[TEXT_SIZE];

    (void)state;
    setenv("TZ", "UTC-1", 1); /* one hour east */
    tzset();
    assert_string_equal(text_time(1795000000, text), "2026-11-18 12:06:40");
    assert_string_equal(text_time(0, text), "-");
    assert_string_equal(text_time(INT64_MAX, text), "-");
}

static void control_characters_do_not_reach_the_terminal(void **state)
{
    char text[64];

    (void)state;
    assert_string_equal(text_safe("a\x1b[31m\n\x7f z", text, sizeof text), "a?[31m?? z");
    assert_string_equal(text_safe("\xc2\x9b"
                                  "31m",
                                  text, sizeof text),
                        "?31m"); /* U+009B, CSI */
    assert_string_equal(text_safe("gr\xc3\xbc\xc3\x9f", text, sizeof text), "gr\xc3\xbc\xc3\x9f");
}

static void a_cut_does_not_split_a_character(void **state)
{
    char text[4];

    (void)state;
    assert_string_equal(text_safe("ab\xc3\xbc", text, sizeof text), "ab");
    assert_string_equal(text_safe("a\xc3\xbc", text, sizeof text), "a\xc3\xbc");
    assert_string_equal(text_safe("abcdef", text, sizeof text), "abc");
}

static void a_sequence_that_breaks_off_stays_inside_the_text(void **state)
{
    char text[16];

    (void)state;
    assert_string_equal(text_safe("a\xf0", text, sizeof text), "a\xf0");
    assert_string_equal(text_safe("\xc2", text, sizeof text), "?");
}

static void width_counts_characters(void **state)
{
    (void)state;
    assert_int_equal(text_width(""), 0);
    assert_int_equal(text_width("abc"), 3);
    assert_int_equal(text_width("gr\xc3\xbc\xc3\x9f"), 4);
}

static void path_segments_are_escaped(void **state)
{
    char path[64] = "/v1/";

    (void)state;
    assert_int_equal(text_url_append(path, sizeof path, "a/b?c#d%e f"), 0);
    assert_string_equal(path, "/v1/a%2Fb%3Fc%23d%25e%20f");
    path[4] = '\0';
    assert_int_equal(text_url_append(path, sizeof path, "debian-12@3.x_y~52:54"), 0);
    assert_string_equal(path, "/v1/debian-12@3.x_y~52:54");
}

static void a_segment_that_does_not_fit_is_refused(void **state)
{
    char path[8] = "/";

    (void)state;
    assert_int_equal(text_url_append(path, sizeof path, "//"), 0);
    assert_string_equal(path, "/%2F%2F");
    path[1] = '\0';
    assert_int_equal(text_url_append(path, sizeof path, "///"), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(sizes_as_they_are_written),
        cmocka_unit_test(durations),
        cmocka_unit_test(times_are_local),
        cmocka_unit_test(control_characters_do_not_reach_the_terminal),
        cmocka_unit_test(a_cut_does_not_split_a_character),
        cmocka_unit_test(a_sequence_that_breaks_off_stays_inside_the_text),
        cmocka_unit_test(width_counts_characters),
        cmocka_unit_test(path_segments_are_escaped),
        cmocka_unit_test(a_segment_that_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
