/* SPDX-License-Identifier: Apache-2.0 */
/* layer_read - a sealed layer, read by a job. */
#include "server/store/layer_read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "server/base/checked.h"
#include "server/base/name.h"
#include "server/io/file_ops.h"
#include "server/store/open_layers.h"
#include "server/store/replay.h"
#include "server/store/store_state.h"

int layer_read_blocks(struct store *s, struct layer_id id, const struct layer_fds *fds,
                      const struct crc_places *crcs, void *buf, uint64_t block, uint64_t count,
                      struct err *e)
{
    char hex[LAYER_ID_TEXT];
    uint64_t bad = block;
    int rc;

    rc = lay_read_all(s->ops, fds->data, buf, count * DISK_BLOCK, block * DISK_BLOCK);
    if (rc == 0 && crcs->pages)
        rc = crc_places_check(crcs, s->ops, fds->crcs, CRC_WAIT, block, buf, count, &bad);
    if (rc == 0)
        return 0;
    hex_encode(id.b, sizeof id.b, hex);
    if (rc == -EBADMSG)
        return err_set(e, -EIO, "block %llu of layers/%s.data is not what was written",
                       (unsigned long long)bad, hex);
    return err_set(e, rc, "layers/%s.data: reading at block %llu: %s", hex,
                   (unsigned long long)block, strerror(-rc));
}

/* The data file again, past the page cache; false: this file system cannot. */
static bool reopen_direct(struct store *s, struct layer_reader *r)
{
    char name[LAYER_NAME_BYTES];

    lay_file_name(r->info.id, ".data", name);
    int fd = s->ops->open_at(s->ops->ctx, s->dir.fd, name, O_RDONLY | O_DIRECT, 0);
    if (fd < 0)
        return false;
    s->ops->close(s->ops->ctx, r->fds.data);
    r->fds.data = fd;
    return true;
}

static int check_size(struct store *s, const struct layer_reader *r, struct err *e)
{
    uint64_t bytes, want = round_up(r->info.size_bytes, DISK_BLOCK);
    int rc = s->ops->size(s->ops->ctx, r->fds.data, &bytes);

    if (rc < 0)
        return err_set(e, rc, "its data file: %s", strerror(-rc));
    if (bytes != want)
        return err_set(e, -EIO, "its data file has %llu bytes, not %llu", (unsigned long long)bytes,
                       (unsigned long long)want);
    return 0;
}

static int open_parts(struct store *s, struct layer_id id, struct layer_reader *r, struct err *e)
{
    int rc;

    rc = lay_open_sealed(&s->dir, id, r->info.has_crcs, &r->fds, e);
    if (rc < 0)
        return rc == -ENOENT ? err_set(e, -EIO, "its data file is gone") : rc;
    rc = check_size(s, r, e);
    if (rc == 0 && r->info.has_crcs && crc_places_make(&r->crcs, &r->map) < 0)
        rc = err_set(e, -ENOMEM, "out of memory");
    return rc;
}

int layer_reader_open(struct store *s, struct layer_id id, bool direct, struct layer_reader *ret,
                      struct err *e)
{
    struct layer_reader r = { .fds = LAYER_NO_FDS };
    char text[9];
    int rc;

    pthread_mutex_lock(&s->lock);
    const struct layer *l = store_layer_find(s, id);
    bool busy = l && l->is_top;
    pthread_mutex_unlock(&s->lock);
    rc = busy ? err_set(e, -EBUSY, "it is being written to")
              : store_settle(s, id, e); /* as in store_layer_get() */
    if (rc == 0)
        rc = replay_layer(&s->dir, &s->journal, id, &r.info, &r.map, e);
    if (rc < 0)
        return err_wrap(e, rc, "layer %s", lay_id_short(id, text));
    rc = open_parts(s, id, &r, e);
    if (rc < 0) {
        layer_reader_done(s, &r);
        return err_wrap(e, rc, "layer %s", lay_id_short(id, text));
    }
    r.direct = direct && reopen_direct(s, &r);
    *ret = r;
    return 0;
}

void layer_reader_done(struct store *s, struct layer_reader *r)
{
    lay_close_fds(s->ops, &r->fds);
    crc_places_done(&r->crcs);
    map_done(&r->map);
}

int layer_reader_read(struct store *s, struct layer_reader *r, void *buf, uint64_t block,
                      uint64_t count, struct err *e)
{
    int rc = layer_read_blocks(s, r->info.id, &r->fds, &r->crcs, buf, block, count, e);

    if (rc != -EINVAL || !r->direct)
        return rc;
    /* It was opened so, but does not like to be read so: as others do. */
    struct layer_fds plain;
    rc = lay_open_sealed(&s->dir, r->info.id, r->info.has_crcs, &plain, e);
    if (rc < 0)
        return rc;
    lay_close_fds(s->ops, &r->fds);
    r->fds = plain;
    r->direct = false;
    return layer_read_blocks(s, r->info.id, &r->fds, &r->crcs, buf, block, count, e);
}
