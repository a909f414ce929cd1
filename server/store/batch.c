/* SPDX-License-Identifier: Apache-2.0 */
/* batch - the bytes of journal batches and their records. */
#include "server/store/batch.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/base/crc32c.h"
#include "server/store/map.h"

#define RUNS_MAX (DISK_BLOCK / sizeof(struct disk_run)) /* more of them: a page is shorter */

/* The store never holds a record but at an alignment of 1, so it is read through these. */
static_assert(_Alignof(struct disk_record_page) == 1, "records lie anywhere");

static struct disk_record head(enum disk_record_type type, size_t length, struct layer_id layer)
{
    struct disk_record h = { .type = put_le16((uint16_t)type),
                             .length = put_le32((uint32_t)length) };

    memcpy(h.layer.b, layer.b, sizeof h.layer.b);
    return h;
}

void batch_add_mark(struct buf *records, struct layer_id layer, enum disk_mark mark,
                    uint64_t generation, uint64_t epoch)
{
    struct disk_record_mark r = {
        .head = head(DISK_REC_MARK, sizeof r, layer),
        .mark = put_le32(mark),
        .generation = put_le64(generation),
        .epoch = put_le64(epoch),
    };

    buf_add(records, &r, sizeof r);
}

void batch_add_make(struct buf *records, const struct layer_info *info)
{
    struct disk_record_make r = {
        .head = head(DISK_REC_MAKE, sizeof r, info->id),
        .size_bytes = put_le64(info->size_bytes),
        .generation = put_le64(info->generation),
        .epoch = put_le64(info->epoch),
    };

    memcpy(r.parent.b, info->parent.b, sizeof r.parent.b);
    memcpy(r.name, info->name, sizeof r.name);
    buf_add(records, &r, sizeof r);
}

void batch_add_data(struct buf *records, struct layer_id layer, uint64_t block, const void *content)
{
    struct disk_record_data r;

    r.head = head(DISK_REC_DATA, sizeof r, layer);
    r.block = put_le64(block);
    memcpy(r.content, content, sizeof r.content);
    buf_add(records, &r, sizeof r);
}

void batch_add_revoke(struct buf *records, struct layer_id layer)
{
    struct disk_record r = head(DISK_REC_REVOKE, sizeof r, layer);

    buf_add(records, &r, sizeof r);
}

static void add_page(struct buf *records, struct layer_id layer, const struct map *map,
                     uint32_t page)
{
    struct disk_record_page r = {
        .head = head(DISK_REC_PAGE, sizeof r, layer),
        .page = put_le32(page),
    };

    map_page_export(map, page, &r.content);
    buf_add(records, &r, sizeof r);
}

/* The changed runs of one page, if they are few.  false: they are many, nothing was added. */
static bool add_runs(struct buf *records, struct layer_id layer, const struct map *map,
                     uint32_t page)
{
    struct disk_run runs[RUNS_MAX];
    enum disk_block_state state;
    uint64_t at = (uint64_t)page * DISK_PAGE_BLOCKS, length;
    size_t count = 0;

    while ((length = map_next_change(map, page, &at, &state)) > 0) {
        if (count == RUNS_MAX)
            return false;
        runs[count++] = (struct disk_run){ .block = put_le64(at),
                                           .count = put_le32((uint32_t)length),
                                           .state = put_le32(state) };
        at += length;
    }
    if (count) {
        size_t bytes = count * sizeof *runs;
        struct disk_record h = head(DISK_REC_RUNS, sizeof h + bytes, layer);
        buf_add(records, &h, sizeof h);
        buf_add(records, runs, bytes);
    }
    return true;
}

void batch_add_changes(struct buf *records, struct layer_id layer, const struct map *map)
{
    if (!map->changed_pages)
        return;
    for (uint32_t page = 0; page < map->page_count; page++)
        if (map_page_changed(map, page) && !add_runs(records, layer, map, page))
            add_page(records, layer, map, page);
}

size_t batch_record_length(const void *records)
{
    return get_le32(((const struct disk_record *)records)->length);
}

static uint32_t batch_crc(const struct disk_batch *batch, uint32_t length)
{
    struct disk_batch copy = *batch;

    copy.crc32c = put_le32(0);
    return crc32c(crc32c(0, &copy, sizeof copy), batch + 1, length);
}

void batch_seal(struct disk_batch *batch, uint32_t length, uint64_t seq, uint64_t applied,
                struct layer_id store)
{
    *batch = (struct disk_batch){
        .seq = put_le64(seq),
        .applied = put_le64(applied),
        .length = put_le32(length),
    };
    memcpy(batch->magic, DISK_BATCH_MAGIC, sizeof batch->magic);
    memcpy(batch->store.b, store.b, sizeof batch->store.b);
    batch->crc32c = put_le32(batch_crc(batch, length));
}

uint32_t batch_length(const struct disk_batch *header, struct layer_id store)
{
    uint32_t length = get_le32(header->length);

    if (memcmp(header->magic, DISK_BATCH_MAGIC, sizeof header->magic) != 0 ||
        memcmp(header->store.b, store.b, sizeof store.b) != 0 ||
        length > DISK_BATCH_MAX - sizeof *header)
        return 0;
    return length;
}

bool batch_intact(const struct disk_batch *header, uint32_t length)
{
    return length == get_le32(header->length) &&
           batch_crc(header, length) == get_le32(header->crc32c);
}

/* 0 if a record of this type may be that long. */
static int check_record(uint16_t type, uint32_t length)
{
    switch (type) {
    case DISK_REC_MARK:
        return length == sizeof(struct disk_record_mark) ? 0 : -EIO;
    case DISK_REC_PAGE:
        return length == sizeof(struct disk_record_page) ? 0 : -EIO;
    case DISK_REC_MAKE:
        return length == sizeof(struct disk_record_make) ? 0 : -EIO;
    case DISK_REC_DATA:
        return length == sizeof(struct disk_record_data) ? 0 : -EIO;
    case DISK_REC_REVOKE:
        return length == sizeof(struct disk_record) ? 0 : -EIO;
    case DISK_REC_RUNS:
        return length > sizeof(struct disk_record) &&
                       (length - sizeof(struct disk_record)) % sizeof(struct disk_run) == 0
                   ? 0
                   : -EIO;
    default:
        return -ENOTSUP;
    }
}

int batch_each(const void *records, uint32_t length, batch_record_fn each, void *ctx, struct err *e)
{
    const char *at = records, *end = at + length;

    while (at < end) {
        const struct disk_record *r = (const struct disk_record *)at;
        if ((size_t)(end - at) < sizeof *r)
            return err_set(e, -EIO, "a record is cut off");
        uint32_t bytes = get_le32(r->length);
        if (bytes < sizeof *r || bytes % 8 || bytes > (size_t)(end - at))
            return err_set(e, -EIO, "a record has an impossible length");
        int rc = check_record(get_le16(r->type), bytes);
        if (rc == -ENOTSUP)
            return err_set(e, rc, "a record of type %u is of a newer gridboxd", get_le16(r->type));
        if (rc < 0)
            return err_set(e, rc, "a record of type %u has an impossible length",
                           get_le16(r->type));
        rc = each(ctx, r);
        if (rc < 0)
            return rc;
        at += bytes;
    }
    return 0;
}

static int apply_runs(const struct disk_record *record, struct map *map, struct err *e)
{
    const struct disk_run *run = (const struct disk_run *)(record + 1);
    size_t count = (get_le32(record->length) - sizeof *record) / sizeof *run;

    for (; count; count--, run++) {
        uint64_t block = get_le64(run->block), length = get_le32(run->count);
        uint32_t state = get_le32(run->state);

        if (length == 0 || state > DISK_ZERO || !range_inside(block, length, map->blocks))
            return err_set(e, -EIO, "a run is impossible");
        if (map_reserve(map, block, length, false) < 0)
            return err_set(e, -ENOMEM, "out of memory");
        map_set(map, block, length, (enum disk_block_state)state);
    }
    return 0;
}

static int apply_page(const struct disk_record *record, struct map *map, struct err *e)
{
    const struct disk_record_page *r = (const struct disk_record_page *)record;
    uint32_t page = get_le32(r->page);

    if (page >= map->page_count)
        return err_set(e, -EIO, "map page %u is beyond the end", page);
    int rc = map_page_import(map, page, &r->content);
    if (rc < 0)
        return err_set(e, rc == -ENOMEM ? rc : -EIO, "map page %u: %s", page,
                       rc == -ENOMEM ? "out of memory" : "impossible state");
    return 0;
}

const struct disk_record_data *batch_data(const struct disk_record *record)
{
    return get_le16(record->type) == DISK_REC_DATA ? (const struct disk_record_data *)record : NULL;
}

bool batch_revokes(const struct disk_record *record)
{
    const struct disk_record_mark *mark = (const struct disk_record_mark *)record;

    return get_le16(record->type) == DISK_REC_REVOKE ||
           (get_le16(record->type) == DISK_REC_MARK && get_le32(mark->mark) == DISK_CLEAN);
}

bool batch_is_make(const struct disk_record *record)
{
    return get_le16(record->type) == DISK_REC_MAKE;
}

int batch_read_make(const struct disk_record *record, struct layer_info *ret, struct err *e)
{
    const struct disk_record_make *r = (const struct disk_record_make *)record;
    uint64_t size = get_le64(r->size_bytes);

    if (size == 0 || size % 512 || size > DISK_LAYER_MAX || r->name[sizeof r->name - 1] != '\0')
        return err_set(e, -EIO, "a layer of an impossible size or name");
    *ret = (struct layer_info){ .size_bytes = size,
                                .kind = DISK_TOP,
                                .mark = DISK_CLEAN,
                                .generation = get_le64(r->generation),
                                .epoch = get_le64(r->epoch) };
    memcpy(ret->id.b, r->head.layer.b, sizeof ret->id.b);
    memcpy(ret->parent.b, r->parent.b, sizeof ret->parent.b);
    memcpy(ret->name, r->name, sizeof ret->name);
    return 0;
}

int batch_apply(const struct disk_record *record, struct layer_info *info, struct map *map,
                struct err *e)
{
    switch (get_le16(record->type)) {
    case DISK_REC_RUNS:
        return apply_runs(record, map, e);
    case DISK_REC_PAGE:
        return apply_page(record, map, e);
    case DISK_REC_MAKE:
    case DISK_REC_DATA:
    case DISK_REC_REVOKE:
        return 0;
    default:
        break;
    }

    const struct disk_record_mark *r = (const struct disk_record_mark *)record;
    if (get_le32(r->mark) > DISK_OPEN)
        return err_set(e, -EIO, "an unknown mark");
    info->mark = (enum disk_mark)get_le32(r->mark);
    info->generation = get_le64(r->generation);
    info->epoch = get_le64(r->epoch);
    return 0;
}
