/* SPDX-License-Identifier: Apache-2.0 */
/* domains - the calls about domains: define, list, show, start, stop, remove.
 *
 * What is to be is written down and the host's agent is told; what is, the agent reports
 * (agent.c). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/images.h"
#include "server/control/care.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/json.h"
#include "server/control/lab.h"
#include "server/export/export.h"

#define STOP_SECONDS_DEFAULT 60
#define STOP_SECONDS_MOST    86400
#define ADDRESS_TRIES        16 /* random MAC addresses until one is free */

/* ---- show -------------------------------------------------------------------------------------
 */

/* The agent's last word says nothing any more when the agent is not there. */
static const char *state_of(struct control *c, const struct cat_domain *d)
{
    struct cat_host h;

    if (cat_host_by_id(c->catalog, d->host_id, &h, NULL) < 0 || !lab_online(c, &h))
        return h.registered_at ? "unknown" : "stopped";
    return d->state;
}

static json_t *json_of_domain(struct control *c, const struct cat_domain *d)
{
    char image[NAME_SIZE + 12];

    snprintf(image, sizeof image, "%s@%u", d->image_name, d->image_version);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:I}", "name",
                     d->name, "host", d->host, "volume", d->volume, "image", image, "memory_mib",
                     (json_int_t)d->memory_mib, "vcpus", (json_int_t)d->vcpus, "mac", d->mac,
                     "uuid", d->uuid, "desired", d->running ? "running" : "stopped", "state",
                     state_of(c, d), "detail", d->detail, "domid", (json_int_t)d->domid);
}

struct listing {
    struct control *control;
    json_t *array;
};

static int list_one(void *ctx, const struct cat_domain *d)
{
    struct listing *l = ctx;
    json_t *domain = json_of_domain(l->control, d);

    return domain && json_array_append_new(l->array, domain) == 0 ? 0 : -ENOMEM;
}

static void on_list(struct http_request *r)
{
    struct listing l = { .control = http_context(r), .array = json_array() };
    struct err e = { 0 };
    int rc = cat_domain_list(l.control->catalog, 0, list_one, &l, &e);

    if (rc < 0) {
        json_decref(l.array);
        err_wrap(&e, rc, "list domains");
        http_answer_err(r, &e);
        return;
    }
    http_answer_json(r, 200, json_pack("{s:o}", "domains", l.array));
}

/* Answers with the domain as it is now, or with the failure. */
static void answer_domain(struct http_request *r, int rc, int status, const char *name,
                          struct err *e)
{
    struct control *c = http_context(r);
    struct cat_domain d;

    if (rc == 0)
        rc = cat_domain_get(c->catalog, name, &d, e);
    if (rc < 0)
        http_answer_err(r, e);
    else
        http_answer_json(r, status, json_of_domain(c, &d));
}

static void on_get(struct http_request *r)
{
    struct err e = { 0 };

    answer_domain(r, 0, 200, http_arg(r, 0), &e);
}

/* ---- define -----------------------------------------------------------------------------------
 */

struct definition {
    const char *name, *host, *image;
    uint64_t memory_mib, vcpus;
};

static int read_definition(struct http_request *r, struct definition *ret, struct err *e)
{
    static const char *const keys[] = { "name", "host", "image", "memory_mib", "vcpus", NULL };
    struct definition d = { 0 };
    json_t *body;
    int rc = http_json(r, keys, &body, e);

    if (rc == 0)
        rc = json_get_name(body, "name", "domain", &d.name, e);
    if (rc == 0)
        rc = json_get_name(body, "host", "host", &d.host, e);
    if (rc == 0)
        rc = json_get_text(body, "image", true, 1024, &d.image, e);
    if (rc == 0)
        rc = json_get_u64(body, "memory_mib", CAT_DOMAIN_MIB_LEAST, CAT_DOMAIN_MIB_MOST, 512,
                          &d.memory_mib, e);
    if (rc == 0)
        rc = json_get_u64(body, "vcpus", 1, CAT_DOMAIN_VCPUS_MOST, 1, &d.vcpus, e);
    if (rc == 0)
        *ret = d;
    return rc;
}

static int find_image(struct control *c, const char *text, struct cat_image *ret, struct err *e)
{
    char name[NAME_SIZE];
    uint32_t version;
    int rc = name_split_image(text, name, &version, e);

    return rc < 0 ? rc : cat_image_get(c->catalog, name, version, ret, e);
}

/* Adds the row with random addresses; tries others if one is taken. */
static int add_domain(struct control *c, struct cat_domain *d, struct err *e)
{
    int rc = -EADDRINUSE;

    for (int i = 0; i < ADDRESS_TRIES && rc == -EADDRINUSE; i++) {
        lab_domain_mac(d->mac);
        lab_domain_uuid(d->uuid);
        rc = cat_domain_add(c->catalog, d, e);
    }
    return rc;
}

static int define(struct control *c, const struct definition *in, struct err *e)
{
    struct cat_domain d = { .memory_mib = (uint32_t)in->memory_mib, .vcpus = (uint32_t)in->vcpus };
    struct cat_image image;
    struct cat_host h;
    uint8_t top[CAT_LAYER_BYTES];
    int rc = cat_host_get(c->catalog, in->host, &h, e);

    /* Its volume would be in the way first, and the words would be of the volume. */
    if (rc == 0 && cat_domain_get(c->catalog, in->name, &d, NULL) == 0)
        return err_set(e, -EEXIST, "there is a domain '%s' already", in->name);
    if (rc == 0)
        rc = find_image(c, in->image, &image, e);
    if (rc < 0)
        return rc;
    snprintf(d.name, sizeof d.name, "%s", in->name);
    d.host_id = h.id;
    random_bytes(top, sizeof top);
    rc = cat_volume_add(c->catalog, in->name, &image, top, &d.volume_id, e);
    if (rc == 0)
        rc = add_domain(c, &d, e);
    if (rc == 0)
        rc = lab_raise(c, h.id, e);
    if (rc == 0)
        rc = control_event(c, e, "domain-defined", d.name,
                           "on host %s, image %s@%u, %u MiB, %u vcpus", h.name, image.name,
                           image.version, d.memory_mib, d.vcpus);
    return rc;
}

static void tell_host_of(struct control *c, const char *domain)
{
    struct cat_domain d;

    if (cat_domain_get(c->catalog, domain, &d, NULL) == 0)
        lab_tell(c, d.host_id);
}

static void on_define(struct http_request *r)
{
    struct control *c = http_context(r);
    struct definition d = { 0 };
    struct err e = { 0 };
    int rc = read_definition(r, &d, &e);

    if (rc == 0)
        rc = cat_begin(c->catalog, &e);
    if (rc == 0)
        rc = cat_end(c->catalog, define(c, &d, &e), &e);
    if (rc == 0)
        tell_host_of(c, d.name);
    answer_domain(r, rc, 201, d.name, &e);
}

/* ---- start ------------------------------------------------------------------------------------
 */

static int check_disk_is_free(const struct lab_domain *d, struct err *e)
{
    const struct cat_attachment *a = &d->volume.attachment;
    char since[32];

    if (!cat_volume_attached(&d->volume) || a->host_id == d->domain.host_id)
        return 0;
    return err_set(
        e, -EBUSY, "volume '%s' is attached to %s since %s: `gridbox volume detach %s` first",
        d->volume.name, control_holder(a), clock_rfc3339(a->since, since), d->volume.name);
}

static int store_running(struct control *c, struct lab_domain *d, bool running, struct err *e)
{
    bool was = d->domain.running;

    d->domain.running = running;
    int rc = lab_raise(c, d->domain.host_id, e);
    if (rc == 0)
        rc = cat_domain_set_running(c->catalog, &d->domain, e);
    if (rc == 0 && was != running)
        rc = control_event(c, e, running ? "domain-start" : "domain-stop", d->domain.name,
                           "%s on host %s", running ? "to be started" : "to be stopped",
                           d->domain.host);
    return rc;
}

/* A disk that has failed serves again, but never as the same content: its epoch moves. */
static int renew_disk(struct control *c, struct lab_domain *d, struct err *e)
{
    bool failed;
    int rc = control_note_failure(c, &d->volume, &failed, e);

    if (rc == 0 && failed) {
        rc = cat_volume_set_failed(c->catalog, d->volume.name, false, e);
        if (rc == 0)
            rc = cat_volume_get(c->catalog, d->domain.volume, &d->volume, e);
    }
    return rc < 0 ? rc : cat_volume_attach(c->catalog, &d->volume, d->domain.host_id, e);
}

static int store_start(struct control *c, struct lab_domain *d, bool *ret_attached, struct err *e)
{
    *ret_attached = !lab_has_disk(d);
    int rc = *ret_attached ? renew_disk(c, d, e) : 0;

    return rc < 0 ? rc : store_running(c, d, true, e);
}

static int start(struct control *c, const char *name, struct err *e)
{
    struct lab_domain d;
    struct cat_host h;
    bool attached = false;
    int rc = lab_domain_get(c, name, &d, e);

    if (rc == 0)
        rc = cat_host_by_id(c->catalog, d.domain.host_id, &h, e);
    if (rc == 0)
        rc = check_disk_is_free(&d, e);
    if (rc < 0)
        return rc;
    if (!h.approved)
        return err_set(e, -EBUSY, "host '%s' waits for approval: `gridbox host approve %s` first",
                       h.name, h.name);
    if (d.domain.running && lab_has_disk(&d))
        return 0;

    rc = cat_begin(c->catalog, e);
    if (rc == 0)
        rc = cat_end(c->catalog, store_start(c, &d, &attached, e), e);
    if (rc == 0 && attached)
        rc = control_grant_volume(c, &d.volume, e);
    if (rc == 0)
        lab_tell(c, d.domain.host_id);
    return rc;
}

static void on_start(struct http_request *r)
{
    struct control *c = http_context(r);
    static const char *const keys[] = { NULL };
    struct err e = { 0 };
    json_t *body;
    int rc = http_json(r, keys, &body, &e);

    if (rc == 0)
        rc = start(c, http_arg(r, 0), &e);
    answer_domain(r, rc, 200, http_arg(r, 0), &e);
}

/* ---- stop -------------------------------------------------------------------------------------
 */

/* Where nobody is to shut it down, there is nothing to wait for. */
static bool is_gone(struct control *c, const struct lab_domain *d)
{
    return strcmp(state_of(c, &d->domain), "stopped") == 0;
}

static int stop(struct control *c, const char *name, uint64_t seconds, struct err *e)
{
    struct lab_domain d;
    int rc = lab_domain_get(c, name, &d, e);

    if (rc < 0)
        return rc;
    d.domain.stop_seconds = (uint32_t)seconds;
    bool gone = is_gone(c, &d);
    rc = cat_begin(c->catalog, e);
    if (rc == 0)
        rc = cat_end(c->catalog, store_running(c, &d, false, e), e);
    if (rc == 0 && gone)
        rc = lab_detach(c, &d, "the domain was stopped", e);
    if (rc == 0)
        lab_tell(c, d.domain.host_id);
    return rc;
}

static void on_stop(struct http_request *r)
{
    struct control *c = http_context(r);
    static const char *const keys[] = { "seconds", NULL };
    uint64_t seconds = 0;
    struct err e = { 0 };
    json_t *body;
    int rc = http_json(r, keys, &body, &e);

    if (rc == 0)
        rc =
            json_get_u64(body, "seconds", 0, STOP_SECONDS_MOST, STOP_SECONDS_DEFAULT, &seconds, &e);
    if (rc == 0)
        rc = stop(c, http_arg(r, 0), seconds, &e);
    answer_domain(r, rc, 200, http_arg(r, 0), &e);
}

/* ---- remove -----------------------------------------------------------------------------------
 */

static int remove_rows(struct control *c, const struct lab_domain *d, bool keep_volume,
                       struct err *e)
{
    int rc = cat_domain_remove(c->catalog, d->domain.id, e);

    if (rc == 0 && d->volume.attachment.host_id == d->domain.host_id)
        rc = cat_volume_detach(c->catalog, &d->volume, e);
    if (rc == 0 && !keep_volume)
        rc = cat_volume_remove(c->catalog, &d->volume, e);
    if (rc == 0)
        rc = lab_raise(c, d->domain.host_id, e);
    if (rc == 0)
        rc = control_event(c, e, "domain-removed", d->domain.name, "removed from host %s%s",
                           d->domain.host, keep_volume ? "; its volume stays" : "");
    return rc;
}

static int check_removable(struct control *c, const struct lab_domain *d, struct err *e)
{
    const char *state = state_of(c, &d->domain);

    if (d->domain.running)
        return err_set(e, -EBUSY, "domain '%s' runs: `gridbox domain stop %s` first",
                       d->domain.name, d->domain.name);
    /* "unknown": its host is away.  What it may still have there is cut off. */
    if (strcmp(state, "stopped") == 0 || strcmp(state, "unknown") == 0)
        return 0;
    return err_set(e, -EBUSY, "domain '%s' is still there (%s): wait until it is stopped",
                   d->domain.name, state);
}

static int remove_domain(struct control *c, const char *name, bool keep_volume, struct err *e)
{
    struct lab_domain d;
    int rc = lab_domain_get(c, name, &d, e);

    if (rc == 0)
        rc = check_removable(c, &d, e);
    if (rc == 0 && !keep_volume)
        rc = lifecycle_check_snapshots(control_life(c), &d.volume, e);
    if (rc == 0)
        rc = cat_begin(c->catalog, e);
    if (rc == 0)
        rc = cat_end(c->catalog, remove_rows(c, &d, keep_volume, e), e);
    if (rc < 0)
        return rc;
    if (!keep_volume || d.volume.attachment.host_id == d.domain.host_id)
        export_revoke(c->exports, d.volume.name, "the domain was removed");
    if (!keep_volume)
        care_kick(c->care);
    lab_tell(c, d.domain.host_id);
    return 0;
}

static void on_remove(struct http_request *r)
{
    struct control *c = http_context(r);
    uint64_t keep_volume;
    struct err e = { 0 };
    int rc = http_query_u64(r, "keep_volume", 0, &keep_volume, &e);

    if (rc == 0)
        rc = remove_domain(c, http_arg(r, 0), keep_volume != 0, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_empty(r, 204);
}

static const struct http_route routes[] = {
    { "GET", "/v1/domains", HTTP_ADMIN, on_list, false },
    { "POST", "/v1/domains", HTTP_ADMIN, on_define, false },
    { "GET", "/v1/domains/{}", HTTP_ADMIN, on_get, false },
    { "DELETE", "/v1/domains/{}", HTTP_ADMIN, on_remove, false },
    { "POST", "/v1/domains/{}/start", HTTP_ADMIN, on_start, false },
    { "POST", "/v1/domains/{}/stop", HTTP_ADMIN, on_stop, false },
};

int lab_domain_routes(struct http *h, struct err *e)
{
    return http_routes(h, routes, sizeof routes / sizeof routes[0], e);
}
