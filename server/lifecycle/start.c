/* SPDX-License-Identifier: Apache-2.0 */
/* start - what the end of the server before this one means for volumes and attachments. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/base/log.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/export/export.h"
#include "server/lifecycle/parts.h"

struct recovery {
    struct lifecycle *l;
    struct err *e;
    unsigned count;
};

static int tell_new_life(struct recovery *r, const char *name)
{
    r->count++;
    return life_event(r->l, r->e, "volume-epoch", name,
                      "volume %s: its content is that of its last flush, as after a power cut",
                      name);
}

/* A top layer that was being written.  One that the catalog does not know is the sweep's; one that
 * is sealed by the catalog's word is told of through the volume on it. */
static int on_open_layer(void *ctx, struct layer_id id)
{
    struct recovery *r = ctx;
    struct cat_volume v;
    int rc = cat_volume_by_top(r->l->catalog, id.b, &v, r->e);

    if (rc == -ENOENT)
        rc = cat_volume_by_below(r->l->catalog, id.b, &v, r->e);
    if (rc == -ENOENT)
        return 0;
    if (rc == 0)
        rc = cat_volume_raise_epoch(r->l->catalog, v.top, r->e);
    return rc < 0 ? rc : tell_new_life(r, v.name);
}

static int on_failed_volume(void *ctx, const struct cat_volume *v)
{
    struct recovery *r = ctx;

    if (!v->failed)
        return 0;
    int rc = cat_volume_set_failed(r->l->catalog, v->name, false, r->e);
    return rc < 0 ? rc : tell_new_life(r, v->name);
}

static int raise_epochs(struct recovery *r)
{
    struct lifecycle *l = r->l;
    int rc = cat_begin(l->catalog, r->e);

    if (rc < 0)
        return rc;
    rc = store_recover(l->store, on_open_layer, r, r->e);
    if (rc == 0)
        rc = cat_layer_unexpect(l->catalog, NULL, r->e);
    if (rc == 0)
        rc = cat_volume_list(l->catalog, on_failed_volume, r, r->e);
    return cat_end(l->catalog, rc, r->e);
}

static bool is_known(void *ctx, struct layer_id id)
{
    return cat_layer_known(ctx, id.b);
}

int lifecycle_recover(struct lifecycle *l, unsigned *ret_volumes, struct err *e)
{
    struct recovery r = { .l = l, .e = e };
    int rc = raise_epochs(&r);

    if (rc == 0)
        rc = store_recovered(l->store, e);
    if (rc == 0)
        rc = store_sweep(l->store, is_known, l->catalog, e);
    if (rc < 0)
        return rc;
    if (r.count)
        log_warn("lifecycle: volumes that were being written when the server ended: %u: each is as "
                 "it was at its last flush, its epoch has grown",
                 r.count);
    if (ret_volumes)
        *ret_volumes = r.count;
    return 0;
}

/* ---- exports ------------------------------------------------------------------------------------
 */

/* Its token is known to have been good once: who comes with it is told why it is so no longer. */
static int bury_grant(struct lifecycle *l, const struct cat_volume *v, struct err *e)
{
    char why[200];
    int rc = lifecycle_grant_volume(l, v, e);

    if (rc < 0)
        return rc;
    snprintf(why, sizeof why,
             "this attachment of volume '%s' is over: epoch %" PRIu64 " generation %" PRIu64
             " ended, the volume is now at %" PRIu64 " and %" PRIu64 ": attach it again",
             v->name, v->attachment.epoch, v->attachment.generation, v->epoch, v->generation);
    export_revoke(l->exports, v->name, why);
    return 0;
}

static int regrant_volume(void *ctx, const struct cat_volume *v)
{
    struct recovery *r = ctx;

    if (!v->attachment.id)
        return 0;
    return cat_volume_attached(v) ? lifecycle_grant_volume(r->l, v, r->e)
                                  : bury_grant(r->l, v, r->e);
}

static int regrant_image(void *ctx, const struct cat_attachment *a)
{
    struct recovery *r = ctx;
    struct cat_image i;
    int rc = cat_image_get_id(r->l->catalog, a->image_id, &i, r->e);

    return rc < 0 ? rc : lifecycle_grant_image(r->l, &i, a, r->e);
}

int lifecycle_regrant(struct lifecycle *l, struct err *e)
{
    struct recovery r = { .l = l, .e = e };

    if (!l->exports)
        return 0;
    int rc = cat_volume_list(l->catalog, regrant_volume, &r, e);
    return rc < 0 ? rc : cat_image_attachments(l->catalog, regrant_image, &r, e);
}
