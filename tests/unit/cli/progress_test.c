/* SPDX-License-Identifier: Apache-2.0 */
/* The progress line: what it says, and that it fits. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "server/cli/progress.h"
#include "server/cli/text.h"

#define MIB (UINT64_C(1) << 20)

static void a_line_of_80_columns(void **state)
{
    char line[400];
    struct progress_view v = {
        .what = "deb: copy",
        .done = 50 * MIB,
        .total = 200 * MIB,
        .elapsed_ms = 2000,
        .columns = 80,
    };

    (void)state;
    progress_line(&v, line, sizeof line);
    assert_string_equal(line,
                        "deb: copy  [#####---------------]   25 %  50 MiB of 200 MiB  25 MiB/s"
                        "  7 s left");
    assert_int_equal(strlen(line), 79);
}

static void an_unknown_total_has_no_bar(void **state)
{
    char line[400];
    struct progress_view v = { .what = "x", .done = 10 * MIB, .elapsed_ms = 1000, .columns = 80 };

    (void)state;
    progress_line(&v, line, sizeof line);
    assert_string_equal(line, "x  10 MiB  10 MiB/s");
}

static void it_fits_any_terminal(void **state)
{
    static const uint64_t totals[] = { 0, 1, 100 * MIB, UINT64_MAX };
    char line[2000];

    (void)state;
    for (unsigned columns = 2; columns < 350; columns++)
        for (size_t t = 0; t < sizeof totals / sizeof *totals; t++)
            for (int part = 0; part <= 5; part++) {
                struct progress_view v = {
                    .what = "a rather long name of an image: the phase of it",
                    .done = totals[t] / 4 * (uint64_t)part, /* 5/4: more than there is */
                    .total = totals[t],
                    .elapsed_ms = 1,
                    .columns = columns,
                };
                progress_line(&v, line, sizeof line);
                assert_true(text_width(line) <= (columns < 300 ? columns - 1 : 79));
            }
}

static void the_end_is_a_full_bar(void **state)
{
    char line[400];
    struct progress_view v = {
        .what = "x", .done = MIB, .total = MIB, .elapsed_ms = 1000, .columns = 80
    };

    (void)state;
    progress_line(&v, line, sizeof line);
    assert_non_null(strstr(line, "#]  100 %"));
    assert_null(strstr(line, "-"));
    assert_null(strstr(line, "left"));
}

static void what_is_no_terminal_sees_nothing(void **state)
{
    int ends[2];
    struct progress p;
    char byte;

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    progress_start(&p, ends[1]);
    p.start_ns = 0; /* long ago */
    progress_show(&p, "x", 1, 2);
    progress_end(&p);
    assert_int_equal(read(ends[0], &byte, 1), -1);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_of_80_columns),
        cmocka_unit_test(an_unknown_total_has_no_bar),
        cmocka_unit_test(it_fits_any_terminal),
        cmocka_unit_test(the_end_is_a_full_bar),
        cmocka_unit_test(what_is_no_terminal_sees_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
