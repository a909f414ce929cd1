/* SPDX-License-Identifier: Apache-2.0 */
/* layer_writer - writes an image layer once, then seals it.
 *
 * Until it is sealed the data lies in ID.import, which the next start deletes: a broken import
 * leaves nothing.  Owns its descriptor and map; must never know where the bytes come from. Threads:
 * one job thread per writer. */
#include "server/store/layer_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/base/name.h"
#include "server/io/file_ops.h"
#include "server/store/store_state.h"

int layer_create(struct store *s, uint64_t size_bytes, struct layer_writer **ret, struct err *e)
{
    struct layer_id id;

    random_bytes(id.b, sizeof id.b);
    return layer_create_as(s, id, size_bytes, ret, e);
}

int layer_create_as(struct store *s, struct layer_id id, uint64_t size_bytes,
                    struct layer_writer **ret, struct err *e)
{
    char name[LAYER_NAME_BYTES];
    int rc;

    if (size_bytes == 0 || size_bytes % 512 || size_bytes > DISK_LAYER_MAX)
        return err_set(e, -EINVAL,
                       "a disk of %llu bytes cannot be stored: it must be a multiple of 512 and "
                       "at most 16 TiB",
                       (unsigned long long)size_bytes);
    struct layer_writer *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, -ENOMEM, "out of memory");
    w->store = s;
    w->info = (struct layer_info){
        .store = s->dir.store, .id = id, .size_bytes = size_bytes, .kind = DISK_IMAGE
    };
    map_init(&w->map, disk_blocks(size_bytes));
    w->crcs.page_count = w->map.page_count;

    lay_file_name(w->info.id, ".import", name);
    w->fd = s->ops->open_at(s->ops->ctx, s->dir.fd, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    rc = w->fd < 0 ? w->fd : s->ops->truncate(s->ops->ctx, w->fd, round_up(size_bytes, DISK_BLOCK));
    if (rc < 0) {
        layer_writer_free(w);
        return err_set(e, rc, "make layers/%s: %s", name, strerror(-rc));
    }
    *ret = w;
    return 0;
}

struct layer_id layer_writer_id(const struct layer_writer *w)
{
    return w->info.id;
}

static bool all_zero(const char *p, uint64_t length)
{
    return p[0] == 0 && memcmp(p, p + 1, length - 1) == 0;
}

static int write_failed(int rc, struct err *e)
{
    if (rc == -ENOSPC || rc == -EDQUOT)
        return err_set(e, -ENOSPC, "the store is full: free some space and try again");
    return err_set(e, rc, "writing the layer failed: %s", strerror(-rc));
}

/* Whole blocks, none of them known to be zero. */
static int write_run(struct layer_writer *w, uint64_t offset, const void *data, uint64_t length,
                     struct err *e)
{
    uint64_t block = offset / DISK_BLOCK, count = disk_blocks(length);
    int rc;

    if (map_reserve(&w->map, block, count, false) < 0 ||
        block_crcs_note(&w->crcs, block, data, length) < 0)
        return err_set(e, -ENOMEM, "out of memory");
    rc = lay_write_all(w->store->ops, w->fd, data, length, offset);
    if (rc < 0)
        return write_failed(rc, e);
    map_set(&w->map, block, count, DISK_DATA);
    return 0;
}

int layer_writer_zero(struct layer_writer *w, uint64_t block, uint64_t count, struct err *e)
{
    if (map_reserve(&w->map, block, count, false) < 0)
        return err_set(e, -ENOMEM, "out of memory");
    map_set(&w->map, block, count, DISK_ZERO);
    return 0;
}

/* Should this block be written?  One of zeros only if there is something to write it over. */
static bool worth_writing(const struct layer_writer *w, uint64_t offset, const char *data,
                          uint64_t length)
{
    return !all_zero(data, length) || map_get(&w->map, offset / DISK_BLOCK) == DISK_DATA;
}

int layer_write(struct layer_writer *w, uint64_t offset, const void *data, uint64_t length,
                struct err *e)
{
    const char *p = data;
    uint64_t end;

    if (!checked_add(offset, length, &end) || end > w->info.size_bytes || offset % DISK_BLOCK ||
        (end % DISK_BLOCK && end != w->info.size_bytes))
        return err_set(e, -EINVAL, "%llu bytes at %llu are not whole blocks of the disk",
                       (unsigned long long)length, (unsigned long long)offset);
    while (offset < end) {
        uint64_t run = 0, step;
        bool worth = false;

        /* A run of blocks that are all worth writing, or all not. */
        do {
            step = end - offset - run < DISK_BLOCK ? end - offset - run : DISK_BLOCK;
            bool this_one = worth_writing(w, offset + run, p + run, step);
            if (run && this_one != worth)
                break;
            worth = this_one;
            run += step;
        } while (offset + run < end);
        int rc = 0;
        if (worth)
            rc = write_run(w, offset, p, run, e);
        else if (w->on_others)
            rc = layer_writer_zero(w, offset / DISK_BLOCK, disk_blocks(run), e);
        if (rc < 0)
            return rc;
        offset += run;
        p += run;
    }
    return 0;
}

int layer_seal(struct layer_writer *w, uint64_t *ret_data_bytes, struct err *e)
{
    const struct file_ops *ops = w->store->ops;
    char from[LAYER_NAME_BYTES], to[LAYER_NAME_BYTES];
    int rc;

    lay_file_name(w->info.id, ".import", from);
    lay_file_name(w->info.id, ".data", to);
    rc = ops->sync_data(ops->ctx, w->fd);
    if (rc < 0)
        return write_failed(rc, e);
    /* The map first: a map without data is swept as empty, data without a map is not. */
    rc = lay_write_map(&w->store->dir, &w->info, &w->map, &w->crcs, e);
    if (rc < 0)
        return rc;
    rc = ops->rename_at(ops->ctx, w->store->dir.fd, from, to);
    if (rc == 0)
        rc = ops->sync_dir(ops->ctx, w->store->dir.fd);
    if (rc < 0) {
        lay_delete_files(&w->store->dir, w->info.id, NULL);
        return err_set(e, rc, "rename layers/%s: %s", from, strerror(-rc));
    }
    w->sealed = true;
    *ret_data_bytes = w->map.data_blocks * DISK_BLOCK;
    return 0;
}

void layer_writer_free(struct layer_writer *w)
{
    char name[LAYER_NAME_BYTES];

    if (!w)
        return;
    const struct file_ops *ops = w->store->ops;
    if (!w->sealed) {
        lay_file_name(w->info.id, ".import", name);
        ops->unlink_at(ops->ctx, w->store->dir.fd, name);
    }
    if (w->fd >= 0)
        ops->close(ops->ctx, w->fd);
    map_done(&w->map);
    block_crcs_done(&w->crcs);
    free(w);
}
