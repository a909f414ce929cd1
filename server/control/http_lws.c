/* SPDX-License-Identifier: Apache-2.0 */
/* http_lws - what libwebsockets tells of a connection, turned into requests; and answers, turned
 * into writes.  One request at a time on a connection, no pipelining, no upgrades.
 * Knows neither routes' meaning nor who is allowed what beyond enum http_access. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/control/http_conn.h"

#define HEAD_SECONDS  20 /* from the connection to the end of the first head */
#define IDLE_SECONDS  60 /* between requests */
#define BODY_SECONDS  30 /* without a byte of the body; a JSON body also as a whole */
#define SEND_SECONDS  60 /* without a byte of the answer being taken */
#define DRAIN_SECONDS 5

static void move(struct http_conn *k, enum conn_state to, int seconds)
{
    k->state = to;
    k->deadline_ns = seconds ? clock_mono_ns() + seconds * NS_PER_S : 0;
}

int http_adopt(struct http *h, int fd, bool local, bool admin)
{
    struct http_conn *k = calloc(1, sizeof *k);

    if (!k) {
        close(fd);
        return -ENOMEM;
    }
    *k = (struct http_conn){ .http = h, .fd = fd, .local = local, .admin = admin };
    lws_adopt_desc_t adopt = {
        .vh = h->vhost, .type = LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP, .fd.sockfd = fd, .opaque = k
    };
    k->next = h->conns;
    if (k->next)
        k->next->prev = k;
    h->conns = k;
    *(local ? &h->count_unix : &h->count_tcp) += 1;
    move(k, CONN_IDLE, HEAD_SECONDS);
    k->wsi = lws_adopt_descriptor_vhost_via_info(&adopt);
    return k->wsi ? 0 : -ENOMEM; /* it has closed fd and freed k, see on_destroy() */
}

static void drop_request(struct http_conn *k)
{
    request_free(k->request);
    k->request = NULL;
}

static void on_destroy(struct http_conn *k)
{
    struct http *h = k->http;

    drop_request(k);
    if (k->prev)
        k->prev->next = k->next;
    else
        h->conns = k->next;
    if (k->next)
        k->next->prev = k->prev;
    *(k->local ? &h->count_unix : &h->count_tcp) -= 1;
    free(k);
}

/* ---- the head -----------------------------------------------------------------------------------
 */

static const char *method_of(struct lws *wsi)
{
    static const struct {
        enum lws_token_indexes token;
        const char *name;
    } methods[] = {
        { WSI_TOKEN_GET_URI, "GET" },         { WSI_TOKEN_POST_URI, "POST" },
        { WSI_TOKEN_PUT_URI, "PUT" },         { WSI_TOKEN_DELETE_URI, "DELETE" },
        { WSI_TOKEN_HEAD_URI, "HEAD" },       { WSI_TOKEN_PATCH_URI, "PATCH" },
        { WSI_TOKEN_OPTIONS_URI, "OPTIONS" },
    };

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (lws_hdr_total_length(wsi, methods[i].token))
            return methods[i].name;
    return "?";
}

/* Digits only; two headers arrive as "5,5" and are refused like anything else. */
static int read_length(struct lws *wsi, bool *ret_given, uint64_t *ret)
{
    char text[24];
    uint64_t length = 0;

    *ret_given = lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) > 0;
    *ret = 0;
    if (!*ret_given)
        return 0;
    if (lws_hdr_copy(wsi, text, sizeof text, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0 ||
        strlen(text) > 15)
        return -EINVAL;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9')
            return -EINVAL;
        length = length * 10 + (uint64_t)(*p - '0');
    }
    *ret = length;
    return 0;
}

/* Fragments "name=value", already decoded, one after the other.  Those that do not fit are left
 * out: -E2BIG. */
static int read_query(struct lws *wsi, char *ret, size_t size)
{
    size_t at = 0;

    for (int n = 0;; n++) {
        int length = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, n);
        if (length <= 0)
            break;
        if ((size_t)length + 2 > size - at)
            return -E2BIG;
        int got =
            lws_hdr_copy_fragment(wsi, ret + at, (int)(size - at - 1), WSI_TOKEN_HTTP_URI_ARGS, n);
        if (got < 0)
            return -E2BIG;
        at += strnlen(ret + at, (size_t)got) + 1;
    }
    ret[at] = '\0';
    return 0;
}

static void read_bearer(struct lws *wsi, char *ret, size_t size)
{
    char text[256];

    if (lws_hdr_copy(wsi, text, sizeof text, WSI_TOKEN_HTTP_AUTHORIZATION) > 0 &&
        strncasecmp(text, "Bearer ", 7) == 0 && strlen(text + 7) < size)
        memcpy(ret, text + 7, strlen(text + 7) + 1);
}

/* The administrator's token takes the same time whatever is sent. */
static bool token_fits(const struct http *h, const char *token)
{
    char given[sizeof h->admin_token] = { 0 };

    snprintf(given, sizeof given, "%s", token);
    return h->admin_token[0] && secret_equal(given, h->admin_token, sizeof given);
}

/* True if the request comes from the administrator; else it is answered. */
static bool from_admin(struct http_request *r)
{
    struct http_conn *k = r->conn;

    if (k->local && !k->admin)
        http_answer_problem(r, 403,
                            "only root and the user that runs gridboxd may use this socket");
    else if (!k->local && !r->bearer[0])
        http_answer_problem(r, 401,
                            "send `Authorization: Bearer TOKEN`, with the token that lies in the "
                            "state directory's file `token`");
    else if (!k->local && !token_fits(k->http, r->bearer))
        http_answer_problem(r, 401,
                            "this token is not the administrator's: it lies in the state "
                            "directory's file `token`");
    else
        return true;
    return false;
}

/* What is there and what is not is the administrator's to know. */
static void find_route(struct http_request *r, const char *method)
{
    int rc = route_find(&r->conn->http->router, method, r->path, &r->route, r->args);
    bool admin_only =
        rc < 0 ? strncmp(r->path, "/v1/", 4) == 0 && strncmp(r->path, "/v1/agent/", 10) != 0
               : r->route->access == HTTP_ADMIN;

    if (admin_only && !from_admin(r))
        return;
    if (rc == -EPERM)
        http_answer_problem(r, 405, "this path does not know the method %s", method);
    else if (rc < 0)
        http_answer_problem(r, 404, "there is no such path");
}

/* Fills the request; answers it at once if it cannot be served. */
static void read_head(struct http_request *r, const char *path, size_t length)
{
    struct lws *wsi = r->conn->wsi;
    const char *method = method_of(wsi);
    bool given;

    r->head = strcmp(method, "HEAD") == 0;
    int rc = read_length(wsi, &given, &r->content_length);
    /* Without a length libwebsockets expects a long body: such a connection is not used again. */
    bool expects =
        strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
    r->conn->close_after = rc < 0 || (expects && !given);
    r->conn->body_done = r->content_length == 0 && !r->conn->close_after;
    if (rc < 0) {
        http_answer_problem(r, 400, "the header Content-Length must be one number");
    } else if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING)) {
        r->conn->close_after = true;
        http_answer_problem(r, 411, "send the body with Content-Length, not in chunks");
    } else if (length >= sizeof r->path || read_query(wsi, r->query, sizeof r->query) < 0) {
        http_answer_problem(r, 414, "the path has at most %zu bytes, its query %zu",
                            sizeof r->path - 1, sizeof r->query - 2);
    } else {
        memcpy(r->path, path, length);
        r->path[length] = '\0';
        read_bearer(wsi, r->bearer, sizeof r->bearer);
        find_route(r, method);
    }
}

/* curl asks before it sends a large body. */
static int send_continue(struct http_conn *k)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    unsigned char *p = k->http->chunk + LWS_PRE;

    if (!lws_hdr_total_length(k->wsi, WSI_TOKEN_HTTP_EXPECT) &&
        lws_hdr_custom_length(k->wsi, "expect:", 7) <= 0)
        return 0;
    memcpy(p, text, sizeof text - 1);
    return lws_write(k->wsi, p, sizeof text - 1, LWS_WRITE_HTTP) < 0 ? -1 : 0;
}

static int dispatch(struct http_conn *k)
{
    struct http_request *r = k->request;

    move(k, CONN_HANDLER, 0);
    lws_set_timeout(k->wsi, NO_PENDING_TIMEOUT, 0);
    r->route->handler(r);
    if (r->parked)
        lws_rx_flow_control(k->wsi, 0);
    else
        conn_answered(k);
    return 0;
}

static int on_head(struct http_conn *k, const char *path, size_t length)
{
    if (k->request || k->state != CONN_IDLE)
        return -1; /* a second request before the answer to the first */
    struct http_request *r = request_new(k);
    if (!r)
        return -1;
    k->request = r;
    read_head(r, path, length);
    if (!r->answered && !r->route->stream && r->content_length > HTTP_BODY_MAX)
        http_answer_problem(r, 413, "a body has at most %u bytes", HTTP_BODY_MAX);
    if (r->answered) {
        conn_answered(k);
        return 0;
    }
    if (r->route->stream) {
        r->route->handler(r);
        if (!r->sink) {
            conn_answered(k);
            return 0;
        }
    }
    if (k->body_done || r->content_length == 0)
        return dispatch(k);
    move(k, CONN_BODY, BODY_SECONDS);
    return send_continue(k);
}

/* ---- the body -----------------------------------------------------------------------------------
 */

static int on_body(struct http_conn *k, const void *bytes, size_t length)
{
    struct http_request *r = k->request;
    struct err e = { 0 };

    if (k->state != CONN_BODY || !length)
        return 0; /* thrown away */
    r->received += length;
    if (!r->sink) {
        buf_add(&r->body, bytes, length);
        return 0;
    }
    move(k, CONN_BODY, BODY_SECONDS);
    if (r->sink->data(r->sink_arg, bytes, length, &e) == 0)
        return 0;
    http_answer_err(r, &e);
    conn_answered(k);
    return 0;
}

static int on_body_end(struct http_conn *k)
{
    if (k->state == CONN_BODY) {
        k->body_done = true;
        return dispatch(k);
    }
    if (k->body_done && k->request && k->request->content_length)
        return -1; /* more bytes than the body was to have */
    k->body_done = true;
    return k->state == CONN_DRAINING ? -1 : 0;
}

/* ---- the answer ---------------------------------------------------------------------------------
 */

void conn_answered(struct http_conn *k)
{
    struct http_request *r = k->request;

    if (!r->answered)
        http_answer_problem(r, 500, "the server did not answer this call");
    move(k, CONN_SENDING, SEND_SECONDS);
    lws_set_timeout(k->wsi, NO_PENDING_TIMEOUT, 0);
    lws_rx_flow_control(k->wsi, 1); /* libwebsockets does not write to a connection that is held */
    lws_callback_on_writable(k->wsi);
}

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 304, "Not Modified" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 409, "Conflict" },
        { 411, "Length Required" },
        { 413, "Content Too Large" },
        { 414, "URI Too Long" },
        { 500, "Internal Server Error" },
        { 503, "Service Unavailable" },
        { 507, "Insufficient Storage" },
    };

    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

const char *http_reason(int status)
{
    return reason_of(status);
}

static size_t write_head(struct http_request *r, char *to, size_t size)
{
    uint64_t length = r->file >= 0 ? r->file_left : r->text_length;
    bool empty = r->status == 204 || r->status == 304;
    int at = snprintf(to, size, "HTTP/1.1 %d %s\r\n", r->status, reason_of(r->status));

    if (!empty)
        at += snprintf(to + at, size - (size_t)at, "Content-Length: %llu\r\n",
                       (unsigned long long)length);
    if (r->type[0])
        at += snprintf(to + at, size - (size_t)at, "Content-Type: %s\r\n", r->type);
    if (r->status == 401)
        at += snprintf(to + at, size - (size_t)at, "WWW-Authenticate: Bearer\r\n");
    at += snprintf(to + at, size - (size_t)at, "Cache-Control: no-store\r\n%s\r\n",
                   r->conn->close_after ? "Connection: close\r\n" : "");
    return (size_t)at;
}

/* The next bytes of the answer's body.  -errno if the file has become shorter. */
static ssize_t read_part(struct http_request *r, unsigned char *to, size_t room)
{
    size_t left = r->text_length - r->text_sent;

    if (r->head)
        return 0;
    if (r->file < 0) {
        size_t part = left < room ? left : room;
        if (part)
            memcpy(to, r->text + r->text_sent, part);
        r->text_sent += part;
        return (ssize_t)part;
    }
    if (r->file_left < room)
        room = (size_t)r->file_left;
    ssize_t got = room ? read(r->file, to, room) : 0;
    if (got < 0 || (got == 0 && room))
        return got < 0 ? -errno : -EIO;
    r->file_left -= (uint64_t)got;
    return got;
}

/* The answer is with the kernel.  Below zero closes the connection. */
static int on_sent(struct http_conn *k)
{
    bool drain = k->close_after && !k->body_done;

    drop_request(k);
    if (drain) {
        /* Closed at once, unread bytes would make the kernel send a reset, which may overtake the
         * answer. */
        shutdown(k->fd, SHUT_WR);
        move(k, CONN_DRAINING, DRAIN_SECONDS);
        return 0;
    }
    if (k->close_after)
        return -1;
    move(k, CONN_IDLE, IDLE_SECONDS);
    if (!k->body_done)
        k->deadline_ns = clock_mono_ns() + DRAIN_SECONDS * NS_PER_S;
    return lws_http_transaction_completed(k->wsi) ? -1 : 0;
}

static bool all_written(const struct http_request *r)
{
    return r->head_sent && (r->head || r->text_sent == r->text_length) && r->file_left == 0;
}

static int on_writable(struct http_conn *k)
{
    struct http_request *r = k->request;
    unsigned char *chunk = k->http->chunk + LWS_PRE;
    size_t length = 0;

    if (k->state != CONN_SENDING)
        return 0;
    if (all_written(r))
        return on_sent(k);
    if (!r->head_sent)
        length = write_head(r, (char *)chunk, HTTP_CHUNK);
    r->head_sent = true;
    ssize_t part = read_part(r, chunk + length, HTTP_CHUNK - length);
    if (part < 0) {
        log_warn("http %s: a file became unreadable while it was sent: %s", r->path,
                 strerror((int)-part));
        return -1;
    }
    if (r->head)
        r->file_left = 0;
    length += (size_t)part;
    move(k, CONN_SENDING, SEND_SECONDS);
    if (lws_write(k->wsi, chunk, length, LWS_WRITE_HTTP) < 0)
        return -1;
    /* At once, not when it is next writable: the peer may have read the answer and have sent its
     * next request by then.  What libwebsockets still holds it sends before it goes on. */
    if (all_written(r) && !k->close_after)
        return on_sent(k);
    lws_callback_on_writable(k->wsi);
    return 0;
}

int http_lws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                      size_t length)
{
    struct http_conn *k = lws_get_opaque_user_data(wsi);

    (void)user;
    if (!k)
        return 0;
    switch ((int)reason) { /* the library has a hundred others */
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return -1;
    case LWS_CALLBACK_HTTP:
        k->wsi = wsi;
        return on_head(k, in, length);
    case LWS_CALLBACK_HTTP_BODY:
        return on_body(k, in, length);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return on_body_end(k);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return on_writable(k);
    case LWS_CALLBACK_CLOSED_HTTP:
        drop_request(k);
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        lws_set_opaque_user_data(wsi, NULL);
        on_destroy(k);
        return 0;
    default:
        return 0;
    }
}
