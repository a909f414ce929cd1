/* SPDX-License-Identifier: Apache-2.0 */
/* backend - where the devices of exports come from: the store, or a test's RAM disks. */
#ifndef GRIDBOX_EXPORT_BACKEND_H
#define GRIDBOX_EXPORT_BACKEND_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct blkdev;
struct export_grant;
struct store;

struct export_device {
    struct blkdev *blk; /* used on the shard alone */
    void *handle;       /* the backend's */
    bool discard;       /* at its end: nobody will ever read again what was written */
};

/* What a device tells who opened it, on the shard. */
struct export_told {
    /* The volume takes no more writes; at most once. */
    void (*failed)(void *arg, const char *why);
    /* Its writes wait for room, or (false) go on. */
    void (*parked)(void *arg, bool parked, const char *why);
    void *arg;
};

struct export_backend {
    void *ctx;
    /* Opens what the grant names.  On a thread that may block, one call at a time.
     * -EBUSY: it will be tried again soon, with what the grant says by then. */
    int (*open)(void *ctx, const struct export_grant *g, const struct export_told *told,
                struct export_device *ret, struct err *e);
    /* On the shard, when no request runs.  What was written is committed (but for d->discard), then
     * closed(arg) is called, on the shard, perhaps before this returns. */
    void (*close)(void *ctx, struct export_device *d, void (*closed)(void *arg), void *arg);
    /* On the shard: data that a volume may hold from now on.  Optional. */
    void (*set_quota)(void *ctx, const struct export_device *d, uint64_t quota_bytes);
    /* On the shard: bytes of a volume that were answered and are not durable yet.  Optional. */
    uint64_t (*dirty_bytes)(void *ctx, const struct export_device *d);
};

/* The devices of a store.  Fills *ret, whose ctx borrows the store. */
void export_backend_store(struct store *store, struct export_backend *ret);

#endif
