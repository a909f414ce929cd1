/* SPDX-License-Identifier: Apache-2.0 */
/* merge_test - layers that nothing needs apart become one under the hands of clients; what changes
 * meanwhile is respected. */
#include "tests/unit/lifecycle/rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* s1, s2, s3 of volume a: block 1 is 1, 2, 3 in them and 4 now; block 10 + i was written before
 * s<i>. */
static void make_history(struct rig *r)
{
    char name[8];

    rig_volume(r, "a");
    for (unsigned i = 1; i <= 4; i++) {
        rig_write(r, "a", 1, (uint8_t)i);
        rig_write(r, "a", 10 + i, 0xf0);
        snprintf(name, sizeof name, "s%u", i);
        if (i < 4)
            rig_snapshot(r, name, "a");
    }
}

static void remove_snapshot(struct rig *r, const char *name)
{
    struct cat_snapshot s;

    CHECK(cat_snapshot_get(r->l.catalog, name, &s, &e));
    CHECK(lifecycle_snapshot_remove(&r->l, &s, &e));
}

static unsigned depth(struct rig *r, const char *volume)
{
    struct cat_volume v = rig_get(r, volume);
    unsigned count;

    CHECK(cat_layer_depth(r->l.catalog, v.below, &count, &e));
    return count;
}

static void clone_of(struct rig *r, const char *snapshot, const char *name)
{
    struct cat_volume a = rig_get(r, "a");
    struct cat_snapshot s;

    CHECK(cat_snapshot_get(r->l.catalog, snapshot, &s, &e));
    CHECK(lifecycle_clone_snapshot(&r->l, &a, &s, &name, 1, &e));
}

static void test_middle_layers_are_merged(void **state)
{
    struct rig *r = *state;
    struct client c;

    make_history(r);
    client_open(r, &c, "a");
    assert_int_equal(client_read(&c, 1), 4);
    remove_snapshot(r, "s1");
    remove_snapshot(r, "s2");
    assert_int_equal(depth(r, "a"), 4);
    CHECK(lifecycle_merge_all(&r->l, &e));
    assert_int_equal(depth(r, "a"), 2); /* s3's and the image's */
    assert_false(c.cut);
    assert_int_equal(client_read(&c, 1), 4);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(client_read(&c, 10 + i), 0xf0);
    assert_int_equal(client_read(&c, 20), 21);
    lifecycle_sweep(&r->l);
    assert_int_equal(rig_counts(r).dead_layers, 0); /* nobody had them open */
    assert_int_equal(client_write(&c, 20, 0xcc), 0);
    client_close(&c);

    clone_of(r, "s3", "b");
    assert_int_equal(rig_read(r, "b", 1), 3);
    assert_int_equal(rig_read(r, "b", 13), 0xf0);
    assert_int_equal(rig_read(r, "b", 14), 15);
    rig_restart(r);
    assert_int_equal(rig_read(r, "a", 20), 0xcc);
    assert_int_equal(rig_read(r, "a", 11), 0xf0);
    assert_int_equal(rig_files(r, "lost+found"), 0);
}

static void test_named_layers_stay(void **state)
{
    struct rig *r = *state;
    struct lifecycle_merge m;

    make_history(r);
    assert_int_equal(lifecycle_merge_next(&r->l, NULL, &m, NULL), 0);
    clone_of(r, "s2", "b"); /* two stand on the layer of s2 */
    remove_snapshot(r, "s2");
    assert_int_equal(lifecycle_merge_next(&r->l, NULL, &m, NULL), 0);
}

static void test_top_is_never_merged(void **state)
{
    struct rig *r = *state;
    struct lifecycle_merge m;

    rig_volume(r, "a");
    rig_write(r, "a", 1, 1);
    rig_snapshot(r, "s", "a");
    rig_write(r, "a", 1, 2);
    remove_snapshot(r, "s");
    assert_int_equal(lifecycle_merge_next(&r->l, NULL, &m, NULL), 0);
}

/* While it was written, what it was to replace was removed. */
static void test_merge_that_comes_too_late(void **state)
{
    struct rig *r = *state;
    struct lifecycle_merge m;

    make_history(r);
    remove_snapshot(r, "s1");
    assert_int_equal(lifecycle_merge_next(&r->l, NULL, &m, NULL), 1);
    CHECK(lifecycle_merge_write(r->l.store, &m, NULL, NULL, &e));
    struct cat_volume a = rig_get(r, "a");
    CHECK(lifecycle_remove(&r->l, &a, true, &e));
    lifecycle_sweep(&r->l);
    CHECK_FAILS(-ESTALE, "merge", lifecycle_merge_finish(&r->l, &m, &e));
    lifecycle_sweep(&r->l);
    assert_int_equal(rig_files(r, "layers"), 2); /* the image's data and map */
}

static void test_refused_merge_is_undone(void **state)
{
    struct rig *r = *state;
    struct lifecycle_merge m;

    make_history(r);
    remove_snapshot(r, "s1");
    unsigned files = rig_files(r, "layers");
    assert_int_equal(lifecycle_merge_next(&r->l, NULL, &m, NULL), 1);
    CHECK(lifecycle_merge_write(r->l.store, &m, NULL, NULL, &e));
    rig_refuse(r, "UPDATE ON layer");
    CHECK_FAILS(-EINVAL, "refused", lifecycle_merge_finish(&r->l, &m, &e));
    rig_refuse(r, NULL);
    lifecycle_sweep(&r->l);
    assert_int_equal(rig_files(r, "layers"), files);
    assert_int_equal(depth(r, "a"), 4);
    assert_int_equal(rig_read(r, "a", 11), 0xf0);
}

static bool at_once(void *ctx)
{
    (void)ctx;
    return true;
}

static void test_merge_can_be_cancelled(void **state)
{
    struct rig *r = *state;
    struct lifecycle_merge m;

    make_history(r);
    remove_snapshot(r, "s1");
    unsigned files = rig_files(r, "layers");
    assert_int_equal(lifecycle_merge_next(&r->l, NULL, &m, NULL), 1);
    assert_int_equal(lifecycle_merge_write(r->l.store, &m, at_once, NULL, NULL), -ECANCELED);
    lifecycle_merge_drop(&r->l, &m);
    lifecycle_sweep(&r->l);
    assert_int_equal(rig_files(r, "layers"), files);
}

/* Written, and then the server was killed: the next one does not know it. */
static void test_merge_without_an_end_is_swept(void **state)
{
    struct rig *r = *state;
    struct lifecycle_merge m;

    make_history(r);
    remove_snapshot(r, "s1");
    assert_int_equal(lifecycle_merge_next(&r->l, NULL, &m, NULL), 1);
    CHECK(lifecycle_merge_write(r->l.store, &m, NULL, NULL, &e));
    assert_true(rig_has(r, m.merged));
    rig_restart(r);
    lifecycle_sweep(&r->l);
    assert_false(rig_has(r, m.merged));
    assert_int_equal(rig_files(r, "lost+found"), 0);
    CHECK(lifecycle_merge_all(&r->l, &e));
    assert_int_equal(depth(r, "a"), 3);
    assert_int_equal(rig_read(r, "a", 11), 0xf0);
}

static void test_promoted_image_goes_along(void **state)
{
    struct rig *r = *state;
    struct cat_image lab = { .name = "lab", .source = "volume a" };
    static const char *const name = "n";

    make_history(r);
    struct cat_volume a = rig_get(r, "a");
    CHECK(lifecycle_promote(&r->l, &a, &lab, &e));
    remove_snapshot(r, "s3");
    CHECK(lifecycle_merge_all(&r->l, &e));
    CHECK(cat_image_get(r->l.catalog, "lab", 1, &lab, &e));
    CHECK(lifecycle_create(&r->l, &lab, &name, 1, &e));
    assert_int_equal(rig_read(r, "n", 1), 4);
    assert_int_equal(rig_read(r, "n", 13), 0xf0);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_start, rig_stop)
    const struct CMUnitTest tests[] = {
        TEST(test_middle_layers_are_merged),      TEST(test_named_layers_stay),
        TEST(test_top_is_never_merged),           TEST(test_merge_that_comes_too_late),
        TEST(test_refused_merge_is_undone),       TEST(test_merge_can_be_cancelled),
        TEST(test_merge_without_an_end_is_swept), TEST(test_promoted_image_goes_along),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
