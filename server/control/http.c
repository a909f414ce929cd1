/* SPDX-License-Identifier: Apache-2.0 */
/* http - life of the server, connections' deadlines, waiting requests.  Knows no route. */
#include "server/control/http.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/control/http_conn.h"

static const struct lws_protocols protocols[] = {
    { .name = "http", .callback = http_lws_callback },
    { .name = NULL },
};

static void on_tick(struct loop_timer *t);
static void on_unpark(struct loop_timer *t);

static void auto_http(struct http **h)
{
    http_free(*h);
}

int http_new(const struct http_options *o, struct http **ret, struct err *e)
{
    AUTO(auto_http) struct http *h = calloc(1, sizeof *h);
    if (!h)
        return err_set(e, -ENOMEM, "http: out of memory");

    h->loop = o->loop;
    h->context = o->context;
    h->max_tcp = o->tcp_connections ? o->tcp_connections : 512;
    h->max_unix = o->unix_connections ? o->unix_connections : 64;
    snprintf(h->admin_token, sizeof h->admin_token, "%s", o->admin_token ? o->admin_token : "");
    h->tick.fn = on_tick;
    h->unpark.fn = on_unpark;
    h->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    h->chunk = malloc(LWS_PRE + HTTP_CHUNK);
    struct lws_context_creation_info info = {
        .vhost_name = "http",
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .timeout_secs = 20,
        .keepalive_timeout = 60,
        .timeout_secs_ah_idle = 15, /* a head must be there by then */
    };
    h->vhost = lws_create_vhost(loop_lws(o->loop), &info);
    if (!h->chunk || !h->vhost)
        return err_set(e, -ENOMEM, "http: libwebsockets cannot start");
    loop_timer_set(h->loop, &h->tick, clock_mono_ns() + NS_PER_S);

    *ret = TAKE(h);
    return 0;
}

struct drain {
    struct loop_timer timer;
    struct http *http;
    int64_t limit_ns;
};

static void on_drain(struct loop_timer *t)
{
    struct drain *d = lws_container_of(t, struct drain, timer);
    bool sending = false;

    for (const struct http_conn *k = d->http->conns; k; k = k->next)
        sending |= k->state == CONN_SENDING;
    if (sending && clock_mono_ns() < d->limit_ns)
        loop_timer_set(d->http->loop, t, clock_mono_ns() + 5 * NS_PER_MS);
    else
        loop_stop(d->http->loop);
}

void http_close(struct http *h)
{
    struct drain d = { .timer.fn = on_drain,
                       .http = h,
                       .limit_ns = clock_mono_ns() + 200 * NS_PER_MS };

    if (h->closing)
        return;
    h->closing = true;
    listeners_close(h);
    for (struct http_request *r = h->parked, *next; r; r = next) {
        next = r->park_next;
        request_park_drop(r);
        http_answer_problem(r, 503, "the server stops");
        conn_answered(r->conn);
    }
    loop_timer_set(h->loop, &d.timer, clock_mono_ns());
    loop_run(h->loop);
    loop_timer_cancel(h->loop, &d.timer);
}

void http_free(struct http *h)
{
    if (!h)
        return;
    h->closing = true;
    listeners_close(h);
    for (struct http_conn *k = h->conns, *next; k; k = next) {
        next = k->next;
        lws_set_timeout(k->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    }
    loop_timer_cancel(h->loop, &h->tick);
    loop_timer_cancel(h->loop, &h->unpark);
    if (h->vhost)
        lws_vhost_destroy(h->vhost);
    if (h->spare_fd >= 0)
        close(h->spare_fd);
    free(h->chunk);
    free(h);
}

int http_routes(struct http *h, const struct http_route *routes, size_t count, struct err *e)
{
    if (h->router.tables == ROUTE_TABLES_MAX)
        return err_set(e, -ENOSPC, "http: more than %d tables of routes", ROUTE_TABLES_MAX);
    h->router.table[h->router.tables] = routes;
    h->router.count[h->router.tables++] = count;
    return 0;
}

/* ---- deadlines ----------------------------------------------------------------------------------
 */

/* Nothing may come from a peer whose request is being dealt with: an end, or a second request that
 * was not asked for, would otherwise go unnoticed (libwebsockets does not read in these states). */
static bool peer_has_left(const struct http_conn *k)
{
    char byte;

    if (k->state != CONN_HANDLER && k->state != CONN_SENDING)
        return false;
    ssize_t got = recv(k->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EINTR);
}

static void on_tick(struct loop_timer *t)
{
    struct http *h = lws_container_of(t, struct http, tick);
    int64_t now = clock_mono_ns();

    for (struct http_conn *k = h->conns, *next; k; k = next) {
        next = k->next;
        if ((k->deadline_ns && k->deadline_ns <= now) || peer_has_left(k))
            lws_set_timeout(k->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
    }
    loop_timer_set(h->loop, &h->tick, now + NS_PER_S);
}

/* ---- waiting ------------------------------------------------------------------------------------
 */

void request_park_drop(struct http_request *r)
{
    struct http *h = r->conn->http;

    if (!r->parked)
        return;
    if (r->park_prev)
        r->park_prev->park_next = r->park_next;
    else
        h->parked = r->park_next;
    if (r->park_next)
        r->park_next->park_prev = r->park_prev;
    r->park_prev = r->park_next = NULL;
    r->parked = r->due = false;
}

static void set_unpark(struct http *h)
{
    int64_t due_ns = 0;

    for (const struct http_request *r = h->parked; r; r = r->park_next) {
        int64_t at = r->due ? 1 : r->wait_until_ns;
        if (!due_ns || at < due_ns)
            due_ns = at;
    }
    if (due_ns)
        loop_timer_set(h->loop, &h->unpark, due_ns);
    else
        loop_timer_cancel(h->loop, &h->unpark);
}

/* A handler may wait again, which puts its request in front of the list: each is called at most
 * once in a round. */
static void on_unpark(struct loop_timer *t)
{
    struct http *h = lws_container_of(t, struct http, unpark);
    int64_t now = clock_mono_ns();

    for (struct http_request *r = h->parked, *next; r; r = next) {
        next = r->park_next;
        if (!r->due && r->wait_until_ns > now)
            continue;
        struct http_conn *k = r->conn;
        request_park_drop(r);
        r->route->handler(r);
        if (!r->parked)
            conn_answered(k);
    }
    set_unpark(h);
}

void http_wait(struct http_request *r, uint64_t topic, uint64_t seconds)
{
    struct http *h = r->conn->http;

    if (h->closing) {
        http_answer_problem(r, 503, "the server stops");
        return;
    }
    if (seconds > HTTP_WAIT_MAX)
        seconds = HTTP_WAIT_MAX;
    if (!r->wait_until_ns)
        r->wait_until_ns = clock_mono_ns() + (int64_t)seconds * NS_PER_S;
    r->topic = topic;
    r->parked = true;
    r->due = false;
    r->park_prev = NULL;
    r->park_next = h->parked;
    if (h->parked)
        h->parked->park_prev = r;
    h->parked = r;
    set_unpark(h);
}

bool http_waited(const struct http_request *r)
{
    return r->wait_until_ns && r->wait_until_ns <= clock_mono_ns();
}

void http_wake(struct http *h, uint64_t topic)
{
    bool any = false;

    for (struct http_request *r = h->parked; r; r = r->park_next)
        if (r->topic == topic)
            any = r->due = true;
    if (any)
        set_unpark(h);
}
