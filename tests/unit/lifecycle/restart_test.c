/* SPDX-License-Identifier: Apache-2.0 */
/* restart_test - reset, rollback, remove: what is shown, who may go on, what is left behind. */
#include "tests/unit/lifecycle/rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void reset(struct rig *r, const char *names)
{
    struct lifecycle_set set = rig_set(r, names);

    CHECK(lifecycle_reset(&r->l, &set, &e));
    lifecycle_set_done(&set);
}

static void test_reset_shows_the_image(void **state)
{
    struct rig *r = *state;
    struct client c;

    struct cat_volume before = rig_volume(r, "a");
    rig_volume(r, "b");
    client_open(r, &c, "a");
    before = rig_get(r, "a");
    assert_int_equal(client_write(&c, 1, 0xaa), 0);
    reset(r, "a b");
    assert_true(c.cut);
    assert_int_equal(client_again(&c), -ESTALE);
    assert_non_null(strstr(c.why, "reset"));

    struct cat_volume v = rig_get(r, "a");
    assert_int_equal(v.generation, before.generation + 1);
    assert_int_equal(v.epoch, before.epoch + 1);
    assert_false(cat_volume_attached(&v));
    assert_int_equal(rig_read(r, "a", 1), 2);
    client_close(&c);
}

static void test_old_tops_are_swept(void **state)
{
    struct rig *r = *state;

    rig_volume(r, "a");
    rig_write(r, "a", 1, 0xaa);
    unsigned files = rig_files(r, "layers");
    reset(r, "a");
    assert_int_equal(rig_counts(r).dead_layers, 1);
    rig_restart(r); /* before anybody could delete them */
    assert_int_equal(rig_files(r, "lost+found"), 0);
    lifecycle_sweep(&r->l);
    assert_int_equal(rig_counts(r).dead_layers, 0);
    assert_true(rig_files(r, "layers") < files);
    assert_int_equal(rig_read(r, "a", 1), 2);
}

static void test_reset_is_for_all_or_none(void **state)
{
    struct rig *r = *state;
    struct client c;

    rig_volume(r, "a");
    rig_volume(r, "b");
    client_open(r, &c, "a");
    assert_int_equal(client_write(&c, 1, 0xaa), 0);
    struct cat_volume a = rig_get(r, "a");
    static const char *const steps[] = { "UPDATE ON volume WHEN new.name = 'b'",
                                         "INSERT ON dead_layer", "INSERT ON event" };
    for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
        rig_refuse(r, steps[i]);
        struct lifecycle_set set = rig_set(r, "a b");
        CHECK_FAILS(-EINVAL, "refused", lifecycle_reset(&r->l, &set, &e));
        lifecycle_set_done(&set);
        rig_refuse(r, NULL);
        assert_int_equal(rig_get(r, "a").epoch, a.epoch);
        assert_false(c.cut);
        assert_int_equal(client_read(&c, 1), 0xaa);
    }
    client_close(&c);
}

static void test_rollback_shows_the_snapshot(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s1, s2;

    rig_volume(r, "a");
    rig_volume(r, "b");
    rig_write(r, "a", 1, 1);
    rig_snapshot(r, "s1", "a b");
    rig_write(r, "a", 1, 2);
    rig_write(r, "b", 1, 2);
    rig_snapshot(r, "s2", "a");
    rig_write(r, "a", 1, 3);
    CHECK(cat_snapshot_get(r->l.catalog, "s1", &s1, &e));
    CHECK(cat_snapshot_get(r->l.catalog, "s2", &s2, &e));

    struct lifecycle_set set = { 0 };
    CHECK(lifecycle_set_of_snapshot(&r->l, &s1, &set, &e));
    assert_int_equal(set.count, 2);
    CHECK(lifecycle_rollback(&r->l, &s1, &set, &e));
    lifecycle_set_done(&set);
    assert_int_equal(rig_read(r, "a", 1), 1);
    assert_int_equal(rig_read(r, "b", 1), 2); /* block 1 of the image is full of 2 */

    set = rig_set(r, "a"); /* and forward again: s2 has lost nothing */
    CHECK(lifecycle_rollback(&r->l, &s2, &set, &e));
    lifecycle_set_done(&set);
    assert_int_equal(rig_read(r, "a", 1), 2);
}

static void test_rollback_to_what_is_not_held(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s;

    struct cat_volume a = rig_volume(r, "a");
    rig_volume(r, "b");
    rig_snapshot(r, "s", "a");
    CHECK(cat_snapshot_get(r->l.catalog, "s", &s, &e));
    struct lifecycle_set set = rig_set(r, "a b");
    CHECK_FAILS(-ENOENT, "snapshot 's' does not hold it", lifecycle_rollback(&r->l, &s, &set, &e));
    lifecycle_set_done(&set);
    assert_int_equal(rig_get(r, "a").epoch, a.epoch);
}

/* What control does for the host of a running domain. */
static int attach_again(void *ctx, struct cat_volume *v, struct err *e)
{
    struct rig *r = ctx;

    return cat_volume_attach(r->l.catalog, v, 0, e);
}

static void test_renewed_attachment_is_served(void **state)
{
    struct rig *r = *state;
    struct client old;
    struct export_info info;

    rig_volume(r, "a");
    client_open(r, &old, "a");
    assert_int_equal(client_write(&old, 1, 0xaa), 0);
    r->l.hooks.moved = attach_again;
    r->l.hooks.ctx = r;
    reset(r, "a");
    struct cat_volume v = rig_get(r, "a");
    assert_true(cat_volume_attached(&v));
    assert_int_equal(client_again(&old), -ESTALE);
    export_query(r->l.exports, "a", &info);
    assert_true(info.granted);
    client_close(&old);
}

static void test_failed_volume_is_well_again(void **state)
{
    struct rig *r = *state;

    rig_volume(r, "a");
    CHECK(cat_volume_set_failed(r->l.catalog, "a", true, &e));
    reset(r, "a");
    assert_false(rig_get(r, "a").failed);
}

static void test_removal_respects_snapshots(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s;

    rig_volume(r, "a");
    rig_volume(r, "b");
    rig_write(r, "a", 1, 0xaa);
    rig_snapshot(r, "one", "a");
    rig_write(r, "a", 1, 0xbb);
    rig_snapshot(r, "two", "a b");
    struct cat_volume a = rig_get(r, "a");
    CHECK_FAILS(-EBUSY, "'one', 'two'", lifecycle_remove(&r->l, &a, false, &e));
    CHECK(lifecycle_remove(&r->l, &a, true, &e));
    assert_int_equal(cat_snapshot_get(r->l.catalog, "one", &s, NULL), -ENOENT);
    CHECK(cat_snapshot_get(r->l.catalog, "two", &s, &e));
    assert_int_equal(s.volumes, 1);
    lifecycle_sweep(&r->l);
    assert_int_equal(rig_counts(r).layers, 2); /* the image's, b's top */
}

static void test_removal_of_what_is_attached(void **state)
{
    struct rig *r = *state;
    struct client c;

    rig_volume(r, "a");
    client_open(r, &c, "a");
    struct cat_volume a = rig_get(r, "a");
    CHECK_FAILS(-EBUSY, "detach it first", lifecycle_remove(&r->l, &a, true, &e));
    assert_false(c.cut);
    client_close(&c);
}

static void test_name_comes_again_with_a_later_epoch(void **state)
{
    struct rig *r = *state;

    rig_volume(r, "a");
    reset(r, "a");
    struct cat_volume before = rig_get(r, "a");
    CHECK(lifecycle_remove(&r->l, &before, false, &e));
    struct cat_volume after = rig_volume(r, "a");
    assert_true(after.generation > before.generation);
    assert_true(after.epoch > before.epoch);
}

static void test_image_below_a_promoted_one_stays_readable(void **state)
{
    struct rig *r = *state;
    struct cat_image lab = { .name = "lab", .source = "volume a" };
    static const char *const name = "n";

    rig_volume(r, "a");
    rig_write(r, "a", 1, 0xaa);
    struct cat_volume a = rig_get(r, "a");
    CHECK(lifecycle_promote(&r->l, &a, &lab, &e));
    a = rig_get(r, "a");
    CHECK(lifecycle_remove(&r->l, &a, false, &e));
    CHECK(lifecycle_image_remove(&r->l, &r->image, &e));
    lifecycle_sweep(&r->l);
    CHECK(lifecycle_create(&r->l, &lab, &name, 1, &e));
    assert_int_equal(rig_read(r, "n", 1), 0xaa);
    assert_int_equal(rig_read(r, "n", 2), 3);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_start, rig_stop)
    const struct CMUnitTest tests[] = {
        TEST(test_reset_shows_the_image),
        TEST(test_old_tops_are_swept),
        TEST(test_reset_is_for_all_or_none),
        TEST(test_rollback_shows_the_snapshot),
        TEST(test_rollback_to_what_is_not_held),
        TEST(test_renewed_attachment_is_served),
        TEST(test_failed_volume_is_well_again),
        TEST(test_removal_respects_snapshots),
        TEST(test_removal_of_what_is_attached),
        TEST(test_name_comes_again_with_a_later_epoch),
        TEST(test_image_below_a_promoted_one_stays_readable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
