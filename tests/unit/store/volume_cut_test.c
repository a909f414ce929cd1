/* SPDX-License-Identifier: Apache-2.0 */
/* volume_cut_test - seals of volumes that are written to all the while, in every order of jobs: of
 * writes that each depend on the one before, a seal has all up to one of them and none after. */
#include <stdlib.h>

#include "tests/unit/store/many_volumes.h"

#define BLOCK  MANY_BLOCK
#define EVER   1000000u
#define SEEDS  60
#define CHAINS 3 /* of writes that each depend on the one before */
#define CUTS   4 /* seals of one seed */

/* Write n of a chain goes to volume n % MANY_VOLUMES, into the chain's own block, when write n - 1
 * was answered. */
struct chain_of_writes {
    struct many_volumes *f;
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
    blk_submit(c->f->d[c->n % MANY_VOLUMES], &c->r);
}

/* Everything up to the newest write that is in is in, and nothing else. */
static void expect_a_cut(struct many_volumes *f, const struct chain_of_writes *c, uint64_t answered)
{
    uint64_t in[MANY_VOLUMES], newest = 0, first[BLOCK / sizeof(uint64_t)];

    for (unsigned i = 0; i < MANY_VOLUMES; i++) {
        struct blkdev *d = many_sealed(f, i);
        assert_int_equal(rig_io(d, BLK_READ, 0, (uint64_t)c->block * BLOCK, BLOCK, first), 0);
        image_close(d);
        in[i] = first[0] < (1u << 30) ? first[0] : 0; /* the image's byte: never written */
        if (in[i] > newest)
            newest = in[i];
    }
    assert_true(newest >= answered);
    for (uint64_t n = newest; n && n + MANY_VOLUMES > newest; n--)
        assert_int_equal(in[n % MANY_VOLUMES], n);
}

static void run_seed(struct many_volumes *f, uint64_t seed)
{
    struct chain_of_writes *c = calloc(CHAINS, sizeof *c);

    many_open(f, MANY_VOLUMES);
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
        int rc = many_seal(f);
        assert_int_equal(rc, 0);
        for (unsigned steps = 20; steps; steps--)
            fake_step();
        many_seal_end(f, (seed + cut) % 5 != 0);
        for (unsigned i = 0; i < CHAINS && (seed + cut) % 5 != 0; i++)
            expect_a_cut(f, &c[i], answered[i]);
    }
    for (unsigned i = 0; i < CHAINS; i++)
        c[i].last = 0;
    fake_run();
    many_close(f);
    free(c);
}

static void every_group_cut_is_consistent(void **state)
{
    const char *more = getenv("SEEDS");
    uint64_t seeds = more ? strtoull(more, NULL, 10) : SEEDS;

    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_seed(*state, seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_group_cut_is_consistent, many_set_up, many_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
