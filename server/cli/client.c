/* SPDX-License-Identifier: Apache-2.0 */
/* client - the only file here that knows libcurl.  It knows no command. */
#include "server/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/cli/interrupt.h"
#include "server/cli/text.h"

#define REPLY_MAX       (64u << 20) /* bytes of an answer */
#define CONNECT_SECONDS 10
#define ANSWER_SECONDS  120 /* a server that is busy with a large transaction */

struct client {
    struct cli_address address;
    struct interrupt *interrupt;
    long limit_seconds; /* of any call; 0 = none */
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    struct buf reply;
    char why[CURL_ERROR_SIZE];
};

/* Of one upload. */
struct upload {
    int fd;
    uint64_t size, done;
    client_progress_fn *progress;
    void *ctx;
    int rc; /* what went wrong with the file */
};

void client_reply_done(struct client_reply *r)
{
    free(r->text);
    json_decref(r->json);
    *r = (struct client_reply){ 0 };
}

static size_t on_reply(char *data, size_t size, size_t count, void *ctx)
{
    struct client *a = ctx;

    buf_add(&a->reply, data, size * count);
    return a->reply.failed ? 0 : size * count;
}

static size_t on_upload(char *data, size_t size, size_t count, void *ctx)
{
    struct upload *u = ctx;
    uint64_t rest = u->size - u->done;
    size_t want = size * count < rest ? size * count : (size_t)rest;
    ssize_t got;

    if (want == 0)
        return 0;
    do
        got = read(u->fd, data, want);
    while (got < 0 && errno == EINTR);
    if (got <= 0) {
        u->rc = got < 0 ? -errno : -ESTALE;
        return CURL_READFUNC_ABORT;
    }
    u->done += (uint64_t)got;
    u->progress(u->ctx, u->done, u->size);
    return (size_t)got;
}

/* ---- life ---------------------------------------------------------------------------------------
 */
static int add_header(struct client *a, const char *line, struct err *e)
{
    struct curl_slist *longer = curl_slist_append(a->headers, line);

    if (!longer)
        return err_set(e, -ENOMEM, "out of memory");
    a->headers = longer;
    return 0;
}

static int add_token(struct client *a, const char *token, struct err *e)
{
    char line[600];

    for (const char *p = token; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f)
            return err_set(
                e, -EINVAL,
                "GRIDBOX_TOKEN: there is a space, control or foreign character in it; it "
                "is the content of the server's STATE/token");
    if (snprintf(line, sizeof line, "Authorization: Bearer %s", token) >= (int)sizeof line)
        return err_set(e, -EINVAL, "GRIDBOX_TOKEN: longer than any token");
    return add_header(a, line, e);
}

static void auto_client(struct client **a)
{
    client_free(*a);
}

int client_new(const struct cli_address *address, const char *token, struct interrupt *interrupt,
               struct client **ret, struct err *e)
{
    AUTO(auto_client) struct client *a = calloc(1, sizeof *a);
    int rc;

    if (!a)
        return err_set(e, -ENOMEM, "out of memory");
    a->address = *address;
    a->interrupt = interrupt;
    buf_init(&a->reply, REPLY_MAX);
    if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
        return err_set(e, -ENOMEM, "libcurl cannot start");
    a->easy = curl_easy_init();
    a->multi = curl_multi_init();
    if (!a->easy || !a->multi)
        return err_set(e, -ENOMEM, "out of memory");
    rc = add_header(a, "Content-Type: application/json", e);
    if (rc == 0)
        rc = add_header(a, "Expect:", e); /* no "100 Continue": our server sends none */
    if (rc == 0 && token && !address->is_unix)
        rc = add_token(a, token, e);
    if (rc < 0)
        return rc;
    *ret = TAKE(a);
    return 0;
}

void client_free(struct client *a)
{
    if (!a)
        return;
    curl_easy_cleanup(a->easy);
    curl_multi_cleanup(a->multi);
    curl_slist_free_all(a->headers);
    buf_done(&a->reply);
    free(a);
}

void client_hurry(struct client *a, unsigned seconds)
{
    a->limit_seconds = (long)seconds;
}

const struct cli_address *client_address(const struct client *a)
{
    return &a->address;
}

/* ---- one transfer
 * --------------------------------------------------------------------------------*/
/* The connection of an earlier call is kept by curl_easy_reset. */
static void prepare(struct client *a, const char *method, const char *url, long seconds)
{
    CURL *c = a->easy;

    curl_easy_reset(c);
    buf_done(&a->reply);
    a->why[0] = '\0';
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* ".." is a bad name, not the level above */
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, a->headers);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(c, CURLOPT_PROXY, ""); /* whatever http_proxy says */
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, a->limit_seconds ? a->limit_seconds : seconds);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, a->why);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_reply);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
    if (a->address.is_unix)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, a->address.unix_path);
}

/* Runs the prepared transfer to its end.  -ECANCELED when interrupted. */
static int perform(struct client *a, bool breakable, CURLcode *ret)
{
    int running = 1, left;
    bool stopped = false;

    if (curl_multi_add_handle(a->multi, a->easy) != CURLM_OK)
        return -ENOMEM;
    while (curl_multi_perform(a->multi, &running) == CURLM_OK && running && !stopped) {
        struct curl_waitfd extra = { .events = CURL_WAIT_POLLIN };
        bool watch = breakable && a->interrupt && a->interrupt->fd >= 0;
        if (watch)
            extra.fd = a->interrupt->fd;
        curl_multi_poll(a->multi, watch ? &extra : NULL, watch ? 1 : 0, 1000, NULL);
        stopped = watch && interrupt_take(a->interrupt);
    }
    CURLMsg *m = curl_multi_info_read(a->multi, &left);
    *ret = m ? m->data.result : CURLE_ABORTED_BY_CALLBACK;
    curl_multi_remove_handle(a->multi, a->easy);
    return stopped && !m ? -ECANCELED : 0;
}

static int nobody_there(struct client *a, struct err *e)
{
    long number = 0;

    curl_easy_getinfo(a->easy, CURLINFO_OS_ERRNO, &number);
    if (number == EACCES || number == EPERM)
        return err_set(e, -ENOTCONN,
                       "%s: permission denied: be root or the server's owner, or use --server "
                       "http://HOST:PORT with GRIDBOX_TOKEN",
                       a->address.text);
    return err_set(e, -ENOTCONN,
                   "no server answers at %s (%s): start gridboxd, or say where it is with --server "
                   "or GRIDBOX_SERVER",
                   a->address.text, number ? strerror((int)number) : a->why);
}

static int transfer_failed(struct client *a, CURLcode code, struct err *e)
{
    if (a->reply.failed)
        return err_set(e, -EPROTO, "the answer of %s is longer than %u MiB", a->address.text,
                       REPLY_MAX >> 20);
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        return nobody_there(a, e);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(e, -ETIMEDOUT, "%s does not answer in time", a->address.text);
    return err_set(e, code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EIO, "%s: %s", a->address.text,
                   a->why[0] ? a->why : curl_easy_strerror(code));
}

/* ---- the answer
 * ----------------------------------------------------------------------------------*/
static int refused(struct client *a, const struct client_reply *r, struct err *e)
{
    const char *detail = client_text(r->json, "detail");
    const char *hint = "";
    char safe[400];

    if (!detail[0])
        detail = client_text(r->json, "title");
    if (r->status == 401 && !a->address.is_unix)
        hint = "; GRIDBOX_TOKEN must hold the content of the server's STATE/token";
    if (!detail[0])
        return err_set(e, -EREMOTEIO, "%s answers with HTTP status %d%s", a->address.text,
                       r->status, hint);
    return err_set(e, -EREMOTEIO, "%s%s", text_safe(detail, safe, sizeof safe), hint);
}

static int read_reply(struct client *a, struct client_reply *ret, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    json_error_t why;
    long status = 0;

    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    r.status = ret->status = (int)status;
    if (a->reply.length) {
        r.json = json_loadb(a->reply.data, a->reply.length, JSON_REJECT_DUPLICATES, &why);
        if (!r.json && status / 100 == 2)
            return err_set(e, -EPROTO, "the answer of %s is no JSON: is that gridboxd?",
                           a->address.text);
    }
    if (status / 100 != 2)
        return refused(a, &r, e);
    if (a->reply.length) {
        if (!buf_text(&a->reply))
            return err_set(e, -ENOMEM, "out of memory");
        r.text = TAKE(a->reply.data);
        buf_done(&a->reply);
    }
    *ret = r;
    r = (struct client_reply){ 0 };
    return 0;
}

static int finish(struct client *a, bool breakable, struct client_reply *ret, struct err *e)
{
    CURLcode code = CURLE_OK;
    long status = 0;
    int rc = perform(a, breakable, &code);

    if (rc < 0)
        return err_set(e, rc, "%s", rc == -ECANCELED ? "interrupted" : "out of memory");
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    /* A server that refuses an upload half-way answers and hangs up: the answer counts. */
    if (code != CURLE_OK && !(code == CURLE_SEND_ERROR && status >= 400))
        return transfer_failed(a, code, e);
    return read_reply(a, ret, e);
}

int client_call(struct client *a, const char *method, const char *path, const json_t *body,
                unsigned wait_seconds, struct client_reply *ret, struct err *e)
{
    AUTO(auto_free) char *text = NULL;
    char url[sizeof a->address.base + CLIENT_PATH_SIZE];

    *ret = (struct client_reply){ 0 };
    if (body || strcmp(method, "POST") == 0) {
        text = body ? json_dumps(body, JSON_COMPACT) : strdup("{}");
        if (!text)
            return err_set(e, -ENOMEM, "out of memory");
    }
    snprintf(url, sizeof url, "%s%s", a->address.base, path);
    prepare(a, method, url, ANSWER_SECONDS + (long)wait_seconds);
    if (text) {
        curl_easy_setopt(a->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(text));
        curl_easy_setopt(a->easy, CURLOPT_POSTFIELDS, text);
    }
    return finish(a, wait_seconds > 0, ret, e);
}

int client_upload(struct client *a, const char *path, int fd, uint64_t size_bytes,
                  client_progress_fn *progress, void *ctx, struct client_reply *ret, struct err *e)
{
    struct upload u = { .fd = fd, .size = size_bytes, .progress = progress, .ctx = ctx };
    char url[sizeof a->address.base + CLIENT_PATH_SIZE];

    *ret = (struct client_reply){ 0 };
    snprintf(url, sizeof url, "%s%s", a->address.base, path);
    prepare(a, "POST", url, 0);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(a->easy, CURLOPT_LOW_SPEED_TIME, (long)ANSWER_SECONDS);
    curl_easy_setopt(a->easy, CURLOPT_POST, 1L);
    curl_easy_setopt(a->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size_bytes);
    curl_easy_setopt(a->easy, CURLOPT_READFUNCTION, on_upload);
    curl_easy_setopt(a->easy, CURLOPT_READDATA, &u);
    curl_easy_setopt(a->easy, CURLOPT_UPLOAD_BUFFERSIZE, 1l << 20);
    int rc = finish(a, true, ret, e);
    if (rc < 0 && u.rc == -ESTALE)
        return err_set(e, u.rc, "the file became shorter while it was read");
    if (rc < 0 && u.rc < 0)
        return err_set(e, u.rc, "read: %s", strerror(-u.rc));
    return rc;
}

/* ---- small things
 * --------------------------------------------------------------------------------*/
int client_path(char ret[static CLIENT_PATH_SIZE], const char *prefix, const char *name,
                const char *suffix, struct err *e)
{
    snprintf(ret, CLIENT_PATH_SIZE, "%s", prefix);
    int rc = text_url_append(ret, CLIENT_PATH_SIZE - 64, name);
    if (rc < 0)
        return err_set(e, -EINVAL, "a name of %zu bytes is too long", strlen(name));
    size_t at = strlen(ret);
    snprintf(ret + at, CLIENT_PATH_SIZE - at, "%s", suffix);
    return 0;
}

void auto_json(json_t **j)
{
    json_decref(*j);
    *j = NULL;
}

const char *client_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

int64_t client_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

bool client_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}
