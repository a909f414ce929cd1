/* SPDX-License-Identifier: Apache-2.0 */
/* hand_over_test - one connection after the other to one export: who waits, who is cut, who shares.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "server/export/export.h"
#include "tests/unit/export/place.h"

static void a_device_is_opened_once_and_kept_until_the_grant_ends(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    for (unsigned i = 0; i < 3; i++)
        visitor_free(visit_now(p, "v", 1, 0));
    assert_int_equal(p->opens, 1);
    assert_int_equal(p->closes, 0);
    export_revoke(p->table, "v", "detached");
    assert_int_equal(p->closes, 1);
    place_free(p);
}

static void the_second_connection_waits_for_the_end_of_the_first(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    struct visitor *a = visit(p, "v", 1, true);
    assert_true(came_within(&a->answered, 10000));
    struct visitor *b = visit(p, "v", 1, false);
    assert_true(came_within(&a->was_cut, 10000));
    assert_false(came_within(&b->answered, 50));
    visitor_close(a);
    assert_true(came_within(&b->answered, 10000));
    assert_int_equal(b->error, 0);
    assert_ptr_equal(a->device, b->device);
    visitor_free(a);
    visitor_free(b);
    place_free(p);
}

static void of_several_that_wait_the_newest_wins(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    struct visitor *a = visit(p, "v", 1, true);
    assert_true(came_within(&a->answered, 10000));
    struct visitor *b = visit(p, "v", 1, false), *c = visit(p, "v", 1, false);
    assert_true(came_within(&b->answered, 10000));
    assert_int_equal(b->error, -ESHUTDOWN);
    visitor_close(a);
    assert_true(came_within(&c->answered, 10000));
    assert_int_equal(c->error, 0);
    visitor_free(a);
    visitor_free(b);
    visitor_free(c);
    place_free(p);
}

static void images_are_shared_by_layer_and_closed_by_the_last(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "debian@1", false, 1, 7);
    grant(p, "debian@1", false, 2, 7);
    grant(p, "other@1", false, 3, 8);
    struct visitor *v[4] = { visit_now(p, "debian@1", 1, 0), visit_now(p, "debian@1", 1, 0),
                             visit_now(p, "debian@1", 2, 0), visit_now(p, "other@1", 3, 0) };
    assert_int_equal(p->opens, 2);
    assert_ptr_equal(v[0]->device, v[2]->device);
    for (unsigned i = 0; i < 4; i++)
        assert_false(v[i]->cut);
    export_revoke(p->table, "debian@1", "removed");
    assert_int_equal(p->closes, 1);
    assert_true(v[0]->cut && v[1]->cut && v[2]->cut && !v[3]->cut);
    for (unsigned i = 0; i < 4; i++)
        visitor_free(v[i]);
    place_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_is_opened_once_and_kept_until_the_grant_ends),
        cmocka_unit_test(the_second_connection_waits_for_the_end_of_the_first),
        cmocka_unit_test(of_several_that_wait_the_newest_wins),
        cmocka_unit_test(images_are_shared_by_layer_and_closed_by_the_last),
    };
    return cmocka_run_group_tests_name("export, hand-over", tests, NULL, NULL);
}
