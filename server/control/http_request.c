/* SPDX-License-Identifier: Apache-2.0 */
/* http_request - what handlers see of a request, and how they answer it.  Knows no socket. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/control/http_conn.h"
#include "server/control/json.h"

static void numeric(int fd, int (*whose)(int, struct sockaddr *, socklen_t *), char *ret,
                    size_t size)
{
    struct sockaddr_storage a;
    socklen_t length = sizeof a;
    char *scope;

    if (whose(fd, (struct sockaddr *)&a, &length) < 0 ||
        getnameinfo((struct sockaddr *)&a, length, ret, (socklen_t)size, NULL, 0, NI_NUMERICHOST))
        ret[0] = '\0';
    scope = strchr(ret, '%');
    if (scope)
        *scope = '\0';
}

static int peer_name(int fd, struct sockaddr *a, socklen_t *length)
{
    return getpeername(fd, a, length);
}

static int own_name(int fd, struct sockaddr *a, socklen_t *length)
{
    return getsockname(fd, a, length);
}

struct http_request *request_new(struct http_conn *k)
{
    struct http_request *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->conn = k;
    r->file = -1;
    for (unsigned i = 0; i < HTTP_ARGS_MAX; i++)
        r->args[i] = "";
    buf_init(&r->body, HTTP_BODY_MAX);
    if (!k->local) {
        numeric(k->fd, peer_name, r->peer, sizeof r->peer);
        numeric(k->fd, own_name, r->local_host, sizeof r->local_host);
    }
    return r;
}

void request_free(struct http_request *r)
{
    if (!r)
        return;
    request_park_drop(r);
    if (r->sink && r->sink_arg)
        r->sink->gone(r->sink_arg);
    json_decref(r->json);
    buf_done(&r->body);
    free(r->text);
    if (r->file >= 0)
        close(r->file);
    free(r);
}

/* ---- the request --------------------------------------------------------------------------------
 */

void *http_context(const struct http_request *r)
{
    return r->conn->http->context;
}

const char *http_arg(const struct http_request *r, unsigned index)
{
    return index < HTTP_ARGS_MAX ? r->args[index] : "";
}

const char *http_query(const struct http_request *r, const char *name)
{
    size_t length = strlen(name);

    for (const char *p = r->query; *p; p += strlen(p) + 1)
        if (strncmp(p, name, length) == 0 && (p[length] == '=' || !p[length]))
            return p[length] ? p + length + 1 : "";
    return NULL;
}

int http_query_u64(const struct http_request *r, const char *name, uint64_t absent, uint64_t *ret,
                   struct err *e)
{
    const char *text = http_query(r, name);
    uint64_t value = 0;

    if (!text) {
        *ret = absent;
        return 0;
    }
    if (!*text || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text))
        return err_set(e, -EINVAL, "%s: must be a number of at most 18 digits", name);
    for (const char *p = text; *p; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    *ret = value;
    return 0;
}

int http_json(struct http_request *r, const char *const *keys, json_t **ret_borrowed, struct err *e)
{
    int rc = r->json ? 0 : json_object_parse(r->body.data, r->body.length, &r->json, e);

    if (rc == 0)
        rc = json_only(r->json, keys, e);
    if (rc == 0)
        *ret_borrowed = r->json;
    return rc;
}

const char *http_body(struct http_request *r, size_t *ret_length)
{
    const char *text = buf_text(&r->body);

    *ret_length = text ? r->body.length : 0;
    return text ? text : "";
}

const char *http_bearer(const struct http_request *r)
{
    return r->bearer;
}

bool http_is_local(const struct http_request *r)
{
    return r->conn->local;
}

const char *http_peer(const struct http_request *r)
{
    return r->peer;
}

const char *http_local_host(const struct http_request *r)
{
    return r->local_host;
}

uint64_t http_content_length(const struct http_request *r)
{
    return r->content_length;
}

void http_receive(struct http_request *r, const struct http_sink *sink, void *arg)
{
    r->sink = sink;
    r->sink_arg = arg;
}

void *http_sink_arg(const struct http_request *r)
{
    return r->sink_arg;
}

void http_sink_done(struct http_request *r)
{
    r->sink_arg = NULL;
}

/* ---- the answer ---------------------------------------------------------------------------------
 */

static void set_answer(struct http_request *r, int status, const char *type, char *take,
                       size_t length)
{
    if (r->answered) { /* our own mistake: the first one counts */
        log_error("http %s: answered twice", r->path);
        free(take);
        return;
    }
    r->answered = true;
    r->status = status;
    snprintf(r->type, sizeof r->type, "%s", type);
    r->text = take;
    r->text_length = take ? length : 0;
}

void http_answer_text(struct http_request *r, int status, const char *type, const char *text,
                      size_t length)
{
    char *copy = malloc(length + 1);

    if (!copy) {
        set_answer(r, 500, "", NULL, 0);
        return;
    }
    memcpy(copy, text, length);
    copy[length] = '\0';
    set_answer(r, status, type, copy, length);
}

static void answer_dump(struct http_request *r, int status, const char *type, json_t *take)
{
    char *text = take ? json_dumps(take, JSON_COMPACT) : NULL;

    json_decref(take);
    if (text)
        set_answer(r, status, type, text, strlen(text));
    else
        set_answer(r, 500, "", NULL, 0);
}

void http_answer_json(struct http_request *r, int status, json_t *take)
{
    answer_dump(r, status, "application/json", take);
}

void http_answer_empty(struct http_request *r, int status)
{
    set_answer(r, status, "", NULL, 0);
}

void http_answer_problem(struct http_request *r, int status, const char *fmt, ...)
{
    char detail[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    json_text_clean(detail);
    answer_dump(r, status, "application/problem+json",
                json_pack("{s:i, s:s, s:s}", "status", status, "title", http_reason(status),
                          "detail", detail));
}

static int status_of(int code)
{
    static const struct {
        int code, status;
    } codes[] = {
        { -EINVAL, 400 },    { -EPROTO, 400 },    { -ENOENT, 404 }, { -EEXIST, 409 },
        { -EBUSY, 409 },     { -ECANCELED, 409 }, { -ESTALE, 409 }, { -EFBIG, 413 },
        { -EMSGSIZE, 413 },  { -EACCES, 403 },    { -EPERM, 403 },  { -ENOSPC, 507 },
        { -EDQUOT, 507 },    { -ETIMEDOUT, 503 }, { -EAGAIN, 503 }, { -ESHUTDOWN, 503 },
        { -EOVERFLOW, 409 }, { -E2BIG, 409 },     { -EMLINK, 409 },
    };

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return codes[i].status;
    return 500;
}

void http_answer_err(struct http_request *r, const struct err *e)
{
    int status = status_of(e->code);

    if (status >= 500)
        log_error("http %s: %s", r->route ? r->route->pattern : r->path, e->msg);
    http_answer_problem(r, status, "%s", e->msg);
}

void http_answer_file(struct http_request *r, const char *path, const char *type)
{
    AUTO(auto_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        http_answer_problem(r, 404, "there is no such file");
        return;
    }
    r->file = take_fd(&fd);
    r->file_left = (uint64_t)st.st_size;
    set_answer(r, 200, type, NULL, 0);
}
