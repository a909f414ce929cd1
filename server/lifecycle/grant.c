/* SPDX-License-Identifier: Apache-2.0 */
/* grant - what an export needs to know of an attachment. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "server/export/export.h"
#include "server/lifecycle/parts.h"

static_assert(EXPORT_TOKEN_BYTES == CAT_TOKEN_BYTES, "one kind of token");

const char *lifecycle_holder(const struct cat_attachment *a)
{
    return a->host_id ? a->host : "the command line";
}

int lifecycle_volume_grant(struct lifecycle *l, const struct cat_volume *v,
                           struct export_grant *ret, struct err *e)
{
    const struct cat_attachment *a = &v->attachment;
    struct export_grant *g = ret;

    *g = (struct export_grant){ .generation = a->generation, .epoch = a->epoch, .writable = true };
    snprintf(g->name, sizeof g->name, "%s", v->name);
    snprintf(g->holder, sizeof g->holder, "%s", lifecycle_holder(a));
    memcpy(g->token, a->token, sizeof g->token);
    snprintf(g->volume.name, sizeof g->volume.name, "%s", v->name);
    memcpy(g->volume.top.b, v->top, sizeof g->volume.top.b);
    g->volume.size_bytes = v->size_bytes;
    g->volume.generation = v->generation;
    g->volume.epoch = v->epoch;
    g->volume.quota_bytes = v->quota_bytes;
    int rc = life_chain(l, v->below, &g->layers, e);
    return rc < 0 ? err_wrap(e, rc, "volume '%s'", v->name) : 0;
}

int lifecycle_image_grant(struct lifecycle *l, const struct cat_image *i,
                          const struct cat_attachment *a, struct export_grant *ret, struct err *e)
{
    struct export_grant *g = ret;

    *g = (struct export_grant){ .size_bytes = i->size_bytes };
    snprintf(g->name, sizeof g->name, "%s@%u", i->name, i->version);
    snprintf(g->holder, sizeof g->holder, "%s", lifecycle_holder(a));
    memcpy(g->token, a->token, sizeof g->token);
    int rc = life_chain(l, i->layer, &g->layers, e);
    return rc < 0 ? err_wrap(e, rc, "image '%s@%u'", i->name, i->version) : 0;
}

int lifecycle_grant_volume(struct lifecycle *l, const struct cat_volume *v, struct err *e)
{
    struct export_grant g;
    int rc = lifecycle_volume_grant(l, v, &g, e);

    return rc < 0 || !l->exports ? rc : export_grant(l->exports, &g, e);
}

int lifecycle_grant_image(struct lifecycle *l, const struct cat_image *i,
                          const struct cat_attachment *a, struct err *e)
{
    struct export_grant g;
    int rc = lifecycle_image_grant(l, i, a, &g, e);

    return rc < 0 || !l->exports ? rc : export_grant(l->exports, &g, e);
}
