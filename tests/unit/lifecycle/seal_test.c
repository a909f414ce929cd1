/* SPDX-License-Identifier: Apache-2.0 */
/* seal_test - snapshot, clone, promote, resize, quota: what is shown afterwards, and that a step
 * that fails undoes all before it. */
#include "tests/unit/lifecycle/rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/name.h"

static void test_snapshot_keeps_what_was_shown(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s;
    struct client c;

    rig_volume(r, "a");
    rig_volume(r, "b"); /* never written to */
    client_open(r, &c, "a");
    assert_int_equal(client_write(&c, 1, 0xaa), 0);
    rig_snapshot(r, "s", "a b");
    assert_false(c.cut);
    assert_int_equal(client_write(&c, 1, 0xbb), 0);
    assert_int_equal(client_write(&c, 2, 0xbb), 0);
    assert_int_equal(client_read(&c, 1), 0xbb);
    assert_int_equal(client_read(&c, 3), 4);

    CHECK(cat_snapshot_get(r->l.catalog, "s", &s, &e));
    assert_int_equal(s.volumes, 2);
    struct cat_volume a = rig_get(r, "a"), b = rig_get(r, "b");
    assert_int_equal(a.snapshots, 1);
    assert_memory_equal(b.below, r->image.layer, sizeof b.below); /* no layer for nothing */
    static const char *const names[] = { "ca", "cb" };
    CHECK(lifecycle_clone_snapshot(&r->l, &a, &s, &names[0], 1, &e));
    CHECK(lifecycle_clone_snapshot(&r->l, &b, &s, &names[1], 1, &e));
    assert_int_equal(rig_read(r, "ca", 1), 0xaa);
    assert_int_equal(rig_read(r, "ca", 2), 3);
    assert_int_equal(rig_read(r, "cb", 1), 2);
    client_close(&c);
}

static void test_snapshot_outlives_restart(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s;

    rig_volume(r, "a");
    rig_write(r, "a", 1, 0xaa);
    rig_snapshot(r, "s", "a");
    rig_write(r, "a", 1, 0xbb);
    rig_restart(r);
    assert_int_equal(rig_read(r, "a", 1), 0xbb);
    CHECK(cat_snapshot_get(r->l.catalog, "s", &s, &e));
    struct lifecycle_set set = rig_set(r, "a");
    CHECK(lifecycle_rollback(&r->l, &s, &set, &e));
    lifecycle_set_done(&set);
    assert_int_equal(rig_read(r, "a", 1), 0xaa);
}

static void test_snapshot_name_is_taken(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s;

    rig_volume(r, "a");
    rig_write(r, "a", 1, 0xaa);
    rig_snapshot(r, "s", "a");
    struct lifecycle_set set = rig_set(r, "a");
    CHECK_FAILS(-EEXIST, "snapshot 's' already", lifecycle_snapshot(&r->l, "s", &set, &s, &e));
    lifecycle_set_done(&set);
}

/* Whatever the transaction meets: the volumes go on as if nothing had been. */
static void test_refused_transaction_is_undone(void **state)
{
    struct rig *r = *state;
    static const char *const steps[] = { "INSERT ON layer", "UPDATE ON volume",
                                         "INSERT ON snapshot", "INSERT ON snapshot_volume",
                                         "INSERT ON event" };
    struct cat_volume before = rig_volume(r, "a");
    struct cat_snapshot s;
    struct client c;

    client_open(r, &c, "a");
    for (uint8_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(client_write(&c, 1, i), 0);
        rig_refuse(r, steps[i]);
        struct lifecycle_set set = rig_set(r, "a");
        CHECK_FAILS(-EINVAL, "refused", lifecycle_snapshot(&r->l, "s", &set, &s, &e));
        lifecycle_set_done(&set);
        rig_refuse(r, NULL);
        assert_memory_equal(rig_get(r, "a").top, before.top, sizeof before.top);
        assert_int_equal(rig_counts(r).snapshots, 0);
        assert_false(c.cut);
        assert_int_equal(client_read(&c, 1), i);
        assert_int_equal(client_write(&c, 2, i), 0);
        assert_int_equal(client_flush(&c), 0);
    }
    client_close(&c);
    rig_restart(r);
    assert_int_equal(rig_read(r, "a", 2), 4);
    assert_int_equal(rig_files(r, "lost+found"), 0);
}

/* The data is synced before the hold; which sync after that is the slow one does not matter. */
static void test_hold_has_a_deadline(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s;
    struct client c;
    int rc = 0;

    rig_volume(r, "a");
    client_open(r, &c, "a");
    r->l.hold_ms = 1;
    for (int after = 1; after < 10 && rc == 0; after++) {
        struct cat_volume before = rig_get(r, "a");
        struct lifecycle_set set = rig_set(r, "a");
        struct err why = { 0 };
        assert_int_equal(client_write(&c, 1, (uint8_t)after), 0);
        rig_slow(after);
        rc = lifecycle_snapshot(&r->l, "never", &set, &s, &why);
        rig_fast();
        lifecycle_set_done(&set);
        if (rc == 0)
            CHECK(lifecycle_snapshot_remove(&r->l, &s, &e));
        else
            assert_memory_equal(rig_get(r, "a").top, before.top, sizeof before.top);
        assert_int_equal(client_read(&c, 1), after);
    }
    assert_int_equal(rc, -ETIMEDOUT);
    assert_int_equal(rig_counts(r).snapshots, 0);
    assert_int_equal(client_write(&c, 1, 0xdd), 0);
    assert_int_equal(client_flush(&c), 0);
    assert_int_equal(client_read(&c, 1), 0xdd);
    client_close(&c);
}

static void test_chain_has_a_limit(void **state)
{
    struct rig *r = *state;
    struct cat_snapshot s;
    struct client c;
    char name[16];

    rig_volume(r, "a");
    client_open(r, &c, "a");
    for (unsigned i = 1; i < CAT_CHAIN_MAX; i++) { /* and the image's */
        snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(client_write(&c, i, 0xee), 0);
        rig_snapshot(r, name, "a");
    }
    rig_snapshot(r, "nothing-new", "a"); /* an empty top needs no layer */
    assert_int_equal(client_write(&c, 0, 0xee), 0);
    struct lifecycle_set set = rig_set(r, "a");
    CHECK_FAILS(-EMLINK, "remove snapshots", lifecycle_snapshot(&r->l, "more", &set, &s, &e));
    lifecycle_set_done(&set);
    assert_int_equal(client_read(&c, 0), 0xee);
    assert_int_equal(client_read(&c, 63), 0xee);
    assert_int_equal(client_read(&c, 64), 65);
    client_close(&c);
    rig_restart(r);
    assert_int_equal(rig_read(r, "a", 17), 0xee);
}

static void test_clones_stand_apart(void **state)
{
    struct rig *r = *state;
    static const char *const names[] = { "b", "c" };
    struct client a, b;

    rig_volume(r, "a");
    client_open(r, &a, "a");
    assert_int_equal(client_write(&a, 1, 0xa1), 0);
    struct cat_volume v = rig_get(r, "a");
    CHECK(lifecycle_quota(&r->l, &v, 8u << 20, &e));
    CHECK(lifecycle_clone(&r->l, &v, names, 2, &e));
    assert_int_equal(rig_get(r, "c").quota_bytes, 8u << 20);
    client_open(r, &b, "b");
    assert_int_equal(client_write(&a, 2, 0xa2), 0);
    assert_int_equal(client_write(&b, 2, 0xb2), 0);
    assert_int_equal(client_read(&a, 1), 0xa1);
    assert_int_equal(client_read(&a, 2), 0xa2);
    assert_int_equal(client_read(&b, 1), 0xa1);
    assert_int_equal(client_read(&b, 2), 0xb2);
    assert_int_equal(rig_read(r, "c", 2), 3);
    client_close(&a);
    client_close(&b);
}

static void test_clone_whose_name_is_taken(void **state)
{
    struct rig *r = *state;
    static const char *const names[] = { "new", "b" };
    struct cat_volume a = rig_volume(r, "a");

    rig_volume(r, "b");
    rig_write(r, "a", 1, 0xaa);
    struct cat_volume v = rig_get(r, "a");
    CHECK_FAILS(-EEXIST, "a volume 'b' already", lifecycle_clone(&r->l, &v, names, 2, &e));
    assert_memory_equal(rig_get(r, "a").top, a.top, sizeof a.top);
    assert_int_equal(rig_counts(r).volumes, 2);
    assert_int_equal(rig_read(r, "a", 1), 0xaa);
}

static void test_promoted_image_serves_volumes(void **state)
{
    struct rig *r = *state;
    struct cat_image i = { .name = "lab", .source = "volume a" }, got;
    static const char *const name = "n";
    struct client c;

    rig_volume(r, "a");
    client_open(r, &c, "a");
    assert_int_equal(client_write(&c, 1, 0xaa), 0);
    struct cat_volume v = rig_get(r, "a");
    CHECK(lifecycle_promote(&r->l, &v, &i, &e));
    assert_int_equal(client_write(&c, 1, 0xbb), 0);
    CHECK(cat_image_get(r->l.catalog, "lab", 1, &got, &e));
    assert_int_equal(got.state, CAT_IMAGE_UNVERIFIED);
    assert_string_equal(got.sha256, "");
    CHECK(lifecycle_create(&r->l, &got, &name, 1, &e));
    assert_int_equal(rig_read(r, "n", 1), 0xaa);
    assert_int_equal(rig_read(r, "n", 2), 3);

    struct cat_image again = { .name = "lab", .source = "volume a" };
    v = rig_get(r, "a");
    CHECK(lifecycle_promote(&r->l, &v, &again, &e));
    assert_int_equal(again.version, 2);
    client_close(&c);
}

static void test_volume_only_grows(void **state)
{
    struct rig *r = *state;
    unsigned last = 2 * RIG_IMAGE_BYTES / BLOCK - 1;
    struct client c;

    rig_volume(r, "a");
    rig_write(r, "a", 1, 0xaa);
    struct cat_volume v = rig_get(r, "a");
    CHECK_FAILS(-EINVAL, "only grow", lifecycle_resize(&r->l, &v, RIG_IMAGE_BYTES / 2, &e));
    CHECK_FAILS(-EINVAL, "multiple of 512", lifecycle_resize(&r->l, &v, 5000001, &e));
    CHECK(lifecycle_resize(&r->l, &v, 2 * RIG_IMAGE_BYTES, &e));
    client_open(r, &c, "a");
    assert_int_equal(client_read(&c, 1), 0xaa);
    assert_int_equal(client_read(&c, 2), 3);
    assert_int_equal(client_read(&c, last), 0);
    assert_int_equal(client_write(&c, last, 0xcc), 0);
    v = rig_get(r, "a");
    CHECK_FAILS(-EBUSY, "attached", lifecycle_resize(&r->l, &v, 4 * RIG_IMAGE_BYTES, &e));
    client_close(&c);
    rig_restart(r);
    assert_int_equal(rig_read(r, "a", last), 0xcc);
    struct lifecycle_set set = rig_set(r, "a");
    CHECK(lifecycle_reset(&r->l, &set, &e));
    lifecycle_set_done(&set);
    assert_int_equal(rig_get(r, "a").size_bytes, 2 * RIG_IMAGE_BYTES); /* it never shrinks */
    assert_int_equal(rig_read(r, "a", last), 0);
}

static void test_quota_has_limits(void **state)
{
    struct rig *r = *state;
    struct cat_volume v = rig_volume(r, "a");

    CHECK_FAILS(-EINVAL, "at least", lifecycle_quota(&r->l, &v, 4096, &e));
    CHECK(lifecycle_quota(&r->l, &v, 1u << 20, &e));
    assert_int_equal(rig_get(r, "a").quota_bytes, 1u << 20);
    CHECK(lifecycle_quota(&r->l, &v, 0, &e));
    assert_int_equal(rig_get(r, "a").quota_bytes, 0);
}

static void test_sets_are_checked(void **state)
{
    struct rig *r = *state;
    static const char *const twice[] = { "a", "b", "a" }, *const unknown[] = { "a", "x" };
    struct lifecycle_set set = { 0 };

    rig_volume(r, "a");
    rig_volume(r, "b");
    CHECK_FAILS(-EINVAL, "'a' is named twice", lifecycle_set_named(&r->l, twice, 3, &set, &e));
    CHECK_FAILS(-ENOENT, "no volume 'x'", lifecycle_set_named(&r->l, unknown, 2, &set, &e));
    CHECK_FAILS(-EINVAL, "1 to 4096", lifecycle_set_named(&r->l, twice, 0, &set, &e));
    assert_null(set.v);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_start, rig_stop)
    const struct CMUnitTest tests[] = {
        TEST(test_snapshot_keeps_what_was_shown),
        TEST(test_snapshot_outlives_restart),
        TEST(test_snapshot_name_is_taken),
        TEST(test_refused_transaction_is_undone),
        TEST(test_hold_has_a_deadline),
        TEST(test_chain_has_a_limit),
        TEST(test_clones_stand_apart),
        TEST(test_clone_whose_name_is_taken),
        TEST(test_promoted_image_serves_volumes),
        TEST(test_volume_only_grows),
        TEST(test_quota_has_limits),
        TEST(test_sets_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
