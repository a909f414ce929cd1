/* SPDX-License-Identifier: Apache-2.0 */
/* export_test - grants: who may open what, and what is told about it. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "server/export/export.h"
#include "server/export/stats.h"
#include "server/io/shard.h"
#include "tests/unit/export/place.h"

static void a_name_or_token_that_is_not_there_is_refused_alike(void **state)
{
    struct place *p = place_new();

    (void)state;
    assert_int_equal(grant(p, "web.1", true, 1, 1), 0);
    struct visitor *v[3] = { visit_now(p, "web.1", 2, -ENOENT), visit_now(p, "web.2", 1, -ENOENT),
                             visit_now(p, "web", 1, -ENOENT) };
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(v[i]->why, "no such export");
        visitor_free(v[i]);
    }
    assert_int_equal(p->opens, 0); /* nothing is opened for strangers */
    place_free(p);
}

struct peek {
    struct place *place;
    const char *name;
    int rc;
    uint64_t size;
    bool writable;
    struct err e;
};

static void run_peek(void *arg)
{
    struct peek *k = arg;

    k->rc = export_peek(k->place->table, k->name, &k->size, &k->writable, &k->e);
}

static void peek_opens_and_ends_nothing(void **state)
{
    struct place *p = place_new();
    struct peek k = { .place = p, .name = "v.01010101010101010101010101010101" };

    (void)state;
    assert_int_equal(grant(p, "v", true, 1, 1), 0);
    shard_call(p->shard, run_peek, &k);
    assert_int_equal(k.rc, 0);
    assert_true(k.size == SIZE && k.writable);
    assert_int_equal(p->opens, 0);
    k.name = "v.02010101010101010101010101010101";
    shard_call(p->shard, run_peek, &k);
    assert_int_equal(k.rc, -ENOENT);
    place_free(p);
}

static void a_token_cannot_be_granted_twice(void **state)
{
    struct place *p = place_new();

    (void)state;
    assert_int_equal(grant(p, "v", true, 1, 1), 0);
    assert_int_equal(grant(p, "v", true, 1, 1), -EEXIST);
    assert_int_equal(grant(p, "i@1", false, 1, 1), 0);
    place_free(p);
}

static void many_grants_are_found_by_name(void **state)
{
    struct place *p = place_new();
    char name[16];

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "v%u", i);
        assert_int_equal(grant(p, name, true, (uint8_t)i, 1), 0);
    }
    visitor_free(visit_now(p, "v1999", (uint8_t)1999, 0));
    visitor_free(visit_now(p, "v0", 0, 0));
    export_revoke(p->table, "v1000", "x");
    visitor_free(visit_now(p, "v1000", (uint8_t)1000, -ESTALE));
    place_free(p);
}

static void run_count(void *arg)
{
    struct visitor *v = arg;
    struct export_stats *s = export_session_stats(v->session);
    struct export_ticket read, write;

    export_begin(s, &read, BLK_READ, 1000);
    export_begin(s, &write, BLK_WRITE, 1000);
    export_end(s, &write, 512, 0, 2000);
    export_end(s, &read, 8192, 0, 3000);
    v->place->told.failed(v->place->told.arg, "fdatasync: Input/output error");
}

static void query_tells_what_is_going_on(void **state)
{
    struct place *p = place_new();
    struct export_info i;

    (void)state;
    export_query(p->table, "v", &i);
    assert_false(i.granted);
    grant(p, "v", true, 1, 1);
    export_query(p->table, "v", &i);
    assert_true(i.granted && !i.connected && !i.failed);
    struct visitor *a = visit_now(p, "v", 1, 0);
    shard_call(p->shard, run_count, a);
    export_query(p->table, "v", &i);
    assert_true(i.connected && i.failed && i.connected_since_ns > 0);
    assert_true(i.read_bytes == 8192 && i.written_bytes == 512);
    visitor_free(a);
    export_query(p->table, "v", &i);
    assert_true(i.granted && !i.connected);
    place_free(p);
}

static void run_park(void *arg)
{
    struct place *p = arg;

    p->told.parked(p->told.arg, true, "the store is full: 0 bytes free");
}

static void run_unpark(void *arg)
{
    struct place *p = arg;

    p->told.parked(p->told.arg, false, "");
}

static void count_parked(void *ctx, const char *name, bool parked, const char *why)
{
    int *count = ctx;

    assert_string_equal(name, "v");
    assert_int_equal(why[0] != '\0', parked);
    *count += parked ? 1 : -1;
}

static void writes_that_wait_for_room_are_told(void **state)
{
    struct place *p = place_new();
    int parked = 0;
    struct export_events events = { .parked = count_parked, .ctx = &parked };
    struct export_info i;

    (void)state;
    export_set_events(p->table, &events);
    grant(p, "v", true, 1, 1);
    struct visitor *v = visit_now(p, "v", 1, 0);
    shard_call(p->shard, run_park, p);
    export_query(p->table, "v", &i);
    assert_true(i.parked);
    assert_int_equal(parked, 1);
    shard_call(p->shard, run_unpark, p);
    export_query(p->table, "v", &i);
    assert_false(i.parked);
    assert_int_equal(parked, 0);
    visitor_free(v);
    place_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_or_token_that_is_not_there_is_refused_alike),
        cmocka_unit_test(peek_opens_and_ends_nothing),
        cmocka_unit_test(a_token_cannot_be_granted_twice),
        cmocka_unit_test(many_grants_are_found_by_name),
        cmocka_unit_test(query_tells_what_is_going_on),
        cmocka_unit_test(writes_that_wait_for_room_are_told),
    };
    return cmocka_run_group_tests_name("export", tests, NULL, NULL);
}
