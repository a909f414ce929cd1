/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: the input is cut into batches, which get right checksums and sequence numbers unless
 * it says otherwise; then it is opened, read, and applied to a map. */
/* clang-format off */
/* sources: server/store/journal.c server/store/journal_read.c server/store/batch.c server/store/id_set.c server/store/layer.c server/store/map.c server/store/map_file.c server/io/file_ops.c server/base/err.c server/base/buf.c server/base/crc32c.c server/base/name.c server/base/log.c */
/* clang-format on */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/crc32c.h"
#include "server/io/file_ops.h"
#include "server/store/journal.h"
#include "server/store/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HALF       JOURNAL_MIN_HALF
#define FILE_BYTES (DISK_BLOCK + 2 * HALF)

static const struct layer_id store_id = { { 1, 2, 3 } };

static int memory_open(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    (void)ctx, (void)dir_fd, (void)name, (void)flags, (void)mode;
    return 3;
}

static void memory_close(void *ctx, int fd)
{
    (void)ctx, (void)fd;
}

static ssize_t memory_read(void *ctx, int fd, void *buf, size_t length, uint64_t offset)
{
    (void)fd;
    if (offset >= FILE_BYTES)
        return 0;
    if (length > FILE_BYTES - offset)
        length = FILE_BYTES - offset;
    memcpy(buf, (uint8_t *)ctx + offset, length);
    return (ssize_t)length;
}

static int memory_size(void *ctx, int fd, uint64_t *ret)
{
    (void)ctx, (void)fd;
    *ret = FILE_BYTES;
    return 0;
}

static void put_header(uint8_t *file)
{
    struct disk_journal_header *h = (struct disk_journal_header *)file;

    memcpy(h->magic, DISK_JOURNAL_MAGIC, 8);
    h->version = put_le32(DISK_VERSION);
    h->half_bytes = put_le64(HALF);
    memcpy(h->store.b, store_id.b, 16);
    h->crc32c = put_le32(0);
    h->crc32c = put_le32(crc32c(0, h, sizeof *h));
}

/* One batch of the input at `at` of the file: a flag byte, two of length, the records. */
static size_t put_batch(uint8_t *file, uint64_t at, uint64_t seq, const uint8_t *data, size_t size)
{
    struct disk_batch *batch = (struct disk_batch *)(file + at);
    size_t length = (size_t)(data[1] | data[2] << 8) % (size - 2);

    if (at + batch_room(length) > FILE_BYTES)
        return 0;
    memcpy(batch + 1, data + 3, length);
    if (length >= sizeof(struct disk_record) && (data[0] & 2)) /* one record, rightly framed */
        ((struct disk_record *)(batch + 1))->length = put_le32((uint32_t)length);
    batch_seal(batch, (uint32_t)length, data[0] & 4 ? seq + data[0] : seq, data[0] >> 4, store_id);
    if (data[0] & 1)
        file[at + data[0]] ^= 0x40;
    return 3 + length;
}

static int apply(void *ctx, uint64_t seq, const struct disk_record *record)
{
    struct layer_info info = { 0 };

    (void)seq;
    (void)batch_apply(record, &info, ctx, NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *file = calloc(1, FILE_BYTES);
    const struct file_ops ops = { .open_at = memory_open,
                                  .close = memory_close,
                                  .read_at = memory_read,
                                  .size = memory_size,
                                  .ctx = file };
    struct journal j = { 0 };
    struct map map;
    uint64_t at = DISK_BLOCK, seq = 1;

    put_header(file);
    while (size > 3 && at < FILE_BYTES) {
        size_t used = put_batch(file, at, seq++, data, size);
        if (!used)
            break;
        at += batch_room(used - 3);
        if (data[0] & 8) /* on to the other half */
            at = at < DISK_BLOCK + HALF ? DISK_BLOCK + HALF : FILE_BYTES;
        data += used;
        size -= used;
    }
    map_init(&map, 3 * DISK_PAGE_BLOCKS);
    if (jnl_open(&j, &ops, 0, 0, NULL) == 0) {
        struct journal_view view;
        jnl_view(&j, &view);
        (void)jnl_each(&j, &view, apply, &map, NULL);
        jnl_close(&j);
    }
    map_done(&map);
    free(file);
    return 0;
}
