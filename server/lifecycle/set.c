/* SPDX-License-Identifier: Apache-2.0 */
/* set - the volumes that one call is about. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/lifecycle/parts.h"

struct filling {
    struct lifecycle *l;
    struct lifecycle_set set;
    unsigned room;
    struct err *e;
};

void lifecycle_set_done(struct lifecycle_set *set)
{
    free(set->v);
    *set = (struct lifecycle_set){ 0 };
}

static void filling_done(struct filling *f)
{
    lifecycle_set_done(&f->set);
}

static int add(void *ctx, const struct cat_volume *v)
{
    struct filling *f = ctx;

    if (f->set.count == LIFECYCLE_VOLUMES_MOST)
        return err_set(f->e, -EINVAL, "there are more than %d volumes: name at most so many",
                       LIFECYCLE_VOLUMES_MOST);
    if (f->set.count == f->room) {
        unsigned room = f->room ? 2 * f->room : 64;
        struct cat_volume *grown = reallocarray(f->set.v, room, sizeof *grown);
        if (!grown)
            return err_set(f->e, -ENOMEM, "out of memory");
        f->set.v = grown;
        f->room = room;
    }
    f->set.v[f->set.count++] = *v;
    return 0;
}

static int add_name(struct filling *f, const char *name)
{
    struct cat_volume v;
    int rc = cat_volume_get(f->l->catalog, name, &v, f->e);

    return rc < 0 ? rc : add(f, &v);
}

static int by_id(const void *a, const void *b)
{
    const struct cat_volume *const *x = a, *const *y = b;

    return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static int refuse_doubles(const struct lifecycle_set *set, struct err *e)
{
    AUTO(auto_free) const struct cat_volume **sorted = calloc(set->count, sizeof *sorted);

    if (!sorted)
        return err_set(e, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < set->count; i++)
        sorted[i] = &set->v[i];
    qsort(sorted, set->count, sizeof *sorted, by_id);
    for (unsigned i = 1; i < set->count; i++)
        if (sorted[i]->id == sorted[i - 1]->id)
            return err_set(e, -EINVAL, "volumes: '%s' is named twice", sorted[i]->name);
    return 0;
}

int lifecycle_set_named(struct lifecycle *l, const char *const *names, unsigned count,
                        struct lifecycle_set *ret, struct err *e)
{
    AUTO(filling_done) struct filling f = { .l = l, .e = e };
    int rc = 0;

    if (count == 0 || count > LIFECYCLE_VOLUMES_MOST)
        return err_set(e, -EINVAL, "volumes: must be a list of 1 to %d names",
                       LIFECYCLE_VOLUMES_MOST);
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = add_name(&f, names[i]);
    if (rc == 0)
        rc = refuse_doubles(&f.set, e);
    if (rc < 0)
        return rc;
    *ret = f.set;
    f.set = (struct lifecycle_set){ 0 };
    return 0;
}

int lifecycle_set_all(struct lifecycle *l, struct lifecycle_set *ret, struct err *e)
{
    AUTO(filling_done) struct filling f = { .l = l, .e = e };
    int rc = cat_volume_list(l->catalog, add, &f, e);

    if (rc < 0)
        return rc;
    *ret = f.set;
    f.set = (struct lifecycle_set){ 0 };
    return 0;
}

static int add_held(void *ctx, const struct cat_snapshot_volume *v)
{
    return add_name(ctx, v->volume);
}

int lifecycle_set_of_snapshot(struct lifecycle *l, const struct cat_snapshot *s,
                              struct lifecycle_set *ret, struct err *e)
{
    AUTO(filling_done) struct filling f = { .l = l, .e = e };
    int rc = cat_snapshot_volumes(l->catalog, s->id, add_held, &f, e);

    if (rc < 0)
        return rc;
    *ret = f.set;
    f.set = (struct lifecycle_set){ 0 };
    return 0;
}
