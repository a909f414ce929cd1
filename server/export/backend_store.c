/* SPDX-License-Identifier: Apache-2.0 */
/* backend_store - exports over the store: volumes and sealed layers of images. */
#include "server/export/backend.h"

#include <errno.h>
#include <stdlib.h>

#include "server/export/export.h"
#include "server/store/store.h"

struct opened {
    struct volume *volume; /* NULL: an image */
    struct blkdev *image;
    struct export_told told;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void on_failed(void *ctx, const char *name, const char *why)
{
    struct opened *o = ctx;

    (void)name;
    o->told.failed(o->told.arg, why);
}

static void on_parked(void *ctx, const char *name, bool parked, const char *why)
{
    struct opened *o = ctx;

    (void)name;
    o->told.parked(o->told.arg, parked, why);
}

static int open_device(void *ctx, const struct export_grant *g, const struct export_told *told,
                       struct export_device *ret, struct err *e)
{
    struct opened *o = calloc(1, sizeof *o);
    int rc;

    if (!o)
        return err_set(e, -ENOMEM, "no memory");
    o->told = *told;
    struct volume_spec spec = g->volume;
    struct volume_events events = { .failed = on_failed, .parked = on_parked, .ctx = o };

    spec.below = &g->layers;
    if (g->writable)
        rc = volume_open(ctx, &spec, &events, &o->volume, e);
    else
        rc = image_open(ctx, &g->layers, g->size_bytes, &o->image, e);
    if (rc < 0) {
        free(o);
        return rc;
    }
    *ret = (struct export_device){ .blk = g->writable ? volume_device(o->volume) : o->image,
                                   .handle = o };
    return 0;
}

static void on_drained(void *ctx)
{
    struct opened *o = ctx;
    void (*closed)(void *) = o->closed;
    void *arg = o->closed_arg;

    free(o);
    closed(arg);
}

static void close_device(void *ctx, struct export_device *d, void (*closed)(void *arg), void *arg)
{
    struct opened *o = d->handle;

    (void)ctx;
    o->closed = closed;
    o->closed_arg = arg;
    if (o->volume && d->discard) {
        volume_discard(o->volume, on_drained, o);
    } else if (o->volume) {
        volume_close(o->volume, on_drained, o);
    } else {
        image_close(o->image);
        on_drained(o);
    }
}

static void set_quota(void *ctx, const struct export_device *d, uint64_t quota_bytes)
{
    const struct opened *o = d->handle;

    (void)ctx;
    if (o->volume)
        volume_set_quota(o->volume, quota_bytes);
}

static uint64_t dirty_bytes(void *ctx, const struct export_device *d)
{
    const struct opened *o = d->handle;

    (void)ctx;
    return o->volume ? volume_dirty_bytes(o->volume) : 0;
}

void export_backend_store(struct store *store, struct export_backend *ret)
{
    *ret = (struct export_backend){
        .ctx = store,
        .open = open_device,
        .close = close_device,
        .set_quota = set_quota,
        .dirty_bytes = dirty_bytes,
    };
}
