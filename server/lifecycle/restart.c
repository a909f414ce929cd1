/* SPDX-License-Identifier: Apache-2.0 */
/* restart - the verbs that drop what volumes hold: reset, rollback, remove.
 *
 * Order: one transaction (new empty tops, generation and epoch + 1, new attachments for those who
 * go on), then the exports cut and drain the old content, then the new attachments are granted.
 * The files of the old tops go last of all, and elsewhere. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/export/export.h"
#include "server/lifecycle/parts.h"

struct restart {
    struct lifecycle *l;
    const struct cat_snapshot *to; /* NULL: the images */
    struct lifecycle_set *set;
    const char **cut; /* heap; names of those that were attached */
    unsigned cut_count;
};

static void restart_done(struct restart *r)
{
    free(r->cut);
}

/* What the volume is to stand on. */
static int target_of(struct restart *r, const struct cat_volume *v, uint8_t *ret, struct err *e)
{
    struct cat_snapshot_volume held;

    if (!r->to) {
        memcpy(ret, v->image_layer, CAT_LAYER_BYTES);
        return 0;
    }
    int rc = cat_snapshot_volume(r->l->catalog, r->to, v->id, &held, e);
    if (rc < 0)
        return err_wrap(e, rc, "volume '%s'", v->name);
    memcpy(ret, held.layer, CAT_LAYER_BYTES);
    return 0;
}

static int restart_one(struct restart *r, struct cat_volume *v, struct err *e)
{
    const struct lifecycle_hooks *hooks = &r->l->hooks;
    uint8_t below[CAT_LAYER_BYTES], top[CAT_LAYER_BYTES];
    int rc = target_of(r, v, below, e);

    if (rc < 0)
        return rc;
    if (v->attachment.id)
        r->cut[r->cut_count++] = v->name;
    random_bytes(top, sizeof top);
    rc = cat_volume_restart(r->l->catalog, v, below, top, e);
    return rc == 0 && hooks->moved ? hooks->moved(hooks->ctx, v, e) : rc;
}

static int restart_all(struct restart *r, struct err *e)
{
    const struct lifecycle_set *set = r->set;
    char what[96];
    int rc = 0;

    for (unsigned i = 0; i < set->count && rc == 0; i++)
        rc = restart_one(r, &set->v[i], e);
    if (rc < 0)
        return rc;
    const char *object = set->v[set->count - 1].name;
    life_count(set->v, set->count, what);
    if (r->to)
        return life_event(r->l, e, "volume-rolled-back", object, "%s: back at snapshot %s", what,
                          r->to->name);
    return life_event(r->l, e, "volume-reset", object, "%s: back at the image", what);
}

/* The transaction is over: what fails here is told, and made good by the next attachment. */
static void serve_again(struct restart *r, const char *why)
{
    struct lifecycle *l = r->l;
    struct err e = { 0 };

    if (l->exports && r->cut_count)
        export_revoke_all(l->exports, r->cut, r->cut_count, why, true);
    for (unsigned i = 0; i < r->set->count; i++) {
        const struct cat_volume *v = &r->set->v[i];
        if (cat_volume_attached(v) && lifecycle_grant_volume(l, v, &e) < 0)
            log_error("lifecycle volume %s: its new attachment is not served: %s", v->name, e.msg);
    }
    life_work(l);
}

static int run_restart(struct restart *r, const char *why, struct err *e)
{
    struct lifecycle *l = r->l;

    if (r->set->count == 0)
        return 0;
    r->cut = calloc(r->set->count, sizeof *r->cut);
    if (!r->cut)
        return err_set(e, -ENOMEM, "out of memory");
    int rc = cat_begin(l->catalog, e);
    if (rc == 0)
        rc = cat_end(l->catalog, restart_all(r, e), e);
    if (rc == 0)
        serve_again(r, why);
    return rc;
}

int lifecycle_rollback(struct lifecycle *l, const struct cat_snapshot *s, struct lifecycle_set *set,
                       struct err *e)
{
    AUTO(restart_done) struct restart r = { .l = l, .to = s, .set = set };
    char why[160];

    snprintf(why, sizeof why,
             "the volume was rolled back to snapshot '%s': a new epoch began: attach it again",
             s->name);
    int rc = run_restart(&r, why, e);
    return rc < 0 ? err_wrap(e, rc, "rollback to '%s'", s->name) : 0;
}

int lifecycle_reset(struct lifecycle *l, struct lifecycle_set *set, struct err *e)
{
    AUTO(restart_done) struct restart r = { .l = l, .set = set };
    int rc = run_restart(&r, "the volume was reset: a new epoch began: attach it again", e);

    return rc < 0 ? err_wrap(e, rc, "reset") : 0;
}

/* ---- removing -----------------------------------------------------------------------------------
 */

/* The names of the first few, for a person. */
struct naming {
    char text[160];
    unsigned count;
};

static int add_name(void *ctx, const struct cat_snapshot *s)
{
    struct naming *n = ctx;
    size_t at = strlen(n->text);

    if (n->count++ == 3) {
        snprintf(n->text + at, sizeof n->text - at, ", …");
        return 1;
    }
    snprintf(n->text + at, sizeof n->text - at, "%s'%s'", at ? ", " : "", s->name);
    return 0;
}

int lifecycle_check_snapshots(struct lifecycle *l, const struct cat_volume *v, struct err *e)
{
    struct naming n = { 0 };

    if (v->snapshots == 0)
        return 0;
    cat_snapshot_list(l->catalog, v->id, add_name, &n, NULL);
    return err_set(e, -EBUSY,
                   "volume '%s' is in %" PRIu64 " snapshot%s (%s): remove %s first, or the "
                   "volume with --snapshots",
                   v->name, v->snapshots, v->snapshots == 1 ? "" : "s", n.text,
                   v->snapshots == 1 ? "it" : "them");
}

static int check_removable(struct lifecycle *l, const struct cat_volume *v, bool with_snapshots,
                           struct err *e)
{
    if (v->domain[0])
        return err_set(e, -EBUSY,
                       "volume '%s' is the disk of domain '%s': remove the domain, which removes "
                       "the volume as well",
                       v->name, v->domain);
    if (cat_volume_attached(v))
        return err_set(e, -EBUSY, "volume '%s' is attached to %s: detach it first", v->name,
                       lifecycle_holder(&v->attachment));
    return with_snapshots ? 0 : lifecycle_check_snapshots(l, v, e);
}

static int remove_rows(struct lifecycle *l, const struct cat_volume *v, struct err *e)
{
    int rc = cat_volume_detach(l->catalog, v, e); /* one that is over */

    if (rc == 0)
        rc = cat_snapshot_drop_volume(l->catalog, v->id, e);
    if (rc == 0)
        rc = cat_volume_remove(l->catalog, v, e);
    return rc < 0 ? rc
                  : life_event(l, e, "volume-removed", v->name, "volume %s was removed", v->name);
}

int lifecycle_remove(struct lifecycle *l, const struct cat_volume *v, bool with_snapshots,
                     struct err *e)
{
    const char *name = v->name;
    int rc = check_removable(l, v, with_snapshots, e);

    if (rc == 0)
        rc = cat_begin(l->catalog, e);
    if (rc == 0)
        rc = cat_end(l->catalog, remove_rows(l, v, e), e);
    if (rc < 0)
        return rc;
    if (l->exports)
        export_revoke_all(l->exports, &name, 1, "the volume was removed", true);
    life_work(l);
    return 0;
}

static int remove_snapshot(struct lifecycle *l, const struct cat_snapshot *s, struct err *e)
{
    int rc = cat_snapshot_remove(l->catalog, s->id, e);

    return rc < 0
               ? rc
               : life_event(l, e, "snapshot-removed", s->name, "snapshot %s was removed", s->name);
}

int lifecycle_snapshot_remove(struct lifecycle *l, const struct cat_snapshot *s, struct err *e)
{
    int rc = cat_begin(l->catalog, e);

    if (rc == 0)
        rc = cat_end(l->catalog, remove_snapshot(l, s, e), e);
    if (rc == 0)
        life_work(l);
    return rc;
}

static int check_image(const struct cat_image *i, struct err *e)
{
    if (i->volumes)
        return err_set(
            e, -EBUSY, "image '%s@%u' is in use by %" PRIu64 " volume%s: remove %s first", i->name,
            i->version, i->volumes, i->volumes == 1 ? "" : "s", i->volumes == 1 ? "it" : "them");
    if (i->attached)
        return err_set(e, -EBUSY, "image '%s@%u' is attached: detach it first", i->name,
                       i->version);
    return 0;
}

static int remove_image(struct lifecycle *l, const struct cat_image *i, struct err *e)
{
    char object[80];
    int rc = cat_image_remove(l->catalog, i, e);

    snprintf(object, sizeof object, "%s@%u", i->name, i->version);
    return rc < 0 ? rc : life_event(l, e, "image-removed", object, "image %s was removed", object);
}

int lifecycle_image_remove(struct lifecycle *l, const struct cat_image *i, struct err *e)
{
    int rc = check_image(i, e);

    if (rc == 0)
        rc = cat_begin(l->catalog, e);
    if (rc == 0)
        rc = cat_end(l->catalog, remove_image(l, i, e), e);
    if (rc == 0)
        life_work(l);
    return rc;
}
