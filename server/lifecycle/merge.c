/* SPDX-License-Identifier: Apache-2.0 */
/* merge - two sealed layers become one where nothing needs them apart.
 *
 * No sealed layer ever changes: a third one is written and made durable, one transaction puts it in
 * the place of both, every export and open device is told, then the two are dead. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/export/export.h"
#include "server/lifecycle/parts.h"

int lifecycle_merge_next(struct lifecycle *l, const struct lifecycle_merge *after,
                         struct lifecycle_merge *ret, struct err *e)
{
    struct lifecycle_merge m = { 0 };
    int rc =
        cat_layer_mergeable(l->catalog, after ? after->lower.b : NULL, m.lower.b, m.upper.b, e);

    if (rc != 1)
        return rc;
    random_bytes(m.merged.b, sizeof m.merged.b);
    rc = cat_layer_expect(l->catalog, m.merged.b, e);
    if (rc < 0)
        return rc;
    *ret = m;
    return 1;
}

int lifecycle_merge_write(struct store *s, struct lifecycle_merge *m, bool (*cancelled)(void *ctx),
                          void *ctx, struct err *e)
{
    return store_merge(s, m->lower, m->upper, m->merged, cancelled, ctx, e);
}

void lifecycle_merge_drop(struct lifecycle *l, const struct lifecycle_merge *m)
{
    struct err e = { 0 };

    if (cat_layer_unexpect(l->catalog, m->merged.b, &e) < 0)
        log_error("lifecycle: a merged layer of no use stays until the next start: %s", e.msg);
    life_work(l);
}

struct telling {
    struct lifecycle *l;
    struct respec_list list;
    const uint8_t *merged;
    struct err *e;
};

static void telling_done(struct telling *t)
{
    respec_done(&t->list);
}

static int tell_volume(void *ctx, const struct cat_volume *v)
{
    struct telling *t = ctx;

    return v->attachment.id ? respec_add(t->l, &t->list, v->name, v->top, v->below, t->e) : 0;
}

static int tell_image(void *ctx, const struct cat_attachment *a)
{
    struct telling *t = ctx;
    struct cat_image i;
    char name[80];
    int rc = cat_image_get_id(t->l->catalog, a->image_id, &i, t->e);

    snprintf(name, sizeof name, "%s@%u", i.name, i.version);
    return rc < 0 ? rc : respec_add(t->l, &t->list, name, NULL, i.layer, t->e);
}

static int put_merged(struct telling *t, const struct lifecycle_merge *m)
{
    struct catalog *c = t->l->catalog;
    int rc = cat_begin(c, t->e);

    if (rc < 0)
        return rc;
    rc = cat_layer_merge(c, m->lower.b, m->upper.b, m->merged.b, t->e);
    if (rc == 0)
        rc = cat_volume_list_on(c, m->merged.b, tell_volume, t, t->e);
    if (rc == 0)
        rc = cat_image_attachments(c, tell_image, t, t->e);
    return cat_end(c, rc, t->e);
}

int lifecycle_merge_finish(struct lifecycle *l, const struct lifecycle_merge *m, struct err *e)
{
    AUTO(telling_done) struct telling t = { .l = l, .e = e };
    struct err why = { 0 };
    int rc = put_merged(&t, m);

    if (rc < 0) {
        lifecycle_merge_drop(l, m);
        return err_wrap(e, rc, "merge");
    }
    respec_send(l, &t.list);
    if (store_restack(l->store, m->lower, m->upper, m->merged, &why) < 0)
        log_error("lifecycle: the merged layers go on being read until they are closed: %s",
                  why.msg); /* their files stay while they are open */
    life_work(l);
    return 0;
}

int lifecycle_merge_all(struct lifecycle *l, struct err *e)
{
    struct lifecycle_merge m;
    int rc;

    while ((rc = lifecycle_merge_next(l, NULL, &m, e)) == 1) {
        rc = lifecycle_merge_write(l->store, &m, NULL, NULL, e);
        if (rc == 0)
            rc = lifecycle_merge_finish(l, &m, e);
        else
            lifecycle_merge_drop(l, &m);
        if (rc < 0)
            break;
    }
    return rc;
}
