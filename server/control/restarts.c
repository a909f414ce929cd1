/* SPDX-License-Identifier: Apache-2.0 */
/* restarts - POST /v1/resets, /v1/rollbacks: volumes go back to what they were. */
#include <errno.h>
#include <stdio.h>

#include "server/base/auto.h"
#include "server/catalog/snapshots.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/json.h"

/* to: NULL = its image. */
static void answer_restarted(struct http_request *r, const struct lifecycle_set *set,
                             const char *to)
{
    json_t *volumes = json_array(), *restarted = json_array();

    for (unsigned i = 0; i < set->count; i++) {
        const struct cat_volume *v = &set->v[i];
        char image[80];
        snprintf(image, sizeof image, "%s@%u", v->image_name, v->image_version);
        json_array_append_new(volumes,
                              json_pack("{s:s, s:s}", "volume", v->name, "to", to ? to : image));
        if (v->domain[0] && cat_volume_attached(v))
            json_array_append_new(restarted, json_string(v->domain));
    }
    http_answer_json(r, 200, json_pack("{s:o, s:o}", "volumes", volumes, "restarted", restarted));
}

static void on_reset(struct http_request *r)
{
    static const char *const keys[] = { "volumes", "all", NULL };
    struct control *c = http_context(r);
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    struct err e = { 0 };
    json_t *body;
    int rc = http_json(r, keys, &body, &e);

    if (rc == 0)
        rc = control_read_set(c, body, NULL, &set, &e);
    if (rc == 0)
        rc = lifecycle_reset(control_life(c), &set, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        answer_restarted(r, &set, NULL);
}

static void on_rollback(struct http_request *r)
{
    static const char *const keys[] = { "snapshot", "volumes", "all", NULL };
    struct control *c = http_context(r);
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    struct cat_snapshot s;
    struct err e = { 0 };
    const char *name;
    json_t *body;
    int rc = http_json(r, keys, &body, &e);

    if (rc == 0)
        rc = json_get_name(body, "snapshot", "snapshot", &name, &e);
    if (rc == 0)
        rc = cat_snapshot_get(c->catalog, name, &s, &e);
    if (rc == 0)
        rc = control_read_set(c, body, &s, &set, &e);
    if (rc == 0)
        rc = lifecycle_rollback(control_life(c), &s, &set, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        answer_restarted(r, &set, s.name);
}

int control_restart_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "POST", "/v1/resets", HTTP_ADMIN, on_reset, false },
        { "POST", "/v1/rollbacks", HTTP_ADMIN, on_rollback, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
