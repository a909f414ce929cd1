/* SPDX-License-Identifier: Apache-2.0 */
/* status - GET /v1/status: is the server well, and what has it got. */
#include <stdbool.h>
#include <stdlib.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/control/care.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/lab.h"
#include "server/export/stats.h"
#include "server/store/store.h"

static json_t *http_addresses(const struct control *c)
{
    json_t *list = json_array();
    const char *address;

    for (unsigned i = 0; (address = http_address(c->http, i)); i++)
        json_array_append_new(list, json_string(address));
    return list;
}

static json_t *nbd_addresses(const struct control *c)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < CONTROL_NBD_MAX && c->nbd[i][0]; i++)
        json_array_append_new(list, json_string(c->nbd[i]));
    return list;
}

static unsigned count_parked(struct control *c)
{
    AUTO(auto_free) struct export_stats_row *rows = NULL;
    unsigned count = 0, parked = 0;

    if (export_stats_all(c->exports, &rows, &count, NULL) < 0)
        return 0;
    for (unsigned i = 0; i < count; i++)
        parked += rows[i].parked;
    return parked;
}

/* Why it is not well, or NULL. */
static const char *illness(struct control *c, const struct cat_counts *n, const json_t *boot)
{
    const char *why;
    const char *dnsmasq = json_string_value(json_object_get(boot, "dnsmasq"));

    if (cat_failed(c->catalog, &why))
        return why;
    if (n->volumes_failed)
        return "a volume has failed: see `gridbox volume list`";
    if (care_found_damage(c->care))
        return "what says where a layer's data lie cannot be read: see `gridbox store check`";
    if (count_parked(c))
        return "writes of a volume wait for room: see `gridbox volume list`, make room or raise "
               "its "
               "quota";
    if (dnsmasq && dnsmasq[0] != 'r')
        return "the boot service's dnsmasq does not run: see the log";
    return NULL;
}

static void on_status(struct http_request *r)
{
    struct control *c = http_context(r);
    struct store_space space = { 0 };
    struct cat_counts n = { 0 };
    struct err e = { 0 };
    int rc = cat_count(c->catalog, &n, &e);

    if (rc == 0)
        rc = store_space(c->store, &space, &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    json_t *boot = control_boot_status(c);
    const char *why = illness(c, &n, boot);
    http_answer_json(
        r, 200,
        json_pack("{s:s, s:b, s:s?, s:s, s:I, s:{s:s, s:I, s:I}, s:{s:I, s:I, s:I, s:I}, s:o, s:o, "
                  "s:o}",
                  "version", GRIDBOX_VERSION, "healthy", why == NULL, "problem", why, "state_dir",
                  c->state_dir, "uptime_seconds",
                  (json_int_t)((clock_mono_ns() - c->started_ns) / NS_PER_S), "store", "durability",
                  store_durability(c->store), "size_bytes", (json_int_t)space.size_bytes,
                  "free_bytes", (json_int_t)space.free_bytes, "counts", "images",
                  (json_int_t)n.images, "volumes", (json_int_t)n.volumes, "hosts",
                  (json_int_t)n.hosts, "domains", (json_int_t)n.domains, "http", http_addresses(c),
                  "nbd", nbd_addresses(c), "boot", boot));
}

int control_status_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/status", HTTP_ADMIN, on_status, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
