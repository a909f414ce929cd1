/* SPDX-License-Identifier: Apache-2.0 */
/* snapshots - the calls below /v1/snapshots, and which volumes a call is about. */
#include "server/catalog/snapshots.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/name.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/json.h"
#include "server/store/store.h"

/* ---- the volumes of a call ----------------------------------------------------------------------
 */

static int read_names(struct control *c, const json_t *list, struct lifecycle_set *ret,
                      struct err *e)
{
    size_t n, count = json_array_size(list);
    json_t *item;

    if (!json_is_array(list) || count == 0 || count > LIFECYCLE_VOLUMES_MOST)
        return err_set(e, -EINVAL, "volumes: must be a list of 1 to %d names",
                       LIFECYCLE_VOLUMES_MOST);
    AUTO(auto_free) const char **names = calloc(count, sizeof *names);
    if (!names)
        return err_set(e, -ENOMEM, "out of memory");
    json_array_foreach(list, n, item)
    {
        names[n] = json_string_value(item);
        if (!names[n] || strlen(names[n]) != json_string_length(item))
            return err_set(e, -EINVAL, "volumes: must be a list of names");
        int rc = name_check("volume", names[n], e);
        if (rc < 0)
            return rc;
    }
    return lifecycle_set_named(control_life(c), names, (unsigned)count, ret, e);
}

int control_read_set(struct control *c, const json_t *body, const struct cat_snapshot *of,
                     struct lifecycle_set *ret, struct err *e)
{
    const json_t *list = json_object_get(body, "volumes");
    bool all;
    int rc = json_get_bool(body, "all", false, &all, e);

    if (rc < 0)
        return rc;
    if (all == (list != NULL))
        return err_set(e, -EINVAL, "give either volumes, a list of names, or all: true");
    if (list)
        return read_names(c, list, ret, e);
    return of ? lifecycle_set_of_snapshot(control_life(c), of, ret, e)
              : lifecycle_set_all(control_life(c), ret, e);
}

/* ---- show ---------------------------------------------------------------------------------------
 */

struct listing {
    struct control *control;
    json_t *list;
};

static int add_held(void *ctx, const struct cat_snapshot_volume *v)
{
    struct listing *l = ctx;
    struct layer_id id;
    uint64_t bytes = 0;

    memcpy(id.b, v->layer, sizeof id.b);
    if (!v->image) /* which is kept anyway */
        layer_usage(l->control->store, id, &bytes, NULL);
    if (bytes > v->size_bytes)
        bytes = v->size_bytes;
    json_array_append_new(l->list,
                          json_pack("{s:s, s:I, s:I}", "volume", v->volume, "size_bytes",
                                    (json_int_t)v->size_bytes, "data_bytes", (json_int_t)bytes));
    return 0;
}

static void answer_snapshot(struct http_request *r, int status, const struct cat_snapshot *s)
{
    struct listing l = { .control = http_context(r), .list = json_array() };
    struct err e = { 0 };

    if (cat_snapshot_volumes(l.control->catalog, s->id, add_held, &l, &e) < 0) {
        json_decref(l.list);
        http_answer_err(r, &e);
        return;
    }
    http_answer_json(r, status,
                     json_pack("{s:s, s:I, s:o}", "name", s->name, "created_at",
                               (json_int_t)s->created_at, "volumes", l.list));
}

/* The snapshot that the path names. */
static int of_path(struct http_request *r, struct cat_snapshot *ret, struct err *e)
{
    struct control *c = http_context(r);
    int rc = name_check("snapshot", http_arg(r, 0), e);

    return rc < 0 ? rc : cat_snapshot_get(c->catalog, http_arg(r, 0), ret, e);
}

static void on_show(struct http_request *r)
{
    struct cat_snapshot s;
    struct err e = { 0 };

    if (of_path(r, &s, &e) < 0)
        http_answer_err(r, &e);
    else
        answer_snapshot(r, 200, &s);
}

static int add_json(void *ctx, const struct cat_snapshot *s)
{
    json_array_append_new(ctx,
                          json_pack("{s:s, s:I, s:I}", "name", s->name, "created_at",
                                    (json_int_t)s->created_at, "volumes", (json_int_t)s->volumes));
    return 0;
}

static void on_list(struct http_request *r)
{
    struct control *c = http_context(r);
    const char *name = http_query(r, "volume");
    struct cat_volume v = { 0 };
    struct err e = { 0 };
    json_t *list = json_array();
    int rc = name ? name_check("volume", name, &e) : 0;

    if (rc == 0 && name)
        rc = cat_volume_get(c->catalog, name, &v, &e);
    if (rc == 0)
        rc = cat_snapshot_list(c->catalog, v.id, add_json, list, &e);
    if (rc < 0) {
        json_decref(list);
        http_answer_err(r, &e);
    } else {
        http_answer_json(r, 200, json_pack("{s:o}", "snapshots", list));
    }
}

/* ---- take, remove -------------------------------------------------------------------------------
 */

static void on_take(struct http_request *r)
{
    static const char *const keys[] = { "name", "volumes", "all", NULL };
    struct control *c = http_context(r);
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    struct cat_snapshot s;
    struct err e = { 0 };
    const char *name;
    json_t *body;
    int rc = http_json(r, keys, &body, &e);

    if (rc == 0)
        rc = json_get_name(body, "name", "snapshot", &name, &e);
    if (rc == 0)
        rc = control_read_set(c, body, NULL, &set, &e);
    if (rc == 0)
        rc = lifecycle_snapshot(control_life(c), name, &set, &s, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        answer_snapshot(r, 201, &s);
}

static void on_remove(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_snapshot s;
    struct err e = { 0 };
    int rc = of_path(r, &s, &e);

    if (rc == 0)
        rc = lifecycle_snapshot_remove(control_life(c), &s, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_empty(r, 204);
}

int control_snapshot_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/snapshots", HTTP_ADMIN, on_list, false },
        { "POST", "/v1/snapshots", HTTP_ADMIN, on_take, false },
        { "GET", "/v1/snapshots/{}", HTTP_ADMIN, on_show, false },
        { "DELETE", "/v1/snapshots/{}", HTTP_ADMIN, on_remove, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
