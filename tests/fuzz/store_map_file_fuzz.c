/* SPDX-License-Identifier: Apache-2.0 */
/* Map files.  The first byte of the input says whether the checksums are made right, which lets the
 * rest of the reader see hostile numbers. */
/* sources: server/store/map_file.c server/store/map.c server/base/err.c server/base/crc32c.c */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/crc32c.h"
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

    if (DISK_BLOCK + index_bytes + count * DISK_BLOCK != b->length)
        return;
    struct disk_map_index *index = (struct disk_map_index *)(b->data + DISK_BLOCK);
    for (uint64_t i = 0; i < count; i++)
        index[i].crc32c =
            put_le32(crc32c(0, b->data + DISK_BLOCK + index_bytes + i * DISK_BLOCK, DISK_BLOCK));
    h->crc32c = put_le32(0);
    h->crc32c = put_le32(crc32c(0, b->data, DISK_BLOCK + index_bytes));
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
        map_done(&map);
    }
    free(b.data);
    return 0;
}
