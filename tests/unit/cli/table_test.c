/* SPDX-License-Identifier: Apache-2.0 */
/* Tables: aligned, nothing at the end of a line, nothing from outside that is no text. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/table.h"

/* What the table prints. */
static char *printed(const struct table *t)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(table_print(t, out), 0);
    fclose(out);
    return text;
}

static void columns_are_aligned(void **state)
{
    struct table *t = table_new("NAME|>SIZE|STATE");

    (void)state;
    table_add(t, "a");
    table_add(t, "64 MiB");
    table_add(t, "ok");
    table_add(t, "longer");
    table_add(t, "1 GiB");
    table_add(t, "failed");
    AUTO(auto_free) char *text = printed(t);
    assert_string_equal(text, "NAME      SIZE  STATE\n"
                              "a       64 MiB  ok\n"
                              "longer   1 GiB  failed\n");
    table_free(t);
}

static void an_empty_cell_is_a_dash(void **state)
{
    struct table *t = table_new("A|B");

    (void)state;
    table_add(t, "");
    table_add(t, NULL);
    AUTO(auto_free) char *text = printed(t);
    assert_string_equal(text, "A  B\n-  -\n");
    table_free(t);
}

static void no_rows_is_a_heading(void **state)
{
    struct table *t = table_new("A|>B");

    (void)state;
    AUTO(auto_free) char *text = printed(t);
    assert_string_equal(text, "A  B\n");
    table_free(t);
}

static void characters_of_two_bytes_take_one_column(void **state)
{
    struct table *t = table_new("A|B");

    (void)state;
    table_add(t, "\xc3\xbc\xc3\xbc");
    table_add(t, "1");
    table_add(t, "xyz");
    table_add(t, "2");
    AUTO(auto_free) char *text = printed(t);
    assert_string_equal(text, "A    B\n\xc3\xbc\xc3\xbc   1\nxyz  2\n");
    table_free(t);
}

static void control_characters_are_replaced(void **state)
{
    struct table *t = table_new("A");

    (void)state;
    table_add(t, "x\n\x1b[2J");
    AUTO(auto_free) char *text = printed(t);
    assert_string_equal(text, "A\nx??[2J\n");
    table_free(t);
}

static void many_rows(void **state)
{
    struct table *t = table_new("A|B");

    (void)state;
    for (int i = 0; i < 2000; i++)
        table_add(t, "x");
    AUTO(auto_free) char *text = printed(t);
    assert_int_equal(strlen(text), 1001 * strlen("A  B\n"));
    table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(an_empty_cell_is_a_dash),
        cmocka_unit_test(no_rows_is_a_heading),
        cmocka_unit_test(characters_of_two_bytes_take_one_column),
        cmocka_unit_test(control_characters_are_replaced),
        cmocka_unit_test(many_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
