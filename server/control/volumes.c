/* SPDX-License-Identifier: Apache-2.0 */
/* volumes - the calls below /v1/volumes but attachments. */
#include "server/catalog/volumes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/json.h"
#include "server/store/store.h"

#define COUNT_MOST 1000

static json_t *attachment_json(struct control *c, const struct cat_volume *v,
                               const struct export_info *info)
{
    const struct cat_attachment *a = &v->attachment;

    (void)c;
    if (!a->id)
        return json_null();
    return json_pack("{s:s, s:s?, s:I, s:b, s:b}", "holder", control_holder(a), "host",
                     a->host_id ? a->host : NULL, "since", (json_int_t)a->since, "connected",
                     info->connected, "current", cat_volume_attached(v));
}

json_t *control_volume_json(struct control *c, const struct cat_volume *v)
{
    struct export_info info = { 0 };
    struct layer_id top;
    uint64_t data_bytes = 0;
    char image[80];

    if (v->attachment.id)
        export_query(c->exports, v->name, &info);
    memcpy(top.b, v->top, sizeof top.b);
    layer_usage(c->store, top, &data_bytes, NULL); /* no file yet: nothing written */
    snprintf(image, sizeof image, "%s@%u", v->image_name, v->image_version);
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:I, s:o, s:s?}", "name", v->name,
                     "image", image, "size_bytes", (json_int_t)v->size_bytes, "data_bytes",
                     (json_int_t)data_bytes, "generation", (json_int_t)v->generation, "epoch",
                     (json_int_t)v->epoch, "state", v->failed || info.failed ? "failed" : "ok",
                     "created_at", (json_int_t)v->created_at, "attachment",
                     attachment_json(c, v, &info), "domain", v->domain[0] ? v->domain : NULL);
}

struct listing {
    struct control *control;
    json_t *list;
};

static int add_json(void *ctx, const struct cat_volume *v)
{
    struct listing *l = ctx;

    json_array_append_new(l->list, control_volume_json(l->control, v));
    return 0;
}

static void on_list(struct http_request *r)
{
    struct control *c = http_context(r);
    struct listing l = { .control = c, .list = json_array() };
    struct err e = { 0 };

    if (cat_volume_list(c->catalog, add_json, &l, &e) < 0) {
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

/* ---- create -------------------------------------------------------------------------------------
 */

struct order {
    const char *name; /* with one "%d" if there is a count */
    uint64_t count;   /* 0: none was given */
    struct cat_image image;
};

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

static int read_order(struct http_request *r, struct order *ret, struct err *e)
{
    static const char *const keys[] = { "name", "image", "count", NULL };
    struct control *c = http_context(r);
    const char *reference, *mark;
    char name[NAME_SIZE];
    uint32_t version;
    json_t *o;
    int rc = http_json(r, &o, e);

    if (rc < 0 || (rc = json_only(o, keys, e)) < 0 ||
        (rc = json_get_text(o, "name", true, 1024, &ret->name, e)) < 0 ||
        (rc = json_get_text(o, "image", true, 1024, &reference, e)) < 0 ||
        (rc = json_get_u64(o, "count", 1, COUNT_MOST, 0, &ret->count, e)) < 0)
        return rc;
    if (strlen(ret->name) > NAME_MAX_LENGTH + 2)
        return name_check("volume", ret->name, e);
    mark = strstr(ret->name, "%d");
    if (ret->count && (!mark || strchr(ret->name, '%') != mark || strchr(mark + 1, '%')))
        return err_set(e, -EINVAL,
                       "name: with count it must hold one %%d, which becomes 0, 1, 2 …");
    rc = order_name(ret, 0, name, e);
    if (rc == 0)
        rc = name_split_image(reference, name, &version, e);
    return rc < 0 ? rc : cat_image_get(c->catalog, name, version, &ret->image, e);
}

/* In a transaction. */
static int create_all(struct control *c, const struct order *o, json_t *names, struct err *e)
{
    uint64_t count = o->count ? o->count : 1;
    char name[NAME_SIZE] = "";

    for (uint64_t n = 0; n < count; n++) {
        uint8_t top[CAT_LAYER_BYTES];
        int64_t id;
        int rc = order_name(o, n, name, e);
        random_bytes(top, sizeof top);
        if (rc == 0)
            rc = cat_volume_add(c->catalog, name, &o->image, top, &id, e);
        if (rc < 0)
            return rc;
        json_array_append_new(names, json_string(name));
    }
    if (count == 1)
        return control_event(c, e, "volume-created", name, "volume %s was created on image %s@%u",
                             name, o->image.name, o->image.version);
    return control_event(c, e, "volume-created", name,
                         "%u volumes, the last one %s, were created on image %s@%u",
                         (unsigned)count, name, o->image.name, o->image.version);
}

static void on_create(struct http_request *r)
{
    struct control *c = http_context(r);
    struct order o = { 0 };
    struct err e = { 0 };
    json_t *names = json_array();
    int rc = read_order(r, &o, &e);

    if (rc == 0)
        rc = cat_begin(c->catalog, &e);
    if (rc == 0)
        rc = cat_end(c->catalog, create_all(c, &o, names, &e), &e);
    if (rc < 0) {
        json_decref(names);
        http_answer_err(r, &e);
    } else {
        http_answer_json(r, 201, json_pack("{s:o}", "volumes", names));
    }
}

/* ---- remove -------------------------------------------------------------------------------------
 */

static int remove_volume(struct control *c, const struct cat_volume *v, struct err *e)
{
    if (v->domain[0])
        return err_set(e, -EBUSY,
                       "volume '%s' is the disk of domain '%s': remove the domain, which removes "
                       "the volume as well",
                       v->name, v->domain);
    if (cat_volume_attached(v))
        return err_set(e, -EBUSY, "volume '%s' is attached to %s: detach it first", v->name,
                       control_holder(&v->attachment));
    int rc = cat_begin(c->catalog, e);
    if (rc < 0)
        return rc;
    rc = cat_volume_detach(c->catalog, v, e); /* one that is over */
    if (rc == 0)
        rc = cat_volume_remove(c->catalog, v, e);
    if (rc == 0)
        rc = control_event(c, e, "volume-removed", v->name, "volume %s was removed", v->name);
    return cat_end(c->catalog, rc, e);
}

static void on_remove(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_volume v;
    struct err e = { 0 };
    int rc = name_check("volume", http_arg(r, 0), &e);

    if (rc == 0)
        rc = cat_volume_get(c->catalog, http_arg(r, 0), &v, &e);
    if (rc == 0)
        rc = remove_volume(c, &v, &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    export_revoke(c->exports, v.name, "the volume was removed");
    control_sweep_layers(c);
    http_answer_empty(r, 204);
}

int control_volume_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/volumes", HTTP_ADMIN, on_list, false },
        { "POST", "/v1/volumes", HTTP_ADMIN, on_create, false },
        { "GET", "/v1/volumes/{}", HTTP_ADMIN, on_show, false },
        { "DELETE", "/v1/volumes/{}", HTTP_ADMIN, on_remove, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
