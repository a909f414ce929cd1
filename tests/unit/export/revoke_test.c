/* SPDX-License-Identifier: Apache-2.0 */
/* revoke_test - the end of attachments: by detach, by a newer one, by many at once. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "server/export/export.h"
#include "server/io/shard.h"
#include "tests/unit/export/place.h"

static void a_new_grant_fences_the_old_one_first(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    struct visitor *a = visit_now(p, "v", 1, 0);
    assert_int_equal(grant(p, "v", true, 2, 1), 0);
    assert_true(a->cut);
    assert_int_equal(p->closes, 1);
    visitor_free(a);
    a = visit_now(p, "v", 1, -ESTALE);
    assert_string_equal(a->why, "a newer attachment has replaced this one");
    visitor_free(a);
    visitor_free(visit_now(p, "v", 2, 0));
    place_free(p);
}

static void revoke_returns_when_requests_and_the_commit_are_over(void **state)
{
    struct place *p = place_new();
    struct revoker r = { .place = p };

    (void)state;
    grant(p, "v", true, 1, 1);
    p->slow_close = true;
    struct visitor *a = visit(p, "v", 1, true);
    assert_true(came_within(&a->answered, 10000));
    revoker_start(&r);
    assert_true(came_within(&a->was_cut, 10000));
    visitor_free(visit_now(p, "v", 1, -ESTALE)); /* at once */
    assert_false(r.over);
    visitor_close(a);
    while (p->closes == 0)
        sched_yield();
    assert_false(r.over);
    place_let_close(p);
    revoker_join(&r);
    visitor_free(a);

    a = visit_now(p, "v", 1, -ESTALE);
    assert_string_equal(a->why, "the volume was reset: epoch 4 is over");
    visitor_free(a);
    visitor_free(visit_now(p, "v", 9, -ENOENT)); /* why is told to its holder only */
    p->slow_close = false;
    place_free(p);
}

static void many_grants_end_at_once_and_their_devices_are_discarded(void **state)
{
    struct place *p = place_new();
    const char *names[] = { "a", "c", "nobody" };

    (void)state;
    for (uint8_t i = 0; i < 3; i++)
        grant(p, (const char *[]){ "a", "b", "c" }[i], true, i, i);
    struct visitor *v[] = { visit_now(p, "a", 0, 0), visit_now(p, "b", 1, 0),
                            visit_now(p, "c", 2, 0) };
    export_revoke_all(p->table, names, 3, "the volume was reset", true);
    assert_true(v[0]->cut && !v[1]->cut && v[2]->cut);
    assert_int_equal(p->discards, 2);
    visitor_free(visit_now(p, "a", 0, -ESTALE));
    for (unsigned i = 0; i < 3; i++)
        visitor_free(v[i]);
    place_free(p);
}

static void a_grant_may_end_while_its_device_is_busy(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    p->busy = true;
    struct visitor *v = visit(p, "v", 1, false);
    export_revoke(p->table, "v", "x");
    assert_true(came_within(&v->answered, 10000));
    assert_int_equal(v->error, -ESTALE);
    visitor_free(v);
    place_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_grant_fences_the_old_one_first),
        cmocka_unit_test(revoke_returns_when_requests_and_the_commit_are_over),
        cmocka_unit_test(many_grants_end_at_once_and_their_devices_are_discarded),
        cmocka_unit_test(a_grant_may_end_while_its_device_is_busy),
    };
    return cmocka_run_group_tests_name("export, revoke", tests, NULL, NULL);
}
