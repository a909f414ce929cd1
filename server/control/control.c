/* SPDX-License-Identifier: Apache-2.0 */
/* control - joins catalog, store and exports: epochs at the start, grants, leftover layers.
 * Knows no HTTP but the waking of those who wait for events. */
#include "server/control/control.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/events.h"
#include "server/catalog/layers.h"
#include "server/control/http.h"
#include "server/control/jobs.h"
#include "server/control/uploads.h"
#include "server/store/store.h"

static_assert(sizeof((struct layer_id *)0)->b == CAT_LAYER_BYTES, "one kind of layer id");
static_assert(EXPORT_TOKEN_BYTES == CAT_TOKEN_BYTES, "one kind of token");

int control_init(struct control *c, struct err *e)
{
    int (*const tables[])(struct http * h, struct err * e) = {
        control_status_routes, control_metrics_routes, control_event_routes,
        control_image_routes,  control_volume_routes,  control_attachment_routes,
        control_job_routes,    control_upload_routes,
    };
    int rc = jobs_new(c, &c->jobs, e);

    if (rc == 0)
        rc = uploads_new(c, &c->uploads, e);
    for (size_t i = 0; i < sizeof tables / sizeof *tables && rc == 0; i++)
        rc = tables[i](c->http, e);
    return rc < 0 ? rc : control_watch(c, e);
}

void control_done(struct control *c)
{
    control_watch_end(c);
    jobs_free(c->jobs);
    c->jobs = NULL;
    uploads_free(c->uploads);
    c->uploads = NULL;
}

int control_event(struct control *c, struct err *e, const char *kind, const char *object,
                  const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int rc = cat_event_add(c->catalog, kind, object, text, e);
    if (rc == 0 && c->http)
        http_wake(c->http, http_topic(HTTP_TOPIC_EVENTS, 0));
    return rc;
}

/* ---- addresses ----------------------------------------------------------------------------------
 */

/* "[::1]:10809" into "::1". */
static void host_of(const char *address, char ret[static 64])
{
    const char *colon = strrchr(address, ':');
    int length = colon ? (int)(colon - address) : 0;
    int skip = address[0] == '[';

    snprintf(ret, 64, "%.*s", length > 2 * skip ? length - 2 * skip : 0, address + skip);
}

const char *control_nbd_host(const struct control *c, char ret[static 64])
{
    host_of(c->nbd[0], ret);
    bool any = strcmp(ret, "0.0.0.0") == 0 || strcmp(ret, "::") == 0;
    if (c->advertise)
        snprintf(ret, 64, "%s", c->advertise);
    else if (any && c->boot_address)
        snprintf(ret, 64, "%s", c->boot_address);
    else if (any)
        snprintf(ret, 64, "%s", strchr(ret, ':') ? "::1" : "127.0.0.1");
    return ret;
}

uint16_t control_nbd_port(const struct control *c)
{
    const char *colon = strrchr(c->nbd[0], ':');

    return colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
}

void control_uri(const struct control *c, const char *name,
                 const uint8_t token[static EXPORT_TOKEN_BYTES], char *ret, size_t size)
{
    char host[64], hex[2 * EXPORT_TOKEN_BYTES + 1];

    control_nbd_host(c, host);
    hex_encode(token, EXPORT_TOKEN_BYTES, hex);
    snprintf(ret, size, strchr(host, ':') ? "nbd://[%s]:%u/%s.%s" : "nbd://%s:%u/%s.%s", host,
             control_nbd_port(c), name, hex);
}

const char *control_holder(const struct cat_attachment *a)
{
    return a->host_id ? a->host : "the command line";
}

/* ---- grants -------------------------------------------------------------------------------------
 */

static void fill_volume_grant(const struct cat_volume *v, struct export_grant *g)
{
    const struct cat_attachment *a = &v->attachment;

    *g = (struct export_grant){ .generation = a->generation, .epoch = a->epoch, .writable = true };
    snprintf(g->name, sizeof g->name, "%s", v->name);
    snprintf(g->holder, sizeof g->holder, "%s", control_holder(a));
    memcpy(g->token, a->token, sizeof g->token);
    snprintf(g->volume.name, sizeof g->volume.name, "%s", v->name);
    memcpy(g->volume.top.b, v->top, sizeof g->volume.top.b);
    g->layers.count = 1;
    memcpy(g->layers.id[0].b, v->below, sizeof g->layers.id[0].b);
    g->volume.size_bytes = v->size_bytes;
    g->volume.generation = v->generation;
    g->volume.epoch = v->epoch;
}

int control_grant_volume(struct control *c, const struct cat_volume *v, struct err *e)
{
    struct export_grant g;

    fill_volume_grant(v, &g);
    return export_grant(c->exports, &g, e);
}

int control_grant_image(struct control *c, const struct cat_image *i,
                        const struct cat_attachment *a, struct err *e)
{
    struct export_grant g = { .size_bytes = i->size_bytes };

    snprintf(g.name, sizeof g.name, "%s@%u", i->name, i->version);
    snprintf(g.holder, sizeof g.holder, "%s", control_holder(a));
    memcpy(g.token, a->token, sizeof g.token);
    g.layers.count = 1;
    memcpy(g.layers.id[0].b, i->layer, sizeof g.layers.id[0].b);
    return export_grant(c->exports, &g, e);
}

/* ---- the start ----------------------------------------------------------------------------------
 */

struct recovery {
    struct control *control;
    struct err *e;
    unsigned count;
};

static int tell_new_life(struct recovery *r, const char *name)
{
    r->count++;
    return control_event(r->control, r->e, "volume-epoch", name,
                         "volume %s: its content is that of its last flush, as after a power cut",
                         name);
}

/* A top layer that was being written.  One that the catalog does not know is the sweep's. */
static int on_open_layer(void *ctx, struct layer_id id)
{
    struct recovery *r = ctx;
    struct cat_volume v;
    int rc = cat_volume_by_top(r->control->catalog, id.b, &v, r->e);

    if (rc == -ENOENT)
        return 0;
    if (rc == 0)
        rc = cat_volume_raise_epoch(r->control->catalog, id.b, r->e);
    return rc < 0 ? rc : tell_new_life(r, v.name);
}

static int on_failed_volume(void *ctx, const struct cat_volume *v)
{
    struct recovery *r = ctx;

    if (!v->failed)
        return 0;
    int rc = cat_volume_set_failed(r->control->catalog, v->name, false, r->e);
    return rc < 0 ? rc : tell_new_life(r, v->name);
}

int control_recover(struct control *c, struct err *e)
{
    struct recovery r = { .control = c, .e = e };
    int rc = cat_begin(c->catalog, e);

    if (rc < 0)
        return rc;
    rc = store_recover(c->store, on_open_layer, &r, e);
    if (rc == 0)
        rc = cat_volume_list(c->catalog, on_failed_volume, &r, e);
    rc = cat_end(c->catalog, rc, e);
    if (rc == 0)
        rc = store_recovered(c->store, e);
    if (rc == 0 && r.count)
        log_warn(
            "control: volumes that were being written when the server ended: %u: each is as it "
            "was at its last flush, its epoch has grown",
            r.count);
    return rc;
}

/* Its token is known to have been good once: who comes with it is told why it is so no longer. */
static int bury_grant(struct control *c, const struct cat_volume *v, struct err *e)
{
    char why[200];
    struct export_grant g;

    fill_volume_grant(v, &g);
    int rc = export_grant(c->exports, &g, e);
    if (rc < 0)
        return rc;
    snprintf(why, sizeof why,
             "this attachment of volume '%s' is over: epoch %" PRIu64 " generation %" PRIu64
             " ended, the volume is now at %" PRIu64 " and %" PRIu64 ": attach it again",
             v->name, v->attachment.epoch, v->attachment.generation, v->epoch, v->generation);
    export_revoke(c->exports, v->name, why);
    return 0;
}

static int regrant_volume(void *ctx, const struct cat_volume *v)
{
    struct recovery *r = ctx;

    if (!v->attachment.id)
        return 0;
    return cat_volume_attached(v) ? control_grant_volume(r->control, v, r->e)
                                  : bury_grant(r->control, v, r->e);
}

static int regrant_image(void *ctx, const struct cat_attachment *a)
{
    struct recovery *r = ctx;
    struct cat_image i;
    int rc = cat_image_get_id(r->control->catalog, a->image_id, &i, r->e);

    return rc < 0 ? rc : control_grant_image(r->control, &i, a, r->e);
}

int control_regrant(struct control *c, struct err *e)
{
    struct recovery r = { .control = c, .e = e };
    int rc = cat_volume_list(c->catalog, regrant_volume, &r, e);

    return rc < 0 ? rc : cat_image_attachments(c->catalog, regrant_image, &r, e);
}

void control_sweep_layers(struct control *c)
{
    uint8_t dead[16][CAT_LAYER_BYTES];
    struct err e = { 0 };
    unsigned count;

    while (cat_layer_dead(c->catalog, NULL, dead, 16, &count, &e) == 0 && count) {
        for (unsigned i = 0; i < count; i++) {
            struct layer_id id;
            memcpy(id.b, dead[i], sizeof id.b);
            int rc = layer_remove(c->store, id, &e);
            if (rc == 0)
                rc = cat_layer_forget(c->catalog, id.b, &e);
            if (rc < 0) {
                log_error("control: remove a layer's files: %s", e.msg);
                return;
            }
        }
    }
}
