/* SPDX-License-Identifier: Apache-2.0 */
/* volume_seal_test - one instant over many volumes: what is in it, what waits for it, and that it
 * is undone as a whole. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/store/sim_ops.h"

#define SIZE    (64u * 4096)
#define BLOCK   4096u
#define VOLUMES 8
#define SOME_MS 1000
#define EVER    1000000u
#define SEEDS   60
#define CHAINS  3 /* of writes that each depend on the one before */
#define CUTS    4 /* seals of one seed */

struct fixture {
    struct rig rig;
    struct sim *sim;
    struct layer_id image;
    struct volume *v[VOLUMES];
    struct blkdev *d[VOLUMES];
    struct layer_chain chain[VOLUMES]; /* below the top */
    struct seal_volume part[VOLUMES];
    unsigned count;
    struct store_seal *seal;
    unsigned named; /* how often the first top was, as one that lost power */
    uint8_t buf[4][BLOCK];
    int error[8];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    rig_init(&f->rig);
    f->sim = sim_new(1);
    f->rig.ops = sim_ops(f->sim);
    rig_open(&f->rig);
    f->image = rig_image(&f->rig, SIZE);
    for (int i = 0; i < 4; i++)
        memset(f->buf[i], 0xA0 + i, BLOCK);
    *state = f;
    return 0;
}

static struct volume *open_volume(struct fixture *f, struct layer_id top,
                                  const struct layer_chain *below)
{
    struct volume_spec spec = { .name = "vol",
                                .top = top,
                                .below = below,
                                .size_bytes = SIZE,
                                .generation = 1,
                                .epoch = 1,
                                .quota_bytes = f->rig.quota_bytes };
    struct volume *v;

    CHECK(volume_open(f->rig.store, &spec, NULL, &v, &e));
    return v;
}

static void open_volumes(struct fixture *f, unsigned count)
{
    f->count = count;
    for (unsigned i = 0; i < count; i++) {
        f->part[i] = (struct seal_volume){ .top = rig_new_id(), .new_top = rig_new_id() };
        f->chain[i] = (struct layer_chain){ .count = 1, .id = { f->image } };
        f->v[i] = open_volume(f, f->part[i].top, &f->chain[i]);
        f->d[i] = volume_device(f->v[i]);
    }
}

static void close_volumes(struct fixture *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        if (f->v[i])
            rig_volume_close(f->v[i]);
        f->v[i] = NULL;
    }
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    fake_hold(fake_slow_pool(), false);
    sim_full(f->sim, 0, 0);
    close_volumes(f);
    rig_close(&f->rig);
    rig_remove(&f->rig);
    sim_free(f->sim);
    free(f);
    return 0;
}

static int begin(struct fixture *f)
{
    return store_seal_begin(f->rig.store, f->part, f->count, SOME_MS, &f->seal, NULL);
}

/* Ends the seal; if committed, the tops are what the next seal takes. */
static void end(struct fixture *f, bool committed)
{
    store_seal_end(f->seal, committed);
    for (unsigned i = 0; committed && i < f->count; i++) {
        struct layer_chain *c = &f->chain[i];
        if (f->part[i].empty)
            continue;
        memmove(c->id + 1, c->id, c->count * sizeof *c->id);
        c->id[0] = f->part[i].top;
        c->count++;
        f->part[i].top = f->part[i].new_top;
        f->part[i].new_top = rig_new_id();
    }
}

static void write_block(struct fixture *f, unsigned v, unsigned b, int i)
{
    rig_begin(f->d[v], BLK_WRITE, 0, (uint64_t)b * BLOCK, BLOCK, f->buf[i], &f->error[i]);
    fake_run();
}

/* What volume v showed when it was sealed last. */
static struct blkdev *sealed(struct fixture *f, unsigned v)
{
    struct blkdev *d;

    CHECK(image_open(f->rig.store, &f->chain[v], SIZE, &d, &e));
    return d;
}

static void sealed_layer_shows_what_the_volume_showed(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 1);
    write_block(f, 0, 1, 0);
    assert_int_equal(rig_io(f->d[0], BLK_TRIM, 0, 2 * BLOCK, BLOCK, NULL), 0);
    assert_int_equal(begin(f), 0);
    assert_false(f->part[0].empty);
    end(f, true);
    write_block(f, 0, 1, 1);
    write_block(f, 0, 3, 2);
    struct blkdev *then = sealed(f, 0);
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
    struct fixture *f = *state;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    write_block(f, 1, 1, 0);
    assert_int_equal(begin(f), 0);
    write_block(f, 0, 1, 1);
    rig_begin(f->d[0], BLK_FLUSH, 0, 0, 0, NULL, &f->error[4]);
    fake_run();
    assert_int_equal(f->error[1], PENDING);
    expect_fill(f->d[0], BLOCK, BLOCK, 0xA0);
    end(f, true);
    fake_run();
    assert_int_equal(f->error[1], 0);
    assert_int_equal(f->error[4], 0);
    expect_fill(f->d[0], BLOCK, BLOCK, 0xA1);
    struct blkdev *then = sealed(f, 0);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
}

static void seal_without_its_transaction_changes_nothing(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    assert_int_equal(begin(f), 0);
    write_block(f, 0, 2, 1);
    end(f, false);
    fake_run();
    assert_int_equal(f->error[1], 0);
    rig_volume_close(f->v[0]);
    f->v[0] = open_volume(f, f->part[0].top, &f->chain[0]); /* the old top has both */
    expect_fill(volume_device(f->v[0]), BLOCK, BLOCK, 0xA0);
    expect_fill(volume_device(f->v[0]), 2 * BLOCK, BLOCK, 0xA1);
}

static void volume_goes_on_after_a_restart(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 1);
    for (int round = 0; round < 3; round++) {
        write_block(f, 0, 1 + (unsigned)round, round);
        assert_int_equal(begin(f), 0);
        end(f, true);
    }
    write_block(f, 0, 8, 3);
    close_volumes(f);
    rig_close(&f->rig);
    rig_open(&f->rig);
    f->v[0] = open_volume(f, f->part[0].top, &f->chain[0]);
    f->d[0] = volume_device(f->v[0]);
    for (unsigned i = 0; i < 3; i++)
        expect_fill(f->d[0], (1 + i) * BLOCK, BLOCK, (uint8_t)(0xA0 + i));
    expect_fill(f->d[0], 8 * BLOCK, BLOCK, 0xA3);
}

static void top_that_was_never_written_stays(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    assert_int_equal(begin(f), 0);
    assert_false(f->part[0].empty);
    assert_true(f->part[1].empty);
    end(f, true);
    write_block(f, 1, 1, 1);
    rig_volume_close(f->v[1]);
    f->v[1] = open_volume(f, f->part[1].top, &f->chain[1]);
    expect_fill(volume_device(f->v[1]), BLOCK, BLOCK, 0xA1);
}

static void volume_that_is_closed_takes_part(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    close_volumes(f);
    assert_int_equal(begin(f), 0);
    assert_false(f->part[0].empty);
    assert_true(f->part[1].empty);
    struct volume_spec spec = {
        .name = "vol", .top = f->part[0].top, .below = &f->chain[0], .size_bytes = SIZE
    };
    struct volume *v;
    assert_int_equal(volume_open(f->rig.store, &spec, NULL, &v, NULL), -EBUSY);
    end(f, true);
    struct blkdev *then = sealed(f, 0);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
    f->v[0] = open_volume(f, f->part[0].top, &f->chain[0]);
    f->d[0] = volume_device(f->v[0]);
    write_block(f, 0, 1, 1);
    then = sealed(f, 0);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
}

static void slow_disk_undoes_it_as_a_whole(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 3);
    for (unsigned i = 0; i < 3; i++)
        write_block(f, i, 1, 0);
    fake_hold(fake_slow_pool(), true);
    assert_int_equal(begin(f), -ETIMEDOUT);
    for (unsigned i = 0; i < 3; i++)
        write_block(f, i, 1, (int)i + 1); /* nothing is held */
    for (int i = 1; i < 4; i++)
        assert_int_equal(f->error[i], 0);
    fake_hold(fake_slow_pool(), false);
    assert_int_equal(begin(f), 0);
    end(f, true);
}

static void failed_sync_undoes_it_and_fails_that_volume_alone(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    write_block(f, 1, 1, 0);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(begin(f), -EIO);
    fake_run();
    write_block(f, 0, 2, 1);
    write_block(f, 1, 2, 2);
    assert_int_equal((f->error[1] == 0) + (f->error[2] == 0), 1);
    assert_int_equal((f->error[1] == -EIO) + (f->error[2] == -EIO), 1);
}

static void trim_is_punched_before_the_layer_is_sealed(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 1);
    write_block(f, 0, 1, 0);
    fake_hold(fake_slow_pool(), true);
    assert_int_equal(rig_io(f->d[0], BLK_TRIM, 0, BLOCK, BLOCK, NULL), 0);
    assert_int_equal(begin(f), -ETIMEDOUT);
    uint64_t punches = sim_count_of(f->sim, SIM_PUNCH);
    fake_hold(fake_slow_pool(), false);
    assert_int_equal(begin(f), 0);
    assert_int_equal(sim_count_of(f->sim, SIM_PUNCH), punches + 1);
    end(f, true);
    expect_fill(f->d[0], BLOCK, BLOCK, 0);
}

static void parked_write_is_not_waited_for_and_goes_on_in_the_new_top(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 1);
    write_block(f, 0, 1, 0);
    volume_set_quota(f->v[0], BLOCK);
    write_block(f, 0, 2, 1);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(begin(f), 0);
    volume_set_quota(f->v[0], 4 * BLOCK); /* held all the same */
    fake_run();
    assert_int_equal(f->error[1], PENDING);
    end(f, true);
    fake_run();
    assert_int_equal(f->error[1], 0);
    struct blkdev *then = sealed(f, 0);
    expect_image(then, 2 * BLOCK, BLOCK);
    image_close(then);
    expect_fill(f->d[0], 2 * BLOCK, BLOCK, 0xA1);
}

static void quota_begins_anew_with_the_new_top(void **state)
{
    struct fixture *f = *state;

    f->rig.quota_bytes = BLOCK;
    open_volumes(f, 1);
    write_block(f, 0, 1, 0);
    write_block(f, 0, 2, 1);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(begin(f), 0);
    end(f, true);
    fake_run();
    assert_int_equal(f->error[1], 0);
    write_block(f, 0, 3, 2);
    assert_int_equal(f->error[2], PENDING);
}

static void full_disk_stops_no_seal(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    sim_full(f->sim, 0, EVER);
    write_block(f, 0, 2, 1);
    write_block(f, 1, 1, 2); /* waits for its files even */
    assert_int_equal(begin(f), 0);
    assert_true(f->part[1].empty);
    end(f, true);
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
    struct fixture *f = *state;
    bool drained = false;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    write_block(f, 1, 1, 0);
    assert_int_equal(begin(f), 0);
    write_block(f, 0, 2, 1);
    volume_close(f->v[0], note_drained, &drained);
    fake_run();
    assert_true(drained);
    assert_int_equal(f->error[1], -ESHUTDOWN);
    end(f, true);
    f->v[0] = open_volume(f, f->part[0].top, &f->chain[0]);
    expect_fill(volume_device(f->v[0]), BLOCK, BLOCK, 0xA0);
    expect_image(volume_device(f->v[0]), 2 * BLOCK, BLOCK);
}

struct closer {
    struct shard_msg msg;
    struct fixture *f;
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
    struct fixture *f = *state;
    struct closer c = { .msg.fn = close_when_held, .f = f };

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    fake_run();
    rig_volume_close(f->v[0]); /* clean: the first to hold still */
    f->v[0] = open_volume(f, f->part[0].top, &f->chain[0]);
    write_block(f, 1, 1, 0);
    shard_post(fake_shard(), &c.msg);
    assert_int_equal(begin(f), 0);
    assert_true(c.drained);
    f->v[0] = NULL;
    struct layer_chain chain = { .count = 2, .id = { f->part[0].top, f->image } };
    struct blkdev *then;
    CHECK(image_open(f->rig.store, &chain, SIZE, &then, &e));
    end(f, true);
    expect_fill(then, BLOCK, BLOCK, 0xA0);
    image_close(then);
}

static void volume_that_is_being_closed_cannot_be_sealed(void **state)
{
    struct fixture *f = *state;
    bool drained = false;

    open_volumes(f, 2);
    write_block(f, 0, 1, 0);
    write_block(f, 1, 1, 0);
    fake_hold(fake_slow_pool(), true);
    volume_close(f->v[0], note_drained, &drained);
    f->v[0] = NULL;
    assert_int_equal(begin(f), -EBUSY);
    fake_hold(fake_slow_pool(), false);
    write_block(f, 1, 2, 1);
    assert_int_equal(f->error[1], 0);
    fake_run();
    assert_true(drained);
}

static void fua_write_under_way_is_in(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 1);
    write_block(f, 0, 1, 0);
    rig_begin(f->d[0], BLK_WRITE, BLK_FUA, 2 * BLOCK, BLOCK, f->buf[1], &f->error[1]);
    assert_int_equal(f->error[1], PENDING);
    assert_int_equal(begin(f), 0);
    assert_int_equal(f->error[1], 0);
    end(f, true);
    struct blkdev *then = sealed(f, 0);
    expect_fill(then, 2 * BLOCK, BLOCK, 0xA1);
    image_close(then);
}

static int note_open(void *ctx, struct layer_id id)
{
    struct fixture *f = ctx;

    f->named += memcmp(&id, &f->part[0].top, sizeof id) == 0;
    return 0;
}

/* The CLEAN mark of the seal that was undone must not come after the OPEN of what goes on. */
static void volume_is_open_again_after_a_seal_that_was_undone(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, 1);
    write_block(f, 0, 1, 0);
    assert_int_equal(rig_io(f->d[0], BLK_FLUSH, 0, 0, 0, NULL), 0);
    f->rig.store->slow_until_ns = INT64_MAX; /* writes take their time */
    fake_hold(fake_slow_pool(), true);
    rig_begin(f->d[0], BLK_WRITE, 0, 2 * BLOCK, BLOCK, f->buf[1], &f->error[1]);
    assert_int_equal(begin(f), -ETIMEDOUT);
    assert_int_equal(f->error[1], 0);
    write_block(f, 0, 3, 2);
    fake_hold(fake_slow_pool(), false);
    fake_run();
    assert_int_equal(f->error[2], 0);

    sim_cut_at(f->sim, sim_count(f->sim));
    close_volumes(f);
    rig_close(&f->rig);
    sim_restore(f->sim);
    rig_live_put(&f->rig, NULL, 0);
    rig_open(&f->rig);
    CHECK(store_recover(f->rig.store, note_open, f, &e));
    assert_int_equal(f->named, 1);
}

static void many_that_are_flushed_cost_one_sync(void **state)
{
    struct fixture *f = *state;

    f->rig.store->log_blocks = 0; /* nothing is owed after it */
    open_volumes(f, VOLUMES);
    for (unsigned i = 0; i < VOLUMES; i++) {
        write_block(f, i, 1, 0);
        assert_int_equal(rig_io(f->d[i], BLK_FLUSH, 0, 0, 0, NULL), 0);
    }
    fake_run();
    uint64_t syncs = sim_count_of(f->sim, SIM_SYNC);
    assert_int_equal(begin(f), 0);
    end(f, true);
    assert_int_equal(sim_count_of(f->sim, SIM_SYNC), syncs + 1);
}

/* ---- consistent cuts --------------------------------------------------------------------------*/

/* Write n of a chain goes to volume n % VOLUMES, into the chain's own block, when write n - 1 was
 * answered. */
struct chain_of_writes {
    struct fixture *f;
    unsigned block;
    uint64_t n, last; /* of the last one begun; at which to end */
    uint64_t value[BLOCK / sizeof(uint64_t)];
    struct blk_req r;
};

static void next_write(struct chain_of_writes *c);

static void write_done(struct blk_req *r)
{
    struct chain_of_writes *c = r->owner;

    assert_int_equal(r->error, 0);
    if (c->n < c->last)
        next_write(c);
}

static void next_write(struct chain_of_writes *c)
{
    c->n++;
    c->value[0] = c->n;
    c->r = (struct blk_req){ .op = BLK_WRITE,
                             .flags = c->n % 7 == 0 ? BLK_FUA : 0,
                             .offset = (uint64_t)c->block * BLOCK,
                             .length = c->n % 2 ? BLOCK : 512,
                             .buf = c->value,
                             .done = write_done,
                             .owner = c };
    blk_submit(c->f->d[c->n % VOLUMES], &c->r);
}

/* Everything up to the newest write that is in is in, and nothing else. */
static void expect_a_cut(struct fixture *f, const struct chain_of_writes *c, uint64_t answered)
{
    uint64_t in[VOLUMES], newest = 0, first[BLOCK / sizeof(uint64_t)];

    for (unsigned i = 0; i < VOLUMES; i++) {
        struct blkdev *d = sealed(f, i);
        assert_int_equal(rig_io(d, BLK_READ, 0, (uint64_t)c->block * BLOCK, BLOCK, first), 0);
        image_close(d);
        in[i] = first[0] < (1u << 30) ? first[0] : 0; /* the image's byte: never written */
        if (in[i] > newest)
            newest = in[i];
    }
    assert_true(newest >= answered);
    for (uint64_t n = newest; n && n + VOLUMES > newest; n--)
        assert_int_equal(in[n % VOLUMES], n);
}

static void run_seed(struct fixture *f, uint64_t seed)
{
    struct chain_of_writes *c = calloc(CHAINS, sizeof *c);

    open_volumes(f, VOLUMES);
    fake_reset(seed);
    for (unsigned i = 0; i < CHAINS; i++) {
        c[i] = (struct chain_of_writes){ .f = f, .block = 1 + 3 * i, .last = EVER };
        next_write(&c[i]);
    }
    for (unsigned cut = 0; cut < CUTS; cut++) {
        for (uint64_t steps = seed * 31 % 97 + cut * 40; steps; steps--)
            assert_true(fake_step());
        uint64_t answered[CHAINS];
        for (unsigned i = 0; i < CHAINS; i++)
            answered[i] = c[i].n - 1;
        int rc = begin(f);
        assert_int_equal(rc, 0);
        for (unsigned steps = 20; steps; steps--)
            fake_step();
        end(f, (seed + cut) % 5 != 0);
        for (unsigned i = 0; i < CHAINS && (seed + cut) % 5 != 0; i++)
            expect_a_cut(f, &c[i], answered[i]);
    }
    for (unsigned i = 0; i < CHAINS; i++)
        c[i].last = 0;
    fake_run();
    close_volumes(f);
    free(c);
}

static void every_group_cut_is_consistent(void **state)
{
    const char *more = getenv("SEEDS");
    uint64_t seeds = more ? strtoull(more, NULL, 10) : SEEDS;

    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_seed(*state, seed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
        TEST(every_group_cut_is_consistent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
