/* SPDX-License-Identifier: Apache-2.0 */
/* respec_test - devices that are busy, cannot be opened, have failed, or have got another top
 * meanwhile. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "server/export/export.h"
#include "server/export/table.h"
#include "server/io/shard.h"
#include "tests/unit/export/place.h"

static void a_device_that_cannot_be_opened_is_tried_again_next_time(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    p->fail_open = true;
    struct visitor *a = visit_now(p, "v", 1, -ESHUTDOWN);
    assert_string_equal(a->why, "layer 'a41f': not a layer file");
    visitor_free(a);
    p->fail_open = false;
    visitor_free(visit_now(p, "v", 1, 0));
    place_free(p);
}

static void run_fail(void *arg)
{
    struct place *p = arg;

    p->told.failed(p->told.arg, "fdatasync: Input/output error");
}

static bool has_failed(struct place *p, const char *name)
{
    struct export_info i;

    export_query(p->table, name, &i);
    return i.failed;
}

static void a_volume_that_failed_opens_only_with_a_higher_epoch(void **state)
{
    struct place *p = place_new();

    (void)state;
    assert_int_equal(grant_epoch(p, "v", true, 1, 1, 4), 0);
    assert_int_equal(grant_epoch(p, "w", true, 1, 2, 4), 0);
    visitor_free(visit_now(p, "v", 1, 0));
    shard_call(p->shard, run_fail, p);
    export_revoke(p->table, "v", "detached");
    assert_true(has_failed(p, "v"));
    assert_false(has_failed(p, "w"));

    assert_int_equal(grant_epoch(p, "v", true, 2, 1, 4), 0);
    struct visitor *a = visit_now(p, "v", 2, -ESHUTDOWN);
    assert_non_null(strstr(a->why, "has failed: attach it again"));
    visitor_free(a);
    assert_true(has_failed(p, "v"));

    assert_int_equal(grant_epoch(p, "v", true, 3, 1, 5), 0);
    assert_false(has_failed(p, "v"));
    visitor_free(visit_now(p, "v", 3, 0));
    visitor_free(visit_now(p, "w", 1, 0));
    place_free(p);
}

static void a_volume_that_fails_while_it_is_closed_has_failed(void **state)
{
    struct place *p = place_new();
    struct revoker r = { .place = p };

    (void)state;
    grant(p, "v", true, 1, 1);
    visitor_free(visit_now(p, "v", 1, 0));
    p->slow_close = true;
    revoker_start(&r);
    while (p->closes == 0)
        sched_yield();
    shard_call(p->shard, run_fail, p); /* its last commit */
    place_let_close(p);
    pthread_join(r.thread, NULL);
    assert_true(has_failed(p, "v"));
    p->slow_close = false;
    place_free(p);
}

static void a_busy_device_is_opened_again_with_what_the_grant_says_by_then(void **state)
{
    struct place *p = place_new();
    struct layer_chain layers = { .count = 1, .id = { { .b = { 6 } } } };

    (void)state;
    grant(p, "v", true, 1, 1);
    p->busy = true;
    struct visitor *v = visit(p, "v", 1, false);
    export_respec(p->table, "v", (struct layer_id){ .b = { 5 } }, &layers);
    p->busy = false;
    assert_true(came_within(&v->answered, 10000));
    assert_non_null(v->session);
    assert_int_equal(p->opens, 1);
    assert_int_equal(p->top, 5);
    assert_int_equal(p->lowest, 6);
    visitor_free(v);
    place_free(p);
}

struct respecer {
    struct place *place;
    pthread_t thread;
};

static void *respec(void *arg)
{
    struct respecer *r = arg;
    struct layer_chain layers = { .count = 1, .id = { { .b = { 6 } } } };

    export_respec(r->place->table, "v", (struct layer_id){ .b = { 5 } }, &layers);
    return NULL;
}

static void see_respec(void *arg)
{
    struct place *p = arg;
    uint8_t token[EXPORT_TOKEN_BYTES];

    memset(token, 1, sizeof token);
    p->seen = exp_find(p->table, "v", token)->g.volume.top.b[0];
}

/* Its top was sealed meanwhile: nobody may write to it. */
static void what_was_opened_with_an_old_top_is_opened_anew(void **state)
{
    struct place *p = place_new();
    struct respecer r = { .place = p };

    (void)state;
    grant(p, "v", true, 1, 1);
    p->slow_open = true;
    struct visitor *v = visit(p, "v", 1, false);
    while (!p->opening)
        sched_yield();
    pthread_create(&r.thread, NULL, respec, &r);
    do
        shard_call(p->shard, see_respec, p);
    while (p->seen != 5);
    p->slow_open = false;
    pthread_join(r.thread, NULL);
    assert_true(came_within(&v->answered, 10000));
    assert_non_null(v->session);
    assert_int_equal(p->top, 5);
    assert_int_equal(p->opens, 2);
    assert_int_equal(p->closes, 1);
    visitor_free(v);
    place_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_that_cannot_be_opened_is_tried_again_next_time),
        cmocka_unit_test(a_volume_that_failed_opens_only_with_a_higher_epoch),
        cmocka_unit_test(a_volume_that_fails_while_it_is_closed_has_failed),
        cmocka_unit_test(a_busy_device_is_opened_again_with_what_the_grant_says_by_then),
        cmocka_unit_test(what_was_opened_with_an_old_top_is_opened_anew),
    };
    return cmocka_run_group_tests_name("export, respec", tests, NULL, NULL);
}
