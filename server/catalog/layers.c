/* SPDX-License-Identifier: Apache-2.0 */
/* layers - rows of layers.  Knows the tables layer and dead_layer. */
#include "server/catalog/layers.h"

#include <errno.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"

int cat_layer_add(struct catalog *c, const uint8_t id[static 16], const uint8_t *below,
                  uint64_t size_bytes, struct err *e)
{
    return db_run(c, e, "INSERT INTO layer VALUES (?, ?, ?)", "bbi", id, (size_t)16, below,
                  (size_t)16, (int64_t)size_bytes);
}

static int bury(struct catalog *c, const uint8_t *id, struct err *e)
{
    int rc = db_run(c, e, "DELETE FROM layer WHERE id = ?", "b", id, (size_t)16);

    if (rc == 0)
        rc = db_run(c, e, "INSERT INTO dead_layer VALUES (?)", "b", id, (size_t)16);
    return rc;
}

int cat_layer_bury(struct catalog *c, const uint8_t id[static 16], struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, bury(c, id, e), e);
}

int cat_layer_forget(struct catalog *c, const uint8_t id[static 16], struct err *e)
{
    return db_run(c, e, "DELETE FROM dead_layer WHERE id = ?", "b", id, (size_t)16);
}

int cat_layer_dead(struct catalog *c, uint8_t (*ret)[16], unsigned room, unsigned *ret_count,
                   struct err *e)
{
    AUTO(db_done) struct db_query q;
    unsigned count = 0;
    int rc =
        db_query(c, &q, e, "SELECT id FROM dead_layer ORDER BY id LIMIT ?", "i", (int64_t)room);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        db_blob(&q, 0, ret[count++], 16);
        rc = 0;
    }
    if (rc == 0)
        *ret_count = count;
    return rc;
}

bool cat_layer_known(struct catalog *c, const uint8_t id[static 16])
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, NULL, "SELECT 1 FROM layer WHERE id = ?", "b", id, (size_t)16);

    if (rc == 0)
        rc = db_next(&q, NULL);
    return rc != 0;
}
