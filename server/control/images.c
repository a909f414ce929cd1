/* SPDX-License-Identifier: Apache-2.0 */
/* images - the calls below /v1/images but the import. */
#include "server/catalog/images.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "server/base/log.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/jobs.h"

json_t *control_image_json(const struct cat_image *i)
{
    /* The last block is a whole one; layers of a promoted image may cover each other. */
    uint64_t data_bytes = i->data_bytes < i->size_bytes ? i->data_bytes : i->size_bytes;

    return json_pack("{s:s, s:I, s:I, s:I, s:s?, s:s, s:s, s:s, s:I, s:I}", "name", i->name,
                     "version", (json_int_t)i->version, "size_bytes", (json_int_t)i->size_bytes,
                     "data_bytes", (json_int_t)data_bytes, "sha256",
                     i->sha256[0] ? i->sha256 : NULL, "state", cat_image_state_name(i->state),
                     "source", i->source, "format", i->format, "created_at",
                     (json_int_t)i->created_at, "volumes", (json_int_t)i->volumes);
}

/* The image that the path names. */
static int of_path(struct http_request *r, struct cat_image *ret, uint32_t *ret_version,
                   struct err *e)
{
    struct control *c = http_context(r);
    char name[NAME_SIZE];
    int rc = name_split_image(http_arg(r, 0), name, ret_version, e);

    return rc < 0 ? rc : cat_image_get(c->catalog, name, *ret_version, ret, e);
}

static int add_json(void *ctx, const struct cat_image *i)
{
    json_array_append_new(ctx, control_image_json(i));
    return 0;
}

static void on_list(struct http_request *r)
{
    struct control *c = http_context(r);
    struct err e = { 0 };
    json_t *list = json_array();

    if (cat_image_list(c->catalog, add_json, list, &e) < 0) {
        json_decref(list);
        http_answer_err(r, &e);
    } else {
        http_answer_json(r, 200, json_pack("{s:o}", "images", list));
    }
}

static void on_show(struct http_request *r)
{
    struct cat_image i;
    struct err e = { 0 };
    uint32_t version;

    if (of_path(r, &i, &version, &e) < 0)
        http_answer_err(r, &e);
    else
        http_answer_json(r, 200, control_image_json(&i));
}

/* Without a version there must be but one. */
static int check_version(struct control *c, const struct cat_image *i, uint32_t version,
                         struct err *e)
{
    uint64_t versions;
    int rc = cat_image_versions(c->catalog, i->name, &versions, e);

    if (rc == 0 && version == 0 && versions > 1)
        return err_set(e, -EBUSY,
                       "image '%s' has %" PRIu64 " versions: say which one, as in '%s@%u'", i->name,
                       versions, i->name, i->version);
    return rc;
}

static void on_remove(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_image i;
    struct err e = { 0 };
    uint32_t version;
    int rc = of_path(r, &i, &version, &e);

    if (rc == 0)
        rc = check_version(c, &i, version, &e);
    if (rc == 0)
        rc = lifecycle_image_remove(control_life(c), &i, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_empty(r, 204);
}

/* ---- attachments --------------------------------------------------------------------------------
 */

static int attach(struct control *c, struct cat_image *i, struct cat_attachment *a, struct err *e)
{
    char object[80];
    int rc = cat_begin(c->catalog, e);

    if (rc < 0)
        return rc;
    snprintf(object, sizeof object, "%s@%u", i->name, i->version);
    rc = cat_image_attach(c->catalog, i, a, e);
    if (rc == 0 && !i->attached)
        rc = control_event(c, e, "image-attached", object, "image %s was attached", object);
    rc = cat_end(c->catalog, rc, e);
    if (rc < 0 || i->attached)
        return rc;
    rc = control_grant_image(c, i, a, e);
    if (rc < 0)
        cat_image_detach(c->catalog, i, NULL);
    return rc;
}

static void on_attach(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_attachment a;
    struct cat_image i;
    struct err e = { 0 };
    char object[80], uri[256];
    uint32_t version;
    int rc = of_path(r, &i, &version, &e);

    if (rc == 0)
        rc = attach(c, &i, &a, &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    snprintf(object, sizeof object, "%s@%u", i.name, i.version);
    control_uri(c, object, a.token, uri, sizeof uri);
    http_answer_json(r, 201, json_pack("{s:s, s:s}", "image", object, "uri", uri));
}

static int detach(struct control *c, const struct cat_image *i, struct err *e)
{
    char object[80];

    if (!i->attached)
        return err_set(e, -ENOENT, "image '%s@%u' is not attached", i->name, i->version);
    int rc = cat_begin(c->catalog, e);
    if (rc < 0)
        return rc;
    snprintf(object, sizeof object, "%s@%u", i->name, i->version);
    rc = cat_image_detach(c->catalog, i, e);
    if (rc == 0)
        rc = control_event(c, e, "image-detached", object, "image %s was detached", object);
    rc = cat_end(c->catalog, rc, e);
    if (rc == 0)
        export_revoke(c->exports, object, "the image was detached");
    return rc;
}

static void on_detach(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_image i;
    struct err e = { 0 };
    uint32_t version;
    int rc = of_path(r, &i, &version, &e);

    if (rc == 0)
        rc = detach(c, &i, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_empty(r, 204);
}

int control_image_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/images", HTTP_ADMIN, on_list, false },
        { "POST", "/v1/images", HTTP_ADMIN, jobs_on_import, false },
        { "GET", "/v1/images/{}", HTTP_ADMIN, on_show, false },
        { "DELETE", "/v1/images/{}", HTTP_ADMIN, on_remove, false },
        { "POST", "/v1/images/{}/verify", HTTP_ADMIN, jobs_on_verify, false },
        { "POST", "/v1/images/{}/attachments", HTTP_ADMIN, on_attach, false },
        { "DELETE", "/v1/images/{}/attachments", HTTP_ADMIN, on_detach, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
