/* SPDX-License-Identifier: Apache-2.0 */
/* seal_test - group snapshots on the real shard: consistent under load, and what they cost. */
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "tests/unit/store_threads/rig.h"

#define VOLUMES   8
#define CHAINS    4
#define CUTS      12
#define HOLD_MS   30000
#define CLASSROOM 375
#define LIMIT_NS  (10 * NS_PER_S) /* a thousand times what it takes, for busy machines */

struct fixture {
    struct rig rig;
    struct volume *v[CLASSROOM];
    struct seal_volume part[CLASSROOM];
    struct layer_chain chain[VOLUMES]; /* below the top */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->rig.journal_bytes = 4u << 20;
    rig_start(&f->rig);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    rig_stop(&f->rig);
    free(f);
    return 0;
}

static void open_volumes(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        f->part[i] = (struct seal_volume){ .top = new_id(), .new_top = new_id() };
        f->v[i] = open_volume(&f->rig, f->part[i].top, SIZE);
        if (i < VOLUMES)
            f->chain[i] = (struct layer_chain){ .count = 1, .id = { f->rig.image } };
    }
}

static void seal(struct fixture *f, unsigned count)
{
    struct store_seal *s;

    CHECK(store_seal_begin(f->rig.store, f->part, count, HOLD_MS, &s, &e));
    store_seal_end(s, true);
    for (unsigned i = 0; i < count; i++) {
        if (f->part[i].empty)
            continue;
        if (i < VOLUMES) {
            struct layer_chain *c = &f->chain[i];
            memmove(c->id + 1, c->id, c->count++ * sizeof *c->id);
            c->id[0] = f->part[i].top;
        }
        f->part[i].top = f->part[i].new_top;
        f->part[i].new_top = new_id();
    }
}

/* ---- chains of writes: write n goes to volume n % VOLUMES when write n - 1 was answered -------*/

struct writes {
    struct fixture *f;
    unsigned block;
    uint64_t n, value[BLK_BLOCK / sizeof(uint64_t)];
    _Atomic uint64_t answered;
    _Atomic bool stop;
    struct blk_req r;
    struct event stopped;
    unsigned failed;
};

static void next_write(void *arg);

static void write_done(struct blk_req *r)
{
    struct writes *w = r->owner;

    w->failed += r->error != 0;
    w->answered = w->n;
    if (w->stop)
        event_add(&w->stopped);
    else
        next_write(w);
}

static void next_write(void *arg)
{
    struct writes *w = arg;

    w->value[0] = ++w->n;
    w->r = (struct blk_req){ .op = BLK_WRITE,
                             .flags = w->n % 5 == w->block % 5 ? BLK_FUA : 0,
                             .offset = (uint64_t)w->block * BLK_BLOCK,
                             .length = w->n % 2 ? BLK_BLOCK : 512,
                             .buf = w->value,
                             .done = write_done,
                             .owner = w };
    blk_submit(volume_device(w->f->v[w->n % VOLUMES]), &w->r);
}

struct read {
    struct blkdev *d;
    struct blk_req r;
    uint64_t first[BLK_BLOCK / sizeof(uint64_t)];
    struct event done;
};

static void read_done(struct blk_req *r)
{
    event_add(&((struct read *)r->owner)->done);
}

static void run_read(void *arg)
{
    struct read *x = arg;

    blk_submit(x->d, &x->r);
}

static void run_image_close(void *arg)
{
    image_close(((struct read *)arg)->d);
}

/* The number in this block of the volume as it was sealed; 0: the image's. */
static uint64_t sealed_value(struct fixture *f, unsigned v, unsigned block)
{
    struct read x = { .done = EVENT };

    CHECK(image_open(f->rig.store, &f->chain[v], SIZE, &x.d, &e));
    x.r = (struct blk_req){ .op = BLK_READ,
                            .offset = (uint64_t)block * BLK_BLOCK,
                            .length = BLK_BLOCK,
                            .buf = x.first,
                            .done = read_done,
                            .owner = &x };
    shard_call(f->rig.shard, run_read, &x);
    event_wait(&x.done, 1);
    shard_call(f->rig.shard, run_image_close, &x);
    assert_int_equal(x.r.error, 0);
    return x.first[0] < (1ull << 40) ? x.first[0] : 0;
}

/* Everything up to the newest write that is in is in, and nothing else. */
static void expect_a_cut(struct fixture *f, unsigned block, uint64_t answered)
{
    uint64_t in[VOLUMES], newest = 0;

    for (unsigned i = 0; i < VOLUMES; i++) {
        in[i] = sealed_value(f, i, block);
        if (in[i] > newest)
            newest = in[i];
    }
    assert_true(newest >= answered);
    for (uint64_t n = newest; n && n + VOLUMES > newest; n--)
        assert_int_equal(in[n % VOLUMES], n);
}

static void cuts_under_load_are_consistent(void **state)
{
    struct fixture *f = *state;
    struct writes *w = calloc(CHAINS, sizeof *w);

    open_volumes(f, VOLUMES);
    for (unsigned i = 0; i < CHAINS; i++) {
        w[i].f = f;
        w[i].block = 1 + 4 * i;
        w[i].stopped = (struct event)EVENT;
        shard_call(f->rig.shard, next_write, &w[i]);
    }
    for (unsigned cut = 0; cut < CUTS; cut++) {
        uint64_t answered[CHAINS];
        for (unsigned i = 0; i < CHAINS; i++)
            answered[i] = w[i].answered;
        seal(f, VOLUMES);
        for (unsigned i = 0; i < CHAINS; i++)
            expect_a_cut(f, w[i].block, answered[i]);
    }
    for (unsigned i = 0; i < CHAINS; i++) {
        w[i].stop = true;
        event_wait(&w[i].stopped, 1);
        assert_int_equal(w[i].failed, 0);
    }
    for (unsigned i = 0; i < VOLUMES; i++)
        close_volume(&f->rig, f->v[i]);
    free(w);
}

/* ---- what it costs ----------------------------------------------------------------------------*/

struct many {
    struct fixture *f;
    enum blk_op op;
    struct blk_req r[CLASSROOM];
    struct event done;
};

static uint8_t block[BLK_BLOCK];

static void one_done(struct blk_req *r)
{
    event_add(r->owner);
}

static void submit_many(void *arg)
{
    struct many *m = arg;

    for (unsigned i = 0; i < CLASSROOM; i++) {
        m->r[i] =
            (struct blk_req){ .op = m->op, .buf = block, .done = one_done, .owner = &m->done };
        m->r[i].length = m->op == BLK_FLUSH ? 0 : BLK_BLOCK;
        blk_submit(volume_device(m->f->v[i]), &m->r[i]);
    }
}

static void do_many(struct fixture *f, enum blk_op op)
{
    struct many *m = calloc(1, sizeof *m);

    *m = (struct many){ .f = f, .op = op, .done = EVENT };
    shard_call(f->rig.shard, submit_many, m);
    event_wait(&m->done, CLASSROOM);
    for (unsigned i = 0; i < CLASSROOM; i++)
        assert_int_equal(m->r[i].error, 0);
    free(m);
}

static void snapshot_of_a_classroom_costs_little(void **state)
{
    struct fixture *f = *state;

    open_volumes(f, CLASSROOM);
    do_many(f, BLK_WRITE);
    do_many(f, BLK_FLUSH);
    int64_t begin = clock_mono_ns();
    seal(f, CLASSROOM);
    int64_t flushed_ns = clock_mono_ns() - begin;
    begin = clock_mono_ns();
    do_many(f, BLK_WRITE);
    int64_t first_ns = clock_mono_ns() - begin;
    begin = clock_mono_ns();
    seal(f, CLASSROOM);
    int64_t dirty_ns = clock_mono_ns() - begin;
    print_message("# %u volumes sealed: %.1f ms when flushed, %.1f ms when each has 4 KiB to "
                  "flush; first writes after it: %.1f ms\n",
                  CLASSROOM, (double)flushed_ns / 1e6, (double)dirty_ns / 1e6,
                  (double)first_ns / 1e6);
    assert_true(flushed_ns < LIMIT_NS);
    for (unsigned i = 0; i < CLASSROOM; i++)
        close_volume(&f->rig, f->v[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cuts_under_load_are_consistent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(snapshot_of_a_classroom_costs_little, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
