/* SPDX-License-Identifier: Apache-2.0 */
/* Merging sealed layers. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "server/block/blkdev.h"
#include "tests/unit/store/layers.h"
#include "tests/unit/store/sim_ops.h"

#define BLOCKS 64u
#define SIZE   (BLOCKS * BLK_BLOCK)

static struct rig rig;
static struct sim *sim;
static struct layer_chain chain; /* upper, lower, image */

static void make_chain(void)
{
    static struct layer_chain image;

    image = (struct layer_chain){ .count = 1, .id = { rig_image(&rig, SIZE) } };
    chain = chain_of(layer_on(&rig, &image, SIZE, (uint64_t[]){ 1, 2, 6 }, 3, 7), &image);
    chain = chain_of(layer_on(&rig, &chain, SIZE, (uint64_t[]){ 2, 4 }, 2, 8), &chain);
}

static int set_up(void **state)
{
    (void)state;
    sim = sim_new(7);
    rig = (struct rig){ .ops = sim_ops(sim) };
    rig_init(&rig);
    rig_open(&rig);
    make_chain();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    rig_remove(&rig);
    sim_free(sim);
    return 0;
}

static struct layer_id merge(struct layer_id lower, struct layer_id upper)
{
    struct layer_id id = rig_new_id();

    CHECK(store_merge(rig.store, lower, upper, id, NULL, NULL, &e));
    return id;
}

static int try_merge(struct layer_id lower, struct layer_id upper)
{
    struct err e = { 0 };

    return store_merge(rig.store, lower, upper, rig_new_id(), NULL, NULL, &e);
}

/* ---- merging ----------------------------------------------------------------------------------*/

static void merged_layer_shows_both(void **state)
{
    static struct layer_chain c;
    struct layer_id id = merge(chain.id[1], chain.id[0]);

    (void)state;
    c = (struct layer_chain){ .count = 2, .id = { id, chain.id[2] } };
    struct blkdev *d = image_of_chain(&rig, &c, SIZE);
    expect_image(d, 0, BLK_BLOCK);
    expect_fill(d, 1 * BLK_BLOCK, BLK_BLOCK, 7);
    expect_fill(d, 2 * BLK_BLOCK, BLK_BLOCK, 8);
    expect_fill(d, 4 * BLK_BLOCK, BLK_BLOCK, 8);
    expect_image(d, 5 * BLK_BLOCK, BLK_BLOCK);
    expect_fill(d, 6 * BLK_BLOCK, BLK_BLOCK, 7);
    image_close(d);
    struct layer_report report;
    CHECK(layer_check(rig.store, id, true, NULL, NULL, &report, &e));
    assert_int_equal(report.data_blocks, 4);
}

/* What was trimmed above stays zero, and so do blocks that hold nothing but zeros. */
static void zeros_hide_what_lies_below(void **state)
{
    static struct layer_chain c;
    static const uint8_t zeros[BLK_BLOCK];
    struct layer_id top = rig_new_id();
    struct volume *v = volume_on(&rig, top, &chain, SIZE);

    (void)state;
    assert_int_equal(rig_io(volume_device(v), BLK_TRIM, 0, 1 * BLK_BLOCK, BLK_BLOCK, NULL), 0);
    assert_int_equal(
        rig_io(volume_device(v), BLK_WRITE, 0, 5 * BLK_BLOCK, BLK_BLOCK, (void *)(uintptr_t)zeros),
        0);
    rig_volume_close(v);
    struct layer_id id = merge(chain.id[0], top);
    c = (struct layer_chain){ .count = 3, .id = { id, chain.id[1], chain.id[2] } };
    struct blkdev *d = image_of_chain(&rig, &c, SIZE);
    expect_fill(d, 1 * BLK_BLOCK, BLK_BLOCK, 0);
    expect_fill(d, 5 * BLK_BLOCK, BLK_BLOCK, 0);
    expect_fill(d, 2 * BLK_BLOCK, BLK_BLOCK, 8);
    image_close(d);
}

static void merge_into_the_image_is_an_image(void **state)
{
    static struct layer_chain c;

    (void)state;
    c = (struct layer_chain){ .count = 1, .id = { merge(chain.id[2], chain.id[1]) } };
    struct blkdev *d = image_of_chain(&rig, &c, SIZE);
    expect_image(d, 0, BLK_BLOCK);
    expect_fill(d, 1 * BLK_BLOCK, BLK_BLOCK, 7);
    expect_fill(d, 3 * BLK_BLOCK, BLK_BLOCK, 0);
    image_close(d);
}

static void merged_layer_is_sparse(void **state)
{
    struct stat st;
    char path[256];

    (void)state;
    layer_path(&rig, merge(chain.id[1], chain.id[0]), ".data", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_true(st.st_blocks * 512 <= 8 * BLK_BLOCK);
}

/* From its return on it survives a power cut. */
static void merged_layer_is_durable(void **state)
{
    static struct layer_chain c;
    struct layer_id id = merge(chain.id[1], chain.id[0]);

    (void)state;
    rig_close(&rig);
    sim_restore(sim);
    rig_open(&rig);
    c = (struct layer_chain){ .count = 2, .id = { id, chain.id[2] } };
    struct blkdev *d = image_of_chain(&rig, &c, SIZE);
    expect_fill(d, 2 * BLK_BLOCK, BLK_BLOCK, 8);
    image_close(d);
}

static void full_disk_leaves_nothing(void **state)
{
    unsigned files = rig_files(&rig);

    (void)state;
    for (unsigned skip = 0; skip < 5; skip++) {
        sim_full(sim, skip, 1);
        assert_int_equal(try_merge(chain.id[1], chain.id[0]), -ENOSPC);
        assert_int_equal(rig_files(&rig), files);
    }
}

static void any_error_leaves_nothing(void **state)
{
    unsigned files = rig_files(&rig), failed = 0;
    uint64_t before = sim_count(sim);

    (void)state;
    merge(chain.id[1], chain.id[0]);
    uint64_t steps = sim_count(sim) - before;
    files += 2;
    for (uint64_t i = 0; i < steps; i++) {
        sim_fail_at(sim, sim_count(sim) + i, 1, -EIO);
        if (try_merge(chain.id[1], chain.id[0]) < 0) {
            failed++;
            assert_int_equal(rig_files(&rig), files);
        } else {
            files += 2;
        }
    }
    assert_true(failed > 3);
}

static bool after_some(void *ctx)
{
    return ++*(int *)ctx > 1;
}

static void cancelled_merge_leaves_nothing(void **state)
{
    unsigned files = rig_files(&rig);
    struct err e = { 0 };
    int calls = 0;

    (void)state;
    assert_int_equal(
        store_merge(rig.store, chain.id[1], chain.id[0], rig_new_id(), after_some, &calls, &e),
        -ECANCELED);
    assert_int_equal(rig_files(&rig), files);
}

static void top_that_is_open_is_not_merged(void **state)
{
    struct layer_id top = rig_new_id();
    struct volume *v = volume_on(&rig, top, &chain, SIZE);

    (void)state;
    assert_int_equal(try_merge(chain.id[0], top), -EBUSY);
    rig_volume_close(v);
}

/* A merge does not make a right checksum of a wrong block. */
static void damaged_layer_is_not_merged(void **state)
{
    unsigned files = rig_files(&rig);

    (void)state;
    damage_block(&rig, chain.id[2], 10);
    assert_int_equal(try_merge(chain.id[2], chain.id[1]), -EIO);
    assert_int_equal(rig_files(&rig), files);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(merged_layer_shows_both),          TEST(zeros_hide_what_lies_below),
        TEST(merge_into_the_image_is_an_image), TEST(merged_layer_is_sparse),
        TEST(merged_layer_is_durable),          TEST(full_disk_leaves_nothing),
        TEST(any_error_leaves_nothing),         TEST(cancelled_merge_leaves_nothing),
        TEST(top_that_is_open_is_not_merged),   TEST(damaged_layer_is_not_merged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
