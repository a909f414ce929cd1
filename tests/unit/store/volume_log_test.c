/* SPDX-License-Identifier: Apache-2.0 */
/* Flushes of little that go by the journal: what is synced, what comes back after a loss of power,
 * and what must not. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/one_volume.h"

/* ---- what is synced ---------------------------------------------------------------------------*/

static void flush_of_little_syncs_the_journal_alone(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 3, 2, 1);
    fake_run();
    uint64_t before = one_syncs(f);
    one_flush(f);
    assert_int_equal(one_syncs(f) - before, 1);
    one_put(f, 3, 1, 2); /* nothing new to the map */
    before = one_syncs(f);
    one_flush(f);
    assert_int_equal(one_syncs(f) - before, 1);
}

static void volumes_that_flush_together_share_one_sync(void **state)
{
    struct one_volume *f = *state;
    struct volume *v[6];
    uint8_t buf[4096] = { 1 };
    int error[6];

    for (int i = 0; i < 6; i++) {
        v[i] = rig_volume(&f->rig, rig_new_id(), f->image, f->size_bytes, 1);
        assert_int_equal(rig_io(volume_device(v[i]), BLK_WRITE, 0, 0, 4096, buf), 0);
    }
    fake_run();
    uint64_t before = one_syncs(f);
    for (int i = 0; i < 6; i++)
        rig_begin(volume_device(v[i]), BLK_FLUSH, 0, 0, 0, NULL, &error[i]);
    fake_run();
    assert_in_range(one_syncs(f) - before, 1, 2); /* the first may go alone */
    for (int i = 0; i < 6; i++) {
        assert_int_equal(error[i], 0);
        rig_volume_close(v[i]);
    }
}

static int set_up_journal_thread(void **state)
{
    struct one_volume *f = *state = one_new(1u << 20);

    f->rig.journal_pool = fake_journal_pool();
    one_start(f);
    sim_be_plain(f->sim);
    one_open(f);
    return 0;
}

static void flush_does_not_queue_behind_syncs_of_files(void **state)
{
    struct one_volume *f = *state;
    int error;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    fake_run();
    fake_hold(fake_slow_pool(), true);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
    fake_run();
    assert_int_equal(error, 0);
    fake_hold(fake_slow_pool(), false);
}

static void flush_of_much_syncs_the_file(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, VOL_LOG_BLOCKS + 1, 1);
    one_flush(f);
    assert_false(f->v->log.owed);
    assert_int_equal(f->v->unsynced_bytes, 0);
}

static void block_that_is_written_again_counts_once(void **state)
{
    struct one_volume *f = *state;

    for (unsigned i = 0; i < 2 * VOL_LOG_BLOCKS; i++)
        one_put(f, i % 2, 1, (uint8_t)i);
    assert_int_equal(f->v->log.count, 2);
    assert_false(f->v->log.too_many);
}

static void content_that_is_not_cached_is_synced_instead(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    fake_run();
    sim_fail_next(f->sim, SIM_READ, 1, -EAGAIN);
    one_flush(f);
    assert_false(f->v->log.owed);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void volume_pays_what_it_owes_before_it_is_marked_clean(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    assert_true(f->v->log.owed);
    one_be_quiet(f->v);
    assert_false(f->v->log.owed);
    assert_int_equal(f->v->mark.durable, DISK_CLEAN);
    one_lose_power(f);
    assert_int_equal(f->named, 0);
    expect_fill(f->d, 0, 4096, 1);
}

static void volume_that_has_owed_for_seconds_pays(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    uint64_t before = one_syncs(f);
    for (unsigned i = 0; i < 3; i++)
        fake_fire_timers();
    fake_run();
    assert_int_equal(one_syncs(f), before);
    fake_fire_timers();
    fake_run();
    assert_int_equal(one_syncs(f), before + 1);
    assert_false(f->v->log.owed);
}

static void closed_volume_owes_nothing(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_close(f);
    one_open(f);
    one_lose_power(f);
    assert_int_equal(f->named, 0);
    expect_fill(f->d, 0, 4096, 1);
}

/* ---- what comes back --------------------------------------------------------------------------*/

static void what_was_flushed_comes_back_after_a_loss_of_power(void **state)
{
    struct one_volume *f = *state;
    uint8_t part[512];

    one_put(f, 3, 2, 1);
    memset(part, 2, sizeof part);
    assert_int_equal(rig_io(f->d, BLK_WRITE, BLK_FUA, 9 * 4096 + 512, 512, part), 0);
    one_put(f, 3, 1, 3);
    one_flush(f);
    one_put(f, 4, 1, 4); /* not flushed */
    one_lose_power(f);
    assert_int_equal(f->named, 1);
    expect_fill(f->d, 3 * 4096, 4096, 3);
    expect_fill(f->d, 4 * 4096, 4096, 1);
    expect_image(f->d, 9 * 4096, 512);
    expect_fill(f->d, 9 * 4096 + 512, 512, 2);
    expect_image(f->d, 9 * 4096 + 1024, 3072);
}

static void older_content_does_not_come_back_over_what_a_sync_made_durable(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, VOL_LOG_BLOCKS + 1, 2);
    one_flush(f);
    one_lose_power(f);
    expect_fill(f->d, 0, (VOL_LOG_BLOCKS + 1) * 4096, 2);
}

/* The same, but the one that logged it was killed, and the next one syncs. */
static void nor_when_another_process_had_logged_it(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_be_killed(f);
    one_put(f, 0, 1, 2);
    one_flush(f); /* syncs the file: nobody knows what was written before */
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 2);
}

static void trimmed_block_stays_zero(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 2, 1);
    one_flush(f);
    assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 0, 4096, NULL), 0);
    one_put(f, 5, 1, 2);
    one_flush(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 0);
    expect_fill(f->d, 4096, 4096, 1);
    expect_fill(f->d, 5 * 4096, 4096, 2);
}

static void killed_process_leaves_what_it_had_answered(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2); /* answered, not flushed: newer than what the journal says */
    one_be_killed(f);
    assert_int_equal(f->named, 0);
    expect_fill(f->d, 0, 4096, 2);
}

static void power_that_goes_after_a_kill_takes_nothing_that_was_flushed(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_be_killed(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void journal_that_was_full_many_times_has_lost_nothing(void **state)
{
    struct one_volume *f = *state;

    for (unsigned i = 0; i < 200; i++) { /* each half six times */
        one_put(f, i, 1, (uint8_t)(i + 1));
        one_flush(f);
    }
    one_lose_power(f);
    for (unsigned i = 0; i < 200; i++)
        expect_fill(f->d, i * 4096, 4096, (uint8_t)(i + 1));
}

static void what_is_logged_while_it_pays_is_owed_still(void **state)
{
    struct one_volume *f = *state;
    int error;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 1, 1, 2);
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

/* The same, but its commit begins behind the sync. */
static void what_is_logged_behind_what_it_pays_is_owed_still(void **state)
{
    struct one_volume *f = *state;
    int error;

    one_put(f, 0, 1, 1);
    one_flush(f);
    fake_hold(fake_slow_pool(), true);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    assert_true(f->v->log.busy);
    one_put(f, 1, 1, 2);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
    assert_true(f->v->log.owed);
}

/* As the image has it, or of one byte. */
static void expect_image_or_fill(struct one_volume *f, uint64_t block, uint8_t fill)
{
    uint8_t got[512];

    assert_int_equal(rig_io(f->d, BLK_READ, 0, block * 4096, sizeof got, got), 0);
    if (got[0] == fill)
        expect_fill(f->d, block * 4096, 4096, fill);
    else
        expect_image(f->d, block * 4096, 4096);
}

/* The journal ends with CLEAN and, behind it, a flush that came while that was being written; the
 * OPEN of the write before that flush is not there. */
static void kill_behind_a_clean_mark_leaves_old_or_new(void **state)
{
    struct one_volume *f = *state;
    struct journal *j = &f->rig.store->journal;
    uint8_t *buf = malloc(4096);
    int others, wrote, flushed;

    memset(buf, 2, 4096);
    f->other = rig_volume(&f->rig, rig_new_id(), f->image, f->size_bytes, 1);
    assert_int_equal(rig_io(volume_device(f->other), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    one_put(f, 0, 1, 1);
    f->v->last_mutation_ns -= VOL_CLEAN_AFTER_NS;
    fake_fire_timers(); /* its commit */
    fake_run();
    fake_hold(fake_slow_pool(), true);
    rig_begin(volume_device(f->other), BLK_WRITE, BLK_FUA, 0, 4096, buf, &others);
    f->v->last_mutation_ns -= VOL_CLEAN_AFTER_NS;
    fake_fire_timers(); /* its mark, which waits for the other's records */
    assert_true(f->v->mark.busy);
    rig_begin(f->d, BLK_WRITE, 0, 6 * 4096, 4096, buf, &wrote);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &flushed);
    fake_hold(fake_slow_pool(), false);
    for (uint64_t before = j->next_seq; j->next_seq == before;)
        assert_true(fake_step());
    while (fake_jobs(fake_slow_pool()))
        assert_true(fake_step());
    assert_int_equal(wrote, PENDING);
    one_die(f);
    one_start_again(f);
    one_others_flush(f, 150); /* both halves of the journal, several times */
    one_open(f);
    one_lose_power(f);
    expect_image_or_fill(f, 6, 2);
    free(buf);
}

/* Of an error the kernel tells only one of two syncs. */
static void commit_does_not_sync_beside_one_who_pays(void **state)
{
    struct one_volume *f = *state;
    int error;

    one_put(f, 0, 1, 1);
    one_flush(f);
    fake_hold(fake_slow_pool(), true);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    one_put(f, 0, VOL_LOG_BLOCKS + 1, 2);
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
    fake_run();
    assert_int_equal(error, PENDING);
    assert_int_equal(fake_jobs(fake_slow_pool()), 1);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(error, 0);
    assert_false(f->v->log.owed);
}

/* What it read back could be half of that write. */
static void flush_beside_a_write_that_runs_syncs_the_file(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    fake_run();
    f->rig.store->slow_until_ns = INT64_MAX; /* writes go to the pool */
    fake_hold(fake_read_pool(), true);
    one_begin_put(f, 0, 0);
    assert_int_equal(f->error[0], PENDING);
    one_flush(f);
    assert_false(f->v->log.owed);
    fake_hold(fake_read_pool(), false);
    fake_run();
    assert_int_equal(f->error[0], 0);
}

#define OTHERS 32 /* so many pay at once */

/* A half has room for a flush of each of them, and for more. */
static int set_up_large_journal(void **state)
{
    struct one_volume *f = *state = one_new(1u << 20);

    f->rig.journal_bytes = 2 * 512u << 10;
    one_start(f);
    sim_be_plain(f->sim);
    one_open(f);
    return 0;
}

/* While the others pay, one that is not among them logs more. */
static void log_more(void *ctx, uint64_t number)
{
    struct one_volume *f = ctx;

    (void)number;
    if (!f->rig.store->payer.group || fake_jobs(fake_slow_pool()))
        return;
    sim_on_op(f->sim, NULL, NULL);
    one_put(f, 1, 1, 2);
    one_flush(f);
    assert_int_equal(f->rig.store->stats.checkpoints, 0);
}

static void checkpoint_waits_for_the_oldest_that_is_owed(void **state)
{
    struct one_volume *f = *state;
    struct volume *v[OTHERS];
    uint8_t buf[4096] = { 1 };

    one_put(f, 0, 1, 1);
    one_flush(f);
    for (unsigned i = 0; i < OTHERS; i++) {
        v[i] = rig_volume(&f->rig, rig_new_id(), f->image, f->size_bytes, 1);
        assert_int_equal(rig_io(volume_device(v[i]), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    }
    sim_on_op(f->sim, log_more, f);
    for (unsigned i = 0; f->rig.store->stats.checkpoints == 0; i++) {
        assert_true(i < 200);
        assert_int_equal(rig_io(volume_device(v[0]), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    }
    assert_false(f->v->log.owed);
    for (unsigned i = 0; i < OTHERS; i++)
        rig_volume_close(v[i]);
}

/* ---- an error of the file ---------------------------------------------------------------------*/

static void fail_to_pay_at(struct one_volume *f, enum sim_op op)
{
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers(); /* the sync begins */
    sim_fail_next(f->sim, op, 1, -EIO);
    fake_run();
    assert_int_equal(f->rig.failures, 1);
}

/* The sync would not tell it again. */
static void failed_writing_back_fails_the_volume(void **state)
{
    struct one_volume *f = *state;

    for (unsigned i = 0; i < 64; i++) /* much, though of few blocks */
        one_put(f, 0, 10, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    fail_to_pay_at(f, SIM_WRITE_BACK);
    expect_fill(f->d, 0, 4096, 1);
}

static void failed_sync_of_what_is_owed_fails_the_volume(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 1 };

    one_put(f, 0, 1, 1);
    one_flush(f);
    fail_to_pay_at(f, SIM_SYNC);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, one_set_up_small_journal, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flush_of_little_syncs_the_journal_alone),
        TEST(volumes_that_flush_together_share_one_sync),
        cmocka_unit_test_setup_teardown(flush_does_not_queue_behind_syncs_of_files,
                                        set_up_journal_thread, one_tear_down),
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
        TEST(what_is_logged_while_it_pays_is_owed_still),
        TEST(what_is_logged_behind_what_it_pays_is_owed_still),
        TEST(kill_behind_a_clean_mark_leaves_old_or_new),
        TEST(commit_does_not_sync_beside_one_who_pays),
        TEST(flush_beside_a_write_that_runs_syncs_the_file),
        cmocka_unit_test_setup_teardown(checkpoint_waits_for_the_oldest_that_is_owed,
                                        set_up_large_journal, one_tear_down),
        TEST(failed_writing_back_fails_the_volume),
        TEST(failed_sync_of_what_is_owed_fails_the_volume),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
