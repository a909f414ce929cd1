/* SPDX-License-Identifier: Apache-2.0 */
/* What a volume promises to its one writer: reads, first touch, holes, flush, closing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"

#define SIZE (1u << 20)

struct fixture {
    struct rig rig;
    struct layer_id image, top;
    struct volume *v;
    struct blkdev *d;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    rig_init(&f->rig);
    rig_open(&f->rig);
    f->image = rig_image(&f->rig, SIZE);
    f->top = rig_new_id();
    f->v = rig_volume(&f->rig, f->top, f->image, SIZE, 1);
    f->d = volume_device(f->v);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    fake_hold(fake_slow_pool(), false);
    fake_hold(fake_read_pool(), false);
    if (f->v)
        rig_volume_close(f->v);
    rig_close(&f->rig);
    rig_remove(&f->rig);
    free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    rig_volume_close(f->v);
    rig_close(&f->rig);
    rig_open(&f->rig);
    f->v = rig_volume(&f->rig, f->top, f->image, SIZE, 1);
    f->d = volume_device(f->v);
}

static void untouched_volume_reads_as_its_image(void **state)
{
    struct fixture *f = *state;

    expect_image(f->d, 0, SIZE);
    expect_image(f->d, 512 * 5, 512 * 9);
}

static void whole_blocks_are_written(void **state)
{
    struct fixture *f = *state;
    static uint8_t buf[8192];

    memset(buf, 0xAB, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 8192, sizeof buf, buf), 0);
    expect_image(f->d, 0, 8192);
    expect_fill(f->d, 8192, sizeof buf, 0xAB);
    expect_image(f->d, 16384, SIZE - 16384);
}

static void first_touch_of_a_part_keeps_the_rest_of_the_block(void **state)
{
    struct fixture *f = *state;
    static uint8_t buf[512 * 12];

    memset(buf, 0xCD, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 512 * 3, sizeof buf, buf), 0);
    expect_image(f->d, 0, 512 * 3);
    expect_fill(f->d, 512 * 3, sizeof buf, 0xCD);
    expect_image(f->d, 512 * 15, SIZE - 512 * 15);
    reopen(f);
    expect_image(f->d, 0, 512 * 3);
    expect_fill(f->d, 512 * 3, sizeof buf, 0xCD);
}

static void trim_makes_whole_blocks_zero_and_leaves_partial_ones(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 4096 + 512, 3 * 4096, NULL), 0);
    expect_image(f->d, 0, 8192);
    expect_fill(f->d, 8192, 8192, 0);
    expect_image(f->d, 16384, SIZE - 16384);
    reopen(f);
    expect_fill(f->d, 8192, 8192, 0);
    expect_image(f->d, 16384, 4096);
}

static void write_zeroes_zeroes_partial_blocks_too(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(rig_io(f->d, BLK_ZERO, 0, 4096 + 512, 3 * 4096, NULL), 0);
    expect_image(f->d, 0, 4096 + 512);
    expect_fill(f->d, 4096 + 512, 3 * 4096, 0);
    expect_image(f->d, 4096 * 4 + 512, SIZE - 4096 * 4 - 512);
}

static void part_of_a_zeroed_block_is_written_over_zeros(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[512];

    memset(buf, 0x11, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 512, buf), 0);
    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 0, 4096, NULL), 0);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 1024, 512, buf), 0);
    expect_fill(f->d, 0, 1024, 0);
    expect_fill(f->d, 1024, 512, 0x11);
    expect_fill(f->d, 1536, 4096 - 1536, 0);
}

static void no_answer(struct blk_req *r)
{
    (void)r;
}

static void status_tells_data_from_holes(void **state)
{
    struct fixture *f = *state;
    struct blk_extent extents[8];
    struct blk_req r = { .op = BLK_STATUS,
                         .offset = 512,
                         .length = 6 * 4096,
                         .extents = extents,
                         .extent_count = 8,
                         .done = no_answer };

    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 4096, 4096, NULL), 0);
    blk_submit(f->d, &r);
    /* data to 4096, hole to 8192, data to 12288, the image's hole to 16384, data to the end */
    static const uint64_t length[] = { 3584, 4096, 4096, 4096, 4096 * 2 + 512 };
    assert_int_equal(r.error, 0);
    assert_int_equal(r.extent_count, 5);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(extents[i].length, length[i]);
        assert_int_equal(extents[i].state, i % 2 ? BLK_EXT_HOLE | BLK_EXT_ZERO : BLK_EXT_DATA);
    }
    r.flags = BLK_ONE;
    blk_submit(f->d, &r);
    assert_int_equal(r.extent_count, 1);
}

static void flush_returns_only_after_the_sync(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 1 };
    int error;

    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    fake_hold(fake_slow_pool(), true);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
    fake_run();
    assert_int_equal(error, PENDING);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
}

static void flush_that_comes_later_waits_for_the_next_commit(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 1 };
    int first, second;

    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    fake_run();
    fake_hold(fake_slow_pool(), true);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &first);
    assert_int_equal(fake_jobs(fake_slow_pool()), 1);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 4096, 4096, buf), 0);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &second);
    fake_hold(fake_slow_pool(), false);
    while (first == PENDING)
        assert_true(fake_step());
    assert_int_equal(second, PENDING);
    fake_run();
    assert_int_equal(second, 0);
}

static void first_answer_waits_for_the_open_mark(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 1 };
    int error;

    rig_begin(f->d, BLK_WRITE, 0, 0, 4096, buf, &error);
    assert_int_equal(fake_jobs(fake_slow_pool()), 1); /* the files */
    assert_true(fake_step());
    assert_true(fake_step()); /* files made; mark asked for */
    fake_hold(fake_slow_pool(), true);
    fake_run();
    assert_int_equal(error, PENDING);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void closed_volume_refuses_requests(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 1 };
    int write_error, read_error;
    bool drained = false;

    rig_begin(f->d, BLK_WRITE, 0, 0, 4096, buf, &write_error);
    volume_close(f->v, note_drained, &drained);
    rig_begin(f->d, BLK_READ, 0, 0, 4096, buf, &read_error);
    assert_int_equal(read_error, -ESHUTDOWN);
    assert_false(drained);
    fake_run();
    assert_int_equal(write_error, 0);
    assert_true(drained);
    f->v = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(untouched_volume_reads_as_its_image, set_up, tear_down),
        cmocka_unit_test_setup_teardown(whole_blocks_are_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(first_touch_of_a_part_keeps_the_rest_of_the_block, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(trim_makes_whole_blocks_zero_and_leaves_partial_ones,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_zeroes_zeroes_partial_blocks_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(part_of_a_zeroed_block_is_written_over_zeros, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(status_tells_data_from_holes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flush_returns_only_after_the_sync, set_up, tear_down),
        cmocka_unit_test_setup_teardown(flush_that_comes_later_waits_for_the_next_commit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(first_answer_waits_for_the_open_mark, set_up, tear_down),
        cmocka_unit_test_setup_teardown(closed_volume_refuses_requests, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
