/* SPDX-License-Identifier: Apache-2.0 */
/* attachments - who may open which volume: POST /v1/attachments, DELETE …/attachment(s).
 *
 * Order: the catalog's transaction first, for all volumes of the call, then the exports.  A new
 * attachment has a higher generation, so that the export fences the one before it. */
#include <errno.h>
#include <stdlib.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/json.h"
#include "server/control/lab.h"

struct order {
    struct control *control;
    bool all, force;
    struct lifecycle_set set;
    bool *fresh; /* heap: a new attachment is made for this one */
};

static void order_done(struct order *o)
{
    lifecycle_set_done(&o->set);
    free(o->fresh);
}

static int read_order(struct http_request *r, struct order *o, struct err *e)
{
    static const char *const keys[] = { "volumes", "all", "force", NULL };
    json_t *body;
    int rc = http_json(r, keys, &body, e);

    if (rc < 0 || (rc = json_get_bool(body, "all", false, &o->all, e)) < 0 ||
        (rc = json_get_bool(body, "force", false, &o->force, e)) < 0 ||
        (rc = control_read_set(o->control, body, NULL, &o->set, e)) < 0)
        return rc;
    o->fresh = calloc(o->set.count + 1, sizeof *o->fresh);
    if (!o->fresh)
        return err_set(e, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < o->set.count; i++)
        o->fresh[i] = true;
    return 0;
}

/* Decides whether a volume gets a new attachment, keeps its present one, or is in the way. */
static int judge(struct order *o, unsigned n, struct err *e)
{
    const struct cat_volume *v = &o->set.v[n];
    const struct cat_attachment *a = &v->attachment;
    char since[32];

    /* A host's attachment that is over is about to be renewed for the host. */
    bool held = a->id && (a->host_id || cat_volume_attached(v));
    if (!held || o->force)
        return 0;
    if (o->all && !a->host_id) {
        o->fresh[n] = false;
        return 0;
    }
    return err_set(e, -EBUSY, "volume '%s' is attached to %s since %s; --force takes it over",
                   v->name, control_holder(a), clock_rfc3339(a->since, since));
}

/* In a transaction. */
static int attach_one(struct control *c, struct cat_volume *v, struct err *e)
{
    char before[NAME_SIZE + 32] = "";
    bool failed;
    int rc = control_note_failure(c, v, &failed, e);

    if (v->attachment.id && cat_volume_attached(v))
        snprintf(before, sizeof before, ", taken over from %s", control_holder(&v->attachment));
    if (rc == 0 && failed) { /* serves again, but never as the same content */
        rc = cat_volume_set_failed(c->catalog, v->name, false, e);
        if (rc == 0)
            rc = cat_volume_get(c->catalog, v->name, v, e);
    }
    if (rc == 0)
        rc = cat_volume_attach(c->catalog, v, 0, e);
    if (rc == 0)
        rc = control_lab_disk_moved(c, v, e);
    if (rc == 0)
        rc = control_event(c, e, "volume-attached", v->name,
                           "volume %s was attached to the command line%s", v->name, before);
    return rc;
}

static int attach_all(struct order *o, struct err *e)
{
    int rc = 0;

    for (unsigned i = 0; i < o->set.count && rc == 0; i++)
        if (o->fresh[i])
            rc = attach_one(o->control, &o->set.v[i], e);
    return rc;
}

/* The exports did not take an attachment: none of this call is left. */
static void undo(struct order *o)
{
    struct control *c = o->control;
    struct err e = { 0 };

    for (unsigned i = 0; i < o->set.count; i++) {
        if (!o->fresh[i])
            continue;
        if (cat_volume_detach(c->catalog, &o->set.v[i], &e) < 0)
            log_error("control volume %s: undo of its attachment: %s", o->set.v[i].name, e.msg);
        export_revoke(c->exports, o->set.v[i].name, "the attachment could not be made");
    }
}

static int carry_out(struct order *o, struct err *e)
{
    struct control *c = o->control;
    int rc = 0;

    for (unsigned i = 0; i < o->set.count && rc == 0; i++)
        rc = judge(o, i, e);
    if (rc == 0)
        rc = cat_begin(c->catalog, e);
    if (rc == 0)
        rc = cat_end(c->catalog, attach_all(o, e), e);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < o->set.count && rc == 0; i++)
        if (o->fresh[i])
            rc = control_grant_volume(c, &o->set.v[i], e);
    if (rc < 0)
        undo(o);
    return rc;
}

static void on_attach(struct http_request *r)
{
    struct control *c = http_context(r);
    AUTO(order_done) struct order o = { .control = c };
    struct err e = { 0 };
    int rc = read_order(r, &o, &e);

    if (rc == 0)
        rc = carry_out(&o, &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    json_t *list = json_array();
    for (unsigned i = 0; i < o.set.count; i++) {
        char uri[256];
        control_uri(c, o.set.v[i].name, o.set.v[i].attachment.token, uri, sizeof uri);
        json_array_append_new(list, json_pack("{s:s, s:s}", "volume", o.set.v[i].name, "uri", uri));
    }
    http_answer_json(r, 200, json_pack("{s:o}", "attachments", list));
}

static int detach(struct control *c, const struct cat_volume *v, struct err *e)
{
    if (!v->attachment.id)
        return err_set(e, -ENOENT, "volume '%s' is not attached", v->name);
    if (v->attachment.host_id && v->domain[0])
        return err_set(e, -EBUSY,
                       "volume '%s' is the disk of domain '%s' on %s: stop the domain instead",
                       v->name, v->domain, v->attachment.host);
    int rc = cat_begin(c->catalog, e);
    if (rc < 0)
        return rc;
    rc = cat_volume_detach(c->catalog, v, e);
    if (rc == 0)
        rc = control_event(c, e, "volume-detached", v->name, "volume %s was detached from %s",
                           v->name, control_holder(&v->attachment));
    rc = cat_end(c->catalog, rc, e);
    if (rc == 0)
        export_revoke(c->exports, v->name, "the volume was detached");
    return rc;
}

static void on_detach(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_volume v;
    struct err e = { 0 };
    int rc = name_check("volume", http_arg(r, 0), &e);

    if (rc == 0)
        rc = cat_volume_get(c->catalog, http_arg(r, 0), &v, &e);
    if (rc == 0)
        rc = detach(c, &v, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_empty(r, 204);
}

/* ---- all of the command line's ------------------------------------------------------------------
 */

/* In a transaction.  Those that are left in the set are detached. */
static int end_all(struct control *c, struct lifecycle_set *set, struct err *e)
{
    unsigned count = 0;
    int rc = 0;

    for (unsigned i = 0; i < set->count && rc == 0; i++) {
        struct cat_volume v = set->v[i];
        if (!v.attachment.id || v.attachment.host_id)
            continue;
        set->v[count++] = v;
        rc = cat_volume_detach(c->catalog, &v, e);
        if (rc == 0)
            rc = control_event(c, e, "volume-detached", v.name, "volume %s was detached from %s",
                               v.name, control_holder(&v.attachment));
    }
    set->count = count;
    return rc;
}

static int revoke_all(struct control *c, const struct lifecycle_set *set, json_t *ret_list,
                      struct err *e)
{
    AUTO(auto_free) const char **names = calloc(set->count + 1, sizeof *names);

    if (!names)
        return err_set(e, -ENOMEM, "out of memory");
    for (unsigned i = 0; i < set->count; i++) {
        names[i] = set->v[i].name;
        json_array_append_new(ret_list, json_string(names[i]));
    }
    export_revoke_all(c->exports, names, set->count, "the volume was detached", false);
    return 0;
}

static void on_detach_all(struct http_request *r)
{
    struct control *c = http_context(r);
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    json_t *list = json_array();
    struct err e = { 0 };
    int rc = lifecycle_set_all(control_life(c), &set, &e);

    if (rc == 0)
        rc = cat_begin(c->catalog, &e);
    if (rc == 0)
        rc = cat_end(c->catalog, end_all(c, &set, &e), &e);
    if (rc == 0)
        rc = revoke_all(c, &set, list, &e);
    if (rc < 0) {
        json_decref(list);
        http_answer_err(r, &e);
    } else {
        http_answer_json(r, 200, json_pack("{s:o}", "volumes", list));
    }
}

int control_attachment_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "POST", "/v1/attachments", HTTP_ADMIN, on_attach, false },
        { "DELETE", "/v1/attachments", HTTP_ADMIN, on_detach_all, false },
        { "DELETE", "/v1/volumes/{}/attachment", HTTP_ADMIN, on_detach, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
