/* SPDX-License-Identifier: Apache-2.0 */
/* hosts - the tables host and host_mac. */
#include "server/catalog/hosts.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"

#define SELECT_HOST                                                                                \
    "SELECT h.id, h.name, h.state = 'approved', h.uuid, h.cpu, h.cpus, h.memory_mib, h.hvm,"       \
    " h.agent_version, h.address, h.loader = 'undionly', h.registered_at, h.seen_at,"              \
    " h.session_used, h.revision, h.applied_revision,"                                             \
    " (SELECT count(*) FROM domain d WHERE d.host_id = h.id) FROM host h "

static int read_macs(struct catalog *c, struct cat_host *h, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "SELECT mac FROM host_mac WHERE host_id = ? ORDER BY position", "i",
                      h->id);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        if (h->mac_count == CAT_MACS_MAX)
            return 0;
        db_text(&q, 0, h->macs[h->mac_count++], CAT_MAC_SIZE);
        rc = 0;
    }
    return rc;
}

static int read_row(const struct db_query *q, struct cat_host *h, struct err *e)
{
    *h = (struct cat_host){ .id = db_int(q, 0), .approved = db_int(q, 2) != 0 };
    db_text(q, 1, h->name, sizeof h->name);
    db_text(q, 3, h->uuid, sizeof h->uuid);
    db_text(q, 4, h->cpu, sizeof h->cpu);
    h->cpus = (uint32_t)db_int(q, 5);
    h->memory_mib = (uint64_t)db_int(q, 6);
    h->hvm = db_int(q, 7) != 0;
    db_text(q, 8, h->agent_version, sizeof h->agent_version);
    db_text(q, 9, h->address, sizeof h->address);
    h->undionly = db_int(q, 10) != 0;
    h->registered_at = db_int(q, 11);
    h->seen_at = db_int(q, 12);
    h->session_used = db_int(q, 13) != 0;
    h->revision = (uint64_t)db_int(q, 14);
    h->applied_revision = (uint64_t)db_int(q, 15);
    h->domains = (unsigned)db_int(q, 16);
    return read_macs(q->catalog, h, e);
}

/* The one row of a query; *what is for the refusal. */
static int read_one(struct db_query *q, int rc, const char *what, struct cat_host *ret,
                    struct err *e)
{
    struct cat_host h;

    if (rc == 0)
        rc = db_next(q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "there is no host %s", what);
    rc = read_row(q, &h, e);
    if (rc == 0)
        *ret = h;
    return rc;
}

int cat_host_get(struct catalog *c, const char *name, struct cat_host *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    char what[NAME_SIZE + 2];
    int rc = db_query(c, &q, e, SELECT_HOST "WHERE h.name = ?", "t", name);

    snprintf(what, sizeof what, "'%.63s'", name);
    return read_one(&q, rc, what, ret, e);
}

int cat_host_by_id(struct catalog *c, int64_t id, struct cat_host *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_HOST "WHERE h.id = ?", "i", id);

    return read_one(&q, rc, "of this number", ret, e);
}

int cat_host_by_mac(struct catalog *c, const char *mac, struct cat_host *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc =
        db_query(c, &q, e, SELECT_HOST "WHERE h.id = (SELECT host_id FROM host_mac WHERE mac = ?)",
                 "t", mac);

    return read_one(&q, rc, "with this MAC address", ret, e);
}

int cat_host_by_session(struct catalog *c, const uint8_t hash[static CAT_HASH_BYTES],
                        struct cat_host *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc =
        db_query(c, &q, e, SELECT_HOST "WHERE h.session = ?", "b", hash, (size_t)CAT_HASH_BYTES);

    return read_one(&q, rc, "with this session", ret, e);
}

int cat_host_by_uuid(struct catalog *c, const char *uuid, struct cat_host *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e,
                      SELECT_HOST "WHERE h.uuid = ?1 AND ?1 <> ''"
                                  " AND 1 = (SELECT count(*) FROM host WHERE uuid = ?1)",
                      "t", uuid);

    return read_one(&q, rc, "with this UUID", ret, e);
}

int cat_host_list(struct catalog *c, int (*each)(void *ctx, const struct cat_host *h), void *ctx,
                  struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_HOST "ORDER BY h.name", "");

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_host h;
        rc = read_row(&q, &h, e);
        if (rc == 0)
            rc = each(ctx, &h);
    }
    return rc;
}

/* ---- changes ----------------------------------------------------------------------------------
 */

static int check_waiting(struct catalog *c, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "SELECT count(*) FROM host WHERE state = 'waiting'", "");

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    if (db_int(&q, 0) < CAT_HOSTS_WAITING)
        return 0;
    return err_set(e, -EDQUOT,
                   "%d hosts are waiting for approval already: approve or forget some of them",
                   CAT_HOSTS_WAITING);
}

static int insert(struct catalog *c, struct cat_host *h, struct err *e)
{
    int rc = h->approved ? 0 : check_waiting(c, e);

    if (rc == 0)
        rc = db_run(c, e, "INSERT INTO host (name, state, loader) VALUES (?, ?, ?)", "ttt", h->name,
                    h->approved ? "approved" : "waiting", h->undionly ? "undionly" : "auto");
    if (rc == -EEXIST)
        return err_set(e, rc, "there is a host '%s' already", h->name);
    h->id = db_last_id(c);
    for (unsigned i = 0; i < h->mac_count && rc == 0; i++) {
        rc = db_run(c, e, "INSERT INTO host_mac (mac, host_id, position) VALUES (?, ?, ?)", "tii",
                    h->macs[i], h->id, (int64_t)i);
        if (rc == -EEXIST)
            return err_set(e, rc, "%s belongs to another host already", h->macs[i]);
    }
    return rc;
}

int cat_host_add(struct catalog *c, struct cat_host *h, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, insert(c, h, e), e);
}

int cat_host_set(struct catalog *c, const struct cat_host *h, struct err *e)
{
    int rc = db_run(c, e, "UPDATE host SET name = ?, state = ?, loader = ? WHERE id = ?", "ttti",
                    h->name, h->approved ? "approved" : "waiting",
                    h->undionly ? "undionly" : "auto", h->id);

    return rc == -EEXIST ? err_set(e, rc, "there is a host '%s' already", h->name) : rc;
}

static int replace_macs(struct catalog *c, const struct cat_host *h, struct err *e)
{
    int rc = db_run(c, e, "DELETE FROM host_mac WHERE host_id = ?", "i", h->id);

    for (unsigned i = 0; i < h->mac_count && rc == 0; i++)
        rc = db_run(c, e,
                    "INSERT INTO host_mac (mac, host_id, position) VALUES (?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    "tii", h->macs[i], h->id, (int64_t)i);
    return rc;
}

static int store_registration(struct catalog *c, const struct cat_host *h, const uint8_t *session,
                              struct err *e)
{
    int rc = replace_macs(c, h, e);

    if (rc == 0)
        rc = db_run(c, e,
                    "UPDATE host SET uuid = ?, cpu = ?, cpus = ?, memory_mib = ?, hvm = ?,"
                    " agent_version = ?, address = ?, registered_at = ?8, seen_at = ?8,"
                    " session = ?9, session_used = 0 WHERE id = ?10",
                    "ttiiittibi", h->uuid, h->cpu, (int64_t)h->cpus, (int64_t)h->memory_mib,
                    (int64_t)h->hvm, h->agent_version, h->address, clock_wall_s(), session,
                    (size_t)CAT_HASH_BYTES, h->id);
    return rc;
}

int cat_host_register(struct catalog *c, const struct cat_host *h,
                      const uint8_t session[static CAT_HASH_BYTES], struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, store_registration(c, h, session, e), e);
}

static int store_use(struct catalog *c, int64_t id, struct err *e)
{
    int rc = db_run(c, e, "UPDATE host SET session_used = 1 WHERE id = ?", "i", id);

    return rc < 0 ? rc : db_run(c, e, "DELETE FROM boot_token WHERE host_id = ?", "i", id);
}

int cat_host_use_session(struct catalog *c, int64_t id, struct err *e)
{
    int rc = cat_begin(c, e);

    return rc < 0 ? rc : cat_end(c, store_use(c, id, e), e);
}

int cat_host_seen(struct catalog *c, int64_t id, int64_t seen_at, uint64_t applied_revision,
                  struct err *e)
{
    return db_run(c, e, "UPDATE host SET seen_at = ?, applied_revision = ? WHERE id = ?", "iii",
                  seen_at, (int64_t)applied_revision, id);
}

int cat_host_raise(struct catalog *c, int64_t id, struct err *e)
{
    return db_run(c, e, "UPDATE host SET revision = revision + 1 WHERE id = ?", "i", id);
}

int cat_host_remove(struct catalog *c, int64_t id, struct err *e)
{
    int rc = db_run(c, e, "DELETE FROM host WHERE id = ?", "i", id);

    if (rc == -EBUSY)
        return err_set(e, rc, "the host has domains or attachments: remove them first");
    return rc;
}
