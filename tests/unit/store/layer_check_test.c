/* SPDX-License-Identifier: Apache-2.0 */
/* Checking and reading sealed layers; what a bad disk gives. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "server/block/blkdev.h"
#include "server/io/file_ops.h"
#include "server/store/layer.h"
#include "server/store/store_state.h"
#include "tests/unit/store/layers.h"
#include "tests/unit/store/sim_ops.h"

#define BLOCKS 64u
#define SIZE   (BLOCKS * BLK_BLOCK)

static struct rig rig;
static struct sim *sim;
static struct layer_chain chain; /* upper, lower, image */

static void make_chain(void)
{
    static struct layer_chain image;

    image = (struct layer_chain){ .count = 1, .id = { rig_image(&rig, SIZE) } };
    chain = chain_of(layer_on(&rig, &image, SIZE, (uint64_t[]){ 1, 2, 6 }, 3, 7), &image);
    chain = chain_of(layer_on(&rig, &chain, SIZE, (uint64_t[]){ 2, 4 }, 2, 8), &chain);
}

static int set_up(void **state)
{
    (void)state;
    sim = sim_new(7);
    rig = (struct rig){ .ops = sim_ops(sim) };
    rig_init(&rig);
    rig_open(&rig);
    make_chain();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_close(&rig);
    rig_remove(&rig);
    sim_free(sim);
    return 0;
}

static struct layer_report check(struct layer_id id, bool deep)
{
    struct layer_report report;

    CHECK(layer_check(rig.store, id, deep, NULL, NULL, &report, &e));
    return report;
}

static int try_check(struct layer_id id, bool deep, struct err *e)
{
    struct layer_report report;

    return layer_check(rig.store, id, deep, NULL, NULL, &report, e);
}

static bool after_some(void *ctx)
{
    return ++*(int *)ctx > 1;
}

/* ---- checking ---------------------------------------------------------------------------------*/

static void check_counts(void **state)
{
    struct layer_report image = check(chain.id[2], true), upper = check(chain.id[0], true);

    (void)state;
    assert_int_equal(image.size_bytes, SIZE);
    assert_int_equal(image.data_blocks, BLOCKS * 3 / 4);
    assert_int_equal(image.checked_bytes, SIZE * 3 / 4);
    assert_int_equal(upper.data_blocks, 2);
    assert_int_equal(check(chain.id[2], false).checked_bytes, 0);
}

static void deep_check_finds_a_flipped_bit(void **state)
{
    struct err e = { 0 };

    (void)state;
    damage_block(&rig, chain.id[2], 10);
    assert_int_equal(try_check(chain.id[2], false, &e), 0);
    assert_int_equal(try_check(chain.id[2], true, &e), -EIO);
    assert_non_null(strstr(e.msg, "block 10 of"));
}

/* Data that is not in the file: seen without reading all of it. */
static void check_finds_a_hole(void **state)
{
    struct err e = { 0 };
    char path[256];

    (void)state;
    layer_path(&rig, chain.id[2], ".data", path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16 * BLK_BLOCK, BLK_BLOCK), 0);
    close(fd);
    assert_int_equal(try_check(chain.id[2], false, &e), -EIO);
    assert_non_null(strstr(e.msg, "block 16 of"));
}

static void check_finds_missing_files(void **state)
{
    struct err e = { 0 };
    char path[256];

    (void)state;
    layer_path(&rig, chain.id[2], ".data", path);
    assert_int_equal(truncate(path, SIZE / 2), 0);
    assert_int_equal(try_check(chain.id[2], false, &e), -EIO);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_check(chain.id[2], false, &e), -EIO);
    assert_int_equal(try_check(rig_new_id(), false, &e), -ENOENT);
}

static void check_finds_data_without_a_map(void **state)
{
    struct layer_id top = rig_new_id();
    struct err e = { 0 };
    char path[256];

    (void)state;
    layer_path(&rig, top, ".data", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(try_check(top, false, &e), -ENOENT);
    assert_int_equal(pwrite(fd, "x", 1, 8192), 1);
    close(fd);
    assert_int_equal(try_check(top, false, &e), -EIO);
    assert_non_null(strstr(e.msg, "holds data"));
}

static void check_of_an_open_top_is_busy(void **state)
{
    struct layer_id top = rig_new_id();
    struct volume *v = volume_on(&rig, top, &chain, SIZE);
    struct err e = { 0 };

    (void)state;
    assert_int_equal(try_check(top, true, &e), -EBUSY);
    rig_volume_close(v);
}

static void check_can_be_cancelled(void **state)
{
    struct layer_report report;
    struct err e = { 0 };
    int calls = 1;

    (void)state;
    assert_int_equal(layer_check(rig.store, chain.id[2], true, after_some, &calls, &report, &e),
                     -ECANCELED);
}

/* ---- file systems that cannot read past the page cache ----------------------------------------*/

static struct file_ops plain;
static bool direct_opens;
static unsigned refused;

static int open_not_direct(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    (void)ctx;
    if ((flags & O_DIRECT) && !direct_opens) {
        refused++;
        return -EINVAL;
    }
    return file_ops_real.open_at(NULL, dir_fd, name, flags, mode);
}

static ssize_t read_not_direct(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    (void)ctx;
    if (fcntl(fd, F_GETFL) & O_DIRECT) {
        refused++;
        return -EINVAL;
    }
    return file_ops_real.read_at(NULL, fd, buf, length, offset);
}

static void check_with_plain_ops(bool opens)
{
    refused = 0;
    direct_opens = opens;
    plain = file_ops_real;
    plain.open_at = open_not_direct;
    plain.read_at = read_not_direct;
    rig.store->ops = rig.store->dir.ops = &plain;
    assert_int_equal(check(chain.id[2], true).checked_bytes, SIZE * 3 / 4);
    rig.store->ops = rig.store->dir.ops = sim_ops(sim);
    assert_int_equal(refused, 1);
}

static void check_without_direct_open(void **state)
{
    (void)state;
    check_with_plain_ops(false);
}

static void check_without_direct_reads(void **state)
{
    (void)state;
    check_with_plain_ops(true);
}

/* ---- what a device reads from a bad disk ------------------------------------------------------*/

static unsigned damaged;

static void note_damaged(void *ctx, struct layer_id layer, const char *why)
{
    (void)ctx;
    assert_true(lay_id_equal(layer, chain.id[2]));
    assert_non_null(strstr(why, "block 10 of"));
    damaged++;
}

/* That read fails, others do not; it is told once. */
static void damaged_block_is_an_error_of_its_read(void **state)
{
    uint8_t buf[BLK_BLOCK];

    (void)state;
    damaged = 0;
    rig.store->events = (struct store_events){ .damaged = note_damaged };
    rig.store->no_probe = true; /* as if nothing were in the page cache */
    damage_block(&rig, chain.id[2], 10);
    struct blkdev *d = image_of_chain(&rig, &chain, SIZE);
    for (int i = 0; i < 2; i++)
        assert_int_equal(rig_io(d, BLK_READ, 0, 10 * BLK_BLOCK, BLK_BLOCK, buf), -EIO);
    assert_int_equal(rig_io(d, BLK_READ, 0, 9 * BLK_BLOCK, BLK_BLOCK, buf), 0);
    assert_int_equal(rig_io(d, BLK_READ, 0, 1 * BLK_BLOCK, BLK_BLOCK, buf), 0);
    assert_int_equal(damaged, 1);
    image_close(d);
}

/* Each block is compared the first time that it is read, also when it comes from the page cache. */
static void blocks_are_compared_once(void **state)
{
    uint8_t buf[BLK_BLOCK];

    (void)state;
    damaged = 0;
    rig.store->events = (struct store_events){ .damaged = note_damaged };
    plain = file_ops_real;
    plain.read_cached = file_ops_real.read_at; /* all of it is there */
    rig.store->ops = rig.store->dir.ops = &plain;
    struct blkdev *d = image_of_chain(&rig, &chain, SIZE);
    assert_int_equal(rig_io(d, BLK_READ, 0, 10 * BLK_BLOCK, BLK_BLOCK, buf), 0);
    damage_block(&rig, chain.id[2], 10);
    assert_int_equal(rig_io(d, BLK_READ, 0, 10 * BLK_BLOCK, BLK_BLOCK, buf), 0);
    image_close(d);
    d = image_of_chain(&rig, &chain, SIZE); /* forgotten with the layer */
    for (int i = 0; i < 2; i++)
        assert_int_equal(rig_io(d, BLK_READ, 0, 10 * BLK_BLOCK, BLK_BLOCK, buf), -EIO);
    assert_int_equal(damaged, 1);
    image_close(d);
    rig.store->ops = rig.store->dir.ops = sim_ops(sim);
}

/* Reads that begin or end inside blocks. */
static void odd_reads_pass(void **state)
{
    static uint8_t want[SIZE];

    (void)state;
    rig.store->no_probe = true;
    fill_image(want, 0, SIZE);
    struct layer_chain image = { .count = 1, .id = { chain.id[2] } };
    struct blkdev *d = image_of_chain(&rig, &image, SIZE);
    for (uint64_t at = 512; at < 8 * BLK_BLOCK; at += 1536)
        expect_bytes(d, at, 3 * BLK_BLOCK, want + at);
    image_close(d);
}

/* ---- a chain, front to back -------------------------------------------------------------------*/

struct shown {
    uint8_t bytes[SIZE + 2 * BLK_BLOCK];
    uint64_t length;
};

static int add_shown(void *ctx, const void *data, uint64_t length)
{
    struct shown *s = ctx;

    assert_true(length <= sizeof s->bytes - s->length);
    memcpy(s->bytes + s->length, data, length);
    s->length += length;
    return 0;
}

/* Also beyond its layers: the volume has grown. */
static void chain_is_read_front_to_back(void **state)
{
    static struct shown shown, want;

    (void)state;
    shown.length = 0;
    fill_image(want.bytes, 0, SIZE);
    memset(want.bytes + 1 * BLK_BLOCK, 7, BLK_BLOCK);
    memset(want.bytes + 2 * BLK_BLOCK, 8, BLK_BLOCK);
    memset(want.bytes + 4 * BLK_BLOCK, 8, BLK_BLOCK);
    memset(want.bytes + 6 * BLK_BLOCK, 7, BLK_BLOCK);
    CHECK(layer_chain_read(rig.store, &chain, SIZE + 512, add_shown, &shown, &e));
    assert_int_equal(shown.length, SIZE + 512);
    assert_memory_equal(shown.bytes, want.bytes, SIZE + 512);
}

static int refuse(void *ctx, const void *data, uint64_t length)
{
    (void)ctx;
    (void)data;
    (void)length;
    return -ECANCELED;
}

static void reading_a_chain_ends_when_told(void **state)
{
    struct err e = { 0 };

    (void)state;
    assert_int_equal(layer_chain_read(rig.store, &chain, SIZE, refuse, NULL, &e), -ECANCELED);
    assert_null(rig.store->stacks);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(check_counts),
        TEST(deep_check_finds_a_flipped_bit),
        TEST(check_finds_a_hole),
        TEST(check_finds_missing_files),
        TEST(check_finds_data_without_a_map),
        TEST(check_of_an_open_top_is_busy),
        TEST(check_can_be_cancelled),
        TEST(damaged_block_is_an_error_of_its_read),
        TEST(blocks_are_compared_once),
        TEST(check_without_direct_open),
        TEST(check_without_direct_reads),
        TEST(odd_reads_pass),
        TEST(chain_is_read_front_to_back),
        TEST(reading_a_chain_ends_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
