/* SPDX-License-Identifier: Apache-2.0 */
/* block_crc - the CRC32C of each data block of a layer that is written once. */
#include "server/store/block_crc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/crc32c.h"
#include "server/io/file_ops.h"
#include "server/store/layer.h"
#include "server/store/map.h"
#include "server/store/map_file.h"

#define AT_ONCE 256u /* checksums that are read together */

static uint32_t crc_of(const char *data, uint64_t length)
{
    char whole[DISK_BLOCK];

    if (length >= DISK_BLOCK)
        return crc32c(0, data, DISK_BLOCK);
    memset(whole, 0, sizeof whole);
    memcpy(whole, data, length);
    return crc32c(0, whole, sizeof whole);
}

static struct disk_crc_page *page_for(struct block_crcs *c, uint64_t page)
{
    if (!c->pages)
        c->pages = calloc(c->page_count, sizeof *c->pages);
    if (c->pages && !c->pages[page])
        c->pages[page] = calloc(1, sizeof **c->pages);
    return c->pages ? c->pages[page] : NULL;
}

int block_crcs_note(struct block_crcs *c, uint64_t block, const void *data, uint64_t length)
{
    const char *p = data;

    while (length) {
        uint64_t part = length < DISK_BLOCK ? length : DISK_BLOCK;
        struct disk_crc_page *page = page_for(c, block / DISK_PAGE_BLOCKS);
        if (!page)
            return -ENOMEM;
        page->crc[block % DISK_PAGE_BLOCKS] = put_le32(crc_of(p, part));
        block++;
        p += part;
        length -= part;
    }
    return 0;
}

void block_crcs_done(struct block_crcs *c)
{
    for (uint32_t i = 0; c->pages && i < c->page_count; i++)
        free(c->pages[i]);
    free(c->pages);
    c->pages = NULL;
}

int crc_places_make(struct crc_places *ret, const struct map *map)
{
    uint32_t *rank = malloc(map->page_count * sizeof *rank), used = 0;

    if (!rank)
        return -ENOMEM;
    for (uint32_t i = 0; i < map->page_count; i++)
        rank[i] = map_page_used(map, i) ? used++ : UINT32_MAX;
    *ret = (struct crc_places){ .base = map_file_crc_offset(used),
                                .pages = map->page_count,
                                .rank = rank };
    return 0;
}

void crc_places_done(struct crc_places *p)
{
    free(p->rank);
    *p = (struct crc_places){ 0 };
}

/* Checksums of blocks that lie in one page. */
static int read_some(const struct crc_places *p, const struct file_ops *ops, int fd,
                     enum crc_how how, uint64_t block, uint64_t count, struct le32 *ret)
{
    uint64_t page = block / DISK_PAGE_BLOCKS, i = block % DISK_PAGE_BLOCKS;
    size_t length = count * sizeof *ret;

    if (page >= p->pages || p->rank[page] == UINT32_MAX)
        return -ENODATA;
    uint64_t offset = p->base + p->rank[page] * sizeof(struct disk_crc_page) + i * sizeof *ret;
    if (how == CRC_WAIT)
        return lay_read_all(ops, fd, ret, length, offset);
    ssize_t got = ops->read_cached(ops->ctx, fd, ret, length, offset);
    if (got < 0)
        return (int)got;
    return (size_t)got == length ? 0 : -EAGAIN;
}

int crc_places_check(const struct crc_places *p, const struct file_ops *ops, int fd,
                     enum crc_how how, uint64_t block, const void *data, uint64_t count,
                     uint64_t *ret_bad)
{
    const char *bytes = data;
    struct le32 want[AT_ONCE];

    while (count) {
        uint64_t some = DISK_PAGE_BLOCKS - block % DISK_PAGE_BLOCKS;
        if (some > AT_ONCE)
            some = AT_ONCE;
        if (some > count)
            some = count;
        int rc = read_some(p, ops, fd, how, block, some, want);
        if (rc < 0)
            return rc;
        for (uint64_t i = 0; i < some; i++, block++, bytes += DISK_BLOCK)
            if (crc32c(0, bytes, DISK_BLOCK) != get_le32(want[i])) {
                *ret_bad = block;
                return -EBADMSG;
            }
        count -= some;
    }
    return 0;
}

/* ---- which blocks were compared ---------------------------------------------------------------*/

bool crc_seen_all(const struct crc_seen *s, uint64_t block, uint64_t count)
{
    for (; count; block++, count--)
        if (!crc_seen_one(s, block))
            return false;
    return true;
}

void crc_seen_note(struct crc_seen *s, const struct crc_places *p, uint64_t block, uint64_t count)
{
    if (!s->pages)
        s->pages = calloc(p->pages, sizeof *s->pages);
    for (; s->pages && count; block++, count--) {
        uint64_t **bits = &s->pages[block / DISK_PAGE_BLOCKS], i = block % DISK_PAGE_BLOCKS;
        if (!*bits)
            *bits = calloc(DISK_PAGE_BLOCKS / 64, sizeof **bits);
        if (*bits)
            (*bits)[i / 64] |= 1ull << i % 64;
    }
}

void crc_seen_done(struct crc_seen *s, const struct crc_places *p)
{
    for (uint32_t i = 0; s->pages && i < p->pages; i++)
        free(s->pages[i]);
    free(s->pages);
    s->pages = NULL;
}
