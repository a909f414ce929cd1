/* SPDX-License-Identifier: Apache-2.0 */
/* verify_test - images are hashed, compared, found damaged. */
#include "tests/unit/lifecycle/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/base/name.h"

static int verify(struct rig *r, struct cat_image *i, struct err *e)
{
    struct lifecycle_verify v;
    int rc = lifecycle_verify_begin(&r->l, i, &v, e);

    assert_int_equal(rc, 0);
    rc = lifecycle_verify_end(&r->l, &v, lifecycle_verify_read(r->l.store, &v, NULL, NULL, e), e);
    assert_int_equal(cat_image_get_id(r->l.catalog, i->id, i, NULL), 0);
    return rc;
}

static void test_first_hash_is_taken_down(void **state)
{
    struct rig *r = *state;
    struct cat_image *i = &r->image;

    CHECK(verify(r, i, &e));
    assert_int_equal(i->state, CAT_IMAGE_VERIFIED);
    assert_int_equal(strlen(i->sha256), 64);
    /* Block 255 is full of zeros: 1 + 255. */
    assert_int_equal(i->data_bytes, RIG_IMAGE_BYTES - BLOCK);
    CHECK(verify(r, i, &e)); /* and compared from then on */
}

static void test_promoted_image_has_the_hash_of_what_it_shows(void **state)
{
    struct rig *r = *state;
    struct cat_image lab = { .name = "lab", .source = "volume a" };

    CHECK(verify(r, &r->image, &e));
    rig_volume(r, "a");
    rig_write(r, "a", 1, 7);
    rig_write(r, "a", 1, 2); /* as in the image */
    struct cat_volume a = rig_get(r, "a");
    CHECK(lifecycle_promote(&r->l, &a, &lab, &e));
    CHECK(verify(r, &lab, &e));
    assert_string_equal(lab.sha256, r->image.sha256);
    assert_memory_not_equal(lab.layer, r->image.layer, sizeof lab.layer);
}

static void test_other_hash_is_damage(void **state)
{
    struct rig *r = *state;
    struct cat_image *i = &r->image;

    CHECK(verify(r, i, &e));
    i->sha256[0] = i->sha256[0] == 'a' ? 'b' : 'a';
    CHECK(cat_image_set_state(r->l.catalog, i, &e));
    CHECK_FAILS(-EIO, "SHA-256", verify(r, i, &e));
    assert_int_equal(i->state, CAT_IMAGE_DAMAGED);
}

/* One byte of the data file is another one. */
static void test_damaged_file_is_found(void **state)
{
    struct rig *r = *state;
    char path[192], hex[33];

    CHECK(verify(r, &r->image, &e));
    rig_restart(r); /* nothing of it is in memory */
    hex_encode(r->image.layer, 16, hex);
    snprintf(path, sizeof path, "%s/layers/%s.data", r->dir, hex);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "x", 1, 5 * BLOCK + 17), 1);
    close(fd);
    struct err why = { 0 };
    assert_int_equal(verify(r, &r->image, &why), -EIO);
    assert_int_equal(r->image.state, CAT_IMAGE_DAMAGED);
}

static bool at_once(void *ctx, uint64_t done_bytes)
{
    (void)ctx;
    (void)done_bytes;
    return true;
}

static void test_cancelled_changes_nothing(void **state)
{
    struct rig *r = *state;
    struct lifecycle_verify v;
    struct err why = { 0 };

    assert_int_equal(lifecycle_verify_begin(&r->l, &r->image, &v, &why), 0);
    int rc = lifecycle_verify_read(r->l.store, &v, at_once, NULL, &why);
    assert_int_equal(rc, -ECANCELED);
    assert_int_equal(lifecycle_verify_end(&r->l, &v, rc, &why), -ECANCELED);
    CHECK(cat_image_get_id(r->l.catalog, r->image.id, &r->image, &e));
    assert_int_equal(r->image.state, CAT_IMAGE_UNVERIFIED);
}

static void test_image_is_removed_meanwhile(void **state)
{
    struct rig *r = *state;
    struct lifecycle_verify v;
    struct err why = { 0 };

    assert_int_equal(lifecycle_verify_begin(&r->l, &r->image, &v, &why), 0);
    CHECK(lifecycle_image_remove(&r->l, &r->image, &e));
    lifecycle_sweep(&r->l);
    int rc = lifecycle_verify_read(r->l.store, &v, NULL, NULL, &why);
    assert_true(rc < 0);
    assert_int_equal(lifecycle_verify_end(&r->l, &v, rc, &why), -ESTALE);
}

/* Its layers were merged while they were read: nothing is wrong with it. */
static void test_layers_are_merged_meanwhile(void **state)
{
    struct rig *r = *state;
    struct cat_image lab = { .name = "lab", .source = "volume a" };
    struct cat_snapshot s;
    struct lifecycle_verify v;
    struct err why = { 0 };

    rig_volume(r, "a");
    rig_write(r, "a", 1, 7);
    rig_snapshot(r, "s", "a");
    rig_write(r, "a", 2, 7);
    struct cat_volume a = rig_get(r, "a");
    CHECK(lifecycle_promote(&r->l, &a, &lab, &e));
    assert_int_equal(lifecycle_verify_begin(&r->l, &lab, &v, &why), 0);
    CHECK(cat_snapshot_get(r->l.catalog, "s", &s, &e));
    CHECK(lifecycle_snapshot_remove(&r->l, &s, &e));
    CHECK(lifecycle_merge_all(&r->l, &e));
    lifecycle_sweep(&r->l);
    int rc = lifecycle_verify_read(r->l.store, &v, NULL, NULL, &why);
    assert_true(rc < 0);
    assert_int_equal(lifecycle_verify_end(&r->l, &v, rc, &why), -EAGAIN);
    CHECK(cat_image_get_id(r->l.catalog, lab.id, &lab, &e));
    CHECK(verify(r, &lab, &e));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, rig_start, rig_stop)
    const struct CMUnitTest tests[] = {
        TEST(test_first_hash_is_taken_down),
        TEST(test_promoted_image_has_the_hash_of_what_it_shows),
        TEST(test_other_hash_is_damage),
        TEST(test_damaged_file_is_found),
        TEST(test_cancelled_changes_nothing),
        TEST(test_image_is_removed_meanwhile),
        TEST(test_layers_are_merged_meanwhile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
