/* SPDX-License-Identifier: Apache-2.0 */
/* Counts become rates, rows are sorted, a table fits its screen. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/client.h"
#include "server/cli/top.h"

/* An answer of one export: reads, each of 4 KiB and 10 us, and one bucket filled. */
static json_t *answer(int at_ms, const char *exports)
{
    char text[4000];
    json_error_t why;

    snprintf(text, sizeof text,
             "{\"at_ms\": %d, \"bounds_us\": [8, 16, 32], \"exports\": [%s],"
             " \"store\": {\"size_bytes\": 100, \"free_bytes\": 50}}",
             at_ms, exports);
    json_t *o = json_loads(text, 0, &why);
    if (!o)
        fail_msg("%s: %s", why.text, text);
    return o;
}

static const char *export(const char *name, const char *holder, int reads, const char *more)
{
    static char text[8][400];
    static unsigned next;
    char *t = text[next++ % 8];

    snprintf(t, sizeof text[0],
             "{\"name\": \"%s\", \"holder\": \"%s\", \"connected\": true, \"read\": {\"ops\": %d, "
             "\"bytes\": %d, \"total_us\": %d, \"latency\": [0, %d, 0, 0]}%s}",
             name, holder, reads, reads * 4096, reads * 10, reads, more);
    return t;
}

static const char *join(const char *a, const char *b, const char *c)
{
    static char text[1300];

    snprintf(text, sizeof text, "%s, %s, %s", a, b, c);
    return text;
}

static void make(const json_t *before, const json_t *now, enum top_key key, struct top *ret)
{
    assert_int_equal(top_new(before, now, key, ret, NULL), 0);
}

static void rates_are_differences_over_time(void **state)
{
    AUTO(auto_json) json_t *before = answer(1000, export("v", "h", 100, ""));
    AUTO(auto_json)
    json_t *now =
        answer(3000, export("v", "h", 300, ", \"flush\": {\"ops\": 20}, \"dirty_bytes\": 4096"));
    struct top t;

    (void)state;
    make(before, now, TOP_IOPS, &t);
    assert_int_equal(t.count, 1);
    assert_int_equal(t.interval_ms, 2000);
    assert_int_equal(t.rows[0].ops, 110); /* 200 reads and 20 flushes in 2 s */
    assert_int_equal(t.rows[0].read, 100 * 4096);
    assert_int_equal(t.rows[0].write, 0);
    assert_int_equal(t.rows[0].mean_us, 10);
    assert_int_equal(t.rows[0].p99_us, 16);
    assert_int_equal(t.rows[0].dirty_bytes, 4096);
    assert_int_equal(t.total.ops, 110);
    assert_int_equal(t.free_bytes, 50);
    top_done(&t);
}

static void counts_that_begin_anew_give_no_rate(void **state)
{
    AUTO(auto_json) json_t *before = answer(1000, export("v", "h", 1000, ""));
    AUTO(auto_json) json_t *now = answer(2000, export("v", "h", 10, ""));
    struct top t;

    (void)state;
    make(before, now, TOP_IOPS, &t); /* the server was restarted */
    assert_int_equal(t.rows[0].ops, 0);
    top_done(&t);
    make(NULL, now, TOP_IOPS, &t); /* the first look */
    assert_int_equal(t.count, 1);
    assert_int_equal(t.rows[0].ops, 0);
    top_done(&t);
    make(now, now, TOP_IOPS, &t); /* no time has passed */
    assert_int_equal(t.rows[0].ops, 0);
    top_done(&t);
}

static void order(enum top_key key, const char *want)
{
    AUTO(auto_json)
    json_t *before = answer(
        0, join(export("v2", "b", 0, ""), export("v10", "a", 0, ""), export("v1", "c", 0, "")));
    AUTO(auto_json)
    json_t *now = answer(1000, join(export("v2", "b", 500, ", \"dirty_bytes\": 1"),
                                    export("v10", "a", 50, ", \"dirty_bytes\": 9"),
                                    export("v1", "c", 0, ", \"parked\": true, \"oldest_ms\": 9")));
    char got[100] = "";
    struct top t;

    make(before, now, key, &t);
    for (size_t i = 0; i < t.count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s ", t.rows[i].name);
    if (strcmp(got, want) != 0)
        fail_msg("by %s: %s", top_keys[key], got);
    top_done(&t);
}

static void what_stalls_comes_first_then_the_largest(void **state)
{
    (void)state;
    order(TOP_IOPS, "v1 v2 v10 ");
    order(TOP_DIRTY, "v1 v10 v2 ");
    order(TOP_STALL, "v1 v2 v10 ");
    order(TOP_VOLUME, "v1 v2 v10 "); /* numbers in names count as numbers */
    order(TOP_HOST, "v10 v2 v1 ");
}

static void keys_have_names(void **state)
{
    enum top_key key = TOP_IOPS;
    struct err e = { 0 };

    (void)state;
    for (unsigned i = 0; top_keys[i]; i++) {
        assert_int_equal(top_key_parse(top_keys[i], &key, NULL), 0);
        assert_int_equal(key, i);
    }
    assert_int_equal(key, TOP_HOST);
    assert_int_equal(top_key_parse("size", &key, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "iops, read, write, latency, dirty, stall, volume, host"));
}

static char *printed(const struct top *t, unsigned columns, unsigned lines)
{
    struct top_size size = { .columns = columns, .lines = lines };
    size_t length;
    char *text = NULL;
    FILE *out = open_memstream(&text, &length);

    assert_int_equal(top_print(t, size, out), 0);
    fclose(out);
    return text;
}

static void a_table_tells_each_figure(void **state)
{
    AUTO(auto_json) json_t *before = answer(0, export("v", "lab-1", 0, ""));
    AUTO(auto_json)
    json_t *now =
        answer(1000, export("v", "lab-1", 512, ", \"dirty_bytes\": 2048, \"oldest_ms\": 61000"));
    struct top t;

    (void)state;
    make(before, now, TOP_IOPS, &t);
    AUTO(auto_free) char *text = printed(&t, 0, 0);
    assert_string_equal(
        text, "1 attached, 1 in use; 512 IOPS, 2 MiB/s read, 0 B/s written, 10 us; 2 KiB dirty, "
              "50 B free\n\n"
              "VOLUME  HOST   IOPS  READ/S  WRITE/S  LATENCY    P99  DIRTY  STALL\n"
              "v       lab-1   512   2 MiB        -    10 us  16 us  2 KiB  1 min 1 s\n");
    top_done(&t);
}

static void a_table_fits_its_screen(void **state)
{
    AUTO(auto_json)
    json_t *now = answer(0, join(export("v1", "\xc3\xa4", 0, ""), export("v2", "b", 0, ""),
                                 export("v3", "c", 0, "")));
    struct top t;

    (void)state;
    make(NULL, now, TOP_VOLUME, &t);
    AUTO(auto_free) char *text = printed(&t, 9, 5);
    assert_string_equal(text, "3 attache\n\nVOLUME  H\nv1      \xc3\xa4\nand 2 mor\n");
    AUTO(auto_free) char *tiny = printed(&t, 1, 1);
    assert_string_equal(tiny, "3\n\nV\nv\na\n");
    top_done(&t);
}

static void what_is_no_answer_is_an_empty_table(void **state)
{
    AUTO(auto_json)
    json_t *odd = json_loads(
        "{\"exports\": [7, {\"read\": 3, \"latency\": \"x\"}], \"at_ms\": \"x\"}", 0, NULL);
    struct top t;

    (void)state;
    make(odd, odd, TOP_IOPS, &t);
    assert_int_equal(t.total.ops, 0);
    AUTO(auto_json) json_t *o = top_json(&t);
    assert_int_equal(json_array_size(json_object_get(o, "volumes")), 2);
    top_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_differences_over_time),
        cmocka_unit_test(counts_that_begin_anew_give_no_rate),
        cmocka_unit_test(what_stalls_comes_first_then_the_largest),
        cmocka_unit_test(keys_have_names),
        cmocka_unit_test(a_table_tells_each_figure),
        cmocka_unit_test(a_table_fits_its_screen),
        cmocka_unit_test(what_is_no_answer_is_an_empty_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
