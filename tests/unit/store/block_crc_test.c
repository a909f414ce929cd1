/* SPDX-License-Identifier: Apache-2.0 */
/* Checksums of blocks: from the writer through the map file to where they are looked up. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/io/file_ops.h"
#include "server/store/block_crc.h"
#include "server/store/map.h"
#include "server/store/map_file.h"
#include "tests/unit/unit.h"

#define BLOCKS (2 * DISK_PAGE_BLOCKS + 3)
#define LAST   (BLOCKS - 1)

struct rig {
    struct map map;
    struct block_crcs crcs;
    struct crc_places places;
    int fd; /* of the map file */
};

static int sink_write(void *ctx, const void *buf, size_t length, uint64_t offset)
{
    return pwrite(*(int *)ctx, buf, length, (off_t)offset) == (ssize_t)length ? 0 : -EIO;
}

static void put(struct rig *g, uint64_t block, const void *data, uint64_t length)
{
    assert_int_equal(map_reserve(&g->map, block, 1, false), 0);
    map_set(&g->map, block, disk_blocks(length), DISK_DATA);
    assert_int_equal(block_crcs_note(&g->crcs, block, data, length), 0);
}

static int set_up(void **state)
{
    static struct rig g;
    struct layer_info info = { .id = { { 1 } }, .size_bytes = BLOCKS * DISK_BLOCK, .kind = 1 };
    static char data[2 * DISK_BLOCK];

    memset(&g, 0, sizeof g);
    map_init(&g.map, BLOCKS);
    g.crcs.page_count = g.map.page_count;
    memset(data, 'a', DISK_BLOCK);
    memset(data + DISK_BLOCK, 'b', DISK_BLOCK);
    put(&g, 0, data, sizeof data);
    put(&g, LAST, data, 512);
    g.fd = open("/tmp", O_RDWR | O_TMPFILE, 0600);
    assert_true(g.fd >= 0);
    assert_int_equal(
        map_file_write(&(struct map_sink){ sink_write, &g.fd }, &info, &g.map, &g.crcs, NULL), 0);
    assert_int_equal(crc_places_make(&g.places, &g.map), 0);
    *state = &g;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *g = *state;

    close(g->fd);
    crc_places_done(&g->places);
    block_crcs_done(&g->crcs);
    map_done(&g->map);
    return 0;
}

static int check(struct rig *g, uint64_t block, const void *data, uint64_t count, uint64_t *bad)
{
    return crc_places_check(&g->places, &file_ops_real, g->fd, CRC_WAIT, block, data, count, bad);
}

static void right_blocks_pass(void **state)
{
    static char data[2 * DISK_BLOCK];
    uint64_t bad;

    memset(data, 'a', DISK_BLOCK);
    memset(data + DISK_BLOCK, 'b', DISK_BLOCK);
    assert_int_equal(check(*state, 0, data, 2, &bad), 0);
}

/* The rest of the last block of a disk is zeros. */
static void short_last_block_passes(void **state)
{
    static char data[DISK_BLOCK];
    uint64_t bad;

    memset(data, 'a', 512);
    assert_int_equal(check(*state, LAST, data, 1, &bad), 0);
}

static void wrong_block_is_named(void **state)
{
    static char data[2 * DISK_BLOCK];
    uint64_t bad = 0;

    memset(data, 'a', DISK_BLOCK);
    memset(data + DISK_BLOCK, 'b', DISK_BLOCK);
    data[2 * DISK_BLOCK - 1] ^= 1;
    assert_int_equal(check(*state, 0, data, 2, &bad), -EBADMSG);
    assert_int_equal(bad, 1);
}

/* Right content at the wrong place. */
static void misplaced_block_is_seen(void **state)
{
    static char data[DISK_BLOCK];
    uint64_t bad = 0;

    memset(data, 'a', sizeof data);
    assert_int_equal(check(*state, 1, data, 1, &bad), -EBADMSG);
}

/* A page of the map without anything has none in the file. */
static void block_without_checksum_is_an_error(void **state)
{
    static char data[DISK_BLOCK];
    uint64_t bad;

    assert_int_equal(check(*state, DISK_PAGE_BLOCKS, data, 1, &bad), -ENODATA);
    assert_int_equal(check(*state, 1ull << 40, data, 1, &bad), -ENODATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(right_blocks_pass, set_up, tear_down),
        cmocka_unit_test_setup_teardown(short_last_block_passes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_block_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(misplaced_block_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(block_without_checksum_is_an_error, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
