/* SPDX-License-Identifier: Apache-2.0 */
/* volumes - the calls below /v1/volumes but attachments. */
#include "server/catalog/volumes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/control/care.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/jobs.h"
#include "server/control/json.h"
#include "server/export/stats.h"
#include "server/store/store.h"

static json_t *attachment_json(const struct cat_volume *v, const struct export_info *info)
{
    const struct cat_attachment *a = &v->attachment;

    if (!a->id)
        return json_null();
    return json_pack("{s:s, s:s?, s:I, s:b, s:b}", "holder", control_holder(a), "host",
                     a->host_id ? a->host : NULL, "since", (json_int_t)a->since, "connected",
                     info->connected, "current", cat_volume_attached(v));
}

static json_t *volume_json(struct control *c, const struct cat_volume *v,
                           const struct export_info *info)
{
    struct layer_id top;
    uint64_t data_bytes = 0;
    unsigned below = 0;
    char image[80];
    const char *damage = care_damage(c->care, v->top);

    if (!damage)
        damage = care_damage(c->care, v->below);

    memcpy(top.b, v->top, sizeof top.b);
    layer_usage(c->store, top, &data_bytes, NULL); /* no file yet: nothing written */
    if (data_bytes > v->size_bytes)
        data_bytes = v->size_bytes; /* the last block is a whole one */
    cat_layer_depth(c->catalog, v->below, &below, NULL);
    snprintf(image, sizeof image, "%s@%u", v->image_name, v->image_version);
    return json_pack(
        "{s:s, s:s, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:s, s:s?, s:b, s:I, s:o, "
        "s:s?}",
        "name", v->name, "image", image, "size_bytes", (json_int_t)v->size_bytes, "data_bytes",
        (json_int_t)data_bytes, "quota_bytes",
        v->quota_bytes ? json_integer((json_int_t)v->quota_bytes) : json_null(), "below",
        (json_int_t)below, "snapshots", (json_int_t)v->snapshots, "generation",
        (json_int_t)v->generation, "epoch", (json_int_t)v->epoch, "state",
        v->failed || info->failed ? "failed"
        : damage                  ? "damaged"
                                  : "ok",
        "damage", damage, "parked", info->parked, "created_at", (json_int_t)v->created_at,
        "attachment", attachment_json(v, info), "domain", v->domain[0] ? v->domain : NULL);
}

json_t *control_volume_json(struct control *c, const struct cat_volume *v)
{
    struct export_info info = { 0 };

    if (v->attachment.id)
        export_query(c->exports, v->name, &info);
    return volume_json(c, v, &info);
}

/* ---- list ---------------------------------------------------------------------------------------
 */

struct listing {
    struct control *control;
    json_t *list;
    struct export_stats_row *rows; /* by name */
    unsigned count;
};

static int by_name(const void *a, const void *b)
{
    const struct export_stats_row *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static int add_json(void *ctx, const struct cat_volume *v)
{
    struct listing *l = ctx;
    struct export_stats_row key;
    struct export_info info = { 0 };
    const struct export_stats_row *row = NULL;

    snprintf(key.name, sizeof key.name, "%s", v->name);
    if (l->count)
        row = bsearch(&key, l->rows, l->count, sizeof key, by_name);
    if (row)
        info = (struct export_info){ .granted = true,
                                     .connected = row->connected,
                                     .failed = row->failed,
                                     .parked = row->parked };
    json_array_append_new(l->list, volume_json(l->control, v, &info));
    return 0;
}

static void on_list(struct http_request *r)
{
    struct control *c = http_context(r);
    struct listing l = { .control = c, .list = json_array() };
    struct err e = { 0 };
    int rc = export_stats_all(c->exports, &l.rows, &l.count, &e);

    if (rc == 0 && l.count)
        qsort(l.rows, l.count, sizeof *l.rows, by_name);
    if (rc == 0)
        rc = cat_volume_list(c->catalog, add_json, &l, &e);
    free(l.rows);
    if (rc < 0) {
        json_decref(l.list);
        http_answer_err(r, &e);
    } else {
        http_answer_json(r, 200, json_pack("{s:o}", "volumes", l.list));
    }
}

static void on_show(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_volume v;
    struct err e = { 0 };

    if (name_check("volume", http_arg(r, 0), &e) < 0 ||
        cat_volume_get(c->catalog, http_arg(r, 0), &v, &e) < 0)
        http_answer_err(r, &e);
    else
        http_answer_json(r, 200, control_volume_json(c, &v));
}

/* ---- create, clone ------------------------------------------------------------------------------
 */

struct order {
    const char *name; /* with one "%d" if there is a count */
    uint64_t count;   /* 0: none was given */
    bool clone, at_snapshot;
    struct cat_image image;       /* not clone */
    struct cat_volume volume;     /* clone */
    struct cat_snapshot snapshot; /* at_snapshot */
    char (*text)[NAME_SIZE];      /* heap: the names */
    const char **names;           /* heap: likewise, as lifecycle.h wants them */
};

static void order_done(struct order *o)
{
    free(o->text);
    free(o->names);
}

/* Name number n of an order.  -EINVAL if it is not a name. */
static int order_name(const struct order *o, uint64_t n, char ret[static NAME_SIZE], struct err *e)
{
    const char *mark = strstr(o->name, "%d");
    char text[NAME_SIZE + 32];

    if (o->count == 0)
        snprintf(text, sizeof text, "%s", o->name);
    else
        snprintf(text, sizeof text, "%.*s%u%s", (int)(mark - o->name), o->name, (unsigned)n,
                 mark + 2);
    int rc = name_check("volume", text, e);
    if (rc == 0)
        memcpy(ret, text, strlen(text) + 1);
    return rc;
}

static int make_names(struct order *o, struct err *e)
{
    uint64_t count = o->count ? o->count : 1;
    const char *mark;
    int rc = 0;

    if (strlen(o->name) > NAME_MAX_LENGTH + 2)
        return name_check("volume", o->name, e);
    mark = strstr(o->name, "%d");
    if (o->count && (!mark || strchr(o->name, '%') != mark || strchr(mark + 1, '%')))
        return err_set(e, -EINVAL,
                       "name: with count it must hold one %%d, which becomes 0, 1, 2 …");
    o->text = calloc(count, sizeof *o->text);
    o->names = calloc(count, sizeof *o->names);
    if (!o->text || !o->names)
        return err_set(e, -ENOMEM, "out of memory");
    for (uint64_t n = 0; n < count && rc == 0; n++) {
        rc = order_name(o, n, o->text[n], e);
        o->names[n] = o->text[n];
    }
    return rc;
}

/* VOLUME or VOLUME@SNAPSHOT */
static int find_source(struct control *c, const char *text, struct order *o, struct err *e)
{
    const char *at = strchr(text, '@');
    char name[NAME_SIZE + 1];

    snprintf(name, sizeof name, "%.*s", at ? (int)(at - text) : NAME_SIZE, text);
    o->clone = true;
    o->at_snapshot = at != NULL;
    int rc = name_check("volume", name, e);
    if (rc == 0)
        rc = cat_volume_get(c->catalog, name, &o->volume, e);
    if (rc == 0 && at)
        rc = name_check("snapshot", at + 1, e);
    return rc == 0 && at ? cat_snapshot_get(c->catalog, at + 1, &o->snapshot, e) : rc;
}

static int read_order(struct http_request *r, struct order *ret, struct err *e)
{
    static const char *const keys[] = { "name", "image", "clone", "count", NULL };
    struct control *c = http_context(r);
    const char *image, *clone;
    char name[NAME_SIZE];
    uint32_t version;
    json_t *o;
    int rc = http_json(r, keys, &o, e);

    if (rc < 0 || (rc = json_get_text(o, "name", true, 1024, &ret->name, e)) < 0 ||
        (rc = json_get_text(o, "image", false, 1024, &image, e)) < 0 ||
        (rc = json_get_text(o, "clone", false, 1024, &clone, e)) < 0 ||
        (rc = json_get_u64(o, "count", 1, LIFECYCLE_VOLUMES_MOST, 0, &ret->count, e)) < 0)
        return rc;
    if (!image == !clone)
        return err_set(e, -EINVAL, "give either image or clone: what the volume is made from");
    rc = make_names(ret, e);
    if (rc < 0)
        return rc;
    if (clone)
        return find_source(c, clone, ret, e);
    rc = name_split_image(image, name, &version, e);
    return rc < 0 ? rc : cat_image_get(c->catalog, name, version, &ret->image, e);
}

static int carry_out(struct control *c, struct order *o, struct err *e)
{
    unsigned count = o->count ? (unsigned)o->count : 1;
    struct lifecycle *l = control_life(c);

    if (!o->clone)
        return lifecycle_create(l, &o->image, o->names, count, e);
    if (o->at_snapshot)
        return lifecycle_clone_snapshot(l, &o->volume, &o->snapshot, o->names, count, e);
    return lifecycle_clone(l, &o->volume, o->names, count, e);
}

static void on_create(struct http_request *r)
{
    AUTO(order_done) struct order o = { 0 };
    struct err e = { 0 };
    int rc = read_order(r, &o, &e);

    if (rc == 0)
        rc = carry_out(http_context(r), &o, &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    json_t *names = json_array();
    for (uint64_t n = 0; n < (o.count ? o.count : 1); n++)
        json_array_append_new(names, json_string(o.names[n]));
    http_answer_json(r, 201, json_pack("{s:o}", "volumes", names));
}

/* ---- remove -------------------------------------------------------------------------------------
 */

static void on_remove(struct http_request *r)
{
    struct control *c = http_context(r);
    uint64_t with_snapshots;
    struct cat_volume v;
    struct err e = { 0 };
    int rc = name_check("volume", http_arg(r, 0), &e);

    if (rc == 0)
        rc = http_query_u64(r, "snapshots", 0, &with_snapshots, &e);
    if (rc == 0)
        rc = cat_volume_get(c->catalog, http_arg(r, 0), &v, &e);
    if (rc == 0)
        rc = lifecycle_remove(control_life(c), &v, with_snapshots != 0, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_empty(r, 204);
}

/* ---- promote, resize, quota ---------------------------------------------------------------------
 */

/* The volume that the path names, and the body. */
static int read_verb(struct http_request *r, const char *const *keys, struct cat_volume *ret,
                     json_t **ret_body, struct err *e)
{
    struct control *c = http_context(r);
    int rc = http_json(r, keys, ret_body, e);

    if (rc == 0)
        rc = name_check("volume", http_arg(r, 0), e);
    return rc < 0 ? rc : cat_volume_get(c->catalog, http_arg(r, 0), ret, e);
}

static void answer_volume(struct http_request *r, int rc, const char *name, struct err *e)
{
    struct control *c = http_context(r);
    struct cat_volume v;

    if (rc == 0)
        rc = cat_volume_get(c->catalog, name, &v, e);
    if (rc < 0)
        http_answer_err(r, e);
    else
        http_answer_json(r, 200, control_volume_json(c, &v));
}

static void on_promote(struct http_request *r)
{
    static const char *const keys[] = { "image", NULL };
    struct control *c = http_context(r);
    struct cat_image i = { 0 };
    struct cat_volume v;
    struct err e = { 0 }, why = { 0 };
    char image[80], job[17] = "";
    const char *name;
    json_t *body;
    int rc = read_verb(r, keys, &v, &body, &e);

    if (rc == 0)
        rc = json_get_name(body, "image", "image", &name, &e);
    if (rc == 0) {
        snprintf(i.name, sizeof i.name, "%s", name);
        snprintf(i.source, sizeof i.source, "volume %s", v.name);
        rc = lifecycle_promote(control_life(c), &v, &i, &e);
    }
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    snprintf(image, sizeof image, "%s@%u", i.name, i.version);
    if (jobs_verify(c, &i, job, &why) < 0)
        log_error("control image %s: verify: %s", image, why.msg); /* at the next start, then */
    http_answer_json(r, 201, json_pack("{s:s, s:s?}", "image", image, "job", job[0] ? job : NULL));
}

static void on_resize(struct http_request *r)
{
    static const char *const keys[] = { "size_bytes", NULL };
    struct control *c = http_context(r);
    struct cat_volume v = { 0 };
    struct err e = { 0 };
    uint64_t size_bytes;
    json_t *body;
    int rc = read_verb(r, keys, &v, &body, &e);

    if (rc == 0 && !json_object_get(body, "size_bytes"))
        rc = err_set(&e, -EINVAL, "size_bytes: is missing");
    if (rc == 0)
        rc = json_get_u64(body, "size_bytes", 512, LIFECYCLE_SIZE_MOST, 0, &size_bytes, &e);
    if (rc == 0)
        rc = lifecycle_resize(control_life(c), &v, size_bytes, &e);
    answer_volume(r, rc, v.name, &e);
}

static void on_quota(struct http_request *r)
{
    static const char *const keys[] = { "quota_bytes", NULL };
    struct control *c = http_context(r);
    struct cat_volume v = { 0 };
    struct err e = { 0 };
    uint64_t quota_bytes = 0;
    json_t *body;
    int rc = read_verb(r, keys, &v, &body, &e);
    const json_t *value = rc == 0 ? json_object_get(body, "quota_bytes") : NULL;

    if (rc == 0 && !value)
        rc = err_set(&e, -EINVAL, "quota_bytes: is missing: a number, or null for none");
    if (rc == 0 && !json_is_null(value))
        rc = json_get_u64(body, "quota_bytes", LIFECYCLE_QUOTA_LEAST, INT64_MAX, 0, &quota_bytes,
                          &e);
    if (rc == 0)
        rc = lifecycle_quota(control_life(c), &v, quota_bytes, &e);
    answer_volume(r, rc, v.name, &e);
}

int control_volume_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/volumes", HTTP_ADMIN, on_list, false },
        { "POST", "/v1/volumes", HTTP_ADMIN, on_create, false },
        { "GET", "/v1/volumes/{}", HTTP_ADMIN, on_show, false },
        { "DELETE", "/v1/volumes/{}", HTTP_ADMIN, on_remove, false },
        { "POST", "/v1/volumes/{}/promote", HTTP_ADMIN, on_promote, false },
        { "POST", "/v1/volumes/{}/resize", HTTP_ADMIN, on_resize, false },
        { "POST", "/v1/volumes/{}/quota", HTTP_ADMIN, on_quota, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
