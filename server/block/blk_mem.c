/* SPDX-License-Identifier: Apache-2.0 */
/* blk_mem - a disk in memory. */
#include "server/block/blk_mem.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/block/blkdev.h"

struct blk_mem {
    struct blkdev dev;
    uint64_t count[BLK_OP_COUNT];
    bool lending;
    unsigned loans;
    uint8_t bytes[];
};

static struct blk_mem *mem_of(struct blkdev *d)
{
    return (struct blk_mem *)((char *)d - offsetof(struct blk_mem, dev));
}

static bool all_zero(const uint8_t *p, uint64_t length)
{
    return length == 0 || (p[0] == 0 && memcmp(p, p + 1, length - 1) == 0);
}

/* A block of zeros is told as a hole, all else as data. */
static void fill_extents(struct blk_mem *m, struct blk_req *r)
{
    unsigned limit = (r->flags & BLK_ONE) ? 1 : r->extent_count;
    unsigned used = 0;
    uint64_t at = r->offset, end = r->offset + r->length;

    while (at < end) {
        uint64_t next = round_down(at, BLK_BLOCK) + BLK_BLOCK;
        if (next > end)
            next = end;
        uint32_t state =
            all_zero(m->bytes + at, next - at) ? BLK_EXT_HOLE | BLK_EXT_ZERO : BLK_EXT_DATA;
        if (used && r->extents[used - 1].state == state)
            r->extents[used - 1].length += next - at;
        else if (used < limit)
            r->extents[used++] = (struct blk_extent){ .length = next - at, .state = state };
        else
            break;
        at = next;
    }
    r->extent_count = used;
}

static void mem_submit(struct blkdev *d, struct blk_req *r)
{
    struct blk_mem *m = mem_of(d);

    m->count[r->op]++;
    switch (r->op) {
    case BLK_READ:
        memcpy(r->buf, m->bytes + r->offset, r->length);
        break;
    case BLK_WRITE:
        memcpy(m->bytes + r->offset, r->buf, r->length);
        break;
    case BLK_TRIM:
    case BLK_ZERO:
        memset(m->bytes + r->offset, 0, r->length);
        break;
    case BLK_STATUS:
        fill_extents(m, r);
        break;
    case BLK_FLUSH:
    case BLK_CACHE:
    case BLK_OP_COUNT:
        break;
    }
    r->done(r);
}

static bool mem_lend(struct blkdev *d, uint64_t offset, uint64_t length, struct blk_loan *ret)
{
    struct blk_mem *m = mem_of(d);

    if (!m->lending)
        return false;
    ret->part[0] = (struct iovec){ m->bytes + offset, length };
    ret->count = 1;
    m->loans++;
    return true;
}

static void mem_give_back(struct blkdev *d, struct blk_loan *loan)
{
    struct blk_mem *m = mem_of(d);

    assert(loan->count == 1 && m->loans > 0);
    m->loans--;
}

struct blkdev *blk_mem_new(uint64_t size_bytes, bool read_only)
{
    static const struct blk_ops ops = { .submit = mem_submit,
                                        .lend = mem_lend,
                                        .give_back = mem_give_back };

    assert(size_bytes && size_bytes % BLK_SECTOR == 0);
    struct blk_mem *m = calloc(1, sizeof *m + size_bytes);
    if (!m)
        return NULL;
    m->dev = (struct blkdev){ .ops = &ops, .size_bytes = size_bytes, .read_only = read_only };
    return &m->dev;
}

void blk_mem_free(struct blkdev *d)
{
    if (d)
        free(mem_of(d));
}

uint8_t *blk_mem_bytes(struct blkdev *d)
{
    return mem_of(d)->bytes;
}

static const struct blk_mem *seen(const struct blkdev *d)
{
    return (const struct blk_mem *)((const char *)d - offsetof(struct blk_mem, dev));
}

uint64_t blk_mem_count(const struct blkdev *d, unsigned op)
{
    assert(op < BLK_OP_COUNT);
    return seen(d)->count[op];
}

void blk_mem_lending(struct blkdev *d, bool on)
{
    mem_of(d)->lending = on;
}

unsigned blk_mem_loans(const struct blkdev *d)
{
    return seen(d)->loans;
}
