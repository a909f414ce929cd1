/* SPDX-License-Identifier: Apache-2.0 */
/* What a killed process leaves: it is brought to disk, and a full journal waits for that and for
 * nothing more. */
#include "server/store/adopt.h"

#include <errno.h>
#include <string.h>

#include "server/store/live.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/one_volume.h"

/* ---- settling ---------------------------------------------------------------------------------*/

static void unopened_volume_is_settled(void **state)
{
    struct one_volume *f = *state;
    uint64_t data;

    one_put(f, 0, 1, 1);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    CHECK(layer_usage(f->rig.store, f->top, &data, &e));
    assert_int_equal(data, 4096);
    assert_int_equal(live_used(f->rig.store->live), 1);
    CHECK(store_settle(f->rig.store, f->top, &e));
    assert_int_equal(live_used(f->rig.store->live), 0);
    CHECK(store_settle(f->rig.store, f->top, &e)); /* nothing left to do */
    one_cut(f);
    assert_int_equal(one_start_again(f), 0); /* clean: even the power may go */
    one_open(f);
    expect_fill(f->d, 0, 4096, 1);
}

/* A commit of the catalog that was reported as failed, and is there after the kill: the layer that
 * was written to all the while is a sealed one. */
static void layer_that_became_a_sealed_one_shows_what_was_answered(void **state)
{
    struct one_volume *f = *state;
    const struct layer_chain below = { .count = 2, .id = { f->top, f->image } };
    struct volume_spec spec = { .name = "vol",
                                .below = &below,
                                .top = rig_new_id(),
                                .size_bytes = f->size_bytes,
                                .generation = 1,
                                .epoch = 1 };

    one_put(f, 1, 1, 0x11);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    CHECK(volume_open(f->rig.store, &spec, NULL, &f->v, &e));
    f->d = volume_device(f->v);
    expect_fill(f->d, 4096, 4096, 0x11);
    expect_image(f->d, 8192, 4096);
    assert_int_equal(live_used(f->rig.store->live), 0);
}

static void removed_layer_is_forgotten(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    CHECK(layer_remove(f->rig.store, f->top, &e));
    assert_int_equal(live_used(f->rig.store->live), 0);
    assert_int_equal(rig_files(&f->rig), 2);
}

static void layer_that_cannot_be_settled_stays_shut_until_the_next_start(void **state)
{
    struct one_volume *f = *state;
    struct volume_spec spec = {
        .name = "v", .top = f->top, .below = rig_chain(f->image), .size_bytes = f->size_bytes
    };
    struct err e = { 0 };

    one_put(f, 0, 1, 1);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(store_settle(f->rig.store, f->top, &e), -EIO);
    assert_int_equal(volume_open(f->rig.store, &spec, NULL, &f->v, &e), -EIO);
    assert_non_null(strstr(e.msg, "before the server was killed"));
    one_stop(f);
    assert_int_equal(one_start_again(f), 1);
    one_open(f);
}

/* Its file says that all is clean: the write was not answered, and may be lost, but not after
 * somebody has seen it and has flushed. */
static void unanswered_write_that_shows_is_synced_by_the_next_flush(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_be_quiet(f->v);
    fake_hold(fake_slow_pool(), true); /* the mark that it is open again */
    one_begin_put(f, 0, 0);
    assert_int_equal(f->error[0], PENDING);
    fake_hold(fake_slow_pool(), false);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    one_open(f);
    expect_fill(f->d, 0, 4096, 0xA0);
    one_flush(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 0xA0);
}

/* ---- a full journal ---------------------------------------------------------------------------*/

/* Both halves of the journal are full of what a killed process had logged. */
static void full_journal_of_a_killed_process_goes_on(void **state)
{
    struct one_volume *f = *state;

    fake_hold(fake_slow_pool(), false);
    for (unsigned i = 0; i < 40; i++) {
        one_put(f, i, 1, (uint8_t)(i + 1));
        one_flush(f);
    }
    one_be_killed(f);
    for (unsigned i = 40; i < 140; i++) {
        one_put(f, i, 1, (uint8_t)(i + 1));
        one_flush(f);
    }
    one_lose_power(f);
    for (unsigned i = 0; i < 140; i++)
        expect_fill(f->d, i * 4096, 4096, (uint8_t)(i + 1));
}

/* Both halves of the journal, several times. */
static void others_fill_the_journal(struct one_volume *f)
{
    one_others_flush(f, 150);
}

static void full_journal_waits_for_an_adopted_volume(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_be_killed(f);
    others_fill_the_journal(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void full_journal_waits_for_one_that_nobody_opened_again(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_die(f);
    one_start_again(f);
    others_fill_the_journal(f);
    one_open(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

/* Both halves are full, and what the kill left wants to say that it is clean. */
static void process_that_was_killed_with_both_halves_full_goes_on(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 9 };
    int error = 0;

    f->other = rig_volume(&f->rig, rig_new_id(), f->image, f->size_bytes, 1);
    assert_int_equal(rig_io(volume_device(f->other), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    one_put(f, 0, 1, 1);
    sim_fail_next(f->sim, SIM_OPEN, 1000, -ENOSPC); /* no map file can be made */
    for (unsigned i = 0; i < 200 && error == 0; i++) {
        one_put(f, 0, 1, (uint8_t)(i + 1)); /* needs no room */
        rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
        fake_run();
    }
    assert_int_equal(error, PENDING);
    sim_fail_next(f->sim, SIM_OPEN, 0, 0);
    one_be_killed(f);
    one_put(f, 0, 1, 3);
    one_flush(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 3);
}

/* On no list: not adopted any more, and not among the volumes. */
static void take_and_put_back(struct one_volume *f)
{
    struct layer top = { .id = f->top };

    assert_true(adopt_take(f->rig.store, &top));
    assert_false(adopt_settled(f->rig.store));
    adopt_put_back(f->rig.store, &top);
    map_done(&top.map);
    adopt_opened(f->rig.store);
}

static void full_journal_waits_for_one_that_is_just_being_opened(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_die(f);
    one_start_again(f);
    take_and_put_back(f);
    one_open(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void leave_no_descriptors(void *ctx, uint64_t number)
{
    struct one_volume *f = ctx;

    (void)number;
    sim_fail_next(f->sim, SIM_REOPEN, 1000, -EMFILE);
}

/* Its sync fails, and so does, for want of descriptors, putting back what was flushed. */
static void full_journal_waits_until_what_was_flushed_can_be_put_back(void **state)
{
    struct one_volume *f = *state;
    struct err e = { 0 };

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    one_die(f);
    one_start_again(f);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    sim_on_op(f->sim, leave_no_descriptors, f);
    assert_int_equal(store_settle(f->rig.store, f->top, &e), -EIO);
    sim_on_op(f->sim, NULL, NULL);
    fake_fire_timers();
    fake_run();
    assert_false(adopt_settled(f->rig.store));
    sim_fail_next(f->sim, SIM_REOPEN, 0, 0);
    fake_fire_timers();
    fake_run();
    assert_true(adopt_settled(f->rig.store));
    one_others_flush(f, 150);
    one_cut(f);
    assert_int_equal(one_start_again(f), 1);
    one_open(f);
    expect_fill(f->d, 0, 4096, 1);
}

/* There is nothing that moves it but the start itself. */
static void expect_a_checkpoint(struct one_volume *f)
{
    fake_run();
    assert_int_equal(f->rig.store->stats.checkpoints, 1);
}

static void full_half_is_emptied_when_the_start_is_over(void **state)
{
    struct one_volume *f = *state;

    fake_hold(fake_slow_pool(), false);
    for (unsigned i = 0; i < 16; i++) { /* one half, and the first of the other one */
        one_put(f, 0, 1, (uint8_t)(i + 1));
        one_flush(f);
    }
    one_die(f);
    one_start_again(f);
    expect_a_checkpoint(f);
    one_open(f);
}

/* A journal that waits for it asks again and again otherwise. */
static void nobody_can_open_data_files(struct one_volume *f)
{
    sim_fail_next(f->sim, SIM_REOPEN, 1000, -EMFILE);
    uint64_t tries = sim_count_of(f->sim, SIM_REOPEN);
    fake_run();
    assert_in_range(sim_count_of(f->sim, SIM_REOPEN) - tries, 1, 2);
    sim_fail_next(f->sim, SIM_REOPEN, 0, 0);
    fake_fire_timers();
    expect_a_checkpoint(f);
}

static void settling_without_descriptors_is_left_to_its_timer(void **state)
{
    struct one_volume *f = *state;

    for (unsigned i = 0; i < 16; i++) {
        one_put(f, 0, 1, (uint8_t)(i + 1));
        one_flush(f);
    }
    one_die(f);
    one_start_again(f);
    nobody_can_open_data_files(f);
    one_open(f);
    expect_fill(f->d, 0, 4096, 16);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, one_set_up_small_journal, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unopened_volume_is_settled),
        TEST(layer_that_became_a_sealed_one_shows_what_was_answered),
        TEST(removed_layer_is_forgotten),
        TEST(layer_that_cannot_be_settled_stays_shut_until_the_next_start),
        TEST(unanswered_write_that_shows_is_synced_by_the_next_flush),
        TEST(full_journal_of_a_killed_process_goes_on),
        TEST(full_journal_waits_for_an_adopted_volume),
        TEST(full_journal_waits_for_one_that_nobody_opened_again),
        TEST(process_that_was_killed_with_both_halves_full_goes_on),
        TEST(full_journal_waits_for_one_that_is_just_being_opened),
        TEST(full_journal_waits_until_what_was_flushed_can_be_put_back),
        TEST(full_half_is_emptied_when_the_start_is_over),
        TEST(settling_without_descriptors_is_left_to_its_timer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
