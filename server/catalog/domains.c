/* SPDX-License-Identifier: Apache-2.0 */
/* domains - the table domain. */
#include "server/catalog/domains.h"

#include <errno.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/db.h"

#define SELECT_DOMAIN                                                                              \
    "SELECT d.id, d.name, d.host_id, h.name, d.volume_id, v.name, i.name, i.version,"              \
    " d.memory_mib, d.vcpus, d.mac, d.uuid, d.definition, d.running, d.stop_seconds,"              \
    " d.desired_revision, d.state, d.detail, d.domid"                                              \
    " FROM domain d JOIN host h ON h.id = d.host_id JOIN volume v ON v.id = d.volume_id"           \
    " JOIN image i ON i.id = v.image_id "

static void read_row(const struct db_query *q, struct cat_domain *d)
{
    *d = (struct cat_domain){ .id = db_int(q, 0),
                              .host_id = db_int(q, 2),
                              .volume_id = db_int(q, 4),
                              .image_version = (uint32_t)db_int(q, 7),
                              .memory_mib = (uint32_t)db_int(q, 8),
                              .vcpus = (uint32_t)db_int(q, 9),
                              .definition = (uint64_t)db_int(q, 12),
                              .running = db_int(q, 13) != 0,
                              .stop_seconds = (uint32_t)db_int(q, 14),
                              .desired_revision = (uint64_t)db_int(q, 15),
                              .domid = (uint32_t)db_int(q, 18) };
    db_text(q, 1, d->name, sizeof d->name);
    db_text(q, 3, d->host, sizeof d->host);
    db_text(q, 5, d->volume, sizeof d->volume);
    db_text(q, 6, d->image_name, sizeof d->image_name);
    db_text(q, 10, d->mac, sizeof d->mac);
    db_text(q, 11, d->uuid, sizeof d->uuid);
    db_text(q, 16, d->state, sizeof d->state);
    db_text(q, 17, d->detail, sizeof d->detail);
}

int cat_domain_get(struct catalog *c, const char *name, struct cat_domain *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, SELECT_DOMAIN "WHERE d.name = ?", "t", name);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(e, -ENOENT, "there is no domain '%.63s'", name);
    read_row(&q, ret);
    return 0;
}

int cat_domain_list(struct catalog *c, int64_t host_id,
                    int (*each)(void *ctx, const struct cat_domain *d), void *ctx, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc =
        db_query(c, &q, e, SELECT_DOMAIN "WHERE ?1 IN (0, d.host_id) ORDER BY d.id", "i", host_id);

    while (rc == 0 && (rc = db_next(&q, e)) == 1) {
        struct cat_domain d;
        read_row(&q, &d);
        rc = each(ctx, &d);
    }
    return rc;
}

/* ---- changes ----------------------------------------------------------------------------------
 */

/* 1 if the query has a row. */
static int exists(struct catalog *c, const char *sql, const char *text, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, sql, "t", text);

    return rc < 0 ? rc : db_next(&q, e);
}

static int check_count(struct catalog *c, int64_t host_id, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "SELECT count(*) FROM domain WHERE host_id = ?", "i", host_id);

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    return db_int(&q, 0) < CAT_DOMAINS_OF_A_HOST
               ? 0
               : err_set(e, -EDQUOT, "the host has %u domains already, and can have no more",
                         CAT_DOMAINS_OF_A_HOST);
}

int cat_domain_add(struct catalog *c, struct cat_domain *d, struct err *e)
{
    int rc = exists(c, "SELECT 1 FROM domain WHERE name = ?", d->name, e);

    if (rc == 1)
        return err_set(e, -EEXIST, "there is a domain '%s' already", d->name);
    if (rc == 0)
        rc = check_count(c, d->host_id, e);
    if (rc == 0)
        rc = db_run(c, e,
                    "INSERT INTO domain (name, host_id, volume_id, memory_mib, vcpus, mac, uuid,"
                    " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    "tiiiitti", d->name, d->host_id, d->volume_id, (int64_t)d->memory_mib,
                    (int64_t)d->vcpus, d->mac, d->uuid, clock_wall_s());
    if (rc == -EEXIST)
        return err_set(e, -EADDRINUSE, "another domain has this MAC address or UUID");
    if (rc == 0)
        d->id = db_last_id(c);
    return rc;
}

int cat_domain_set_running(struct catalog *c, const struct cat_domain *d, struct err *e)
{
    return db_run(c, e,
                  "UPDATE domain SET running = ?, stop_seconds = ?, desired_revision ="
                  " (SELECT revision FROM host WHERE host.id = domain.host_id) WHERE id = ?",
                  "iii", (int64_t)d->running, (int64_t)d->stop_seconds, d->id);
}

int cat_domain_set_state(struct catalog *c, const struct cat_domain *d, struct err *e)
{
    return db_run(c, e, "UPDATE domain SET state = ?, detail = ?, domid = ? WHERE id = ?", "ttii",
                  d->state, d->detail, (int64_t)d->domid, d->id);
}

int cat_domain_remove(struct catalog *c, int64_t id, struct err *e)
{
    return db_run(c, e, "DELETE FROM domain WHERE id = ?", "i", id);
}
