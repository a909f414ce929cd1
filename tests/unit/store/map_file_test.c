/* SPDX-License-Identifier: Apache-2.0 */
/* A map file read back, and each way in which one can lie. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/crc32c.h"
#include "server/store/map.h"
#include "server/store/map_file.h"
#include "tests/unit/unit.h"

#define SIZE (200ull << 20)

struct bytes {
    uint8_t data[64u << 10];
    uint64_t length;
};

static int bytes_read(void *ctx, void *buf, size_t length, uint64_t offset)
{
    const struct bytes *b = ctx;

    if (offset + length > b->length)
        return -ENODATA;
    memcpy(buf, b->data + offset, length);
    return 0;
}

static int bytes_write(void *ctx, const void *buf, size_t length, uint64_t offset)
{
    struct bytes *b = ctx;

    assert_true(offset + length <= sizeof b->data);
    memcpy(b->data + offset, buf, length);
    if (b->length < offset + length)
        b->length = offset + length;
    return 0;
}

/* A file with two pages. */
static struct bytes *make_file(void)
{
    struct bytes *b = calloc(1, sizeof *b);
    struct layer_info info = { .id = { { 1 } },
                               .parent = { { 2 } },
                               .store = { { 3 } },
                               .size_bytes = SIZE,
                               .kind = DISK_TOP,
                               .mark = DISK_OPEN,
                               .seq = 77,
                               .generation = 5,
                               .epoch = 6,
                               .name = "lab7" };
    struct map map;

    map_init(&map, disk_blocks(SIZE));
    assert_int_equal(map_reserve(&map, 0, 1, false), 0);
    map_set(&map, 0, 1, DISK_DATA);
    assert_int_equal(map_reserve(&map, 40000, 3, false), 0);
    map_set(&map, 40000, 3, DISK_ZERO);
    assert_int_equal(map_file_write(&(struct map_sink){ bytes_write, b }, &info, &map, NULL, NULL),
                     0);
    map_done(&map);
    return b;
}

static int read_file(struct bytes *b, struct layer_info *info, struct map *map)
{
    return map_file_read(&(struct map_source){ bytes_read, b, b->length }, info, map, NULL);
}

static void what_was_written_is_read(void **state)
{
    struct bytes *b = make_file();
    struct layer_info info;
    struct map map;

    (void)state;
    assert_int_equal(b->length, 4 * DISK_BLOCK);
    assert_int_equal(read_file(b, &info, &map), 0);
    assert_int_equal(info.id.b[0], 1);
    assert_int_equal(info.parent.b[0], 2);
    assert_int_equal(info.store.b[0], 3);
    assert_int_equal(info.size_bytes, SIZE);
    assert_int_equal(info.kind, DISK_TOP);
    assert_int_equal(info.mark, DISK_OPEN);
    assert_int_equal(info.seq, 77);
    assert_int_equal(info.generation, 5);
    assert_int_equal(info.epoch, 6);
    assert_string_equal(info.name, "lab7");
    assert_int_equal(map_get(&map, 0), DISK_DATA);
    assert_int_equal(map_get(&map, 1), DISK_INHERIT);
    assert_int_equal(map_get(&map, 40002), DISK_ZERO);
    assert_int_equal(map.data_blocks, 1);
    map_done(&map);
    free(b);
}

static void every_flipped_bit_is_seen(void **state)
{
    struct bytes *b = make_file();
    struct layer_info info;
    struct map map;

    (void)state;
    for (uint64_t i = 0; i < b->length; i += 1 + i % 13) {
        b->data[i] ^= 0x10;
        if (read_file(b, &info, &map) == 0)
            fail_msg("a changed byte %llu was not seen", (unsigned long long)i);
        b->data[i] ^= 0x10;
    }
    free(b);
}

static void every_other_length_is_refused(void **state)
{
    struct bytes *b = make_file();
    struct layer_info info;
    struct map map;
    uint64_t whole = b->length;

    (void)state;
    for (b->length = 0; b->length < whole; b->length += 512)
        assert_int_equal(read_file(b, &info, &map), -EIO);
    b->length = whole + 1;
    assert_int_equal(read_file(b, &info, &map), -EIO);
    free(b);
}

/* Changes the header and makes its checksum right again. */
static void reseal(struct bytes *b)
{
    struct disk_layer_header *h = (struct disk_layer_header *)b->data;

    h->crc32c = put_le32(0);
    h->crc32c = put_le32(crc32c(0, b->data, 2 * DISK_BLOCK));
}

static void lies_with_a_right_checksum_are_refused(void **state)
{
    struct bytes *good = make_file(), *b = malloc(sizeof *b);
    struct disk_layer_header *h = (struct disk_layer_header *)b->data;
    struct disk_map_index *index = (struct disk_map_index *)(b->data + DISK_BLOCK);
    struct layer_info info;
    struct map map;

    (void)state;
#define LIE(change, want)                                                                          \
    do {                                                                                           \
        *b = *good;                                                                                \
        change;                                                                                    \
        reseal(b);                                                                                 \
        assert_int_equal(read_file(b, &info, &map), want);                                         \
    } while (0)
    LIE(h->version = put_le32(2), -ENOTSUP);
    LIE(h->features = put_le32(2), -ENOTSUP);
    LIE(h->features = put_le32(DISK_FEATURE_CRC), -EIO); /* its length is wrong then */
    LIE(h->size_bytes = put_le64(0), -EIO);
    LIE(h->size_bytes = put_le64(SIZE + 1), -EIO);
    LIE(h->size_bytes = put_le64(1ull << 45), -EIO);
    LIE(h->size_bytes = put_le64(64u << 20), -EIO); /* a page beyond the end */
    LIE(h->block_bytes = put_le32(512), -EIO);
    LIE(h->kind = put_le32(9), -EIO);
    LIE(h->mark = put_le32(3), -EIO);
    LIE(h->page_count = put_le32(UINT32_MAX), -EIO);
    LIE(memset(h->name, 'x', sizeof h->name), -EIO);
    LIE(index[1].page = put_le32(0), -EIO); /* twice the same */
    LIE(index[1].page = put_le32(4), -EIO); /* beyond the end */
#undef LIE
    free(b);
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(every_other_length_is_refused),
        cmocka_unit_test(lies_with_a_right_checksum_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
