/* SPDX-License-Identifier: Apache-2.0 */
/* Flushes of little that go by the journal: what is synced, what comes back after a loss of power,
 * and what must not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/adopt.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/store/sim_ops.h"

#define SIZE   (1u << 20)
#define BLOCKS (SIZE / 4096)

struct fixture {
    struct rig rig;
    struct sim *sim;
    struct layer_id image, top;
    struct volume *v;
    struct volume *other; /* that a kill finds open; NULL: none */
    struct blkdev *d;
    unsigned named; /* volumes that lost power */
};

static void open_volume(struct fixture *f, uint64_t epoch)
{
    f->v = rig_volume(&f->rig, f->top, f->image, SIZE, epoch);
    f->d = volume_device(f->v);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->sim = sim_new(7);
    f->rig.ops = sim_ops(f->sim);
    f->rig.journal_bytes = 2 * 128u << 10; /* a half takes 15 flushes of a block */
    rig_init(&f->rig);
    rig_open(&f->rig);
    CHECK(store_recovered(f->rig.store, &e));
    sim_be_plain(f->sim);
    f->image = rig_image(&f->rig, SIZE);
    f->top = rig_new_id();
    open_volume(f, 1);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->v)
        rig_volume_close(f->v);
    if (f->other)
        rig_volume_close(f->other);
    rig_close(&f->rig);
    rig_remove(&f->rig);
    sim_free(f->sim);
    free(f);
    return 0;
}

static void put(struct fixture *f, uint64_t block, unsigned count, uint8_t fill)
{
    uint8_t *buf = malloc(count * 4096u);

    memset(buf, fill, count * 4096u);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, block * 4096, count * 4096u, buf), 0);
    free(buf);
}

static void flush(struct fixture *f)
{
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), 0);
}

static int note_open(void *ctx, struct layer_id id)
{
    struct fixture *f = ctx;

    assert_memory_equal(&id, &f->top, sizeof id);
    f->named++;
    return 0;
}

/* The power goes at once, and comes back.  What was not synced is lost, all of it. */
static void lose_power(struct fixture *f)
{
    sim_cut_at(f->sim, sim_count(f->sim));
    rig_volume_close(f->v);
    rig_close(&f->rig);
    sim_restore(f->sim);
    rig_live_put(&f->rig, NULL, 0);
    rig_open(&f->rig);
    CHECK(store_recover(f->rig.store, note_open, f, &e));
    CHECK(store_recovered(f->rig.store, &e));
    open_volume(f, 1 + f->named);
}

/* The process dies; the machine, its page cache and the live maps go on.  first: what happens
 * before the volume is open again. */
static void be_killed_and(struct fixture *f, void (*first)(struct fixture *f))
{
    size_t length;
    void *live = rig_live_copy(&f->rig, &length);

    sim_cut_at(f->sim, sim_count(f->sim));
    fake_fire_timers(); /* what waits for a full journal hears of it */
    fake_run();
    rig_volume_close(f->v);
    if (f->other)
        rig_volume_close(f->other);
    f->other = NULL;
    rig_close(&f->rig);
    sim_revive(f->sim);
    rig_live_put(&f->rig, live, length);
    free(live);
    rig_open(&f->rig);
    assert_int_equal(store_past(f->rig.store), STORE_PAST_KILLED);
    CHECK(store_recover(f->rig.store, note_open, f, &e));
    CHECK(store_recovered(f->rig.store, &e));
    if (first)
        first(f);
    open_volume(f, 1 + f->named);
}

static void be_killed(struct fixture *f)
{
    be_killed_and(f, NULL);
}

static uint64_t syncs(struct fixture *f)
{
    return sim_count_of(f->sim, SIM_SYNC);
}

/* ---- what is synced ---------------------------------------------------------------------------*/

static void flush_of_little_syncs_the_journal_alone(void **state)
{
    struct fixture *f = *state;

    put(f, 3, 2, 1);
    fake_run();
    uint64_t before = syncs(f);
    flush(f);
    assert_int_equal(syncs(f) - before, 1);
    put(f, 3, 1, 2); /* nothing new to the map */
    before = syncs(f);
    flush(f);
    assert_int_equal(syncs(f) - before, 1);
}

static void volumes_that_flush_together_share_one_sync(void **state)
{
    struct fixture *f = *state;
    struct volume *v[6];
    uint8_t buf[4096] = { 1 };
    int error[6];

    for (int i = 0; i < 6; i++) {
        v[i] = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
        assert_int_equal(rig_io(volume_device(v[i]), BLK_WRITE, 0, 0, 4096, buf), 0);
    }
    fake_run();
    uint64_t before = syncs(f);
    for (int i = 0; i < 6; i++)
        rig_begin(volume_device(v[i]), BLK_FLUSH, 0, 0, 0, NULL, &error[i]);
    fake_run();
    assert_in_range(syncs(f) - before, 1, 2); /* the first may go alone */
    for (int i = 0; i < 6; i++) {
        assert_int_equal(error[i], 0);
        rig_volume_close(v[i]);
    }
}

static void flush_of_much_syncs_the_file(void **state)
{
    struct fixture *f = *state;

    put(f, 0, VOL_LOG_BLOCKS + 1, 1);
    flush(f);
    assert_false(f->v->log.owed);
    assert_int_equal(f->v->unsynced_bytes, 0);
}

static void block_that_is_written_again_counts_once(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 2 * VOL_LOG_BLOCKS; i++)
        put(f, i % 2, 1, (uint8_t)i);
    assert_int_equal(f->v->log.count, 2);
    assert_false(f->v->log.too_many);
}

static void content_that_is_not_cached_is_synced_instead(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    fake_run();
    sim_fail_next(f->sim, SIM_READ, 1, -EAGAIN);
    flush(f);
    assert_false(f->v->log.owed);
    lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void volume_pays_what_it_owes_before_it_is_marked_clean(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    assert_true(f->v->log.owed);
    for (unsigned i = 0; i < 3; i++) {
        f->v->last_mutation_ns -= VOL_CLEAN_AFTER_NS;
        fake_fire_timers();
        fake_run();
    }
    assert_false(f->v->log.owed);
    assert_int_equal(f->v->mark.durable, DISK_CLEAN);
    lose_power(f);
    assert_int_equal(f->named, 0);
    expect_fill(f->d, 0, 4096, 1);
}

static void volume_that_has_owed_for_seconds_pays(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    uint64_t before = syncs(f);
    for (unsigned i = 0; i < 3; i++)
        fake_fire_timers();
    fake_run();
    assert_int_equal(syncs(f), before);
    fake_fire_timers();
    fake_run();
    assert_int_equal(syncs(f), before + 1);
    assert_false(f->v->log.owed);
}

static void closed_volume_owes_nothing(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    rig_volume_close(f->v);
    open_volume(f, 1);
    lose_power(f);
    assert_int_equal(f->named, 0);
    expect_fill(f->d, 0, 4096, 1);
}

/* ---- what comes back --------------------------------------------------------------------------*/

static void what_was_flushed_comes_back_after_a_loss_of_power(void **state)
{
    struct fixture *f = *state;
    uint8_t part[512];

    put(f, 3, 2, 1);
    memset(part, 2, sizeof part);
    assert_int_equal(rig_io(f->d, BLK_WRITE, BLK_FUA, 9 * 4096 + 512, 512, part), 0);
    put(f, 3, 1, 3);
    flush(f);
    put(f, 4, 1, 4); /* not flushed */
    lose_power(f);
    assert_int_equal(f->named, 1);
    expect_fill(f->d, 3 * 4096, 4096, 3);
    expect_fill(f->d, 4 * 4096, 4096, 1);
    expect_image(f->d, 9 * 4096, 512);
    expect_fill(f->d, 9 * 4096 + 512, 512, 2);
    expect_image(f->d, 9 * 4096 + 1024, 3072);
}

static void older_content_does_not_come_back_over_what_a_sync_made_durable(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    put(f, 0, VOL_LOG_BLOCKS + 1, 2);
    flush(f);
    lose_power(f);
    expect_fill(f->d, 0, (VOL_LOG_BLOCKS + 1) * 4096, 2);
}

/* The same, but the one that logged it was killed, and the next one syncs. */
static void nor_when_another_process_had_logged_it(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    be_killed(f);
    put(f, 0, 1, 2);
    flush(f); /* syncs the file: nobody knows what was written before */
    lose_power(f);
    expect_fill(f->d, 0, 4096, 2);
}

static void trimmed_block_stays_zero(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 2, 1);
    flush(f);
    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 0, 4096, NULL), 0);
    put(f, 5, 1, 2);
    flush(f);
    lose_power(f);
    expect_fill(f->d, 0, 4096, 0);
    expect_fill(f->d, 4096, 4096, 1);
    expect_fill(f->d, 5 * 4096, 4096, 2);
}

static void killed_process_leaves_what_it_had_answered(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    put(f, 0, 1, 2); /* answered, not flushed: newer than what the journal says */
    be_killed(f);
    assert_int_equal(f->named, 0);
    expect_fill(f->d, 0, 4096, 2);
}

static void power_that_goes_after_a_kill_takes_nothing_that_was_flushed(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    be_killed(f);
    lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void journal_that_was_full_many_times_has_lost_nothing(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 200; i++) { /* each half six times */
        put(f, i, 1, (uint8_t)(i + 1));
        flush(f);
    }
    lose_power(f);
    for (unsigned i = 0; i < 200; i++)
        expect_fill(f->d, i * 4096, 4096, (uint8_t)(i + 1));
}

/* Both halves of the journal are full of what a killed process had logged. */
static void full_journal_of_a_killed_process_goes_on(void **state)
{
    struct fixture *f = *state;

    fake_hold(fake_slow_pool(), false);
    for (unsigned i = 0; i < 40; i++) {
        put(f, i, 1, (uint8_t)(i + 1));
        flush(f);
    }
    be_killed(f);
    for (unsigned i = 40; i < 140; i++) {
        put(f, i, 1, (uint8_t)(i + 1));
        flush(f);
    }
    lose_power(f);
    for (unsigned i = 0; i < 140; i++)
        expect_fill(f->d, i * 4096, 4096, (uint8_t)(i + 1));
}

static void others_flush(struct fixture *f, unsigned times)
{
    struct layer_id top = f->top;
    struct volume *v = f->v;
    struct blkdev *d = f->d;

    f->top = rig_new_id();
    open_volume(f, 1);
    for (unsigned i = 0; i < times; i++) {
        put(f, i, 1, 9);
        flush(f);
    }
    rig_volume_close(f->v);
    f->top = top;
    f->v = v;
    f->d = d;
}

/* Both halves of the journal, several times. */
static void others_fill_the_journal(struct fixture *f)
{
    others_flush(f, 150);
}

static void full_journal_waits_for_an_adopted_volume(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    be_killed(f);
    others_fill_the_journal(f);
    lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void full_journal_waits_for_one_that_nobody_opened_again(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    be_killed_and(f, others_fill_the_journal);
    lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

/* Both halves are full, and what the kill left wants to say that it is clean. */
static void process_that_was_killed_with_both_halves_full_goes_on(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 9 };
    int error = 0;

    f->other = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
    assert_int_equal(rig_io(volume_device(f->other), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    put(f, 0, 1, 1);
    sim_fail_next(f->sim, SIM_OPEN, 1000, -ENOSPC); /* no map file can be made */
    for (unsigned i = 0; i < 200 && error == 0; i++) {
        put(f, 0, 1, (uint8_t)(i + 1)); /* needs no room */
        rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
        fake_run();
    }
    assert_int_equal(error, PENDING);
    sim_fail_next(f->sim, SIM_OPEN, 0, 0);
    be_killed(f);
    put(f, 0, 1, 3);
    flush(f);
    lose_power(f);
    expect_fill(f->d, 0, 4096, 3);
}

/* On no list: not adopted any more, and not among the volumes. */
static void take_and_put_back(struct fixture *f)
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
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    be_killed_and(f, take_and_put_back);
    expect_fill(f->d, 0, 4096, 1);
}

/* There is nothing that moves it but the start itself. */
static void expect_a_checkpoint(struct fixture *f)
{
    fake_run();
    assert_int_equal(f->rig.store->stats.checkpoints, 1);
}

static void full_half_is_emptied_when_the_start_is_over(void **state)
{
    struct fixture *f = *state;

    fake_hold(fake_slow_pool(), false);
    for (unsigned i = 0; i < 16; i++) { /* one half, and the first of the other one */
        put(f, 0, 1, (uint8_t)(i + 1));
        flush(f);
    }
    be_killed_and(f, expect_a_checkpoint);
}

/* A journal that waits for it asks again and again otherwise. */
static void nobody_can_open_data_files(struct fixture *f)
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
    struct fixture *f = *state;

    for (unsigned i = 0; i < 16; i++) {
        put(f, 0, 1, (uint8_t)(i + 1));
        flush(f);
    }
    be_killed_and(f, nobody_can_open_data_files);
    expect_fill(f->d, 0, 4096, 16);
}

static void what_is_logged_while_it_pays_is_owed_still(void **state)
{
    struct fixture *f = *state;
    int error;

    put(f, 0, 1, 1);
    flush(f);
    put(f, 1, 1, 2);
    fake_run();
    fake_hold(fake_slow_pool(), true);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
    assert_true(f->v->log.owed);
}

/* ---- an error of the file ---------------------------------------------------------------------*/

static void fail_to_pay_at(struct fixture *f, enum sim_op op)
{
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers(); /* the sync begins */
    sim_fail_next(f->sim, op, 1, -EIO);
    fake_run();
    assert_int_equal(f->rig.failures, 1);
}

static void fail_to_pay(struct fixture *f)
{
    fail_to_pay_at(f, SIM_SYNC);
}

/* The sync would not tell it again. */
static void failed_writing_back_fails_the_volume(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 64; i++) /* much, though of few blocks */
        put(f, 0, 10, 1);
    flush(f);
    put(f, 0, 1, 2);
    fail_to_pay_at(f, SIM_WRITE_BACK);
    expect_fill(f->d, 0, 4096, 1);
}

static void failed_sync_of_what_is_owed_fails_the_volume(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 1 };

    put(f, 0, 1, 1);
    flush(f);
    fail_to_pay(f);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
}

/* Its page cache may be gone any time; what the journal has of it goes into the file first. */
static void failed_volume_gets_back_what_was_flushed(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    put(f, 0, 1, 2);
    fail_to_pay(f);
    assert_false(f->v->log.owed);
    expect_fill(f->d, 0, 4096, 1);
    f->named = 1;
    rig_volume_close(f->v);
    open_volume(f, 2);
    put(f, 0, VOL_LOG_BLOCKS + 1, 3); /* in its new epoch */
    flush(f);
    f->named = 0;
    lose_power(f);
    expect_fill(f->d, 0, 4096, 3);
}

/* The journal has forgotten that it speaks of the layer, but its file has not. */
static void nor_after_a_failure_and_a_checkpoint_does_older_content_come_back(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    fail_to_pay(f);
    others_flush(f, 20); /* the first half is full, the other one is not */
    assert_false(jnl_mentions(&f->rig.store->journal, f->top));
    rig_volume_close(f->v);
    open_volume(f, 2);
    f->named = 1;
    put(f, 0, VOL_LOG_BLOCKS + 1, 3);
    flush(f);
    f->named = 0;
    lose_power(f);
    expect_fill(f->d, 0, 4096, 3);
}

static void others_begin_a_half_anew(void *ctx)
{
    struct fixture *f = ctx;
    uint64_t reused = f->rig.store->journal.reused;

    others_flush(f, 15);
    assert_int_equal(f->rig.store->journal.reused, reused + 1);
}

/* The other half, that is, which has nothing of this volume. */
static void half_that_is_begun_anew_meanwhile_does_not_keep_it_back(void **state)
{
    struct fixture *f = *state;

    others_flush(f, 16);
    put(f, 0, 1, 1);
    flush(f);
    put(f, 0, 1, 2);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_true(fake_step()); /* the sync */
    assert_true(fake_step()); /* its message: the volume fails; nothing is back yet */
    sim_before_read(f->sim, others_begin_a_half_anew, f);
    fake_run();
    expect_fill(f->d, 0, 4096, 1);
}

static void full_disk_does_not_keep_back_what_was_flushed(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    put(f, 0, 1, 2);
    sim_full(f->sim, 0, 1); /* until the room that is kept is given up */
    fail_to_pay(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void volume_that_failed_before_a_kill_gets_back_what_was_flushed(void **state)
{
    struct fixture *f = *state;

    put(f, 0, 1, 1);
    flush(f);
    put(f, 0, 1, 2);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_true(fake_step()); /* the sync */
    assert_true(fake_step()); /* its message: the volume fails; nothing is back yet */
    be_killed(f);
    assert_int_equal(f->named, 1);
    expect_fill(f->d, 0, 4096, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flush_of_little_syncs_the_journal_alone),
        TEST(volumes_that_flush_together_share_one_sync),
        TEST(flush_of_much_syncs_the_file),
        TEST(block_that_is_written_again_counts_once),
        TEST(content_that_is_not_cached_is_synced_instead),
        TEST(volume_pays_what_it_owes_before_it_is_marked_clean),
        TEST(volume_that_has_owed_for_seconds_pays),
        TEST(closed_volume_owes_nothing),
        TEST(what_was_flushed_comes_back_after_a_loss_of_power),
        TEST(older_content_does_not_come_back_over_what_a_sync_made_durable),
        TEST(nor_when_another_process_had_logged_it),
        TEST(trimmed_block_stays_zero),
        TEST(killed_process_leaves_what_it_had_answered),
        TEST(power_that_goes_after_a_kill_takes_nothing_that_was_flushed),
        TEST(journal_that_was_full_many_times_has_lost_nothing),
        TEST(full_journal_of_a_killed_process_goes_on),
        TEST(full_journal_waits_for_an_adopted_volume),
        TEST(full_journal_waits_for_one_that_nobody_opened_again),
        TEST(process_that_was_killed_with_both_halves_full_goes_on),
        TEST(full_journal_waits_for_one_that_is_just_being_opened),
        TEST(full_half_is_emptied_when_the_start_is_over),
        TEST(settling_without_descriptors_is_left_to_its_timer),
        TEST(what_is_logged_while_it_pays_is_owed_still),
        TEST(failed_writing_back_fails_the_volume),
        TEST(failed_sync_of_what_is_owed_fails_the_volume),
        TEST(failed_volume_gets_back_what_was_flushed),
        TEST(nor_after_a_failure_and_a_checkpoint_does_older_content_come_back),
        TEST(half_that_is_begun_anew_meanwhile_does_not_keep_it_back),
        TEST(full_disk_does_not_keep_back_what_was_flushed),
        TEST(volume_that_failed_before_a_kill_gets_back_what_was_flushed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
