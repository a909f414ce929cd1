/* SPDX-License-Identifier: Apache-2.0 */
/* volumes - rows of volumes.  Knows the tables volume and retired, and reads those that say who
 * uses a volume. */
#include "server/catalog/volumes.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"
#include "server/catalog/layers.h"

#define SELECT_VOLUME                                                                              \
    "SELECT v.id, v.name, v.image_id, i.name, i.version, v.top, t.below, v.size_bytes,"            \
    " v.generation, v.epoch, v.state = 'failed', v.created_at,"                                    \
    " a.id, a.token, a.host_id, h.name, a.generation, a.epoch, a.since, d.name, i.layer,"          \
    " v.quota_bytes, (SELECT count(*) FROM snapshot_volume s WHERE s.volume_id = v.id)"            \
    " FROM volume v JOIN image i ON i.id = v.image_id JOIN layer t ON t.id = v.top"                \
    " LEFT JOIN attachment a ON a.volume_id = v.id LEFT JOIN host h ON h.id = a.host_id"           \
    " LEFT JOIN domain d ON d.volume_id = v.id "

static void read_row(const struct db_query *q, struct cat_volume *v)
{
    struct cat_attachment *a = &v->attachment;

    *v = (struct cat_volume){ .id = db_int(q, 0), .image_id = db_int(q, 2) };
    db_text(q, 1, v->name, sizeof v->name);
    db_text(q, 3, v->image_name, sizeof v->image_name);
    v->image_version = (uint32_t)db_int(q, 4);
    db_blob(q, 5, v->top, sizeof v->top);
    db_blob(q, 6, v->below, sizeof v->below);
    v->size_bytes = (uint64_t)db_int(q, 7);
    v->generation = (uint64_t)db_int(q, 8);
    v->epoch = (uint64_t)db_int(q, 9);
    v->failed = db_int(q, 10) != 0;
    v->created_at = db_int(q, 11);
    a->id = db_int(q, 12);
    db_blob(q, 13, a->token, sizeof a->token);
    a->volume_id = v->id;
    a->host_id = db_int(q, 14);
    db_text(q, 15, a->host, sizeof a->host);
    a->generation = (uint64_t)db_int(q, 16);
    a->epoch = (uint64_t)db_int(q, 17);
    a->since = db_int(q, 18);
    db_text(q, 19, v->domain, sizeof v->domain);
    db_blob(q, 20, v->image_layer, sizeof v->image_layer);
    v->quota_bytes = (uint64_t)db_int(q, 21);
    v->snapshots = (uint64_t)db_int(q, 22);
}

bool cat_volume_attached(const struct cat_volume *v)
{
    const struct cat_attachment *a = &v->attachment;

    return a->id && a->generation == v->generation && a->epoch == v->epoch;
}

/* ---- making -------------------------------------------------------------------------------------
 */

static int insert(struct catalog *c, const struct cat_volume *v, struct err *e)
{
    int rc = cat_layer_add(c, v->top, v->below, v->size_bytes, e);

    if (rc < 0)
        return rc;
    rc = db_run(c, e,
                "INSERT INTO volume (name, image_id, top, size_bytes, quota_bytes, created_at,"
                " generation, epoch)"
                " SELECT ?1, ?2, ?3, ?4, ?5, ?6, coalesce(max(generation), 0) + 1,"
                " coalesce(max(epoch), 0) + 1 FROM retired WHERE name = ?1",
                "tibiii", v->name, v->image_id, v->top, sizeof v->top, (int64_t)v->size_bytes,
                (int64_t)v->quota_bytes, clock_wall_s());
    if (rc == -EEXIST)
        return err_set(e, rc, "there is a volume '%s' already", v->name);
    return rc;
}

int cat_volume_add_on(struct catalog *c, const struct cat_volume *v, int64_t *ret_id, struct err *e)
{
    int rc = cat_begin(c, e);

    if (rc < 0)
        return rc;
    rc = insert(c, v, e);
    int64_t id = db_last_id(c);
    rc = cat_end(c, rc, e);
    if (rc == 0)
        *ret_id = id;
    return rc;
}

int cat_volume_add(struct catalog *c, const char *name, const struct cat_image *image,
                   const uint8_t top[static CAT_LAYER_BYTES], int64_t *ret_id, struct err *e)
{
    struct cat_volume v = { .image_id = image->id, .size_bytes = image->size_bytes };

    memcpy(v.name, name, strnlen(name, sizeof v.name - 1));
    memcpy(v.top, top, sizeof v.top);
    memcpy(v.below, image->layer, sizeof v.below);
    return cat_volume_add_on(c, &v, ret_id, e);
}

/* ---- another top --------------------------------------------------------------------------------
 */

static int put_seal(struct catalog *c, const struct cat_volume *v, const uint8_t *new_top,
                    struct err *e)
{
    int rc = cat_layer_add(c, new_top, v->top, v->size_bytes, e);

    return rc < 0 ? rc
                  : db_run(c, e, "UPDATE volume SET top = ? WHERE id = ?", "bi", new_top,
                           (size_t)CAT_LAYER_BYTES, v->id);
}

int cat_volume_seal(struct catalog *c, struct cat_volume *v,
                    const uint8_t new_top[static CAT_LAYER_BYTES], struct err *e)
{
    int rc = cat_begin(c, e);

    if (rc == 0)
        rc = cat_end(c, put_seal(c, v, new_top, e), e);
    if (rc < 0)
        return rc;
    memcpy(v->below, v->top, sizeof v->below);
    memcpy(v->top, new_top, sizeof v->top);
    return 0;
}

static int put_restart(struct catalog *c, const struct cat_volume *v, const uint8_t *below,
                       const uint8_t *new_top, struct err *e)
{
    int rc = cat_layer_add(c, new_top, below, v->size_bytes, e);

    if (rc == 0)
        rc = db_run(c, e,
                    "UPDATE volume SET top = ?, generation = generation + 1, epoch = epoch + 1,"
                    " state = 'ok' WHERE id = ?",
                    "bi", new_top, (size_t)CAT_LAYER_BYTES, v->id);
    return rc < 0 ? rc : cat_layer_release(c, v->top, e);
}

int cat_volume_restart(struct catalog *c, struct cat_volume *v,
                       const uint8_t below[static CAT_LAYER_BYTES],
                       const uint8_t new_top[static CAT_LAYER_BYTES], struct err *e)
{
    int rc = cat_begin(c, e);

    if (rc == 0)
        rc = cat_end(c, put_restart(c, v, below, new_top, e), e);
    if (rc < 0)
        return rc;
    memcpy(v->below, below, sizeof v->below);
    memcpy(v->top, new_top, sizeof v->top);
    v->generation++;
    v->epoch++;
    v->failed = false;
    return 0;
}

static int put_size(struct catalog *c, const struct cat_volume *v, uint64_t size_bytes,
                    struct err *e)
{
    int rc = db_run(c, e, "UPDATE volume SET size_bytes = ? WHERE id = ?", "ii",
                    (int64_t)size_bytes, v->id);

    return rc < 0 ? rc
                  : db_run(c, e, "UPDATE layer SET size_bytes = ? WHERE id = ?", "ib",
                           (int64_t)size_bytes, v->top, sizeof v->top);
}

int cat_volume_set_size(struct catalog *c, struct cat_volume *v, uint64_t size_bytes, struct err *e)
{
    int rc = cat_begin(c, e);

    if (rc == 0)
        rc = cat_end(c, put_size(c, v, size_bytes, e), e);
    if (rc == 0)
        v->size_bytes = size_bytes;
    return rc;
}

int cat_volume_set_quota(struct catalog *c, struct cat_volume *v, uint64_t quota_bytes,
                         struct err *e)
{
    int rc = db_run(c, e, "UPDATE volume SET quota_bytes = ? WHERE id = ?", "ii",
                    (int64_t)quota_bytes, v->id);

    if (rc == 0)
        v->quota_bytes = quota_bytes;
    return rc;
}

/* ---- asking -------------------------------------------------------------------------------------
 */

int cat_volume_get(struct catalog *c, const char *name, struct cat_volume *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_VOLUME "WHERE v.name = ?", "t", name);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "there is no volume '%s'", name);
    read_row(&q, ret);
    return 0;
}

static int get_by(struct catalog *c, const char *sql, const uint8_t *layer, struct cat_volume *ret,
                  struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, sql, "b", layer, (size_t)CAT_LAYER_BYTES);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "no volume has this layer");
    read_row(&q, ret);
    return 0;
}

int cat_volume_by_top(struct catalog *c, const uint8_t top[static CAT_LAYER_BYTES],
                      struct cat_volume *ret, struct err *e)
{
    return get_by(c, SELECT_VOLUME "WHERE v.top = ?", top, ret, e);
}

int cat_volume_by_below(struct catalog *c, const uint8_t below[static CAT_LAYER_BYTES],
                        struct cat_volume *ret, struct err *e)
{
    return get_by(c, SELECT_VOLUME "WHERE t.below = ? ORDER BY v.id LIMIT 1", below, ret, e);
}

int cat_volume_list_on(struct catalog *c, const uint8_t layer[static CAT_LAYER_BYTES],
                       int (*each)(void *ctx, const struct cat_volume *v), void *ctx, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "WITH RECURSIVE up(id) AS (SELECT ?1 UNION ALL"
                      " SELECT l.id FROM up JOIN layer l ON l.below = up.id) " SELECT_VOLUME
                      "WHERE v.top IN (SELECT id FROM up) ORDER BY v.id",
                      "b", layer, (size_t)CAT_LAYER_BYTES);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_volume v;
        read_row(&q, &v);
        rc = each(ctx, &v);
    }
    return rc;
}

int cat_volume_list(struct catalog *c, int (*each)(void *ctx, const struct cat_volume *v),
                    void *ctx, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_VOLUME "ORDER BY v.id", "");

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_volume v;
        read_row(&q, &v);
        rc = each(ctx, &v);
    }
    return rc;
}

static int remove_rows(struct catalog *c, const struct cat_volume *v, struct err *e)
{
    int rc = db_run(c, e, "DELETE FROM volume WHERE id = ?", "i", v->id);

    if (rc == -EBUSY)
        return err_set(e, rc, "volume '%s' is attached, a domain's disk, or in a snapshot",
                       v->name);
    return rc < 0 ? rc : cat_layer_release(c, v->top, e);
}

int cat_volume_remove(struct catalog *c, const struct cat_volume *v, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, remove_rows(c, v, e), e);
}

int cat_volume_raise_epoch(struct catalog *c, const uint8_t top[static CAT_LAYER_BYTES],
                           struct err *e)
{
    int rc = db_run(c, e, "UPDATE volume SET epoch = epoch + 1 WHERE top = ?", "b", top,
                    (size_t)CAT_LAYER_BYTES);

    if (rc == 0 && db_changes(c) == 0)
        return err_set(e, -ENOENT, "no volume has this layer");
    return rc;
}

int cat_volume_set_failed(struct catalog *c, const char *name, bool failed, struct err *e)
{
    if (failed)
        return db_run(c, e, "UPDATE volume SET state = 'failed' WHERE name = ?", "t", name);
    return db_run(c, e,
                  "UPDATE volume SET state = 'ok', epoch = epoch + 1"
                  " WHERE name = ? AND state = 'failed'",
                  "t", name);
}

int cat_count(struct catalog *c, struct cat_counts *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "SELECT (SELECT count(*) FROM image), (SELECT count(*) FROM volume),"
                      " (SELECT count(*) FROM volume WHERE state = 'failed'),"
                      " (SELECT count(*) FROM host), (SELECT count(*) FROM domain),"
                      " (SELECT count(*) FROM snapshot), (SELECT count(*) FROM layer),"
                      " (SELECT count(*) FROM dead_layer)",
                      "");

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    *ret = (struct cat_counts){ .images = (uint64_t)db_int(&q, 0),
                                .volumes = (uint64_t)db_int(&q, 1),
                                .volumes_failed = (uint64_t)db_int(&q, 2),
                                .hosts = (uint64_t)db_int(&q, 3),
                                .domains = (uint64_t)db_int(&q, 4),
                                .snapshots = (uint64_t)db_int(&q, 5),
                                .layers = (uint64_t)db_int(&q, 6),
                                .dead_layers = (uint64_t)db_int(&q, 7) };
    return 0;
}
