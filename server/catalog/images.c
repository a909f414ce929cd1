/* SPDX-License-Identifier: Apache-2.0 */
/* images - rows of images.  Knows the tables image and image_name. */
#include "server/catalog/images.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"
#include "server/catalog/layers.h"

#define SELECT_IMAGE                                                                               \
    "SELECT i.id, i.name, i.version, i.layer, i.size_bytes, i.data_bytes, i.sha256, i.source,"     \
    " i.format, i.created_at, (SELECT count(*) FROM volume v WHERE v.image_id = i.id),"            \
    " EXISTS (SELECT 1 FROM attachment a WHERE a.image_id = i.id), i.state FROM image i "

static const char *const state_names[] = { "verified", "unverified", "damaged" };

const char *cat_image_state_name(enum cat_image_state state)
{
    return state_names[state];
}

static enum cat_image_state state_of(const struct db_query *q, int column)
{
    char text[16];

    db_text(q, column, text, sizeof text);
    for (unsigned i = 0; i < sizeof state_names / sizeof *state_names; i++)
        if (strcmp(text, state_names[i]) == 0)
            return (enum cat_image_state)i;
    return CAT_IMAGE_DAMAGED;
}

static void read_row(const struct db_query *q, struct cat_image *i)
{
    *i = (struct cat_image){ .id = db_int(q, 0) };
    db_text(q, 1, i->name, sizeof i->name);
    i->version = (uint32_t)db_int(q, 2);
    db_blob(q, 3, i->layer, sizeof i->layer);
    i->size_bytes = (uint64_t)db_int(q, 4);
    i->data_bytes = (uint64_t)db_int(q, 5);
    db_text(q, 6, i->sha256, sizeof i->sha256);
    db_text(q, 7, i->source, sizeof i->source);
    db_text(q, 8, i->format, sizeof i->format);
    i->created_at = db_int(q, 9);
    i->volumes = (uint64_t)db_int(q, 10);
    i->attached = db_int(q, 11) != 0;
    i->state = state_of(q, 12);
}

/* The next version of a name, taken for good when the transaction is committed. */
static int next_version(struct catalog *c, const char *name, uint32_t *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "INSERT INTO image_name VALUES (?1, 1) ON CONFLICT (name)"
                      " DO UPDATE SET last_version = last_version + 1 RETURNING last_version",
                      "t", name);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc == -EINVAL)
        return err_set(e, -EOVERFLOW, "image '%s' has used up its versions: use another name",
                       name);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -EIO, "catalog: no version for image '%s'", name);
    *ret = (uint32_t)db_int(&q, 0);
    rc = db_next(&q, e); /* to its end: only then the row is written */
    return rc < 0 ? rc : 0;
}

static int insert(struct catalog *c, struct cat_image *i, bool new_layer, struct err *e)
{
    int rc = next_version(c, i->name, &i->version, e);

    if (rc == 0 && new_layer)
        rc = cat_layer_add(c, i->layer, NULL, i->size_bytes, e);
    if (rc == 0 && new_layer)
        rc = db_run(c, e, "DELETE FROM unborn_layer WHERE id = ?", "b", i->layer, sizeof i->layer);
    if (rc == 0)
        rc =
            db_run(c, e,
                   "INSERT INTO image (name, version, layer, size_bytes, data_bytes, sha256, state,"
                   " source, format, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                   "tibiitttti", i->name, (int64_t)i->version, i->layer, sizeof i->layer,
                   (int64_t)i->size_bytes, (int64_t)i->data_bytes, i->sha256[0] ? i->sha256 : NULL,
                   cat_image_state_name(i->state), i->source, i->format, i->created_at);
    if (rc == 0)
        i->id = db_last_id(c);
    return rc;
}

int cat_image_add(struct catalog *c, struct cat_image *i, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, insert(c, i, true, e), e);
}

int cat_image_add_on(struct catalog *c, struct cat_image *i, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, insert(c, i, false, e), e);
}

int cat_image_set_state(struct catalog *c, const struct cat_image *i, struct err *e)
{
    return db_run(c, e, "UPDATE image SET sha256 = ?, state = ?, data_bytes = ? WHERE id = ?",
                  "ttii", i->sha256[0] ? i->sha256 : NULL, cat_image_state_name(i->state),
                  (int64_t)i->data_bytes, i->id);
}

int cat_image_get(struct catalog *c, const char *name, uint32_t version, struct cat_image *ret,
                  struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      SELECT_IMAGE "WHERE i.name = ?1 AND (?2 = 0 OR i.version = ?2)"
                                   " ORDER BY i.version DESC LIMIT 1",
                      "ti", name, (int64_t)version);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    if (rc == 0 && version)
        return err_set(e, -ENOENT, "there is no image '%s@%u'", name, version);
    if (rc == 0)
        return err_set(e, -ENOENT, "there is no image '%s'", name);
    read_row(&q, ret);
    return 0;
}

int cat_image_get_id(struct catalog *c, int64_t id, struct cat_image *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_IMAGE "WHERE i.id = ?", "i", id);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "there is no such image");
    read_row(&q, ret);
    return 0;
}

int cat_image_versions(struct catalog *c, const char *name, uint64_t *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "SELECT count(*) FROM image WHERE name = ?", "t", name);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    *ret = (uint64_t)db_int(&q, 0);
    return 0;
}

int cat_image_list(struct catalog *c, int (*each)(void *ctx, const struct cat_image *i), void *ctx,
                   struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_IMAGE "ORDER BY i.name, i.version", "");

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_image i;
        read_row(&q, &i);
        rc = each(ctx, &i);
    }
    return rc;
}

static int remove_rows(struct catalog *c, const struct cat_image *i, struct err *e)
{
    int rc = db_run(c, e, "DELETE FROM image WHERE id = ?", "i", i->id);

    if (rc == -EBUSY)
        return err_set(e, rc, "image '%s@%u' is in use", i->name, i->version);
    return rc < 0 ? rc : cat_layer_release(c, i->layer, e);
}

int cat_image_remove(struct catalog *c, const struct cat_image *i, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, remove_rows(c, i, e), e);
}
