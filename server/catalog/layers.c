/* SPDX-License-Identifier: Apache-2.0 */
/* layers - rows of layers.  Knows the tables layer and dead_layer, and who refers to layers. */
#include "server/catalog/layers.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"

#define ID_BYTES ((size_t)16)

int cat_layer_add(struct catalog *c, const uint8_t id[static 16], const uint8_t *below,
                  uint64_t size_bytes, struct err *e)
{
    return db_run(c, e, "INSERT INTO layer VALUES (?, ?, ?)", "bbi", id, ID_BYTES, below, ID_BYTES,
                  (int64_t)size_bytes);
}

/* ---- chains -------------------------------------------------------------------------------------
 */

/* A loop in the rows, which nothing here makes, ends at the limit as well. */
#define CHAIN                                                                                      \
    "WITH RECURSIVE chain(id, below, n) AS ("                                                      \
    " SELECT id, below, 1 FROM layer WHERE id = ?1 UNION ALL"                                      \
    " SELECT l.id, l.below, n + 1 FROM chain JOIN layer l ON l.id = chain.below WHERE n <= ?2) "

int cat_layer_chain(struct catalog *c, const uint8_t id[static 16], struct cat_chain *ret,
                    struct err *e)
{
    AUTO(db_done) struct db_query q;
    unsigned count = 0;
    int rc = db_query(c, &q, e, CHAIN "SELECT id FROM chain ORDER BY n", "bi", id, ID_BYTES,
                      (int64_t)CAT_CHAIN_MAX);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        if (count == CAT_CHAIN_MAX)
            return err_set(e, -EMLINK, "it stands on more than %u layers", CAT_CHAIN_MAX);
        db_blob(&q, 0, ret->id[count++], ID_BYTES);
        rc = 0;
    }
    if (rc == 0 && count == 0)
        return err_set(e, -ENOENT, "the catalog has no such layer");
    ret->count = count;
    return rc;
}

int cat_layer_depth(struct catalog *c, const uint8_t id[static 16], unsigned *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, CHAIN "SELECT count(*) FROM chain", "bi", id, ID_BYTES,
                      (int64_t)CAT_CHAIN_MAX);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    *ret = (unsigned)db_int(&q, 0);
    return 0;
}

/* ---- what nothing needs -------------------------------------------------------------------------
 */

/* What the layer stands on, *ret_below, if it is there and nothing needs it: 1, else 0. */
static int unneeded(struct catalog *c, const uint8_t *id, uint8_t *ret_below, bool *ret_stands,
                    struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "SELECT below FROM layer l WHERE id = ?"
                      " AND NOT EXISTS (SELECT 1 FROM layer u WHERE u.below = l.id)"
                      " AND NOT EXISTS (SELECT 1 FROM volume v WHERE v.top = l.id)"
                      " AND NOT EXISTS (SELECT 1 FROM image i WHERE i.layer = l.id)"
                      " AND NOT EXISTS (SELECT 1 FROM snapshot_volume s WHERE s.layer = l.id)",
                      "b", id, ID_BYTES);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc == 1)
        *ret_stands = db_blob(&q, 0, ret_below, ID_BYTES) == ID_BYTES;
    return rc;
}

static int bury(struct catalog *c, const uint8_t *id, struct err *e)
{
    int rc = db_run(c, e, "DELETE FROM layer WHERE id = ?", "b", id, ID_BYTES);

    if (rc == 0)
        rc = db_run(c, e, "INSERT INTO dead_layer VALUES (?)", "b", id, ID_BYTES);
    return rc;
}

static int release(struct catalog *c, const uint8_t *id, struct err *e)
{
    uint8_t at[16], below[16];
    bool stands = true;
    int rc = 1;

    memcpy(at, id, sizeof at);
    while (stands && (rc = unneeded(c, at, below, &stands, e)) == 1) {
        rc = bury(c, at, e);
        if (rc < 0)
            return rc;
        memcpy(at, below, sizeof at);
    }
    return rc < 0 ? rc : 0;
}

int cat_layer_release(struct catalog *c, const uint8_t id[static 16], struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, release(c, id, e), e);
}

int cat_layer_expect(struct catalog *c, const uint8_t id[static 16], struct err *e)
{
    return db_run(c, e, "INSERT INTO unborn_layer VALUES (?)", "b", id, ID_BYTES);
}

static int unexpect(struct catalog *c, const uint8_t *id, struct err *e)
{
    int rc = db_run(c, e,
                    "INSERT INTO dead_layer SELECT id FROM unborn_layer WHERE id = coalesce(?, id)",
                    "b", id, ID_BYTES);

    return rc < 0 ? rc
                  : db_run(c, e, "DELETE FROM unborn_layer WHERE id = coalesce(?, id)", "b", id,
                           ID_BYTES);
}

int cat_layer_unexpect(struct catalog *c, const uint8_t *id, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, unexpect(c, id, e), e);
}

int cat_layer_forget(struct catalog *c, const uint8_t id[static 16], struct err *e)
{
    return db_run(c, e, "DELETE FROM dead_layer WHERE id = ?", "b", id, ID_BYTES);
}

int cat_layer_dead(struct catalog *c, const uint8_t *after, uint8_t (*ret)[16], unsigned room,
                   unsigned *ret_count, struct err *e)
{
    AUTO(db_done) struct db_query q;
    unsigned count = 0;
    int rc = db_query(c, &q, e,
                      "SELECT id FROM dead_layer WHERE id > coalesce(?, x'') ORDER BY id LIMIT ?",
                      "bi", after, ID_BYTES, (int64_t)room);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        db_blob(&q, 0, ret[count++], ID_BYTES);
        rc = 0;
    }
    if (rc == 0)
        *ret_count = count;
    return rc;
}

/* ---- merging ------------------------------------------------------------------------------------
 */

/* l is the lower one, u the upper one. */
#define MERGEABLE                                                                                  \
    " NOT EXISTS (SELECT 1 FROM image i WHERE i.layer = l.id)"                                     \
    " AND NOT EXISTS (SELECT 1 FROM snapshot_volume s WHERE s.layer = l.id)"                       \
    " AND NOT EXISTS (SELECT 1 FROM volume v WHERE v.top = u.id)"                                  \
    " AND (SELECT count(*) FROM layer n WHERE n.below = l.id) = 1"

int cat_layer_mergeable(struct catalog *c, const uint8_t *after, uint8_t ret_lower[static 16],
                        uint8_t ret_upper[static 16], struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "SELECT l.id, u.id FROM layer l JOIN layer u ON u.below = l.id"
                      " WHERE l.id > coalesce(?, x'') AND" MERGEABLE " ORDER BY l.id LIMIT 1",
                      "b", after, ID_BYTES);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc == 1) {
        db_blob(&q, 0, ret_lower, ID_BYTES);
        db_blob(&q, 1, ret_upper, ID_BYTES);
    }
    return rc;
}

static int still_mergeable(struct catalog *c, const uint8_t *lower, const uint8_t *upper,
                           struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "SELECT 1 FROM layer l JOIN layer u ON u.below = l.id"
                      " WHERE l.id = ? AND u.id = ? AND" MERGEABLE,
                      "bb", lower, ID_BYTES, upper, ID_BYTES);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc == 0)
        return err_set(e, -ESTALE, "the layers are needed, or gone, by now");
    return rc < 0 ? rc : 0;
}

static int merge(struct catalog *c, const uint8_t *lower, const uint8_t *upper,
                 const uint8_t *merged, struct err *e)
{
    int rc = still_mergeable(c, lower, upper, e);

    if (rc == 0)
        rc = db_run(c, e, "DELETE FROM unborn_layer WHERE id = ?", "b", merged, ID_BYTES);
    if (rc == 0)
        rc = db_run(c, e,
                    "INSERT INTO layer SELECT ?1, l.below, u.size_bytes FROM layer l, layer u"
                    " WHERE l.id = ?2 AND u.id = ?3",
                    "bbb", merged, ID_BYTES, lower, ID_BYTES, upper, ID_BYTES);
    if (rc == 0)
        rc = db_run(c, e, "UPDATE layer SET below = ?1 WHERE below = ?2", "bb", merged, ID_BYTES,
                    upper, ID_BYTES);
    if (rc == 0)
        rc = db_run(c, e, "UPDATE image SET layer = ?1 WHERE layer = ?2", "bb", merged, ID_BYTES,
                    upper, ID_BYTES);
    if (rc == 0)
        rc = db_run(c, e, "UPDATE snapshot_volume SET layer = ?1 WHERE layer = ?2", "bb", merged,
                    ID_BYTES, upper, ID_BYTES);
    if (rc == 0)
        rc = bury(c, upper, e);
    return rc < 0 ? rc : bury(c, lower, e);
}

int cat_layer_merge(struct catalog *c, const uint8_t lower[static 16],
                    const uint8_t upper[static 16], const uint8_t merged[static 16], struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, merge(c, lower, upper, merged, e), e);
}

/* ---- who is there -------------------------------------------------------------------------------
 */

int cat_layer_list(struct catalog *c, int (*each)(void *ctx, const struct cat_layer *l), void *ctx,
                   struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(
        c, &q, e,
        "WITH RECURSIVE below_image(id) AS (SELECT layer FROM image UNION"
        " SELECT l.below FROM below_image b JOIN layer l ON l.id = b.id WHERE l.below NOT NULL)"
        " SELECT l.id, l.size_bytes, coalesce("
        "  (SELECT 'volume ' || v.name FROM volume v WHERE v.top = l.id),"
        "  (SELECT 'image ' || i.name || '@' || i.version FROM image i WHERE i.layer = l.id"
        "   ORDER BY i.id LIMIT 1),"
        "  (SELECT 'snapshot ' || s.name || ' of ' || v.name FROM snapshot_volume sv"
        "   JOIN snapshot s ON s.id = sv.snapshot_id JOIN volume v ON v.id = sv.volume_id"
        "   WHERE sv.layer = l.id ORDER BY s.id LIMIT 1), ''),"
        " EXISTS (SELECT 1 FROM volume v WHERE v.top = l.id),"
        " l.id IN (SELECT id FROM below_image) FROM layer l ORDER BY l.id",
        "");

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_layer l = { .size_bytes = (uint64_t)db_int(&q, 1) };
        db_blob(&q, 0, l.id, sizeof l.id);
        db_text(&q, 2, l.owner, sizeof l.owner);
        l.top = db_int(&q, 3) != 0;
        l.image = db_int(&q, 4) != 0;
        rc = each(ctx, &l);
    }
    return rc;
}

bool cat_layer_known(struct catalog *c, const uint8_t id[static 16])
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, NULL,
                      "SELECT 1 FROM layer WHERE id = ?1 UNION ALL"
                      " SELECT 1 FROM dead_layer WHERE id = ?1 UNION ALL"
                      " SELECT 1 FROM unborn_layer WHERE id = ?1",
                      "b", id, ID_BYTES);

    if (rc == 0)
        rc = db_next(&q, NULL);
    return rc != 0;
}
