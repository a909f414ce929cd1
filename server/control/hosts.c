/* SPDX-License-Identifier: Apache-2.0 */
/* hosts - the calls about hosts: list, show, approve, forget. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/json.h"
#include "server/control/lab.h"
#include "server/lab/rule.h"

static json_t *json_of_macs(const struct cat_host *h)
{
    json_t *macs = json_array();

    for (unsigned i = 0; macs && i < h->mac_count; i++)
        json_array_append_new(macs, json_string(h->macs[i]));
    return macs;
}

static json_t *json_of_host(const struct control *c, const struct cat_host *h)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:I, s:I, s:b, s:s, s:s, s:I, s:I, s:b, s:I, s:I, "
                     "s:I}",
                     "name", h->name, "state", h->approved ? "approved" : "waiting", "macs",
                     json_of_macs(h), "uuid", h->uuid, "cpu", h->cpu, "cpus", (json_int_t)h->cpus,
                     "memory_mib", (json_int_t)h->memory_mib, "hvm", (int)h->hvm, "address",
                     h->address, "loader", h->undionly ? "undionly" : "auto", "registered_at",
                     (json_int_t)h->registered_at, "seen_at", (json_int_t)lab_seen_at(c, h),
                     "online", (int)lab_online(c, h), "revision", (json_int_t)h->revision,
                     "applied_revision", (json_int_t)h->applied_revision, "domains",
                     (json_int_t)h->domains);
}

struct listing {
    struct control *control;
    json_t *array;
};

static int list_one(void *ctx, const struct cat_host *h)
{
    struct listing *l = ctx;
    json_t *host = json_of_host(l->control, h);

    return host && json_array_append_new(l->array, host) == 0 ? 0 : -ENOMEM;
}

static void on_list(struct http_request *r)
{
    struct listing l = { .control = http_context(r), .array = json_array() };
    struct err e = { 0 };
    int rc = cat_host_list(l.control->catalog, list_one, &l, &e);

    if (rc < 0) {
        json_decref(l.array);
        err_wrap(&e, rc, "list hosts");
        http_answer_err(r, &e);
        return;
    }
    http_answer_json(r, 200, json_pack("{s:o}", "hosts", l.array));
}

static void on_get(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_host h;
    struct err e = { 0 };

    if (cat_host_get(c->catalog, http_arg(r, 0), &h, &e) < 0)
        http_answer_err(r, &e);
    else
        http_answer_json(r, 200, json_of_host(c, &h));
}

/* ---- forget -----------------------------------------------------------------------------------
 */

static int forget(struct control *c, const struct cat_host *h, struct err *e)
{
    if (h->domains)
        return err_set(e, -EBUSY,
                       "host '%s' has %u domain%s: first remove what `gridbox domain list` names",
                       h->name, h->domains, h->domains == 1 ? "" : "s");
    int rc = cat_begin(c->catalog, e);
    if (rc < 0)
        return rc;
    rc = cat_host_remove(c->catalog, h->id, e);
    if (rc == 0)
        rc = control_event(c, e, "host-forgotten", h->name, "forgotten");
    return cat_end(c->catalog, rc, e);
}

static void on_forget(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_host h;
    struct err e = { 0 };

    if (cat_host_get(c->catalog, http_arg(r, 0), &h, &e) < 0 || forget(c, &h, &e) < 0) {
        http_answer_err(r, &e);
        return;
    }
    lab_forget(c, h.id);
    lab_tell(c, h.id);
    http_answer_empty(r, 204);
}

/* ---- approve ----------------------------------------------------------------------------------
 */

struct approval {
    const char *name; /* NULL = as it is */
    bool loader_given, undionly;
};

static int read_approval(struct http_request *r, struct approval *ret, struct err *e)
{
    static const char *const keys[] = { "name", "loader", NULL };
    struct approval a = { 0 };
    const char *loader = NULL;
    json_t *body;
    int rc = http_json(r, keys, &body, e);

    if (rc == 0)
        rc = json_get_text(body, "name", false, 256, &a.name, e);
    if (rc == 0 && a.name)
        rc = name_check("host", a.name, e);
    if (rc == 0)
        rc = json_get_text(body, "loader", false, 256, &loader, e);
    if (rc < 0)
        return rc;
    if (loader && strcmp(loader, "auto") != 0 && strcmp(loader, "undionly") != 0)
        return err_set(e, -EINVAL, "loader must be auto or undionly");
    a.loader_given = loader != NULL;
    a.undionly = loader && strcmp(loader, "undionly") == 0;
    *ret = a;
    return 0;
}

static void apply_approval(const struct approval *a, struct cat_host *h)
{
    h->approved = true;
    if (a->name)
        snprintf(h->name, sizeof h->name, "%s", a->name);
    if (a->loader_given)
        h->undionly = a->undionly;
}

static int store_approval(struct control *c, struct cat_host *h, const struct approval *a,
                          struct err *e)
{
    bool was = h->approved, expected = h->id == 0;

    apply_approval(a, h);
    int rc = expected ? cat_host_add(c->catalog, h, e) : cat_host_set(c->catalog, h, e);
    if (rc == 0)
        rc = lab_raise(c, h->id, e);
    if (rc == 0 && !was)
        rc = control_event(c, e, "host-approved", h->name, "%s",
                           expected ? "expected: it has not been seen yet" : "approved");
    return rc;
}

/* The host of this name or MAC address; id 0: a MAC address that has never been seen. */
static int find_host(struct control *c, const char *text, struct cat_host *ret, struct err *e)
{
    char mac[CAT_MAC_SIZE];

    if (!lab_mac_read(text, mac))
        return cat_host_get(c->catalog, text, ret, e);
    int rc = cat_host_by_mac(c->catalog, mac, ret, e);
    if (rc != -ENOENT)
        return rc;
    if (strchr("13579bdf", mac[1]))
        return err_set(e, -EINVAL,
                       "'%s' is the address of a group: use the MAC address of one network card",
                       mac);
    *ret = (struct cat_host){ .mac_count = 1 };
    memcpy(ret->macs[0], mac, sizeof mac);
    lab_host_name(mac, ret->name);
    return 0;
}

static void on_approve(struct http_request *r)
{
    struct control *c = http_context(r);
    struct approval a = { 0 };
    struct cat_host h;
    struct err e = { 0 };
    int rc = read_approval(r, &a, &e);

    if (rc == 0)
        rc = find_host(c, http_arg(r, 0), &h, &e);
    if (rc == 0)
        rc = cat_begin(c->catalog, &e);
    if (rc == 0)
        rc = cat_end(c->catalog, store_approval(c, &h, &a, &e), &e);
    if (rc == 0)
        rc = cat_host_by_id(c->catalog, h.id, &h, &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    lab_tell(c, h.id);
    http_answer_json(r, 200, json_of_host(c, &h));
}

static const struct http_route routes[] = {
    { "GET", "/v1/hosts", HTTP_ADMIN, on_list, false },
    { "GET", "/v1/hosts/{}", HTTP_ADMIN, on_get, false },
    { "DELETE", "/v1/hosts/{}", HTTP_ADMIN, on_forget, false },
    { "POST", "/v1/hosts/{}/approve", HTTP_ADMIN, on_approve, false },
};

int lab_host_routes(struct http *h, struct err *e)
{
    return http_routes(h, routes, sizeof routes / sizeof routes[0], e);
}
