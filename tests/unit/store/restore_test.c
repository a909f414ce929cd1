/* SPDX-License-Identifier: Apache-2.0 */
/* What flushes left in the journal of a volume that has failed: it goes back into its file, and
 * once there is something newer it does not. */
#include <errno.h>

#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/one_volume.h"

/* The sync of what it owes fails.  Nothing is back yet. */
static void begin_to_fail(struct one_volume *f)
{
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_true(fake_step()); /* the sync */
    assert_true(fake_step()); /* its message */
    assert_int_equal(f->rig.failures, 1);
}

static void fail_to_pay(struct one_volume *f)
{
    begin_to_fail(f);
    fake_run();
}

/* Its page cache may be gone any time; what the journal has of it goes into the file first. */
static void failed_volume_gets_back_what_was_flushed(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    fail_to_pay(f);
    assert_false(f->v->log.owed);
    expect_fill(f->d, 0, 4096, 1);
    one_close(f);
    f->epoch = 2;
    one_open(f);
    one_put(f, 0, VOL_LOG_BLOCKS + 1, 3); /* in its new epoch */
    one_flush(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 3);
}

/* The journal has forgotten that it speaks of the layer, but its file has not. */
static void nor_after_a_failure_and_a_checkpoint_does_older_content_come_back(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    fail_to_pay(f);
    one_others_flush(f, 20); /* the first half is full, the other one is not */
    assert_false(jnl_mentions(&f->rig.store->journal, f->top));
    one_close(f);
    f->epoch = 2;
    one_open(f);
    one_put(f, 0, VOL_LOG_BLOCKS + 1, 3);
    one_flush(f);
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 3);
}

static void others_begin_a_half_anew(void *ctx)
{
    struct one_volume *f = ctx;
    uint64_t reused = f->rig.store->journal.reused;

    one_others_flush(f, 15);
    assert_int_equal(f->rig.store->journal.reused, reused + 1);
}

/* The other half, that is, which has nothing of this volume. */
static void half_that_is_begun_anew_meanwhile_does_not_keep_it_back(void **state)
{
    struct one_volume *f = *state;

    one_others_flush(f, 16);
    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    begin_to_fail(f);
    sim_before_read(f->sim, others_begin_a_half_anew, f);
    fake_run();
    expect_fill(f->d, 0, 4096, 1);
}

static void full_disk_does_not_keep_back_what_was_flushed(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    sim_full(f->sim, 0, 1); /* until the room that is kept is given up */
    fail_to_pay(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void volume_that_failed_before_a_kill_gets_back_what_was_flushed(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    begin_to_fail(f);
    one_be_killed(f);
    assert_int_equal(f->named, 1);
    expect_fill(f->d, 0, 4096, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, one_set_up_small_journal, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failed_volume_gets_back_what_was_flushed),
        TEST(nor_after_a_failure_and_a_checkpoint_does_older_content_come_back),
        TEST(half_that_is_begun_anew_meanwhile_does_not_keep_it_back),
        TEST(full_disk_does_not_keep_back_what_was_flushed),
        TEST(volume_that_failed_before_a_kill_gets_back_what_was_flushed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
