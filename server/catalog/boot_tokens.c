/* SPDX-License-Identifier: Apache-2.0 */
/* boot_tokens - the table boot_token.  Declared in hosts.h. */
#include <errno.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"
#include "server/catalog/hosts.h"

/* Those of another boot of this machine, and those of which the clock of this one says so. */
static int drop_old(struct catalog *c, const struct cat_boot_clock *clock, struct err *e)
{
    return db_run(c, e, "DELETE FROM boot_token WHERE boot_id <> ? OR issued_s <= ?", "ti",
                  clock->boot_id, clock->now_s - CAT_TOKEN_SECONDS);
}

static int check_count(struct catalog *c, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "SELECT count(*) FROM boot_token", "");

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    return db_int(&q, 0) < CAT_TOKENS_MOST
               ? 0
               : err_set(e, -EDQUOT, "too many PCs boot at once: %d boot tokens are in use",
                         CAT_TOKENS_MOST);
}

static int put(struct catalog *c, const struct cat_boot_token *t, const uint8_t *hash,
               const struct cat_boot_clock *clock, struct err *e)
{
    int rc = drop_old(c, clock, e);

    if (rc == 0)
        rc = db_run(c, e, "DELETE FROM boot_token WHERE mac = ?", "t", t->mac);
    if (rc == 0)
        rc = check_count(c, e);
    if (rc == 0)
        rc = db_run(c, e,
                    "INSERT INTO boot_token (mac, token, address, boot_id, issued_s)"
                    " VALUES (?, ?, ?, ?, ?)",
                    "tbtti", t->mac, hash, (size_t)CAT_HASH_BYTES, t->address, clock->boot_id,
                    clock->now_s);
    return rc;
}

int cat_boot_token_put(struct catalog *c, const char *mac, const char *address,
                       const uint8_t hash[static CAT_HASH_BYTES],
                       const struct cat_boot_clock *clock, struct err *e)
{
    struct cat_boot_token t = { 0 };
    int rc = cat_begin(c, e);

    if (rc < 0)
        return rc;
    snprintf(t.mac, sizeof t.mac, "%s", mac);
    snprintf(t.address, sizeof t.address, "%s", address);
    return cat_end(c, put(c, &t, hash, clock, e), e);
}

int cat_boot_token_find(struct catalog *c, const uint8_t hash[static CAT_HASH_BYTES],
                        const struct cat_boot_clock *clock, struct cat_boot_token *ret,
                        struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      "SELECT mac, address, host_id FROM boot_token"
                      " WHERE token = ? AND boot_id = ? AND issued_s > ?",
                      "bti", hash, (size_t)CAT_HASH_BYTES, clock->boot_id,
                      clock->now_s - CAT_TOKEN_SECONDS);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "there is no such boot token");
    *ret = (struct cat_boot_token){ .host_id = db_int(&q, 2) };
    db_text(&q, 0, ret->mac, sizeof ret->mac);
    db_text(&q, 1, ret->address, sizeof ret->address);
    return 0;
}

int cat_boot_token_bind(struct catalog *c, const char *mac, int64_t host_id, struct err *e)
{
    return db_run(c, e, "UPDATE boot_token SET host_id = ? WHERE mac = ?", "it", host_id, mac);
}
