/* SPDX-License-Identifier: Apache-2.0 */
/* Loans: sealed bytes that are in memory are lent where they lie, and nothing else is; and writes
 * that are held up share one job. */
#include <stdlib.h>
#include <string.h>

#include "server/block/blkdev.h"
#include "server/io/file_ops.h"
#include "server/store/open_layers.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/layers.h"

#define BLOCKS 64u
#define SIZE   (BLOCKS * BLK_BLOCK)

static struct rig rig;
static struct file_ops ops;
static bool in_memory;
static unsigned mapped;
static struct layer_id image;
static struct volume *volume;
static struct blkdev *disk;

static bool say_in_memory(void *ctx, const char *at, uint64_t length)
{
    (void)ctx, (void)at, (void)length;
    return in_memory;
}

static char *count_map(void *ctx, int fd, uint64_t length)
{
    mapped++;
    return file_ops_real.map(ctx, fd, length);
}

static void count_unmap(void *ctx, char *at, uint64_t length)
{
    mapped--;
    file_ops_real.unmap(ctx, at, length);
}

static void read_all(void)
{
    uint8_t *buf = malloc(SIZE);

    assert_int_equal(rig_io(disk, BLK_READ, 0, 0, SIZE, buf), 0);
    free(buf);
}

/* A volume on an image of which every fourth block is zeros. */
static int set_up(void **state)
{
    (void)state;
    in_memory = true;
    mapped = 0;
    ops = file_ops_real;
    ops.in_memory = say_in_memory;
    ops.map = count_map;
    ops.unmap = count_unmap;
    rig = (struct rig){ .ops = &ops };
    rig_init(&rig);
    rig_open(&rig);
    image = rig_image(&rig, SIZE);
    volume = rig_volume(&rig, rig_new_id(), image, SIZE, 1);
    disk = volume_device(volume);
    read_all(); /* so its checksums have been compared */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_volume_close(volume);
    rig_close(&rig);
    assert_int_equal(mapped, 0);
    rig_remove(&rig);
    return 0;
}

static void expect_lent(uint64_t offset, uint64_t length)
{
    struct blk_loan loan;
    uint8_t *want = malloc(length);
    uint64_t at = 0;

    fill_image(want, offset, length);
    assert_true(blk_lend(disk, offset, length, &loan));
    for (unsigned i = 0; i < loan.count; i++) {
        assert_true(loan.part[i].iov_len <= length - at);
        assert_memory_equal(loan.part[i].iov_base, want + at, loan.part[i].iov_len);
        at += loan.part[i].iov_len;
    }
    assert_true(at == length);
    blk_give_back(disk, &loan);
    assert_int_equal(loan.count, 0);
    free(want);
}

static bool lent(uint64_t offset, uint64_t length)
{
    struct blk_loan loan;
    bool yes = blk_lend(disk, offset, length, &loan);

    blk_give_back(disk, &loan);
    return yes;
}

static void sealed_bytes_are_lent_with_the_zeros_between_them(void **state)
{
    (void)state;
    expect_lent(0, 16 * BLK_BLOCK);
    expect_lent(5 * BLK_BLOCK + BLK_SECTOR, 4 * BLK_BLOCK);
    assert_int_equal(mapped, 1);
}

static void what_was_written_or_trimmed_here_is_not_lent_from_below(void **state)
{
    static uint8_t block[BLK_BLOCK] = { 9 };

    (void)state;
    assert_int_equal(rig_io(disk, BLK_WRITE, 0, 5 * BLK_BLOCK, sizeof block, block), 0);
    assert_int_equal(rig_io(disk, BLK_TRIM, 0, 8 * BLK_BLOCK, BLK_BLOCK, NULL), 0);
    assert_false(lent(4 * BLK_BLOCK, 4 * BLK_BLOCK));
    expect_lent(0, 4 * BLK_BLOCK);

    struct blk_loan loan;
    assert_true(blk_lend(disk, 8 * BLK_BLOCK, BLK_BLOCK, &loan));
    assert_int_equal(*(uint8_t *)loan.part[0].iov_base, 0);
    blk_give_back(disk, &loan);
}

static void what_is_not_in_memory_is_not_lent(void **state)
{
    (void)state;
    in_memory = false;
    assert_false(lent(0, 4 * BLK_BLOCK));
    assert_true(lent(3 * BLK_BLOCK, BLK_BLOCK)); /* zeros */
}

static void what_lies_in_too_many_parts_is_not_lent(void **state)
{
    (void)state;
    assert_true(lent(0, 16 * BLK_BLOCK));
    assert_false(lent(0, 17 * BLK_BLOCK));
}

static void what_was_not_compared_is_not_lent(void **state)
{
    static uint8_t buf[4 * BLK_BLOCK];

    (void)state;
    rig_volume_close(volume); /* the image is closed with it, and forgets */
    volume = rig_volume(&rig, rig_new_id(), image, SIZE, 1);
    disk = volume_device(volume);
    assert_false(lent(0, sizeof buf));
    assert_int_equal(rig_io(disk, BLK_READ, 0, 0, sizeof buf, buf), 0);
    expect_lent(0, sizeof buf);
    assert_false(lent(0, 5 * BLK_BLOCK));
}

static void a_range_that_is_none_is_not_lent(void **state)
{
    (void)state;
    assert_false(lent(0, 0));
    assert_false(lent(1, BLK_BLOCK));
    assert_false(lent(SIZE - BLK_BLOCK, 2 * BLK_BLOCK));
    assert_false(lent(UINT64_MAX - 511, BLK_BLOCK));
}

static void a_loan_counts_its_layer(void **state)
{
    struct blk_loan loan;

    (void)state;
    assert_true(blk_lend(disk, 0, BLK_BLOCK, &loan));
    struct layer *l = loan.lender[0];
    unsigned refs = atomic_load(&l->refs);
    blk_give_back(disk, &loan);
    assert_int_equal(atomic_load(&l->refs), refs - 1);
}

#define HELD 10u

static void writes_that_are_held_up_share_one_job(void **state)
{
    static uint8_t block[BLK_BLOCK];
    int errors[HELD];

    (void)state;
    assert_int_equal(rig_io(disk, BLK_WRITE, 0, 0, sizeof block, block),
                     0); /* the files are made */
    memset(block, 7, sizeof block);
    rig.store->slow_until_ns = INT64_MAX;
    fake_hold(fake_read_pool(), true);
    for (unsigned i = 0; i < HELD; i++)
        rig_begin(disk, BLK_WRITE, 0, i * BLK_BLOCK, sizeof block, block, &errors[i]);
    assert_int_equal(fake_jobs(fake_read_pool()), 1);
    assert_int_equal(errors[0], PENDING);
    fake_hold(fake_read_pool(), false);
    fake_run();
    for (unsigned i = 0; i < HELD; i++)
        assert_int_equal(errors[i], 0);
    expect_fill(disk, 0, HELD * BLK_BLOCK, 7);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(sealed_bytes_are_lent_with_the_zeros_between_them),
        TEST(what_was_written_or_trimmed_here_is_not_lent_from_below),
        TEST(what_is_not_in_memory_is_not_lent),
        TEST(what_lies_in_too_many_parts_is_not_lent),
        TEST(what_was_not_compared_is_not_lent),
        TEST(a_range_that_is_none_is_not_lent),
        TEST(a_loan_counts_its_layer),
        TEST(writes_that_are_held_up_share_one_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
