/* SPDX-License-Identifier: Apache-2.0 */
/* map_file - the bytes of a map file, read and written whole. */
#include "server/store/map_file.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/base/crc32c.h"
#include "server/store/block_crc.h"
#include "server/store/map.h"

static const struct layer_id no_id;

static size_t index_bytes(uint32_t page_count)
{
    return (size_t)round_up((uint64_t)page_count * sizeof(struct disk_map_index), DISK_BLOCK);
}

uint64_t map_file_crc_offset(uint32_t page_count)
{
    return DISK_BLOCK + index_bytes(page_count) + (uint64_t)page_count * DISK_BLOCK;
}

static bool has_crcs(const struct disk_layer_header *h)
{
    return get_le32(h->features) & DISK_FEATURE_CRC;
}

static uint64_t file_length(uint32_t page_count, bool crcs)
{
    return map_file_crc_offset(page_count) +
           (crcs ? (uint64_t)page_count * sizeof(struct disk_crc_page) : 0);
}

/* Of the header with its crc field as zero, and the index. */
static uint32_t header_crc(struct disk_layer_header *h, const void *index, size_t length)
{
    struct le32 kept = h->crc32c;

    h->crc32c = put_le32(0);
    uint32_t crc = crc32c(crc32c(0, h, sizeof *h), index, length);
    h->crc32c = kept;
    return crc;
}

static int read_part(const struct map_source *s, void *buf, size_t length, uint64_t offset,
                     struct err *e)
{
    int rc = s->read(s->ctx, buf, length, offset);

    if (rc == -ENODATA)
        return err_set(e, -EIO, "it ends after %llu bytes", (unsigned long long)s->size_bytes);
    return rc < 0 ? err_set(e, -EIO, "reading it failed: %s", strerror(-rc)) : 0;
}

/* The fixed fields: each checked before it is used. */
static int check_header(const struct disk_layer_header *h, uint64_t file_bytes, struct err *e)
{
    uint64_t size = get_le64(h->size_bytes), pages = get_le32(h->page_count);
    uint32_t kind = get_le32(h->kind);

    if (memcmp(h->magic, DISK_LAYER_MAGIC, sizeof h->magic) != 0)
        return err_set(e, -EIO, "not a map file");
    if (get_le32(h->version) != DISK_VERSION ||
        (get_le32(h->features) & ~(uint32_t)DISK_FEATURE_CRC))
        return err_set(e, -ENOTSUP, "written by a newer gridboxd (version %u, features %#x)",
                       get_le32(h->version), get_le32(h->features));
    if (get_le32(h->block_bytes) != DISK_BLOCK || size == 0 || size % 512 || size > DISK_LAYER_MAX)
        return err_set(e, -EIO, "impossible size");
    if (kind < DISK_IMAGE || kind > DISK_SEALED || get_le32(h->mark) > DISK_LOST ||
        h->name[sizeof h->name - 1] != '\0')
        return err_set(e, -EIO, "impossible kind, mark or name");
    if (pages > (disk_blocks(size) + DISK_PAGE_BLOCKS - 1) / DISK_PAGE_BLOCKS)
        return err_set(e, -EIO, "more map pages than its disk has");
    if (file_bytes != file_length((uint32_t)pages, has_crcs(h)))
        return err_set(e, -EIO, "its length is wrong");
    return 0;
}

static void info_from(const struct disk_layer_header *h, struct layer_info *ret)
{
    *ret = (struct layer_info){
        .size_bytes = get_le64(h->size_bytes),
        .kind = (enum disk_layer_kind)get_le32(h->kind),
        .mark = (enum disk_mark)get_le32(h->mark),
        .seq = get_le64(h->seq),
        .generation = get_le64(h->generation),
        .epoch = get_le64(h->epoch),
    };
    memcpy(ret->id.b, h->layer.b, sizeof ret->id.b);
    memcpy(ret->parent.b, h->parent.b, sizeof ret->parent.b);
    memcpy(ret->store.b, h->store.b, sizeof ret->store.b);
    memcpy(ret->name, h->name, sizeof ret->name);
    ret->has_crcs = has_crcs(h);
}

static int read_pages(const struct map_source *s, const struct disk_map_index *index,
                      uint32_t count, struct map *map, struct err *e)
{
    uint64_t offset = DISK_BLOCK + index_bytes(count);

    for (uint32_t i = 0; i < count; i++, offset += DISK_BLOCK) {
        uint32_t page = get_le32(index[i].page);
        struct disk_map_page content;
        int rc;

        if (page >= map->page_count || (i && page <= get_le32(index[i - 1].page)))
            return err_set(e, -EIO, "its index is out of order");
        rc = read_part(s, &content, sizeof content, offset, e);
        if (rc < 0)
            return rc;
        if (crc32c(0, &content, sizeof content) != get_le32(index[i].crc32c))
            return err_set(e, -EIO, "checksum of map page %u is wrong", page);
        rc = map_page_import(map, page, &content);
        if (rc < 0)
            return err_set(e, rc == -ENOMEM ? rc : -EIO, "map page %u: %s", page,
                           rc == -ENOMEM ? "out of memory" : "impossible state");
        if (!map_page_used(map, page)) /* the order of the pages must follow from the map */
            return err_set(e, -EIO, "map page %u is empty", page);
    }
    return 0;
}

int map_file_read(const struct map_source *source, struct layer_info *ret_info, struct map *ret_map,
                  struct err *e)
{
    AUTO(auto_free) struct disk_layer_header *h = malloc(sizeof *h);
    int rc;

    if (!h)
        return err_set(e, -ENOMEM, "out of memory");
    if (source->size_bytes < sizeof *h)
        return err_set(e, -EIO, "it ends after %llu bytes", (unsigned long long)source->size_bytes);
    rc = read_part(source, h, sizeof *h, 0, e);
    if (rc == 0)
        rc = check_header(h, source->size_bytes, e);
    if (rc < 0)
        return rc;

    uint32_t count = get_le32(h->page_count);
    size_t length = index_bytes(count);
    AUTO(auto_free) struct disk_map_index *index = malloc(length ? length : 1);
    if (!index)
        return err_set(e, -ENOMEM, "out of memory");
    rc = length ? read_part(source, index, length, DISK_BLOCK, e) : 0;
    if (rc < 0)
        return rc;
    if (header_crc(h, index, length) != get_le32(h->crc32c))
        return err_set(e, -EIO, "checksum of its header is wrong");

    if (ret_map) {
        map_init(ret_map, disk_blocks(get_le64(h->size_bytes)));
        rc = read_pages(source, index, count, ret_map, e);
        if (rc < 0) {
            map_done(ret_map);
            return rc;
        }
    }
    info_from(h, ret_info);
    return 0;
}

static void header_from(const struct layer_info *info, uint32_t page_count,
                        struct disk_layer_header *ret)
{
    *ret = (struct disk_layer_header){
        .version = put_le32(DISK_VERSION),
        .page_count = put_le32(page_count),
        .size_bytes = put_le64(info->size_bytes),
        .block_bytes = put_le32(DISK_BLOCK),
        .kind = put_le32(info->kind),
        .mark = put_le32(info->mark),
        .seq = put_le64(info->seq),
        .generation = put_le64(info->generation),
        .epoch = put_le64(info->epoch),
    };
    memcpy(ret->magic, DISK_LAYER_MAGIC, sizeof ret->magic);
    memcpy(ret->layer.b, info->id.b, sizeof ret->layer.b);
    memcpy(ret->parent.b, info->parent.b, sizeof ret->parent.b);
    memcpy(ret->store.b, info->store.b, sizeof ret->store.b);
    memcpy(ret->name, info->name, sizeof ret->name - 1);
}

/* The pages that are used, and their index. */
static int write_pages(const struct map_sink *sink, const struct map *map,
                       struct disk_map_index *index, uint64_t offset)
{
    int rc = 0;

    for (uint32_t page = 0; page < map->page_count && rc == 0; page++) {
        struct disk_map_page content;

        if (!map_page_used(map, page))
            continue;
        map_page_export(map, page, &content);
        *index++ =
            (struct disk_map_index){ .page = put_le32(page),
                                     .crc32c = put_le32(crc32c(0, &content, sizeof content)) };
        rc = sink->write(sink->ctx, &content, sizeof content, offset);
        offset += DISK_BLOCK;
    }
    return rc;
}

/* As many as there are pages in the map, in the same order. */
static int write_crcs(const struct map_sink *sink, const struct map *map,
                      const struct block_crcs *crcs, uint64_t offset)
{
    static const struct disk_crc_page none;
    int rc = 0;

    for (uint32_t page = 0; page < map->page_count && rc == 0; page++) {
        const struct disk_crc_page *p = crcs->pages ? crcs->pages[page] : NULL;

        if (!map_page_used(map, page))
            continue;
        rc = sink->write(sink->ctx, p ? p : &none, sizeof none, offset);
        offset += sizeof none;
    }
    return rc;
}

int map_file_write(const struct map_sink *sink, const struct layer_info *info,
                   const struct map *map, const struct block_crcs *crcs, struct err *e)
{
    uint32_t count = 0;
    int rc;

    assert(memcmp(&info->id, &no_id, sizeof no_id) != 0);
    for (uint32_t page = 0; page < map->page_count; page++)
        count += map_page_used(map, page);

    size_t length = index_bytes(count);
    AUTO(auto_free) struct disk_layer_header *h = malloc(sizeof *h);
    AUTO(auto_free) struct disk_map_index *index = calloc(1, length ? length : 1);
    if (!h || !index)
        return err_set(e, -ENOMEM, "out of memory");

    rc = write_pages(sink, map, index, DISK_BLOCK + length);
    if (rc == 0 && crcs)
        rc = write_crcs(sink, map, crcs, map_file_crc_offset(count));
    header_from(info, count, h);
    if (crcs)
        h->features = put_le32(DISK_FEATURE_CRC);
    h->crc32c = put_le32(header_crc(h, index, length));
    if (rc == 0)
        rc = sink->write(sink->ctx, h, sizeof *h, 0);
    if (rc == 0 && length)
        rc = sink->write(sink->ctx, index, length, DISK_BLOCK);
    return rc < 0 ? err_set(e, rc, "writing it failed: %s", strerror(-rc)) : 0;
}
