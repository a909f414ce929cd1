/* SPDX-License-Identifier: Apache-2.0 */
/* store - GET /v1/store: what lies there, and how well it is kept. */
#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/layers.h"
#include "server/control/care.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/jobs.h"
#include "server/export/stats.h"

struct totals {
    struct store *store;
    uint64_t images, volumes, snapshots; /* bytes of data */
};

static int add_layer(void *ctx, const struct cat_layer *l)
{
    struct totals *t = ctx;
    uint64_t bytes = 0;
    struct layer_id id;

    memcpy(id.b, l->id, sizeof id.b);
    layer_usage(t->store, id, &bytes, NULL); /* what cannot be read is for the check to tell */
    *(l->image ? &t->images : l->top ? &t->volumes : &t->snapshots) += bytes;
    return 0;
}

static int count_exports(struct control *c, unsigned *ret_parked, unsigned *ret_failed,
                         struct err *e)
{
    AUTO(auto_free) struct export_stats_row *rows = NULL;
    unsigned count = 0;
    int rc = export_stats_all(c->exports, &rows, &count, e);

    for (unsigned i = 0; rc == 0 && i < count; i++) {
        *ret_parked += rows[i].parked;
        *ret_failed += rows[i].failed;
    }
    return rc;
}

static const char *past_name(const struct store *s)
{
    static const char *const names[] = {
        [STORE_PAST_CLEAN] = "clean",
        [STORE_PAST_NONE] = "none",
        [STORE_PAST_KILLED] = "killed",
        [STORE_PAST_POWER] = "power",
    };

    return names[store_past(s)];
}

static void on_show(struct http_request *r)
{
    struct control *c = http_context(r);
    struct totals t = { .store = c->store };
    struct store_space space = { 0 };
    struct cat_counts n = { 0 };
    unsigned parked = 0, failed = 0;
    struct err e = { 0 };

    if (care_is_looking(c->care) && !http_waited(r)) {
        http_wait(r, http_topic(HTTP_TOPIC_CARE, 0), HTTP_WAIT_MAX);
        return;
    }
    int rc = store_space(c->store, &space, &e);

    if (rc == 0)
        rc = cat_count(c->catalog, &n, &e);
    if (rc == 0)
        rc = cat_layer_list(c->catalog, add_layer, &t, &e);
    if (rc == 0)
        rc = count_exports(c, &parked, &failed, &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    if (failed < n.volumes_failed)
        failed = (unsigned)n.volumes_failed;
    http_answer_json(
        r, 200,
        json_pack("{s:s, s:s?, s:s, s:I, s:I, s:{s:I, s:I, s:I}, s:I, s:I, s:I, s:I}", "durability",
                  store_durability(c->store), "live", store_live_place(c->store), "past",
                  past_name(c->store), "size_bytes", (json_int_t)space.size_bytes, "free_bytes",
                  (json_int_t)space.free_bytes, "data", "images", (json_int_t)t.images, "volumes",
                  (json_int_t)t.volumes, "snapshots", (json_int_t)t.snapshots, "layers",
                  (json_int_t)n.layers, "dead", (json_int_t)n.dead_layers, "parked",
                  (json_int_t)parked, "failed", (json_int_t)failed));
}

int control_store_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/store", HTTP_ADMIN, on_show, false },
        { "POST", "/v1/store/check", HTTP_ADMIN, jobs_on_check, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
