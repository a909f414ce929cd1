/* SPDX-License-Identifier: Apache-2.0 */
/* Depth: reads and first touches do the same at 32 layers as on an image alone.  File operations
 * and memory are counted and compared; times are only printed ("# ..."), in one run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/io/file_ops.h"
#include "server/store/index.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/layers.h"

#define BLOCKS 16384u /* 64 MiB */
#define SIZE   ((uint64_t)BLOCKS * BLK_BLOCK)
#define DEPTH  32u
#define SPREAD 192u /* blocks that each layer holds, anywhere, */
#define RUN    16u  /* so many together, as guests write */
#define READS  16000u
#define WRITES 1000u
#define ROUNDS 4

static struct rig rig;
static struct file_ops ops;
static uint64_t reads, writes;
static struct layer_chain flat, deep;

static ssize_t counted_read(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    reads++;
    return file_ops_real.read_cached(ctx, fd, buf, length, offset);
}

static ssize_t counted_write(void *ctx, int fd, const void *buf, size_t length, uint64_t offset)
{
    writes++;
    return file_ops_real.write_at(ctx, fd, buf, length, offset);
}

/* A walk over all blocks that jumps about; the same each time. */
static uint64_t nth_block(uint64_t n)
{
    return n * 5003 % BLOCKS;
}

/* All of it data, so that what is read at each depth is. */
static struct layer_id full_image(void)
{
    struct layer_writer *w;
    uint64_t data_bytes;
    char *bytes = malloc(SIZE);

    memset(bytes, 'i', SIZE);
    CHECK(layer_create(rig.store, SIZE, &w, &e));
    CHECK(layer_write(w, 0, bytes, SIZE, &e));
    CHECK(layer_seal(w, &data_bytes, &e));
    struct layer_id id = layer_writer_id(w);
    layer_writer_free(w);
    free(bytes);
    return id;
}

static int set_up(void **state)
{
    (void)state;
    ops = file_ops_real;
    ops.read_cached = counted_read;
    ops.write_at = counted_write;
    rig = (struct rig){ .ops = &ops };
    rig_init(&rig);
    rig_open(&rig);
    deep = flat = (struct layer_chain){ .count = 1, .id = { full_image() } };
    for (unsigned i = 1; i < DEPTH; i++) {
        uint64_t blocks[SPREAD];
        for (unsigned k = 0; k < SPREAD; k++)
            blocks[k] = ((k / RUN * 7919ull + i * 104729ull) * RUN + k % RUN) % BLOCKS;
        deep = chain_of(layer_on(&rig, &deep, SIZE, blocks, SPREAD, (uint8_t)i), &deep);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    rig_remove(&rig);
    return 0;
}

/* Nanoseconds for each of `count` requests, one after the other. */
static double run(struct blkdev *d, enum blk_op op, unsigned count)
{
    static uint8_t buf[BLK_BLOCK];
    int64_t begin = clock_mono_ns();

    for (unsigned i = 0; i < count; i++)
        assert_int_equal(rig_io(d, op, 0, nth_block(i) * BLK_BLOCK, BLK_BLOCK, buf), 0);
    return (double)(clock_mono_ns() - begin) / count;
}

static void keep_least(double *least, double now)
{
    if (*least == 0 || now < *least)
        *least = now;
}

static void print_ratio(const char *what, double at_one, double at_depth)
{
    printf("# %s: %.0f ns at depth 1, %.0f ns at depth %u: ratio %.3f\n", what, at_one, at_depth,
           DEPTH, at_depth / at_one);
}

/* The same reads by the kernel alone: other files are other cache lines there. */
static double run_bare(const struct stack *k)
{
    static uint8_t buf[BLK_BLOCK];
    static int fds[READS];
    struct layer *l;

    for (unsigned i = 0; i < READS; i++) {
        stack_resolve(k, nth_block(i), 1, &l);
        fds[i] = l->data_fd;
    }
    int64_t begin = clock_mono_ns();
    for (unsigned i = 0; i < READS; i++)
        file_ops_real.read_cached(NULL, fds[i], buf, sizeof buf, nth_block(i) * BLK_BLOCK);
    return (double)(clock_mono_ns() - begin) / READS;
}

static void print_bare(void)
{
    const struct layer_chain *const chains[] = { &flat, &deep };
    double least[2] = { 0 };

    for (int i = 0; i < 2; i++) {
        struct stack *k;
        CHECK(store_stack_get(rig.store, chains[i], &k, &e));
        for (int round = 0; round < ROUNDS; round++)
            keep_least(&least[i], run_bare(k));
        store_stack_put(rig.store, k);
    }
    print_ratio("the same by preadv2 alone", least[0], least[1]);
}

static void reads_do_the_same(void **state)
{
    struct blkdev *d[2] = { image_of_chain(&rig, &flat, SIZE), image_of_chain(&rig, &deep, SIZE) };
    double least[2] = { 0 };
    uint64_t count[2];

    (void)state;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++) {
            reads = 0;
            keep_least(&least[i], run(d[i], BLK_READ, READS));
            count[i] = reads;
        }
    print_ratio("random 4 KiB reads from the page cache", least[0], least[1]);
    assert_int_equal(count[0], count[1]);
    print_bare();
    for (int i = 0; i < 2; i++)
        image_close(d[i]);
}

/* The first read of each block of an image compares its checksum; the next one does not. */
static void first_reads_compare(void **state)
{
    double first = 0, again = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct blkdev *d = image_of_chain(&rig, &flat, SIZE);
        keep_least(&first, run(d, BLK_READ, BLOCKS));
        keep_least(&again, run(d, BLK_READ, BLOCKS));
        image_close(d);
    }
    printf("# reads of 4 KiB with a checksum: %.0f ns the first time, %.0f ns then\n", first,
           again);
}

static void first_touches_do_the_same(void **state)
{
    double least[2] = { 0 };
    uint64_t count[2];

    (void)state;
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++) {
            struct volume *v = volume_on(&rig, rig_new_id(), i ? &deep : &flat, SIZE);
            uint8_t sector[512] = { 1 };
            /* its files are made */
            assert_int_equal(
                rig_io(volume_device(v), BLK_WRITE, 0, SIZE - 512, sizeof sector, sector), 0);
            reads = writes = 0;
            keep_least(&least[i], run(volume_device(v), BLK_WRITE, WRITES));
            assert_int_equal(reads, 0);
            count[i] = writes;
            rig_volume_close(v);
        }
    print_ratio("first touches of 4 KiB", least[0], least[1]);
    assert_int_equal(count[0], count[1]);
}

/* What finds the owner, alone. */
static void finding_costs_the_same(void **state)
{
    struct stack *k[2];
    double least[2] = { 0 };
    uintptr_t sum = 0;

    (void)state;
    CHECK(store_stack_get(rig.store, &flat, &k[0], &e));
    CHECK(store_stack_get(rig.store, &deep, &k[1], &e));
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++) {
            int64_t begin = clock_mono_ns();
            for (uint64_t n = 0; n < 200000; n++) {
                struct layer *l;
                stack_resolve(k[i], nth_block(n), 1, &l);
                sum += (uintptr_t)l;
            }
            keep_least(&least[i], (double)(clock_mono_ns() - begin) / 2e5);
        }
    assert_true(sum != 0);
    printf("# finding the owner: %.1f ns at depth 1, %.1f ns at depth %u\n", least[0], least[1],
           DEPTH);
    printf("# memory of the stack of %u layers: %zu bytes (%u blocks each)\n", DEPTH,
           stack_own_bytes(k[1]), SPREAD);
    for (int i = 0; i < 2; i++)
        store_stack_put(rig.store, k[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_do_the_same),
        cmocka_unit_test(first_reads_compare),
        cmocka_unit_test(first_touches_do_the_same),
        cmocka_unit_test(finding_costs_the_same),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
