/* SPDX-License-Identifier: Apache-2.0 */
/* seal - the verbs that seal tops: snapshot, clone, promote, resize.
 *
 * The order of all of them is in seal_and(): the store holds the writes and makes everything
 * durable, one transaction makes the new tops the volumes', the exports are told, the store lets
 * go.  If the transaction is refused the volumes go on with their old tops. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/export/export.h"
#include "server/lifecycle/parts.h"

#define BUSY_TRIES    100
#define BUSY_PAUSE_NS (10 * NS_PER_MS)

/* What one verb does in the transaction, when v->below of each volume is sealed and is what the
 * volume shows. */
struct change {
    int (*fn)(struct lifecycle *l, struct change *ch, struct err *e);
    struct cat_volume *v;
    unsigned count;

    const char *name;             /* snapshot, or image */
    struct cat_snapshot snapshot; /* filled */
    const char *const *names;     /* clones */
    unsigned name_count;
    struct cat_image *image;
    uint64_t size_bytes;
};

static int too_deep(const struct cat_volume *v, struct err *e)
{
    return err_set(e, -EMLINK,
                   "volume '%s' stands on %u layers, which is the most: remove snapshots of it",
                   v->name, CAT_CHAIN_MAX);
}

/* In the transaction.  A top that was never written to stays, and the volume shows what it stands
 * on. */
static int seal_one(struct lifecycle *l, struct cat_volume *v, const struct seal_volume *s,
                    struct respec_list *list, struct err *e)
{
    unsigned depth;

    if (s->empty)
        return 0;
    int rc = cat_layer_depth(l->catalog, v->top, &depth, e);
    if (rc == 0 && depth > CAT_CHAIN_MAX)
        return too_deep(v, e);
    if (rc == 0)
        rc = cat_volume_seal(l->catalog, v, s->new_top.b, e);
    if (rc == 0 && v->attachment.id)
        rc = respec_add(l, list, v->name, v->top, v->below, e);
    return rc;
}

static int transact(struct lifecycle *l, struct change *ch, const struct seal_volume *s,
                    struct respec_list *list, struct err *e)
{
    int rc = cat_begin(l->catalog, e);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < ch->count && rc == 0; i++)
        rc = seal_one(l, &ch->v[i], &s[i], list, e);
    if (rc == 0)
        rc = ch->fn(l, ch, e);
    return cat_end(l->catalog, rc, e);
}

/* The store knows layers, the operator volumes. */
static int say_who_is_too_deep(struct lifecycle *l, const struct change *ch, int rc, struct err *e)
{
    unsigned depth;

    for (unsigned i = 0; i < ch->count; i++)
        if (cat_layer_depth(l->catalog, ch->v[i].top, &depth, NULL) == 0 && depth > CAT_CHAIN_MAX)
            return too_deep(&ch->v[i], e);
    return rc;
}

/* A volume that is just being opened or closed is soon through with it. */
static int hold(struct lifecycle *l, struct seal_volume *s, unsigned count, struct store_seal **ret,
                struct err *e)
{
    const struct timespec pause = { .tv_nsec = BUSY_PAUSE_NS };
    unsigned ms = l->hold_ms ? l->hold_ms : LIFECYCLE_HOLD_MS + count * LIFECYCLE_HOLD_EACH_MS;
    int rc = store_seal_begin(l->store, s, count, ms, ret, e);

    for (unsigned i = 0; rc == -EBUSY && i < BUSY_TRIES; i++) {
        nanosleep(&pause, NULL);
        rc = store_seal_begin(l->store, s, count, ms, ret, e);
    }
    return rc;
}

static int seal_and(struct lifecycle *l, struct change *ch, struct err *e)
{
    AUTO(auto_free) struct seal_volume *s = calloc(ch->count, sizeof *s);
    AUTO(respec_done) struct respec_list list = { 0 };
    struct store_seal *seal;
    int rc;

    if (!s)
        return err_set(e, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < ch->count; i++) {
        memcpy(s[i].top.b, ch->v[i].top, sizeof s[i].top.b);
        random_bytes(s[i].new_top.b, sizeof s[i].new_top.b);
    }
    rc = hold(l, s, ch->count, &seal, e);
    if (rc == -E2BIG)
        return say_who_is_too_deep(l, ch, rc, e);
    if (rc < 0)
        return rc;
    rc = transact(l, ch, s, &list, e);
    if (rc == 0)
        respec_send(l, &list);
    store_seal_end(seal, rc == 0);
    return rc;
}

/* ---- snapshot -----------------------------------------------------------------------------------
 */

static int hold_all(struct lifecycle *l, struct change *ch, struct err *e)
{
    char what[96];
    int rc = cat_snapshot_add(l->catalog, ch->name, &ch->snapshot, e);

    for (unsigned i = 0; i < ch->count && rc == 0; i++) {
        struct cat_snapshot_volume held = { .volume_id = ch->v[i].id,
                                            .size_bytes = ch->v[i].size_bytes };
        memcpy(held.layer, ch->v[i].below, sizeof held.layer);
        rc = cat_snapshot_hold(l->catalog, ch->snapshot.id, &held, e);
        ch->v[i].snapshots++;
    }
    ch->snapshot.volumes = ch->count;
    return rc < 0 ? rc
                  : life_event(l, e, "snapshot-taken", ch->name, "snapshot %s of %s was taken",
                               ch->name, life_count(ch->v, ch->count, what));
}

int lifecycle_snapshot(struct lifecycle *l, const char *name, struct lifecycle_set *set,
                       struct cat_snapshot *ret, struct err *e)
{
    struct change ch = { .fn = hold_all, .v = set->v, .count = set->count, .name = name };
    struct cat_snapshot there;

    if (set->count == 0)
        return err_set(e, -EINVAL, "there are no volumes: a snapshot holds at least one");
    /* Nobody's writes are held for a name that is taken. */
    if (cat_snapshot_get(l->catalog, name, &there, NULL) == 0)
        return err_set(e, -EEXIST, "there is a snapshot '%s' already", name);
    int rc = seal_and(l, &ch, e);
    if (rc == 0)
        *ret = ch.snapshot;
    return rc < 0 ? err_wrap(e, rc, "snapshot '%s'", name) : 0;
}

/* ---- clone --------------------------------------------------------------------------------------
 */

/* Volumes like `like`, on `below`. */
static int add_volumes(struct lifecycle *l, const struct cat_volume *like, const uint8_t *below,
                       uint64_t size_bytes, const char *const *names, unsigned count, struct err *e)
{
    struct cat_volume v = { .image_id = like->image_id,
                            .size_bytes = size_bytes,
                            .quota_bytes = like->quota_bytes };
    int64_t id;
    int rc = 0;

    memcpy(v.below, below, sizeof v.below);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        snprintf(v.name, sizeof v.name, "%s", names[i]);
        random_bytes(v.top, sizeof v.top);
        rc = cat_volume_add_on(l->catalog, &v, &id, e);
    }
    return rc;
}

static int tell_made(struct lifecycle *l, const char *const *names, unsigned count, const char *how,
                     struct err *e)
{
    const char *last = names[count - 1];

    if (count == 1)
        return life_event(l, e, "volume-created", last, "volume %s was created %s", last, how);
    return life_event(l, e, "volume-created", last, "%u volumes, the last one %s, were created %s",
                      count, last, how);
}

static int add_clones(struct lifecycle *l, struct change *ch, struct err *e)
{
    char how[96];
    int rc = add_volumes(l, ch->v, ch->v->below, ch->v->size_bytes, ch->names, ch->name_count, e);

    snprintf(how, sizeof how, "as a clone of %s", ch->v->name);
    return rc < 0 ? rc : tell_made(l, ch->names, ch->name_count, how, e);
}

int lifecycle_clone(struct lifecycle *l, struct cat_volume *v, const char *const *names,
                    unsigned count, struct err *e)
{
    struct change ch = {
        .fn = add_clones, .v = v, .count = 1, .names = names, .name_count = count
    };
    int rc = seal_and(l, &ch, e);

    return rc < 0 ? err_wrap(e, rc, "clone '%s'", v->name) : 0;
}

static int clone_held(struct lifecycle *l, const struct cat_volume *v, const struct cat_snapshot *s,
                      const char *const *names, unsigned count, struct err *e)
{
    struct cat_snapshot_volume held;
    char how[192];
    int rc = cat_snapshot_volume(l->catalog, s, v->id, &held, e);

    if (rc == 0)
        rc = add_volumes(l, v, held.layer, held.size_bytes, names, count, e);
    snprintf(how, sizeof how, "as a clone of %s@%s", v->name, s->name);
    return rc < 0 ? rc : tell_made(l, names, count, how, e);
}

int lifecycle_clone_snapshot(struct lifecycle *l, const struct cat_volume *v,
                             const struct cat_snapshot *s, const char *const *names, unsigned count,
                             struct err *e)
{
    int rc = cat_begin(l->catalog, e);

    if (rc == 0)
        rc = cat_end(l->catalog, clone_held(l, v, s, names, count, e), e);
    return rc < 0 ? err_wrap(e, rc, "clone '%s@%s'", v->name, s->name) : 0;
}

static int create(struct lifecycle *l, const struct cat_image *image, const char *const *names,
                  unsigned count, struct err *e)
{
    struct cat_volume like = { .image_id = image->id };
    char how[96];
    int rc = add_volumes(l, &like, image->layer, image->size_bytes, names, count, e);

    snprintf(how, sizeof how, "on image %s@%u", image->name, image->version);
    return rc < 0 ? rc : tell_made(l, names, count, how, e);
}

int lifecycle_create(struct lifecycle *l, const struct cat_image *image, const char *const *names,
                     unsigned count, struct err *e)
{
    int rc = cat_begin(l->catalog, e);

    return rc < 0 ? rc : cat_end(l->catalog, create(l, image, names, count, e), e);
}

/* ---- promote ------------------------------------------------------------------------------------
 */

/* Data of all layers that the image is made of; what covers what is found when it is hashed. */
static int data_of(struct lifecycle *l, const uint8_t *layer, uint64_t *ret, struct err *e)
{
    struct layer_chain chain;
    int rc = life_chain(l, layer, &chain, e);

    *ret = 0;
    for (unsigned i = 0; i < chain.count && rc == 0; i++) {
        uint64_t bytes = 0;
        rc = layer_usage(l->store, chain.id[i], &bytes, e);
        *ret += bytes;
    }
    return rc;
}

static int add_image(struct lifecycle *l, struct change *ch, struct err *e)
{
    struct cat_image *i = ch->image;
    char object[80];

    i->state = CAT_IMAGE_UNVERIFIED;
    i->sha256[0] = '\0';
    i->size_bytes = ch->v->size_bytes;
    i->created_at = clock_wall_s();
    memcpy(i->layer, ch->v->below, sizeof i->layer);
    snprintf(i->format, sizeof i->format, "volume");
    int rc = cat_image_add_on(l->catalog, i, e);
    if (rc < 0)
        return rc;
    snprintf(object, sizeof object, "%s@%u", i->name, i->version);
    return life_event(l, e, "image-promoted", object, "image %s was made of volume %s", object,
                      ch->v->name);
}

int lifecycle_promote(struct lifecycle *l, struct cat_volume *v, struct cat_image *i, struct err *e)
{
    struct change ch = { .fn = add_image, .v = v, .count = 1, .image = i };
    struct err why = { 0 };

    i->data_bytes = 0;
    int rc = seal_and(l, &ch, e);
    if (rc < 0)
        return err_wrap(e, rc, "promote '%s'", v->name);
    /* A first figure, for people; not worth holding the volume for. */
    if (data_of(l, i->layer, &i->data_bytes, &why) < 0 ||
        cat_image_set_state(l->catalog, i, &why) < 0)
        log_warn("lifecycle image %s@%u: its size on disk is not known: %s", i->name, i->version,
                 why.msg);
    return 0;
}

/* ---- resize, quota ------------------------------------------------------------------------------
 */

static int set_size(struct lifecycle *l, struct change *ch, struct err *e)
{
    struct cat_volume *v = ch->v;
    uint64_t before = v->size_bytes;
    int rc = cat_volume_set_size(l->catalog, v, ch->size_bytes, e);

    return rc < 0 ? rc
                  : life_event(l, e, "volume-resized", v->name,
                               "volume %s grew from %" PRIu64 " to %" PRIu64 " bytes", v->name,
                               before, v->size_bytes);
}

static int check_size(const struct cat_volume *v, uint64_t size_bytes, struct err *e)
{
    if (size_bytes % 512 || size_bytes > LIFECYCLE_SIZE_MOST)
        return err_set(e, -EINVAL, "size: must be a multiple of 512 bytes and at most %llu",
                       LIFECYCLE_SIZE_MOST);
    if (size_bytes < v->size_bytes)
        return err_set(e, -EINVAL,
                       "volume '%s' has %" PRIu64
                       " bytes: it can only grow, since what lies behind its new end would be lost",
                       v->name, v->size_bytes);
    if (cat_volume_attached(v))
        return err_set(e, -EBUSY,
                       "volume '%s' is attached to %s, which would not see it grow: detach it, or "
                       "stop its domain, first",
                       v->name, lifecycle_holder(&v->attachment));
    return 0;
}

int lifecycle_resize(struct lifecycle *l, struct cat_volume *v, uint64_t size_bytes, struct err *e)
{
    struct change ch = { .fn = set_size, .v = v, .count = 1, .size_bytes = size_bytes };
    int rc = check_size(v, size_bytes, e);

    if (rc < 0 || size_bytes == v->size_bytes)
        return rc;
    rc = seal_and(l, &ch, e);
    return rc < 0 ? err_wrap(e, rc, "resize '%s'", v->name) : 0;
}

static int set_quota(struct lifecycle *l, struct cat_volume *v, uint64_t quota_bytes, struct err *e)
{
    int rc = cat_volume_set_quota(l->catalog, v, quota_bytes, e);

    if (rc < 0)
        return rc;
    if (quota_bytes == 0)
        return life_event(l, e, "volume-quota", v->name, "volume %s has no quota", v->name);
    return life_event(l, e, "volume-quota", v->name,
                      "volume %s may hold %" PRIu64 " bytes of its own", v->name, quota_bytes);
}

int lifecycle_quota(struct lifecycle *l, struct cat_volume *v, uint64_t quota_bytes, struct err *e)
{
    uint64_t least = l->quota_least ? l->quota_least : LIFECYCLE_QUOTA_LEAST;

    if (quota_bytes && quota_bytes < least)
        return err_set(e, -EINVAL, "quota: must be at least %" PRIu64 " bytes", least);
    if (quota_bytes > INT64_MAX)
        return err_set(e, -EINVAL, "quota: is too large");
    int rc = cat_begin(l->catalog, e);
    if (rc == 0)
        rc = cat_end(l->catalog, set_quota(l, v, quota_bytes, e), e);
    if (rc == 0 && l->exports)
        export_set_quota(l->exports, v->name, quota_bytes);
    return rc;
}
