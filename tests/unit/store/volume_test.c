/* SPDX-License-Identifier: Apache-2.0 */
/* What a volume promises to its one writer: reads, first touch, holes, flush, closing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/one_volume.h"

#define SIZE (1u << 20)

static int set_up(void **state)
{
    struct one_volume *f = *state = one_new(SIZE);

    one_start(f);
    one_open(f);
    return 0;
}

static void untouched_volume_reads_as_its_image(void **state)
{
    struct one_volume *f = *state;

    expect_image(f->d, 0, SIZE);
    expect_image(f->d, 512 * 5, 512 * 9);
}

static void whole_blocks_are_written(void **state)
{
    struct one_volume *f = *state;
    static uint8_t buf[8192];

    memset(buf, 0xAB, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 8192, sizeof buf, buf), 0);
    expect_image(f->d, 0, 8192);
    expect_fill(f->d, 8192, sizeof buf, 0xAB);
    expect_image(f->d, 16384, SIZE - 16384);
}

static void first_touch_of_a_part_keeps_the_rest_of_the_block(void **state)
{
    struct one_volume *f = *state;
    static uint8_t buf[512 * 12];

    memset(buf, 0xCD, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 512 * 3, sizeof buf, buf), 0);
    expect_image(f->d, 0, 512 * 3);
    expect_fill(f->d, 512 * 3, sizeof buf, 0xCD);
    expect_image(f->d, 512 * 15, SIZE - 512 * 15);
    one_reopen(f);
    expect_image(f->d, 0, 512 * 3);
    expect_fill(f->d, 512 * 3, sizeof buf, 0xCD);
}

static void trim_makes_whole_blocks_zero_and_leaves_partial_ones(void **state)
{
    struct one_volume *f = *state;

    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 4096 + 512, 3 * 4096, NULL), 0);
    expect_image(f->d, 0, 8192);
    expect_fill(f->d, 8192, 8192, 0);
    expect_image(f->d, 16384, SIZE - 16384);
    one_reopen(f);
    expect_fill(f->d, 8192, 8192, 0);
    expect_image(f->d, 16384, 4096);
}

static void write_zeroes_zeroes_partial_blocks_too(void **state)
{
    struct one_volume *f = *state;

    assert_int_equal(rig_io(f->d, BLK_ZERO, 0, 4096 + 512, 3 * 4096, NULL), 0);
    expect_image(f->d, 0, 4096 + 512);
    expect_fill(f->d, 4096 + 512, 3 * 4096, 0);
    expect_image(f->d, 4096 * 4 + 512, SIZE - 4096 * 4 - 512);
}

static void part_of_a_zeroed_block_is_written_over_zeros(void **state)
{
    struct one_volume *f = *state;
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
    struct one_volume *f = *state;
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
    struct one_volume *f = *state;
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
    struct one_volume *f = *state;
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
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 1 };
    int error;

    rig_begin(f->d, BLK_WRITE, 0, 0, 4096, buf, &error);
    while (fake_jobs(fake_slow_pool()) == 0)
        assert_true(fake_step()); /* the files */
    assert_true(fake_step());
    assert_true(fake_step()); /* files made; mark asked for */
    fake_hold(fake_slow_pool(), true);
    fake_run();
    assert_int_equal(error, PENDING);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
}

static void write_after_trim_waits_for_the_punch(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096];
    int error;

    memset(buf, 0x22, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    fake_run();
    fake_hold(fake_slow_pool(), true);
    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 0, 4096, NULL), 0); /* answered; not yet punched */
    assert_int_equal(fake_jobs(fake_slow_pool()), 1);
    rig_begin(f->d, BLK_WRITE, 0, 0, 4096, buf, &error);
    fake_run();
    assert_int_equal(error, PENDING);
    expect_fill(f->d, 0, 4096, 0);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
    expect_fill(f->d, 0, 4096, 0x22);
}

static void two_first_touches_of_one_block_both_last(void **state)
{
    struct one_volume *f = *state;
    uint8_t a[512], b[512];
    int first, second;

    memset(a, 0xA0, sizeof a);
    memset(b, 0xB0, sizeof b);
    sim_be_plain(f->sim);
    sim_fail_next(f->sim, SIM_READ, 1, -EAGAIN); /* not in the page cache */
    fake_hold(fake_read_pool(), true);
    rig_begin(f->d, BLK_WRITE, 0, 0, 512, a, &first);
    rig_begin(f->d, BLK_WRITE, 0, 512, 512, b, &second);
    fake_run();
    assert_int_equal(fake_jobs(fake_read_pool()), 1);
    fake_hold(fake_read_pool(), false);
    fake_run();
    assert_int_equal(first, 0);
    assert_int_equal(second, 0);
    expect_fill(f->d, 0, 512, 0xA0);
    expect_fill(f->d, 512, 512, 0xB0);
    expect_image(f->d, 1024, 4096 - 1024);
}

static void volumes_do_not_see_each_other(void **state)
{
    struct one_volume *f = *state;
    struct volume *other = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
    uint8_t buf[4096];

    memset(buf, 0x33, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    expect_image(volume_device(other), 0, SIZE);
    memset(buf, 0x44, sizeof buf);
    assert_int_equal(rig_io(volume_device(other), BLK_WRITE, 0, 4096, 4096, buf), 0);
    expect_fill(f->d, 0, 4096, 0x33);
    expect_image(f->d, 4096, 4096);
    rig_volume_close(other);
}

static void volume_may_be_larger_than_its_image_and_end_in_a_part_of_a_block(void **state)
{
    struct one_volume *f = *state;
    uint64_t size = SIZE + 3 * 4096 + 1536;
    struct layer_id top = rig_new_id();
    struct volume *v = rig_volume(&f->rig, top, f->image, size, 1);
    struct blkdev *d = volume_device(v);
    uint8_t buf[1024];

    expect_fill(d, SIZE, size - SIZE, 0);
    memset(buf, 0x55, sizeof buf);
    assert_int_equal(rig_io(d, BLK_WRITE, 0, size - 1024, 1024, buf), 0);
    expect_fill(d, SIZE, size - SIZE - 1024, 0);
    expect_fill(d, size - 1024, 1024, 0x55);
    rig_volume_close(v);
    v = rig_volume(&f->rig, top, f->image, size, 1);
    d = volume_device(v);
    expect_fill(d, size - 1024, 1024, 0x55);
    assert_int_equal(rig_io(d, BLK_TRIM, 0, SIZE, size - SIZE, NULL), 0);
    expect_fill(d, SIZE, size - SIZE, 0);
    rig_volume_close(v);
}

static void zeroes_without_a_hole_take_space(void **state)
{
    struct one_volume *f = *state;
    uint64_t data;

    assert_int_equal(rig_io(f->d, BLK_ZERO, BLK_NO_HOLE, 512, 64 * 1024, NULL), 0);
    expect_fill(f->d, 512, 64 * 1024, 0);
    expect_image(f->d, 64 * 1024 + 512, 4096);
    CHECK(layer_usage(f->rig.store, f->top, &data, &e));
    assert_int_equal(data, 17 * 4096);
    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 0, SIZE, NULL), 0);
    CHECK(layer_usage(f->rig.store, f->top, &data, &e));
    assert_int_equal(data, 0);
}

static void long_trim_is_done_in_pieces(void **state)
{
    struct one_volume *f = *state;
    uint64_t size = 300ull << 20;
    struct volume *v = rig_volume(&f->rig, rig_new_id(), f->image, size, 1);
    struct blkdev *d = volume_device(v);
    uint8_t buf[4096] = { 1 };

    for (uint64_t at = 0; at < size; at += 50ull << 20)
        assert_int_equal(rig_io(d, BLK_WRITE, 0, at, 4096, buf), 0);
    assert_int_equal(rig_io(d, BLK_TRIM, BLK_FUA, 4096 + 512, size - 4096 - 512, NULL), 0);
    expect_bytes(d, 0, 4096, buf);
    expect_fill(d, 50ull << 20, 4096, 0);
    expect_fill(d, 250ull << 20, 4096, 0);
    rig_volume_close(v);
}

/* More changes than one batch of the journal takes, in pages with more runs than a page has bytes.
 */
static void very_many_changes_are_one_flush(void **state)
{
    struct one_volume *f = *state;
    const uint64_t size = 140ull << 26, step = 3 * 4096; /* 140 map pages: 560 KiB of records */
    struct layer_id top = rig_new_id();
    struct volume *v = rig_volume(&f->rig, top, f->image, size, 1);
    struct blkdev *d = volume_device(v);
    uint8_t buf[4096];

    memset(buf, 0x77, sizeof buf);
    for (uint64_t page = 0; page < 140; page++) {
        for (uint64_t i = 0; i < 300; i++)
            assert_int_equal(rig_io(d, BLK_ZERO, 0, (page << 26) + i * step, 4096, NULL), 0);
        assert_int_equal(rig_io(d, BLK_WRITE, 0, (page << 26) + 4096, 4096, buf), 0);
    }
    assert_int_equal(rig_io(d, BLK_FLUSH, 0, 0, 0, NULL), 0);
    rig_volume_close(v);
    v = rig_volume(&f->rig, top, f->image, size, 1); /* by the journal */
    expect_fill(volume_device(v), (139ull << 26) + 4096, 4096, 0x77);
    rig_volume_close(v);
    one_reopen(f);
    v = rig_volume(&f->rig, top, f->image, size, 1); /* by its map file */
    for (uint64_t page = 0; page < 140; page++)
        expect_fill(volume_device(v), (page << 26) + 4096, 4096, 0x77);
    expect_fill(volume_device(v), step * 3, 4096, 0);
    expect_image(volume_device(v), 8192, 4096);
    rig_volume_close(v);
}

static void write_mebibytes(struct blkdev *d, unsigned first, unsigned count)
{
    uint8_t *buf = calloc(1, 1u << 20);

    for (unsigned i = first; i < first + count; i++)
        assert_int_equal(rig_io(d, BLK_WRITE, 0, (uint64_t)i << 20, 1u << 20, buf), 0);
    fake_run();
    free(buf);
}

static void much_that_was_written_is_committed_unasked(void **state)
{
    struct one_volume *f = *state;
    struct volume *v = rig_volume(&f->rig, rig_new_id(), f->image, 64u << 20, 1);

    write_mebibytes(volume_device(v), 0, 1);
    uint64_t syncs = one_syncs(f); /* with the mark that it is open */
    write_mebibytes(volume_device(v), 1, 31);
    assert_int_equal(one_syncs(f), syncs);
    write_mebibytes(volume_device(v), 32, 1);
    assert_int_equal(one_syncs(f), syncs + 2); /* data and journal */
    rig_volume_close(v);
}

static void untouched_volume_has_no_files(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 1 };

    assert_int_equal(rig_io(f->d, BLK_READ, 0, 0, 4096, buf), 0);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), 0);
    assert_int_equal(rig_files(&f->rig), 2); /* the image's */
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    assert_int_equal(rig_files(&f->rig), 3); /* its map is in the journal for now */
}

static void reopened_volume_has_what_is_in_the_journal_alone(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096];

    memset(buf, 0x66, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 8192, 4096, buf), 0);
    one_close(f);
    one_open(f);
    expect_fill(f->d, 8192, 4096, 0x66);
    expect_image(f->d, 0, 8192);
}

static void quiet_volume_is_committed_and_marked_clean(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 1 };

    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    fake_run();
    assert_int_equal(f->v->mark.durable, DISK_OPEN);
    fake_fire_timers();
    fake_run();
    assert_int_equal(f->v->mark.durable, DISK_OPEN); /* too early */
    one_be_quiet(f->v);
    assert_int_equal(f->v->mark.durable, DISK_CLEAN);
    assert_false(f->v->mark.busy);
    assert_false(f->v->dirty);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 4096, 4096, buf), 0);
    assert_int_equal(f->v->mark.durable, DISK_OPEN);
}

static void write_while_the_clean_mark_is_written_is_answered_after_open(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 1 };
    int error;

    f->rig.store->log_blocks = 0; /* nothing is owed after it */
    assert_int_equal(rig_io(f->d, BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    fake_run();
    f->v->last_mutation_ns -= VOL_CLEAN_AFTER_NS;
    fake_hold(fake_slow_pool(), true);
    fake_fire_timers(); /* CLEAN is under way */
    assert_true(f->v->mark.busy);
    rig_begin(f->d, BLK_WRITE, 0, 4096, 4096, buf, &error);
    fake_run();
    assert_int_equal(error, PENDING);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
    assert_int_equal(f->v->mark.durable, DISK_OPEN);
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void closed_volume_refuses_requests(void **state)
{
    struct one_volume *f = *state;
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(untouched_volume_reads_as_its_image),
        TEST(whole_blocks_are_written),
        TEST(first_touch_of_a_part_keeps_the_rest_of_the_block),
        TEST(trim_makes_whole_blocks_zero_and_leaves_partial_ones),
        TEST(write_zeroes_zeroes_partial_blocks_too),
        TEST(part_of_a_zeroed_block_is_written_over_zeros),
        TEST(status_tells_data_from_holes),
        TEST(flush_returns_only_after_the_sync),
        TEST(flush_that_comes_later_waits_for_the_next_commit),
        TEST(first_answer_waits_for_the_open_mark),
        TEST(write_after_trim_waits_for_the_punch),
        TEST(two_first_touches_of_one_block_both_last),
        TEST(volumes_do_not_see_each_other),
        TEST(volume_may_be_larger_than_its_image_and_end_in_a_part_of_a_block),
        TEST(zeroes_without_a_hole_take_space),
        TEST(long_trim_is_done_in_pieces),
        TEST(very_many_changes_are_one_flush),
        TEST(much_that_was_written_is_committed_unasked),
        TEST(untouched_volume_has_no_files),
        TEST(reopened_volume_has_what_is_in_the_journal_alone),
        TEST(quiet_volume_is_committed_and_marked_clean),
        TEST(write_while_the_clean_mark_is_written_is_answered_after_open),
        TEST(closed_volume_refuses_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
