/* SPDX-License-Identifier: Apache-2.0 */
/* volume_park_test - writes that find no room: they wait, keep their order, hold up nobody, go on
 * when there is room, and end with their connection. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/store/one_volume.h"

#define SIZE  (64u * 4096)
#define BLOCK 4096u
#define EVER  1000000u /* times that the disk is full */

static int set_up(void **state)
{
    struct one_volume *f = *state = one_new(SIZE);

    one_start(f);
    return 0;
}

static void open_volume(struct one_volume *f, uint64_t quota_bytes)
{
    f->rig.quota_bytes = quota_bytes;
    one_open(f);
}

static void let_time_pass(void)
{
    fake_fire_timers();
    fake_run();
}

static void first_write_on_a_full_disk_waits_for_its_files(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, 0);
    sim_full(f->sim, 0, EVER);
    one_begin_put(f, 1, 0);
    one_begin_put(f, 2, 1);
    assert_int_equal(f->error[0], PENDING);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(f->rig.parked, 1);
    assert_non_null(strstr(f->rig.why, "the store is full"));
    let_time_pass();
    assert_int_equal(f->error[0], PENDING);
    sim_full(f->sim, 0, 0);
    let_time_pass();
    assert_int_equal(f->error[0], 0);
    assert_int_equal(f->error[1], 0);
    assert_int_equal(f->rig.parked, 0);
    expect_fill(f->d, BLOCK, BLOCK, 0xA0);
    expect_fill(f->d, 2 * BLOCK, BLOCK, 0xA1);
}

static void blocks_that_have_their_room_are_written_while_others_wait(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, 2 * BLOCK);
    one_begin_put(f, 1, 0);
    one_begin_put(f, 2, 0);
    one_begin_put(f, 3, 1);
    assert_int_equal(f->error[1], PENDING);
    one_begin_put(f, 2, 2);
    assert_int_equal(f->error[2], 0);
    expect_fill(f->d, 2 * BLOCK, BLOCK, 0xA2);
    expect_image(f->d, 3 * BLOCK, BLOCK);
}

static void quota_that_grows_lets_go_on_what_fits(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, BLOCK);
    one_begin_put(f, 1, 0);
    assert_int_equal(f->error[0], 0);
    one_begin_put(f, 2, 1);
    one_begin_put(f, 3, 2);
    assert_int_equal(f->error[1], PENDING);
    assert_non_null(strstr(f->rig.why, "over its quota of 4096 bytes"));
    volume_set_quota(f->v, 2 * BLOCK);
    fake_run();
    assert_int_equal(f->error[1], 0);
    assert_int_equal(f->error[2], PENDING);
    assert_int_equal(f->rig.parked, 1);
    volume_set_quota(f->v, 0);
    fake_run();
    assert_int_equal(f->error[2], 0);
    assert_int_equal(f->rig.parked, 0);
}

static void trim_makes_room_under_the_quota(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, BLOCK);
    one_begin_put(f, 1, 0);
    one_begin_put(f, 2, 1);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, BLOCK, BLOCK, NULL), 0);
    fake_run();
    assert_int_equal(f->error[1], 0);
    expect_fill(f->d, BLOCK, BLOCK, 0);
    expect_fill(f->d, 2 * BLOCK, BLOCK, 0xA1);
}

static void first_touches_that_run_count_against_the_quota(void **state)
{
    struct one_volume *f = *state;
    uint8_t *big = calloc(1, SIZE);
    unsigned waiting = 0;

    open_volume(f, 3 * BLOCK);
    fake_hold(fake_slow_pool(), true); /* both wait for the files */
    rig_begin(f->d, BLK_WRITE, 0, BLOCK, 2 * BLOCK, big, &f->error[0]);
    rig_begin(f->d, BLK_WRITE, 0, 8 * BLOCK, 2 * BLOCK, big, &f->error[1]);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    for (int i = 0; i < 2; i++)
        waiting += f->error[i] == PENDING;
    assert_int_equal(waiting, 1);
    volume_set_quota(f->v, 4 * BLOCK);
    fake_run();
    assert_int_equal(f->error[0], 0);
    assert_int_equal(f->error[1], 0);
    free(big);
}

static void parked_writes_keep_their_order(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, BLOCK);
    one_begin_put(f, 1, 0);
    for (unsigned i = 1; i < 4; i++)
        one_begin_put(f, 5, i); /* the same block: the last one must win */
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(f->error[i], PENDING);
    let_time_pass();
    let_time_pass();
    volume_set_quota(f->v, 0);
    fake_run();
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(f->error[i], 0);
    expect_fill(f->d, 5 * BLOCK, BLOCK, 0xA3);
}

static void full_disk_stops_no_flush(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, 0);
    one_begin_put(f, 1, 0);
    sim_full(f->sim, 0, EVER);
    one_begin_put(f, 2, 1);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), 0);
    assert_int_equal(f->error[1], PENDING);
    one_close(f);
    assert_int_equal(f->error[1], -ESHUTDOWN);
    assert_int_equal(f->rig.parked, 0);
}

static void connection_that_ends_takes_its_parked_writes_along(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, BLOCK);
    one_begin_put(f, 1, 0);
    one_begin_put(f, 2, 1);
    blk_drop(f->d);
    assert_int_equal(f->error[1], -ESHUTDOWN);
    assert_int_equal(f->rig.parked, 0);
    one_begin_put(f, 1, 2); /* the next connection */
    volume_set_quota(f->v, 0);
    let_time_pass();
    expect_fill(f->d, BLOCK, BLOCK, 0xA2);
    expect_image(f->d, 2 * BLOCK, BLOCK);
}

/* It would wait for room, and the connection that comes next for it. */
static void write_that_ran_when_its_connection_ended_is_not_parked(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, 0);
    sim_full(f->sim, 0, EVER);
    fake_hold(fake_slow_pool(), true);
    one_begin_put(f, 1, 0);
    blk_drop(f->d);
    assert_int_equal(f->error[0], PENDING);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(f->error[0], -ESHUTDOWN);
    assert_int_equal(f->rig.parked, 0);
    one_begin_put(f, 1, 1); /* the next connection */
    assert_int_equal(f->error[1], PENDING);
    sim_full(f->sim, 0, 0);
    let_time_pass();
    assert_int_equal(f->error[1], 0);
}

static void room_on_the_disk_wakes_every_volume(void **state)
{
    struct one_volume *f = *state;
    struct volume *other = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
    uint8_t buf[BLOCK] = { 1 };

    open_volume(f, 0);
    sim_full(f->sim, 0, EVER);
    one_begin_put(f, 1, 0);
    rig_begin(volume_device(other), BLK_WRITE, 0, 0, BLOCK, buf, &f->error[1]);
    fake_run();
    assert_int_equal(f->rig.parked, 2);
    sim_full(f->sim, 0, 0);
    let_time_pass();
    assert_int_equal(f->error[0], 0);
    assert_int_equal(f->error[1], 0);
    assert_int_equal(f->rig.parked, 0);
    rig_volume_close(other);
}

static void failed_volume_answers_what_it_parked(void **state)
{
    struct one_volume *f = *state;

    open_volume(f, BLOCK);
    one_begin_put(f, 1, 0);
    one_begin_put(f, 2, 1);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    fake_run();
    assert_int_equal(f->error[1], -EIO);
    assert_int_equal(f->rig.parked, 0);
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void discarded_volume_waits_for_what_runs_and_commits_nothing(void **state)
{
    struct one_volume *f = *state;
    bool drained = false;

    open_volume(f, 0);
    one_begin_put(f, 1, 0);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), 0);
    one_begin_put(f, 2, 1);
    uint64_t syncs = sim_count_of(f->sim, SIM_SYNC);
    fake_hold(fake_slow_pool(), true);
    rig_begin(f->d, BLK_TRIM, 0, BLOCK, BLOCK, NULL, &f->error[2]); /* its punch must be over */
    while (fake_step())
        ;
    assert_int_equal(f->error[2], 0);
    volume_discard(f->v, note_drained, &drained);
    f->v = NULL;
    fake_run();
    assert_false(drained);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_true(drained);
    assert_int_equal(sim_count_of(f->sim, SIM_SYNC), syncs);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_write_on_a_full_disk_waits_for_its_files),
        TEST(blocks_that_have_their_room_are_written_while_others_wait),
        TEST(quota_that_grows_lets_go_on_what_fits),
        TEST(trim_makes_room_under_the_quota),
        TEST(first_touches_that_run_count_against_the_quota),
        TEST(parked_writes_keep_their_order),
        TEST(full_disk_stops_no_flush),
        TEST(connection_that_ends_takes_its_parked_writes_along),
        TEST(write_that_ran_when_its_connection_ended_is_not_parked),
        TEST(room_on_the_disk_wakes_every_volume),
        TEST(failed_volume_answers_what_it_parked),
        TEST(discarded_volume_waits_for_what_runs_and_commits_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
