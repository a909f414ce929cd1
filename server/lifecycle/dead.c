/* SPDX-License-Identifier: Apache-2.0 */
/* dead - the files of layers that nothing needs any more are deleted, a slice at a time. */
#include <string.h>

#include "server/base/log.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/lifecycle/parts.h"

int lifecycle_dead_pick(struct lifecycle *l, struct lifecycle_dead *ret, struct err *e)
{
    uint8_t ids[LIFECYCLE_SLICE][16], last[16];
    unsigned count;

    if (ret->count)
        memcpy(last, ret->id[ret->count - 1].b, sizeof last);
    int rc = cat_layer_dead(l->catalog, ret->count ? last : NULL, ids, LIFECYCLE_SLICE, &count, e);
    if (rc < 0)
        return rc;
    *ret = (struct lifecycle_dead){ .count = count };
    for (unsigned i = 0; i < count; i++)
        memcpy(ret->id[i].b, ids[i], sizeof ret->id[i].b);
    return 0;
}

void lifecycle_dead_delete(struct store *s, struct lifecycle_dead *d)
{
    struct err e = { 0 };

    if (layers_remove(s, d->id, d->count, d->removed, &e) < 0)
        log_error(
            "lifecycle: files that nothing needs could not be removed, and will be tried again: %s",
            e.msg);
}

static int forget_all(struct lifecycle *l, const struct lifecycle_dead *d, struct err *e)
{
    int rc = 0;

    for (unsigned i = 0; i < d->count && rc == 0; i++)
        if (d->removed[i])
            rc = cat_layer_forget(l->catalog, d->id[i].b, e);
    return rc;
}

int lifecycle_dead_forget(struct lifecycle *l, const struct lifecycle_dead *d, struct err *e)
{
    int rc = cat_begin(l->catalog, e);

    return rc < 0 ? rc : cat_end(l->catalog, forget_all(l, d, e), e);
}

void lifecycle_sweep(struct lifecycle *l)
{
    struct lifecycle_dead d = { 0 };
    struct err e = { 0 };
    int rc;

    while ((rc = lifecycle_dead_pick(l, &d, &e)) == 0 && d.count) {
        lifecycle_dead_delete(l->store, &d);
        rc = lifecycle_dead_forget(l, &d, &e);
        if (rc < 0)
            break;
    }
    if (rc < 0)
        log_error("lifecycle: files that nothing needs: %s", e.msg);
}
