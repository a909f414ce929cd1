/* SPDX-License-Identifier: Apache-2.0 */
/* Map files.  The first byte of the input says whether the checksums are made right, which lets the
 * rest of the reader see hostile numbers. */
/* sources: server/store/map_file.c server/store/map.c server/store/block_crc.c */
/* sources: server/store/layer.c server/base/err.c server/base/crc32c.c server/base/name.c */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/crc32c.h"
#include "server/io/file_ops.h"
#include "server/store/block_crc.h"
#include "server/store/map.h"
#include "server/store/map_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
    uint8_t *data;
    size_t length;
};

static int bytes_read(void *ctx, void *buf, size_t length, uint64_t offset)
{
    const struct bytes *b = ctx;

    if (offset > b->length || length > b->length - offset)
        return -ENODATA;
    memcpy(buf, b->data + offset, length);
    return 0;
}

static void make_checksums_right(struct bytes *b)
{
    struct disk_layer_header *h = (struct disk_layer_header *)b->data;
    uint64_t count = get_le32(h->page_count);
    uint64_t index_bytes = (count * 8 + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK;

    uint64_t crcs = get_le32(h->features) & DISK_FEATURE_CRC ? sizeof(struct disk_crc_page) : 0;

    if (DISK_BLOCK + index_bytes + count * (DISK_BLOCK + crcs) != b->length)
        return;
    struct disk_map_index *index = (struct disk_map_index *)(b->data + DISK_BLOCK);
    for (uint64_t i = 0; i < count; i++)
        index[i].crc32c =
            put_le32(crc32c(0, b->data + DISK_BLOCK + index_bytes + i * DISK_BLOCK, DISK_BLOCK));
    h->crc32c = put_le32(0);
    h->crc32c = put_le32(crc32c(0, b->data, DISK_BLOCK + index_bytes));
}

static ssize_t bytes_read_at(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    const struct bytes *b = ctx;

    (void)fd;
    if (offset >= b->length)
        return 0;
    if (length > b->length - offset)
        length = b->length - offset;
    memcpy(buf, b->data + offset, length);
    return (ssize_t)length;
}

/* Looks up the checksum of each block that is there, and of some that are not. */
static void use_checksums(struct bytes *b, const struct map *map)
{
    static const char block[DISK_BLOCK];
    const struct file_ops ops = { .read_at = bytes_read_at, .ctx = b };
    struct crc_places places;
    uint64_t bad;

    if (crc_places_make(&places, map) < 0)
        return;
    for (uint64_t at = 0; at < map->blocks;) {
        enum disk_block_state state;
        uint64_t run = map_run(map, at, map->blocks - at, &state);
        (void)crc_places_check(&places, &ops, 0, CRC_WAIT, at, block, 1, &bad);
        (void)crc_places_check(&places, &ops, 0, CRC_WAIT, at + run, block, 1, &bad);
        at += run;
    }
    crc_places_done(&places);
}

/* With the feature bit, and the checksums themselves, which are zeros. */
static void add_checksums(struct bytes *b)
{
    struct disk_layer_header *h = (struct disk_layer_header *)b->data;
    size_t more = (get_le32(h->page_count) & 3) * sizeof(struct disk_crc_page);

    b->data = realloc(b->data, b->length + more);
    memset(b->data + b->length, 0, more);
    b->length += more;
    h = (struct disk_layer_header *)b->data;
    h->page_count = put_le32(get_le32(h->page_count) & 3);
    h->features = put_le32(DISK_FEATURE_CRC);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    /* Whole blocks, as a real file has; the input is stretched with zeros. */
    struct bytes b = { .length = (size - 1 + DISK_BLOCK - 1) / DISK_BLOCK * DISK_BLOCK };
    struct layer_info info;
    struct map map;

    b.data = calloc(1, b.length);
    memcpy(b.data, data + 1, size - 1);
    if (data[0] & 4)
        add_checksums(&b);
    if (data[0] & 1)
        make_checksums_right(&b);
    if (data[0] & 2) {
        memcpy(b.data, DISK_LAYER_MAGIC, 8);
        ((struct disk_layer_header *)b.data)->version = put_le32(DISK_VERSION);
    }
    struct map_source source = { .read = bytes_read, .ctx = &b, .size_bytes = b.length };
    if (map_file_read(&source, &info, &map, NULL) == 0) {
        enum disk_block_state state;
        for (uint64_t at = 0; at < map.blocks;)
            at += map_run(&map, at, map.blocks - at, &state);
        if (info.has_crcs)
            use_checksums(&b, &map);
        map_done(&map);
    }
    free(b.data);
    return 0;
}
