/* SPDX-License-Identifier: Apache-2.0 */
/* snapshots - rows of snapshots.  Knows the tables snapshot and snapshot_volume. */
#include "server/catalog/snapshots.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"
#include "server/catalog/layers.h"

#define SELECT_SNAPSHOT                                                                            \
    "SELECT s.id, s.name, s.created_at,"                                                           \
    " (SELECT count(*) FROM snapshot_volume n WHERE n.snapshot_id = s.id) FROM snapshot s "

#define SELECT_HELD                                                                                \
    "SELECT sv.volume_id, v.name, sv.layer, sv.size_bytes,"                                        \
    " EXISTS (SELECT 1 FROM image i WHERE i.layer = sv.layer)"                                     \
    " FROM snapshot_volume sv JOIN volume v ON v.id = sv.volume_id WHERE sv.snapshot_id = ?1 "

static void read_row(const struct db_query *q, struct cat_snapshot *s)
{
    *s = (struct cat_snapshot){ .id = db_int(q, 0), .created_at = db_int(q, 2) };
    db_text(q, 1, s->name, sizeof s->name);
    s->volumes = (uint64_t)db_int(q, 3);
}

static void read_held(const struct db_query *q, struct cat_snapshot_volume *v)
{
    *v = (struct cat_snapshot_volume){ .volume_id = db_int(q, 0) };
    db_text(q, 1, v->volume, sizeof v->volume);
    db_blob(q, 2, v->layer, sizeof v->layer);
    v->size_bytes = (uint64_t)db_int(q, 3);
    v->image = db_int(q, 4) != 0;
}

int cat_snapshot_add(struct catalog *c, const char *name, struct cat_snapshot *ret, struct err *e)
{
    struct cat_snapshot s = { .created_at = clock_wall_s() };
    int rc = db_run(c, e, "INSERT INTO snapshot (name, created_at) VALUES (?, ?)", "ti", name,
                    s.created_at);

    if (rc == -EEXIST)
        return err_set(e, rc, "there is a snapshot '%s' already", name);
    if (rc < 0)
        return rc;
    s.id = db_last_id(c);
    memcpy(s.name, name, strnlen(name, sizeof s.name - 1));
    *ret = s;
    return 0;
}

int cat_snapshot_hold(struct catalog *c, int64_t id, const struct cat_snapshot_volume *v,
                      struct err *e)
{
    return db_run(c, e, "INSERT INTO snapshot_volume VALUES (?, ?, ?, ?)", "iibi", id, v->volume_id,
                  v->layer, sizeof v->layer, (int64_t)v->size_bytes);
}

int cat_snapshot_get(struct catalog *c, const char *name, struct cat_snapshot *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_SNAPSHOT "WHERE s.name = ?", "t", name);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "there is no snapshot '%s'", name);
    read_row(&q, ret);
    return 0;
}

int cat_snapshot_list(struct catalog *c, int64_t volume_id,
                      int (*each)(void *ctx, const struct cat_snapshot *s), void *ctx,
                      struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc =
        db_query(c, &q, e,
                 SELECT_SNAPSHOT "WHERE ?1 = 0 OR EXISTS (SELECT 1 FROM snapshot_volume h"
                                 " WHERE h.snapshot_id = s.id AND h.volume_id = ?1) ORDER BY s.id",
                 "i", volume_id);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_snapshot s;
        read_row(&q, &s);
        rc = each(ctx, &s);
    }
    return rc;
}

int cat_snapshot_volumes(struct catalog *c, int64_t id,
                         int (*each)(void *ctx, const struct cat_snapshot_volume *v), void *ctx,
                         struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_HELD "ORDER BY sv.volume_id", "i", id);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_snapshot_volume v;
        read_held(&q, &v);
        rc = each(ctx, &v);
    }
    return rc;
}

int cat_snapshot_volume(struct catalog *c, const struct cat_snapshot *s, int64_t volume_id,
                        struct cat_snapshot_volume *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_HELD "AND sv.volume_id = ?2", "ii", s->id, volume_id);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "snapshot '%s' does not hold it", s->name);
    read_held(&q, ret);
    return 0;
}

/* ---- removing -----------------------------------------------------------------------------------
 */

/* Runs a DELETE that answers the layers of its rows.  SQLite deletes all rows before it answers the
 * first. */
static int drop(struct catalog *c, const char *sql, int64_t id, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, sql, "i", id);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        uint8_t layer[CAT_LAYER_BYTES];
        db_blob(&q, 0, layer, sizeof layer);
        rc = cat_layer_release(c, layer, e);
    }
    return rc;
}

static int remove_rows(struct catalog *c, int64_t id, struct err *e)
{
    int rc = drop(c, "DELETE FROM snapshot_volume WHERE snapshot_id = ? RETURNING layer", id, e);

    return rc < 0 ? rc : db_run(c, e, "DELETE FROM snapshot WHERE id = ?", "i", id);
}

int cat_snapshot_remove(struct catalog *c, int64_t id, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, remove_rows(c, id, e), e);
}

static int drop_volume(struct catalog *c, int64_t volume_id, struct err *e)
{
    int rc =
        drop(c, "DELETE FROM snapshot_volume WHERE volume_id = ? RETURNING layer", volume_id, e);

    if (rc < 0)
        return rc;
    return db_run(c, e,
                  "DELETE FROM snapshot WHERE NOT EXISTS"
                  " (SELECT 1 FROM snapshot_volume h WHERE h.snapshot_id = snapshot.id)",
                  "");
}

int cat_snapshot_drop_volume(struct catalog *c, int64_t volume_id, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, drop_volume(c, volume_id, e), e);
}
