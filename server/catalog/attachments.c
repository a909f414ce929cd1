/* SPDX-License-Identifier: Apache-2.0 */
/* attachments - rows of attachments: who may open which volume or image.  Declared in volumes.h. */
#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"
#include "server/catalog/volumes.h"

/* host_id as SQL wants it: null for the command line. */
#define HOST_OR_NULL "nullif(?, 0)"

static int read_host(struct catalog *c, struct cat_attachment *a, struct err *e)
{
    if (!a->host_id)
        return 0;
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "SELECT name FROM host WHERE id = ?", "i", a->host_id);
    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "there is no such host");
    db_text(&q, 0, a->host, sizeof a->host);
    return 0;
}

static int insert(struct catalog *c, const struct cat_volume *v, struct cat_attachment *a,
                  struct err *e)
{
    int rc = db_run(c, e, "UPDATE volume SET generation = generation + 1 WHERE id = ?", "i", v->id);

    if (rc == 0)
        rc = db_run(c, e, "DELETE FROM attachment WHERE volume_id = ?", "i", v->id);
    if (rc == 0)
        rc = db_run(c, e,
                    "INSERT INTO attachment (token, volume_id, host_id, generation, epoch, since)"
                    " VALUES (?, ?, " HOST_OR_NULL ", ?, ?, ?)",
                    "biiiii", a->token, sizeof a->token, a->volume_id, a->host_id,
                    (int64_t)a->generation, (int64_t)a->epoch, a->since);
    if (rc == 0)
        a->id = db_last_id(c);
    return rc < 0 ? rc : read_host(c, a, e);
}

int cat_volume_attach(struct catalog *c, struct cat_volume *v, int64_t host_id, struct err *e)
{
    struct cat_attachment a = { .volume_id = v->id,
                                .host_id = host_id,
                                .generation = v->generation + 1,
                                .epoch = v->epoch,
                                .since = clock_wall_s() };
    int rc = cat_begin(c, e);

    if (rc < 0)
        return rc;
    random_bytes(a.token, sizeof a.token);
    rc = cat_end(c, insert(c, v, &a, e), e);
    if (rc < 0)
        return rc;
    v->generation = a.generation;
    v->attachment = a;
    return 0;
}

int cat_volume_detach(struct catalog *c, const struct cat_volume *v, struct err *e)
{
    return db_run(c, e, "DELETE FROM attachment WHERE volume_id = ?", "i", v->id);
}

int cat_image_detach(struct catalog *c, const struct cat_image *i, struct err *e)
{
    return db_run(c, e, "DELETE FROM attachment WHERE image_id = ?", "i", i->id);
}

static void read_image_row(const struct db_query *q, struct cat_attachment *a)
{
    *a = (struct cat_attachment){ .id = db_int(q, 0),
                                  .image_id = db_int(q, 2),
                                  .since = db_int(q, 3) };
    db_blob(q, 1, a->token, sizeof a->token);
}

int cat_image_attachments(struct catalog *c, int (*each)(void *ctx, const struct cat_attachment *a),
                          void *ctx, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "SELECT id, token, image_id, since FROM attachment"
                      " WHERE image_id IS NOT NULL ORDER BY id",
                      "");

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_attachment a;
        read_image_row(&q, &a);
        rc = each(ctx, &a);
    }
    return rc;
}

static int image_row(struct catalog *c, const struct cat_image *i, struct cat_attachment *ret,
                     struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc =
        db_query(c, &q, e, "SELECT id, token, image_id, since FROM attachment WHERE image_id = ?",
                 "i", i->id);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc == 1)
        read_image_row(&q, ret);
    return rc;
}

int cat_image_attach(struct catalog *c, const struct cat_image *i, struct cat_attachment *ret,
                     struct err *e)
{
    struct cat_attachment a = { .image_id = i->id, .since = clock_wall_s() };
    int rc = image_row(c, i, ret, e);

    if (rc != 0)
        return rc < 0 ? rc : 0;
    random_bytes(a.token, sizeof a.token);
    rc = db_run(c, e,
                "INSERT INTO attachment (token, image_id, generation, epoch, since)"
                " VALUES (?, ?, 0, 0, ?)",
                "bii", a.token, sizeof a.token, a.image_id, a.since);
    if (rc < 0)
        return rc;
    a.id = db_last_id(c);
    *ret = a;
    return 0;
}
