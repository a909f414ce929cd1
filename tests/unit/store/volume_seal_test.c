/* SPDX-License-Identifier: Apache-2.0 */
/* volume_seal_test - one instant over many volumes: what is in it, what waits for it, and that it
 * is undone as a whole. */
#include <errno.h>
#include <string.h>

#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/many_volumes.h"

#define BLOCK MANY_BLOCK
#define SIZE  MANY_SIZE
#define EVER  1000000u

static void sealed_layer_shows_what_the_volume_showed(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 1);
    many_begin_put(f, 0, 1, 0);
    assert_int_equal(rig_io(f->d[0], BLK_TRIM, 0, 2 * BLOCK, BLOCK, NULL), 0);
    assert_int_equal(many_seal(f), 0);
    assert_false(f->part[0].empty);
    many_seal_end(f, true);
    many_begin_put(f, 0, 1, 1);
    many_begin_put(f, 0, 3, 2);
    struct blkdev *then = many_sealed(f, 0);
    expect_image(then, 0, BLOCK);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    expect_fill(then, 2 * BLOCK, BLOCK, 0);
    expect_image(then, 3 * BLOCK, SIZE - 3 * BLOCK);
    image_close(then);
    expect_fill(f->d[0], BLOCK, BLOCK, 0xA1);
    expect_fill(f->d[0], 2 * BLOCK, BLOCK, 0);
    expect_fill(f->d[0], 3 * BLOCK, BLOCK, 0xA2);
}

static void writes_and_flushes_wait_and_reads_do_not(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    many_begin_put(f, 1, 1, 0);
    assert_int_equal(many_seal(f), 0);
    many_begin_put(f, 0, 1, 1);
    rig_begin(f->d[0], BLK_FLUSH, 0, 0, 0, NULL, &f->error[4]);
    fake_run();
    assert_int_equal(f->error[1], PENDING);
    expect_fill(f->d[0], BLOCK, BLOCK, 0xA0);
    many_seal_end(f, true);
    fake_run();
    assert_int_equal(f->error[1], 0);
    assert_int_equal(f->error[4], 0);
    expect_fill(f->d[0], BLOCK, BLOCK, 0xA1);
    struct blkdev *then = many_sealed(f, 0);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
}

static void seal_without_its_transaction_changes_nothing(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    assert_int_equal(many_seal(f), 0);
    many_begin_put(f, 0, 2, 1);
    many_seal_end(f, false);
    fake_run();
    assert_int_equal(f->error[1], 0);
    many_close_one(f, 0);
    many_open_one(f, 0); /* the old top has both */
    expect_fill(f->d[0], BLOCK, BLOCK, 0xA0);
    expect_fill(f->d[0], 2 * BLOCK, BLOCK, 0xA1);
}

static void volume_goes_on_after_a_restart(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 1);
    for (int round = 0; round < 3; round++) {
        many_begin_put(f, 0, 1 + (unsigned)round, round);
        assert_int_equal(many_seal(f), 0);
        many_seal_end(f, true);
    }
    many_begin_put(f, 0, 8, 3);
    many_close(f);
    rig_close(&f->rig);
    rig_open(&f->rig);
    many_open_one(f, 0);
    for (unsigned i = 0; i < 3; i++)
        expect_fill(f->d[0], (1 + i) * BLOCK, BLOCK, (uint8_t)(0xA0 + i));
    expect_fill(f->d[0], 8 * BLOCK, BLOCK, 0xA3);
}

static void top_that_was_never_written_stays(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    assert_int_equal(many_seal(f), 0);
    assert_false(f->part[0].empty);
    assert_true(f->part[1].empty);
    many_seal_end(f, true);
    many_begin_put(f, 1, 1, 1);
    many_close_one(f, 1);
    many_open_one(f, 1);
    expect_fill(f->d[1], BLOCK, BLOCK, 0xA1);
}

static void volume_that_is_closed_takes_part(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    many_close(f);
    assert_int_equal(many_seal(f), 0);
    assert_false(f->part[0].empty);
    assert_true(f->part[1].empty);
    struct volume_spec spec = {
        .name = "vol", .top = f->part[0].top, .below = &f->chain[0], .size_bytes = SIZE
    };
    struct volume *v;
    assert_int_equal(volume_open(f->rig.store, &spec, NULL, &v, NULL), -EBUSY);
    many_seal_end(f, true);
    struct blkdev *then = many_sealed(f, 0);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
    many_open_one(f, 0);
    many_begin_put(f, 0, 1, 1);
    then = many_sealed(f, 0);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
}

static void slow_disk_undoes_it_as_a_whole(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 3);
    for (unsigned i = 0; i < 3; i++)
        many_begin_put(f, i, 1, 0);
    fake_hold(fake_slow_pool(), true);
    assert_int_equal(many_seal(f), -ETIMEDOUT);
    for (unsigned i = 0; i < 3; i++)
        many_begin_put(f, i, 1, (int)i + 1); /* nothing is held */
    for (int i = 1; i < 4; i++)
        assert_int_equal(f->error[i], 0);
    fake_hold(fake_slow_pool(), false);
    assert_int_equal(many_seal(f), 0);
    many_seal_end(f, true);
}

static void failed_sync_undoes_it_and_fails_that_volume_alone(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    many_begin_put(f, 1, 1, 0);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(many_seal(f), -EIO);
    fake_run();
    many_begin_put(f, 0, 2, 1);
    many_begin_put(f, 1, 2, 2);
    assert_int_equal((f->error[1] == 0) + (f->error[2] == 0), 1);
    assert_int_equal((f->error[1] == -EIO) + (f->error[2] == -EIO), 1);
}

static void trim_is_punched_before_the_layer_is_sealed(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 1);
    many_begin_put(f, 0, 1, 0);
    fake_hold(fake_slow_pool(), true);
    assert_int_equal(rig_io(f->d[0], BLK_TRIM, 0, BLOCK, BLOCK, NULL), 0);
    assert_int_equal(many_seal(f), -ETIMEDOUT);
    uint64_t punches = sim_count_of(f->sim, SIM_PUNCH);
    fake_hold(fake_slow_pool(), false);
    assert_int_equal(many_seal(f), 0);
    assert_int_equal(sim_count_of(f->sim, SIM_PUNCH), punches + 1);
    many_seal_end(f, true);
    expect_fill(f->d[0], BLOCK, BLOCK, 0);
}

static void parked_write_is_not_waited_for_and_goes_on_in_the_new_top(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 1);
    many_begin_put(f, 0, 1, 0);
    volume_set_quota(f->v[0], BLOCK);
    many_begin_put(f, 0, 2, 1);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(many_seal(f), 0);
    volume_set_quota(f->v[0], 4 * BLOCK); /* held all the same */
    fake_run();
    assert_int_equal(f->error[1], PENDING);
    many_seal_end(f, true);
    fake_run();
    assert_int_equal(f->error[1], 0);
    struct blkdev *then = many_sealed(f, 0);
    expect_image(then, 2 * BLOCK, BLOCK);
    image_close(then);
    expect_fill(f->d[0], 2 * BLOCK, BLOCK, 0xA1);
}

static void quota_begins_anew_with_the_new_top(void **state)
{
    struct many_volumes *f = *state;

    f->rig.quota_bytes = BLOCK;
    many_open(f, 1);
    many_begin_put(f, 0, 1, 0);
    many_begin_put(f, 0, 2, 1);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(many_seal(f), 0);
    many_seal_end(f, true);
    fake_run();
    assert_int_equal(f->error[1], 0);
    many_begin_put(f, 0, 3, 2);
    assert_int_equal(f->error[2], PENDING);
}

static void full_disk_stops_no_seal(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    sim_full(f->sim, 0, EVER);
    many_begin_put(f, 0, 2, 1);
    many_begin_put(f, 1, 1, 2); /* waits for its files even */
    assert_int_equal(many_seal(f), 0);
    assert_true(f->part[1].empty);
    many_seal_end(f, true);
    sim_full(f->sim, 0, 0);
    fake_fire_timers();
    fake_run();
    assert_int_equal(f->error[1], 0);
    assert_int_equal(f->error[2], 0);
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

static void volume_may_be_closed_before_the_end(void **state)
{
    struct many_volumes *f = *state;
    bool drained = false;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    many_begin_put(f, 1, 1, 0);
    assert_int_equal(many_seal(f), 0);
    many_begin_put(f, 0, 2, 1);
    volume_close(f->v[0], note_drained, &drained);
    fake_run();
    assert_true(drained);
    assert_int_equal(f->error[1], -ESHUTDOWN);
    many_seal_end(f, true);
    many_open_one(f, 0);
    expect_fill(f->d[0], BLOCK, BLOCK, 0xA0);
    expect_image(f->d[0], 2 * BLOCK, BLOCK);
}

struct closer {
    struct shard_msg msg;
    struct many_volumes *f;
    bool drained;
};

/* Closes volume 0 as soon as it holds still, while the others do not yet. */
static void close_when_held(struct shard_msg *m)
{
    struct closer *c = (struct closer *)m;

    if (c->f->v[0]->held_back)
        volume_close(c->f->v[0], note_drained, &c->drained);
    else
        shard_post(fake_shard(), m);
}

static void volume_may_be_closed_while_others_come_to_rest(void **state)
{
    struct many_volumes *f = *state;
    struct closer c = { .msg.fn = close_when_held, .f = f };

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    fake_run();
    many_close_one(f, 0); /* clean: the first to hold still */
    many_open_one(f, 0);
    many_begin_put(f, 1, 1, 0);
    shard_post(fake_shard(), &c.msg);
    assert_int_equal(many_seal(f), 0);
    assert_true(c.drained);
    f->v[0] = NULL;
    struct layer_chain chain = { .count = 2, .id = { f->part[0].top, f->image } };
    struct blkdev *then;
    CHECK(image_open(f->rig.store, &chain, SIZE, &then, &e));
    many_seal_end(f, true);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
}

static void volume_that_is_being_closed_cannot_be_sealed(void **state)
{
    struct many_volumes *f = *state;
    bool drained = false;

    many_open(f, 2);
    many_begin_put(f, 0, 1, 0);
    many_begin_put(f, 1, 1, 0);
    fake_hold(fake_slow_pool(), true);
    volume_close(f->v[0], note_drained, &drained);
    f->v[0] = NULL;
    assert_int_equal(many_seal(f), -EBUSY);
    fake_hold(fake_slow_pool(), false);
    many_begin_put(f, 1, 2, 1);
    assert_int_equal(f->error[1], 0);
    fake_run();
    assert_true(drained);
}

static void fua_write_under_way_is_in(void **state)
{
    struct many_volumes *f = *state;

    many_open(f, 1);
    many_begin_put(f, 0, 1, 0);
    rig_begin(f->d[0], BLK_WRITE, BLK_FUA, 2 * BLOCK, BLOCK, f->buf[1], &f->error[1]);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(many_seal(f), 0);
    assert_int_equal(f->error[1], 0);
    many_seal_end(f, true);
    struct blkdev *then = many_sealed(f, 0);
    expect_fill(then, 2 * BLOCK, BLOCK, 0xA1);
    image_close(then);
}

struct named {
    struct layer_id top;
    unsigned times;
};

static int note_named(void *ctx, struct layer_id id)
{
    struct named *n = ctx;

    n->times += memcmp(&id, &n->top, sizeof id) == 0;
    return 0;
}

struct rider {
    struct shard_msg msg;
    struct many_volumes *f;
    bool wrote;
    unsigned looks; /* some are enough */
};

/* Writes behind the commit that comes before the holding, so that there is one more; and the disk
 * hangs when the CLEAN mark goes with that. */
static void hang_when_the_mark_rides(struct shard_msg *m)
{
    struct rider *r = (struct rider *)m;
    struct many_volumes *f = r->f;

    if (!r->wrote && f->v[0]->commit.running) {
        r->wrote = true;
        rig_begin(f->d[0], BLK_WRITE, 0, 2 * BLOCK, BLOCK, f->buf[1], &f->error[1]);
    }
    if (f->v[0]->commit.marks)
        fake_hold(fake_slow_pool(), true);
    else if (++r->looks < 1000)
        shard_post(fake_shard(), m);
}

/* The CLEAN mark of the seal that was undone must not come after the OPEN of what goes on. */
static void volume_is_open_again_after_a_seal_that_was_undone(void **state)
{
    struct many_volumes *f = *state;
    struct rider r = { .msg.fn = hang_when_the_mark_rides, .f = f };

    many_open(f, 1);
    many_begin_put(f, 0, 1, 0);
    shard_post(fake_shard(), &r.msg);
    assert_int_equal(many_seal(f), -ETIMEDOUT);
    assert_int_equal(f->error[1], 0);
    many_begin_put(f, 0, 3, 2);
    assert_int_equal(f->error[2], PENDING);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(f->error[2], 0);

    sim_cut_at(f->sim, sim_count(f->sim));
    many_close(f);
    rig_close(&f->rig);
    sim_restore(f->sim);
    rig_live_put(&f->rig, NULL, 0);
    rig_open(&f->rig);
    struct named named = { .top = f->part[0].top };
    CHECK(store_recover(f->rig.store, note_named, &named, &e));
    assert_int_equal(named.times, 1);
}

static void many_that_are_flushed_cost_one_sync(void **state)
{
    struct many_volumes *f = *state;

    f->rig.store->log_blocks = 0; /* nothing is owed after it */
    many_open(f, MANY_VOLUMES);
    for (unsigned i = 0; i < MANY_VOLUMES; i++) {
        many_begin_put(f, i, 1, 0);
        assert_int_equal(rig_io(f->d[i], BLK_FLUSH, 0, 0, 0, NULL), 0);
    }
    fake_run();
    uint64_t syncs = sim_count_of(f->sim, SIM_SYNC);
    assert_int_equal(many_seal(f), 0);
    many_seal_end(f, true);
    assert_int_equal(sim_count_of(f->sim, SIM_SYNC), syncs + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, many_set_up, many_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sealed_layer_shows_what_the_volume_showed),
        TEST(writes_and_flushes_wait_and_reads_do_not),
        TEST(seal_without_its_transaction_changes_nothing),
        TEST(volume_goes_on_after_a_restart),
        TEST(top_that_was_never_written_stays),
        TEST(volume_that_is_closed_takes_part),
        TEST(slow_disk_undoes_it_as_a_whole),
        TEST(failed_sync_undoes_it_and_fails_that_volume_alone),
        TEST(trim_is_punched_before_the_layer_is_sealed),
        TEST(parked_write_is_not_waited_for_and_goes_on_in_the_new_top),
        TEST(quota_begins_anew_with_the_new_top),
        TEST(full_disk_stops_no_seal),
        TEST(volume_may_be_closed_before_the_end),
        TEST(volume_may_be_closed_while_others_come_to_rest),
        TEST(volume_that_is_being_closed_cannot_be_sealed),
        TEST(fua_write_under_way_is_in),
        TEST(volume_is_open_again_after_a_seal_that_was_undone),
        TEST(many_that_are_flushed_cost_one_sync),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
