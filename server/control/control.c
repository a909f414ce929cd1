/* SPDX-License-Identifier: Apache-2.0 */
/* control - joins catalog, store and exports: epochs at the start, grants, leftover layers.
 * Knows no HTTP but the waking of those who wait for events. */
#include "server/control/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/events.h"
#include "server/control/care.h"
#include "server/control/http.h"
#include "server/control/jobs.h"
#include "server/control/lab.h"
#include "server/control/uploads.h"
#include "server/store/store.h"

int control_init(struct control *c, struct err *e)
{
    int (*const tables[])(struct http * h, struct err * e) = {
        control_status_routes,  control_metrics_routes, control_event_routes,
        control_image_routes,   control_volume_routes,  control_attachment_routes,
        control_job_routes,     control_upload_routes,  control_snapshot_routes,
        control_restart_routes, control_store_routes,
    };
    int rc = jobs_new(c, &c->jobs, e);

    if (rc == 0)
        rc = uploads_new(c, &c->uploads, e);
    for (size_t i = 0; i < sizeof tables / sizeof *tables && rc == 0; i++)
        rc = tables[i](c->http, e);
    if (rc == 0)
        rc = control_watch(c, e);
    if (rc == 0)
        rc = care_new(c, &c->care, e);
    if (rc == 0)
        care_begin(c->care);
    return rc;
}

void control_done(struct control *c)
{
    control_watch_end(c);
    care_free(c->care);
    c->care = NULL;
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
    snprintf(ret, size, strchr(host, ':') ? "nbd%s://[%s]:%u/%s.%s" : "nbd%s://%s:%u/%s.%s",
             c->nbd_secure ? "s" : "", host, control_nbd_port(c), name, hex);
}

const char *control_holder(const struct cat_attachment *a)
{
    return lifecycle_holder(a);
}

/* ---- lifecycle ----------------------------------------------------------------------------------
 */

/* The host of a running domain goes on with the new content: it gets a new attachment, and starts
 * the domain anew when it hears of it.  Whoever else had the volume must attach it again. */
static int on_moved(void *ctx, struct cat_volume *v, struct err *e)
{
    struct control *c = ctx;

    return c->lab ? control_lab_restart(c, v, e) : 0;
}

static void on_event(void *ctx)
{
    struct control *c = ctx;

    if (c->http)
        http_wake(c->http, http_topic(HTTP_TOPIC_EVENTS, 0));
}

static void on_work(void *ctx)
{
    struct control *c = ctx;

    care_kick(c->care);
}

struct lifecycle *control_life(struct control *c)
{
    c->life = (struct lifecycle){
        .catalog = c->catalog,
        .store = c->store,
        .exports = c->exports,
        .hooks = { .moved = on_moved, .event = on_event, .work = on_work, .ctx = c },
    };
    return &c->life;
}

int control_grant_volume(struct control *c, const struct cat_volume *v, struct err *e)
{
    return lifecycle_grant_volume(control_life(c), v, e);
}

int control_grant_image(struct control *c, const struct cat_image *i,
                        const struct cat_attachment *a, struct err *e)
{
    return lifecycle_grant_image(control_life(c), i, a, e);
}

int control_recover(struct control *c, struct err *e)
{
    return lifecycle_recover(control_life(c), NULL, e);
}

int control_regrant(struct control *c, struct err *e)
{
    return lifecycle_regrant(control_life(c), e);
}
