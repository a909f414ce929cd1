/* SPDX-License-Identifier: Apache-2.0 */
/* What flushes left in the journal of a volume that has failed: it goes back into its file, and
 * once there is something newer it does not. */
#include <errno.h>
#include <string.h>

#include "server/io/file_ops.h"
#include "server/store/replay.h"
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

/* The room that is kept does not last: it is still owed, and the journal keeps it. */
static void fail_without_room(struct one_volume *f)
{
    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 0, 1, 2);
    begin_to_fail(f);
    sim_full(f->sim, 0, 1000);
    fake_run();
    assert_true(sim_was_full(f->sim));
    assert_true(f->v->log.owed);
}

static void other_flushes(struct one_volume *f, unsigned times)
{
    uint8_t buf[4096] = { 9 };

    for (unsigned i = 0; i < times; i++)
        assert_int_equal(rig_io(volume_device(f->other), BLK_WRITE, BLK_FUA, 0, sizeof buf, buf),
                         0);
}

static void what_was_flushed_comes_back_when_there_is_room_again(void **state)
{
    struct one_volume *f = *state;

    f->other = rig_volume(&f->rig, rig_new_id(), f->image, f->size_bytes, 1);
    other_flushes(f, 1);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers(); /* it pays */
    fake_run();
    fail_without_room(f);
    fake_fire_timers();
    fake_run();
    assert_true(f->v->log.owed);
    sim_full(f->sim, 0, 0);
    other_flushes(f, 18); /* a half, whose checkpoint waits */
    assert_true(f->rig.store->committer.checkpoint.waits);
    fake_fire_timers();
    fake_run();
    assert_false(f->v->log.owed);
    assert_false(f->rig.store->committer.checkpoint.waits);
    expect_fill(f->d, 0, 4096, 1);
    other_flushes(f, 150);
    rig_volume_close(f->other);
    f->other = NULL;
    one_lose_power(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void volume_that_waits_for_room_is_closed_when_there_is_some(void **state)
{
    struct one_volume *f = *state;
    bool drained = false;

    fail_without_room(f);
    volume_close(f->v, note_drained, &drained);
    f->v = NULL;
    fake_fire_timers();
    fake_run();
    assert_false(drained);
    sim_full(f->sim, 0, 0);
    fake_fire_timers();
    fake_run();
    assert_true(drained);
    f->epoch = 2;
    one_open(f);
    expect_fill(f->d, 0, 4096, 1);
}

static void volume_that_waits_for_room_and_is_of_no_use_is_closed_at_once(void **state)
{
    struct one_volume *f = *state;
    bool drained = false;

    fail_without_room(f);
    volume_discard(f->v, note_drained, &drained);
    f->v = NULL;
    fake_run();
    assert_true(drained);
}

static void volume_that_waits_for_room_is_closed_when_the_journal_fails(void **state)
{
    struct one_volume *f = *state;
    bool drained = false;

    fail_without_room(f);
    volume_close(f->v, note_drained, &drained);
    f->v = NULL;
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    f->rig.store->committer.error = -EIO;
    fake_fire_timers();
    fake_run();
    assert_true(drained);
}

/* The sync of something newer has failed: what the new epoch sees of a block does not change when
 * the power goes, though the journal holds an older content of it. */
static void content_that_was_paid_for_comes_back_at_the_failure_not_later(void **state)
{
    struct one_volume *f = *state;
    static uint8_t before[4096], after[4096];

    one_put(f, 0, 1, 1);
    one_flush(f);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    fake_run();
    assert_false(f->v->log.owed);
    one_put(f, 0, VOL_LOG_BLOCKS + 1, 2);
    fake_run();
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    fake_run();
    one_close(f);
    f->epoch = 2;
    one_open(f);
    assert_int_equal(rig_io(f->d, BLK_READ, 0, 0, sizeof before, before), 0);
    one_put(f, 100, 1, 3);
    one_flush(f);
    one_lose_power(f);
    assert_int_equal(rig_io(f->d, BLK_READ, 0, 0, sizeof after, after), 0);
    assert_memory_equal(after, before, sizeof after);
}

/* ---- the page cache ---------------------------------------------------------------------------*/

static struct {
    const struct sim *sim;
    struct file_ops ops;
    unsigned drops;
    uint64_t syncs; /* before the last of them */
} cache;

static void drop_cached(void *ctx, int fd)
{
    (void)fd;
    assert_ptr_equal(ctx, cache.sim);
    if (sim_is_cut(cache.sim)) /* it is a dying process that fails */
        return;
    cache.drops++;
    cache.syncs = sim_count_of(cache.sim, SIM_SYNC);
}

static int set_up_cache(void **state)
{
    struct one_volume *f = *state = one_new(1u << 20);

    memset(&cache, 0, sizeof cache);
    cache.sim = f->sim;
    cache.ops = *f->rig.ops;
    cache.ops.drop_cached = drop_cached;
    f->rig.ops = &cache.ops;
    one_start(f);
    sim_be_plain(f->sim);
    one_open(f);
    return 0;
}

/* It may show what a sync that failed has not brought to the disk. */
static void failed_volume_shows_what_is_on_the_disk(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    begin_to_fail(f);
    uint64_t before = one_syncs(f);
    fake_run();
    assert_int_equal(cache.drops, 1);
    assert_int_equal(cache.syncs, before + 2); /* what is put back, and what is dirty */
}

static void also_when_nothing_went_by_the_journal(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, VOL_LOG_BLOCKS + 1, 1);
    fake_run();
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    fake_run();
    assert_int_equal(cache.drops, 1);
}

static void also_when_the_server_was_killed_just_then(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    begin_to_fail(f);
    assert_int_equal(cache.drops, 0);
    one_be_killed(f);
    assert_int_equal(f->named, 1);
    assert_int_equal(cache.drops, 1);
}

static void page_cache_of_a_sound_volume_is_kept(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_close(f);
    one_open(f);
    one_put(f, 0, 1, 2);
    one_be_killed(f);
    one_reopen(f);
    assert_int_equal(cache.drops, 0);
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

/* The half that holds it was emptied, but not used again: a loss of power finds it. */
static void nor_does_a_half_that_was_emptied_in_the_next_epoch(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 0 };

    one_put(f, 0, 1, 1);
    one_flush(f);
    for (unsigned i = 0; i < 4; i++)
        fake_fire_timers();
    fake_run();
    assert_false(f->v->log.owed);
    one_others_flush(f, 20); /* the first half is full, the other one is not */
    assert_false(jnl_mentions(&f->rig.store->journal, f->top));
    one_put(f, 0, 1, 2);
    sim_fail_next(f->sim, SIM_WRITE, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 9 * 4096, 4096, buf), -EIO);
    one_close(f);
    f->epoch = 2;
    one_open(f);
    assert_int_equal(rig_io(f->d, BLK_READ, 0, 0, 4096, buf), 0);
    one_put(f, 3, 1, 3);
    one_flush(f);
    one_lose_power(f);
    expect_fill(f->d, 3 * 4096, 4096, 3);
    expect_fill(f->d, 0, 4096, buf[0]); /* what the epoch began with */
}

static int is_locked(void *ctx, int fd, int operation)
{
    (void)ctx, (void)fd, (void)operation;
    return -EBUSY; /* as after ten seconds of waiting */
}

/* Another server, that is ending, still holds the lock of a file: what was flushed must not be
 * given up for that. */
static void store_does_not_open_before_what_was_flushed_can_be_put_back(void **state)
{
    struct one_volume *f = *state;
    struct store_options o = rig_options(&f->rig);
    struct file_ops ops = *f->rig.ops;
    struct err e = { 0 };

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_cut(f);
    ops.lock = is_locked;
    o.ops = &ops;
    assert_int_equal(store_open(&o, &f->rig.store, &e), -EBUSY);
    f->rig.store = NULL;
    one_start_again(f);
    one_open(f);
    expect_fill(f->d, 0, 4096, 1);
}

/* ---- what the disk does not take --------------------------------------------------------------*/

static bool disk_refuses;

static int lock_unless_refused(void *ctx, int fd, int operation)
{
    (void)ctx;
    return disk_refuses ? -EIO : file_ops_real.lock(NULL, fd, operation);
}

static int set_up_refusal(void **state)
{
    struct one_volume *f = *state = one_new(1u << 20);

    disk_refuses = false;
    cache.ops = *f->rig.ops;
    cache.ops.lock = lock_unless_refused;
    f->rig.ops = &cache.ops;
    f->rig.journal_bytes = 2 * 128u << 10;
    one_start(f);
    sim_be_plain(f->sim);
    one_open(f);
    return 0;
}

static void expect_lost(struct one_volume *f)
{
    struct volume_spec spec = { .name = "v",
                                .top = f->top,
                                .below = rig_chain(f->image),
                                .size_bytes = f->size_bytes,
                                .epoch = f->epoch };
    struct volume *v = NULL;
    struct err e = { 0 };

    assert_int_equal(volume_open(f->rig.store, &spec, NULL, &v, &e), -EIO);
    assert_non_null(strstr(e.msg, "lacks what was flushed"));
}

/* The journal is begun anew after a start: what it held is gone then. */
static void nobody_opens_a_volume_whose_disk_refused_it_at_a_start(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_cut(f);
    disk_refuses = true;
    assert_int_equal(one_start_again(f), 0); /* it is not lost power, it is lost */
    disk_refuses = false;
    expect_lost(f);
    one_cut(f);
    assert_int_equal(one_start_again(f), 0);
    expect_lost(f);
}

/* Neither a checkpoint nor the next start makes it whole. */
static void nor_one_whose_disk_refused_it_when_it_failed(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    begin_to_fail(f);
    sim_fail_next(f->sim, SIM_WRITE, 1, -EIO);
    fake_run();
    one_close(f);
    expect_lost(f);
    one_others_flush(f, 40);
    expect_lost(f);
    one_stop(f);
    assert_int_equal(one_start_again(f), 1); /* who wrote to it hears of it */
    expect_lost(f);
    one_stop(f);
    assert_int_equal(one_start_again(f), 0);
    expect_lost(f);
}

/* Its map file is on its way while it is marked. */
static void mark_lost(void *ctx, uint64_t number)
{
    struct one_volume *f = ctx;
    struct err e = { 0 };

    (void)number;
    sim_on_op(f->sim, NULL, NULL);
    assert_int_equal(lay_mark_lost(&f->rig.store->dir, f->top, &e), 0);
}

static void nor_does_a_checkpoint_that_runs_just_then(void **state)
{
    struct one_volume *f = *state;
    struct layer_info info;
    struct journal_view view;
    struct err e = { 0 };

    one_put(f, 0, 1, 1);
    one_flush(f);
    jnl_view(&f->rig.store->journal, &view);
    sim_on_op(f->sim, mark_lost, f); /* with the making of HEX.map.new */
    assert_int_equal(replay_to_files(&f->rig.store->dir, &f->rig.store->journal, &view,
                                     &f->rig.store->files_lock, &e),
                     0);
    assert_int_equal(lay_read_map(&f->rig.store->dir, f->top, &info, NULL, &e), -EIO);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, one_set_up_small_journal, one_tear_down)
#define CACHE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_cache, one_tear_down)
#define LOST_TEST(name)  cmocka_unit_test_setup_teardown(name, set_up_refusal, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failed_volume_gets_back_what_was_flushed),
        TEST(nor_after_a_failure_and_a_checkpoint_does_older_content_come_back),
        TEST(half_that_is_begun_anew_meanwhile_does_not_keep_it_back),
        TEST(full_disk_does_not_keep_back_what_was_flushed),
        TEST(what_was_flushed_comes_back_when_there_is_room_again),
        TEST(volume_that_waits_for_room_is_closed_when_there_is_some),
        TEST(volume_that_waits_for_room_and_is_of_no_use_is_closed_at_once),
        TEST(volume_that_waits_for_room_is_closed_when_the_journal_fails),
        TEST(content_that_was_paid_for_comes_back_at_the_failure_not_later),
        CACHE_TEST(failed_volume_shows_what_is_on_the_disk),
        CACHE_TEST(also_when_nothing_went_by_the_journal),
        CACHE_TEST(also_when_the_server_was_killed_just_then),
        CACHE_TEST(page_cache_of_a_sound_volume_is_kept),
        TEST(volume_that_failed_before_a_kill_gets_back_what_was_flushed),
        TEST(nor_does_a_half_that_was_emptied_in_the_next_epoch),
        TEST(store_does_not_open_before_what_was_flushed_can_be_put_back),
        LOST_TEST(nobody_opens_a_volume_whose_disk_refused_it_at_a_start),
        LOST_TEST(nor_one_whose_disk_refused_it_when_it_failed),
        LOST_TEST(nor_does_a_checkpoint_that_runs_just_then),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
