/* SPDX-License-Identifier: Apache-2.0 */
/* Stacks: shared, pushed, swapped under reads; descriptors of their layers. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/block/blkdev.h"
#include "server/store/open_layers.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/layers.h"

#define BLOCKS 64u
#define SIZE   (BLOCKS * BLK_BLOCK)

static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    rig = (struct rig){ 0 };
    rig_init(&rig);
    rig_open(&rig);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    rig_remove(&rig);
    return 0;
}

static struct stack *get(const struct layer_chain *c)
{
    struct stack *k;

    CHECK(store_stack_get(rig.store, c, &k, &e));
    return k;
}

static struct layer *owner(const struct stack *k, uint64_t block)
{
    struct layer *l;

    assert_int_equal(stack_resolve(k, block, 1, &l), 1);
    return l;
}

static bool owned_by(const struct stack *k, uint64_t block, struct layer_id id)
{
    const struct layer *l = owner(k, block);

    return l && lay_id_equal(l->id, id);
}

/* ---- getting ----------------------------------------------------------------------------------*/

static void nearest_layer_wins(void **state)
{
    struct layer_chain image = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct layer_chain one =
        chain_of(layer_on(&rig, &image, SIZE, (uint64_t[]){ 1, 2 }, 2, 7), &image);
    struct layer_chain two = chain_of(layer_on(&rig, &one, SIZE, (uint64_t[]){ 2 }, 1, 0), &one);
    struct stack *k = get(&two);

    (void)state;
    assert_int_equal(stack_depth(k), 3);
    assert_true(owned_by(k, 0, image.id[0]));
    assert_true(owned_by(k, 1, one.id[0]));
    assert_null(owner(k, 2)); /* trimmed in the nearest */
    assert_null(owner(k, 3)); /* zeros in the image */
    store_stack_put(rig.store, k);
}

static void same_chain_is_one_stack(void **state)
{
    struct layer_chain image = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct layer_chain one =
        chain_of(layer_on(&rig, &image, SIZE, (uint64_t[]){ 1 }, 1, 7), &image);
    struct stack *k = get(&one), *again = get(&one);

    (void)state;
    assert_ptr_equal(k, again);
    store_stack_put(rig.store, k);
    store_stack_put(rig.store, again);
}

/* However deep and however many: what a volume costs does not grow with the layers below it. */
static void volumes_share_the_stack_below(void **state)
{
    struct layer_chain c = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct volume *v[20];

    (void)state;
    while (c.count < 32)
        c = chain_of(layer_on(&rig, &c, SIZE, (uint64_t[]){ c.count }, 1, 9), &c);
    for (int i = 0; i < 20; i++) {
        v[i] = volume_on(&rig, rig_new_id(), &c, SIZE);
        assert_ptr_equal(v[i]->chain.below, v[0]->chain.below);
    }
    for (int i = 0; i < 20; i++)
        rig_volume_close(v[i]);
}

/* A lower part that two have in common is made once, and found by the third. */
static void common_part_is_found(void **state)
{
    struct layer_chain c = { .count = 1, .id = { rig_image(&rig, SIZE) } };

    (void)state;
    c = chain_of(layer_on(&rig, &c, SIZE, (uint64_t[]){ 1 }, 1, 7), &c);
    struct layer_chain a = chain_of(layer_on(&rig, &c, SIZE, (uint64_t[]){ 2 }, 1, 8), &c);
    struct layer_chain b = chain_of(layer_on(&rig, &c, SIZE, (uint64_t[]){ 3 }, 1, 9), &c);
    struct stack *ka = get(&a), *kb = get(&b), *below = get(&c);

    assert_true(stack_own_bytes(kb) < 512); /* shares the nodes of `below` */
    assert_true(owned_by(ka, 1, c.id[0]));
    assert_true(owned_by(kb, 1, c.id[0]));
    assert_true(owned_by(kb, 3, b.id[0]));
    store_stack_put(rig.store, below);
    store_stack_put(rig.store, ka);
    store_stack_put(rig.store, kb);
}

static void missing_layer_leaves_nothing(void **state)
{
    struct layer_chain image = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct layer_chain c = chain_of(rig_new_id(), &image);
    struct stack *k;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(store_stack_get(rig.store, &c, &k, &e), -ENOENT);
    assert_null(rig.store->stacks);
    assert_null(store_layer_find(rig.store, image.id[0]));
}

static void top_that_is_written_is_busy(void **state)
{
    struct layer_chain image = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct layer_chain c = chain_of(rig_new_id(), &image);
    struct volume *v = volume_on(&rig, c.id[0], &image, SIZE);
    struct stack *k;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(store_stack_get(rig.store, &c, &k, &e), -EBUSY);
    rig_volume_close(v);
}

static void short_data_file_is_refused(void **state)
{
    struct layer_chain image = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct stack *k;
    struct err e = { 0 };
    char path[256];

    (void)state;
    layer_path(&rig, image.id[0], ".data", path);
    assert_int_equal(truncate(path, SIZE - BLK_BLOCK), 0);
    assert_int_equal(store_stack_get(rig.store, &image, &k, &e), -EIO);
    assert_non_null(strstr(e.msg, "data file"));
}

/* ---- pushing ----------------------------------------------------------------------------------*/

static void push_shows_what_the_chain_showed(void **state)
{
    struct layer_chain image = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct volume *v = volume_on(&rig, rig_new_id(), &image, SIZE);
    uint8_t buf[BLK_BLOCK] = { 5 };
    struct stack *k;

    (void)state;
    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 9 * BLK_BLOCK, BLK_BLOCK, buf), 0);
    CHECK(store_stack_push(rig.store, v->chain.below, v->top, &k, &e));
    assert_int_equal(stack_depth(k), 2);
    assert_ptr_equal(owner(k, 9), v->top);
    assert_true(owned_by(k, 8, image.id[0]));
    store_stack_put(rig.store, k); /* undone: the volume goes on */
    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 8 * BLK_BLOCK, BLK_BLOCK, buf), 0);
    expect_bytes(volume_device(v), 9 * BLK_BLOCK, BLK_BLOCK, buf);
    rig_volume_close(v);
}

static void push_on_a_full_stack_is_refused(void **state)
{
    struct layer_chain c = { .count = 1, .id = { rig_image(&rig, SIZE) } };
    struct stack *k;
    struct err e = { 0 };

    (void)state;
    while (c.count < LAYER_CHAIN_MAX)
        c = chain_of(layer_on(&rig, &c, SIZE, (uint64_t[]){ c.count % BLOCKS }, 1, 9), &c);
    struct volume *v = volume_on(&rig, rig_new_id(), &c, SIZE);
    assert_int_equal(store_stack_push(rig.store, v->chain.below, v->top, &k, &e), -E2BIG);
    rig_volume_close(v);
}

/* ---- restacking -------------------------------------------------------------------------------*/

struct merged {
    struct layer_chain old, fresh; /* upper on lower on image; merged on image */
};

static struct merged make_them_merged(void)
{
    static struct layer_chain image, lower;
    struct merged m;
    struct layer_id id = rig_new_id();

    image = (struct layer_chain){ .count = 1, .id = { rig_image(&rig, SIZE) } };
    lower = chain_of(layer_on(&rig, &image, SIZE, (uint64_t[]){ 1, 2 }, 2, 7), &image);
    m.old = chain_of(layer_on(&rig, &lower, SIZE, (uint64_t[]){ 2, 4 }, 2, 8), &lower);
    CHECK(store_merge(rig.store, m.old.id[1], m.old.id[0], id, NULL, NULL, &e));
    m.fresh = chain_of(id, &image);
    return m;
}

/* Good until the next call. */
static const struct merged *make_merged(void)
{
    static struct merged m;

    m = make_them_merged();
    return &m;
}

static void restack(const struct merged *m)
{
    CHECK(store_restack(rig.store, m->old.id[1], m->old.id[0], m->fresh.id[0], &e));
}

static void restack_swaps_images_and_volumes(void **state)
{
    const struct merged *m = make_merged();
    struct blkdev *image = image_of_chain(&rig, &m->old, SIZE);
    struct layer_chain higher =
        chain_of(layer_on(&rig, &m->old, SIZE, (uint64_t[]){ 5 }, 1, 9), &m->old);
    struct volume *v = volume_on(&rig, rig_new_id(), &higher, SIZE);

    (void)state;
    restack(m);
    assert_int_equal(stack_depth(v->chain.below), 3); /* was 4 */
    for (unsigned i = 0; i < 2; i++) {
        assert_null(store_layer_find(rig.store, m->old.id[i]));
        CHECK(layer_remove(rig.store, m->old.id[i], &e));
    }
    expect_fill(image, 1 * BLK_BLOCK, BLK_BLOCK, 7);
    expect_fill(image, 2 * BLK_BLOCK, BLK_BLOCK, 8);
    expect_fill(volume_device(v), 4 * BLK_BLOCK, BLK_BLOCK, 8);
    expect_fill(volume_device(v), 5 * BLK_BLOCK, BLK_BLOCK, 9);
    expect_image(volume_device(v), 6 * BLK_BLOCK, BLK_BLOCK);
    rig_volume_close(v);
    image_close(image);
}

/* A read that has begun keeps its layer until it is over; restack waits for it. */
static void restack_waits_for_reads(void **state)
{
    const struct merged *m = make_merged();
    struct blkdev *image = image_of_chain(&rig, &m->old, SIZE);
    static uint8_t buf[BLK_BLOCK], want[BLK_BLOCK];
    int error;

    (void)state;
    memset(want, 8, sizeof want);
    rig.store->no_probe = true; /* all reads go to the pool */
    fake_hold(fake_read_pool(), true);
    rig_begin(image, BLK_READ, 0, 2 * BLK_BLOCK, BLK_BLOCK, buf, &error);
    struct err e = { 0 };
    assert_int_equal(store_restack(rig.store, m->old.id[1], m->old.id[0], m->fresh.id[0], &e),
                     -ETIMEDOUT);
    assert_int_equal(error, PENDING);
    fake_hold(fake_read_pool(), false);
    restack(m);
    assert_int_equal(error, 0);
    assert_memory_equal(buf, want, sizeof buf);
    image_close(image);
}

/* ---- descriptors ------------------------------------------------------------------------------*/

/* Good until the next call. */
static const struct layer_chain *four_layers(void)
{
    static struct layer_chain c;

    c = (struct layer_chain){ .count = 1, .id = { rig_image(&rig, SIZE) } };

    for (uint64_t i = 1; i < 4; i++)
        c = chain_of(layer_on(&rig, &c, SIZE, &i, 1, (uint8_t)(10 + i)), &c);
    return &c;
}

static bool is_open(struct layer_id id)
{
    const struct layer *l = store_layer_find(rig.store, id);

    return l && l->data_fd >= 0;
}

static unsigned open_fds(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void descriptors_stay_within_the_limit(void **state)
{
    const struct layer_chain *c = four_layers();

    (void)state;
    rig.store->fd_limit = 2;
    unsigned before = open_fds();
    struct blkdev *d = image_of_chain(&rig, c, SIZE);
    assert_int_equal(rig.store->fds, 2);
    for (int round = 0; round < 3; round++)
        for (uint64_t i = 1; i < 4; i++) {
            expect_fill(d, i * BLK_BLOCK, BLK_BLOCK, (uint8_t)(10 + i));
            assert_int_equal(rig.store->fds, 2);
            assert_true(is_open(c->id[3 - i])); /* the one just read */
        }
    assert_true(open_fds() <= before + 3); /* the image has two: data and checksums */
    image_close(d);
    assert_int_equal(rig.store->fds, 0);
    assert_int_equal(open_fds(), before);
}

static void least_recently_read_is_closed(void **state)
{
    const struct layer_chain *c = four_layers();

    (void)state;
    rig.store->fd_limit = 2;
    struct blkdev *d = image_of_chain(&rig, c, SIZE);
    expect_fill(d, 1 * BLK_BLOCK, BLK_BLOCK, 11);
    expect_fill(d, 2 * BLK_BLOCK, BLK_BLOCK, 12);
    expect_fill(d, 1 * BLK_BLOCK, BLK_BLOCK, 11);
    expect_fill(d, 3 * BLK_BLOCK, BLK_BLOCK, 13);
    assert_true(is_open(c->id[2])); /* of block 1 */
    assert_false(is_open(c->id[1]));
    assert_true(is_open(c->id[0]));
    image_close(d);
}

/* Two reads that find it closed have it opened once each, and keep one. */
static void reads_at_once_open_it_once(void **state)
{
    const struct layer_chain *c = four_layers();
    static uint8_t a[BLK_BLOCK], b[BLK_BLOCK];
    int ea, eb;

    (void)state;
    rig.store->fd_limit = 1;
    struct blkdev *d = image_of_chain(&rig, c, SIZE);
    unsigned before = open_fds();
    fake_hold(fake_read_pool(), true);
    rig_begin(d, BLK_READ, 0, 3 * BLK_BLOCK, BLK_BLOCK, a, &ea);
    rig_begin(d, BLK_READ, 0, 3 * BLK_BLOCK, BLK_BLOCK, b, &eb);
    fake_hold(fake_read_pool(), false);
    fake_run();
    assert_int_equal(ea, 0);
    assert_int_equal(eb, 0);
    assert_int_equal(a[5], 13);
    assert_int_equal(b[5], 13);
    assert_int_equal(rig.store->fds, 1);
    assert_true(open_fds() <= before);
    image_close(d);
}

/* A request over all layers, more than the limit, is read all the same. */
static void one_read_may_need_more_than_the_limit(void **state)
{
    const struct layer_chain *c = four_layers();
    uint8_t *buf = malloc(SIZE);

    (void)state;
    rig.store->fd_limit = 1;
    struct blkdev *d = image_of_chain(&rig, c, SIZE);
    assert_int_equal(rig_io(d, BLK_READ, 0, 0, SIZE, buf), 0);
    assert_int_equal(buf[1 * BLK_BLOCK], 11);
    assert_int_equal(buf[3 * BLK_BLOCK], 13);
    assert_int_equal(buf[4 * BLK_BLOCK], image_byte(4 * BLK_BLOCK));
    assert_int_equal(rig.store->fds, 1);
    image_close(d);
    free(buf);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nearest_layer_wins),
        TEST(same_chain_is_one_stack),
        TEST(volumes_share_the_stack_below),
        TEST(common_part_is_found),
        TEST(missing_layer_leaves_nothing),
        TEST(top_that_is_written_is_busy),
        TEST(short_data_file_is_refused),
        TEST(push_shows_what_the_chain_showed),
        TEST(push_on_a_full_stack_is_refused),
        TEST(restack_swaps_images_and_volumes),
        TEST(restack_waits_for_reads),
        TEST(descriptors_stay_within_the_limit),
        TEST(least_recently_read_is_closed),
        TEST(reads_at_once_open_it_once),
        TEST(one_read_may_need_more_than_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
