/* SPDX-License-Identifier: Apache-2.0 */
/* events - GET /v1/events, which may wait for the next one. */
#include "server/catalog/events.h"

#include "server/control/control.h"
#include "server/control/http.h"

#define EVENTS_MOST    500
#define EVENTS_DEFAULT 100

static int add_json(void *ctx, const struct cat_event *event)
{
    json_t *list = ctx;

    json_array_append_new(list,
                          json_pack("{s:I, s:I, s:s, s:s, s:s}", "seq", (json_int_t)event->seq,
                                    "at", (json_int_t)event->at, "kind", event->kind, "object",
                                    event->object, "text", event->text));
    return 0;
}

/* Without `after`: the last ones. */
static int first_seq(struct http_request *r, struct control *c, uint64_t *ret, struct err *e)
{
    uint64_t last;
    int rc = cat_event_last(c->catalog, &last, e);

    if (rc < 0)
        return rc;
    return http_query_u64(r, "after", last > EVENTS_DEFAULT ? last - EVENTS_DEFAULT : 0, ret, e);
}

static void on_events(struct http_request *r)
{
    struct control *c = http_context(r);
    struct err e = { 0 };
    uint64_t after, wait_s = 0;
    json_t *list = json_array();
    int rc = first_seq(r, c, &after, &e);

    if (rc == 0)
        rc = http_query_u64(r, "wait", 0, &wait_s, &e);
    if (rc == 0)
        rc = cat_event_list(c->catalog, after, EVENTS_MOST, add_json, list, &e);
    if (rc < 0) {
        json_decref(list);
        http_answer_err(r, &e);
    } else if (json_array_size(list) == 0 && wait_s && !http_waited(r)) {
        json_decref(list);
        http_wait(r, http_topic(HTTP_TOPIC_EVENTS, 0), wait_s);
    } else {
        http_answer_json(r, 200, json_pack("{s:o}", "events", list));
    }
}

int control_event_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/events", HTTP_ADMIN, on_events, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
