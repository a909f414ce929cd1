/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: libcurl.  This is the only file that includes curl.h.
 * Must never know: what is asked, what the answers mean. */
#include "hostside/api_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/buf.h"
#include "server/contract/contract.h"

#define CONNECT_TIMEOUT_S 10L
#define FDS_MAX           8u

struct slot {
    CURL *easy; /* NULL = free */
    struct curl_slist *headers;
    struct buf body;
    char error[CURL_ERROR_SIZE];
};

struct api_client {
    CURLM *multi;
    char url[256];
    struct slot slots[API_SLOTS];
};

int api_client_new(const char *url, struct api_client **ret, struct err *e)
{
    struct api_client *c;
    size_t length = strlen(url);

    if ((strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) ||
        length >= sizeof c->url)
        return err_set(e, -EINVAL, "server '%.80s': must be like http://ADDRESS:PORT", url);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(c = calloc(1, sizeof *c)))
        return err_set(e, -ENOMEM, "out of memory");
    c->multi = curl_multi_init();
    if (!c->multi) {
        free(c);
        return err_set(e, -ENOMEM, "out of memory");
    }
    while (length > 0 && url[length - 1] == '/')
        length--;
    snprintf(c->url, sizeof c->url, "%.*s", (int)length, url);
    for (unsigned i = 0; i < API_SLOTS; i++)
        buf_init(&c->slots[i].body, CONTRACT_TEXT_MAX);
    *ret = c;
    return 0;
}

static void release(struct api_client *c, struct slot *s)
{
    if (!s->easy)
        return;
    curl_multi_remove_handle(c->multi, s->easy);
    curl_easy_cleanup(s->easy);
    curl_slist_free_all(s->headers);
    s->easy = NULL;
    s->headers = NULL;
}

void api_client_free(struct api_client *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < API_SLOTS; i++) {
        release(c, &c->slots[i]);
        buf_done(&c->slots[i].body);
    }
    curl_multi_cleanup(c->multi);
    curl_global_cleanup();
    free(c);
}

/* Anything but the whole length makes curl end the call. */
static size_t take_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct buf *body = arg;

    buf_add(body, bytes, size * count);
    return body->failed ? 0 : size * count;
}

static bool add_header(struct slot *s, const char *text)
{
    struct curl_slist *more = curl_slist_append(s->headers, text);

    if (more)
        s->headers = more;
    return more != NULL;
}

static bool set_headers(struct slot *s, const struct api_call *call)
{
    char line[256];

    if (!add_header(s, "Accept: application/json"))
        return false;
    if (call->body && !add_header(s, "Content-Type: application/json"))
        return false;
    snprintf(line, sizeof line, "Authorization: Bearer %s", call->bearer);
    return !call->bearer[0] || add_header(s, line);
}

static bool set_options(struct slot *s, const char *url, const struct api_call *call)
{
    CURL *h = s->easy;
    CURLcode rc = CURLE_OK;

    rc |= curl_easy_setopt(h, CURLOPT_URL, url);
    rc |= curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    rc |= curl_easy_setopt(h, CURLOPT_PROXY, ""); /* whatever the environment says */
    rc |= curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    rc |= curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    rc |= curl_easy_setopt(h, CURLOPT_TIMEOUT, (long)call->timeout_s);
    rc |= curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    rc |= curl_easy_setopt(h, CURLOPT_USERAGENT, "gridbox-host/" GRIDBOX_VERSION);
    rc |= curl_easy_setopt(h, CURLOPT_HTTPHEADER, s->headers);
    rc |= curl_easy_setopt(h, CURLOPT_ERRORBUFFER, s->error);
    rc |= curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_body);
    rc |= curl_easy_setopt(h, CURLOPT_WRITEDATA, &s->body);
    rc |= curl_easy_setopt(h, CURLOPT_PRIVATE, s);
    if (call->body)
        rc |= curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, call->body);
    return rc == CURLE_OK;
}

int api_client_start(struct api_client *c, const struct api_call *call, struct err *e)
{
    struct slot *s = &c->slots[call->slot];
    char url[512];

    buf_done(&s->body);
    buf_init(&s->body, CONTRACT_TEXT_MAX);
    s->error[0] = '\0';
    s->easy = curl_easy_init();
    snprintf(url, sizeof url, "%s%s", c->url, call->path);
    if (!s->easy || !set_headers(s, call) || !set_options(s, url, call) ||
        curl_multi_add_handle(c->multi, s->easy) != CURLM_OK) {
        release(c, s);
        return err_set(e, -ENOMEM, "out of memory");
    }
    return 0;
}

void api_client_wait(struct api_client *c, struct pollfd *fds, unsigned count, int timeout_ms)
{
    struct curl_waitfd extra[FDS_MAX];
    int running;

    /* Not a byte is moved before the wait: a call that ended there would not end it.  A call that
     * was just started does. */
    for (unsigned i = 0; i < count && i < FDS_MAX; i++)
        extra[i] = (struct curl_waitfd){ .fd = fds[i].fd, .events = CURL_WAIT_POLLIN };
    curl_multi_poll(c->multi, extra, count < FDS_MAX ? count : FDS_MAX, timeout_ms, NULL);
    for (unsigned i = 0; i < count && i < FDS_MAX; i++)
        fds[i].revents = extra[i].revents & CURL_WAIT_POLLIN ? POLLIN : 0;
    curl_multi_perform(c->multi, &running);
}

static int error_of(CURLcode code)
{
    if (code == CURLE_OPERATION_TIMEDOUT)
        return -ETIMEDOUT;
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        return -ECONNREFUSED;
    if (code == CURLE_WRITE_ERROR)
        return -EFBIG;
    return -EIO;
}

static void describe(struct slot *s, CURLcode code, struct api_done *ret)
{
    long status = 0;

    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK) {
        ret->status = (int)status;
        ret->body = s->body.data ? s->body.data : "";
        ret->length = s->body.length;
        return;
    }
    ret->status = error_of(code);
    ret->body = s->error[0] ? s->error : curl_easy_strerror(code);
    ret->length = strlen(ret->body);
}

bool api_client_done(struct api_client *c, struct api_done *ret)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(c->multi, &left))) {
        char *private = NULL;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        struct slot *s = (struct slot *)(void *)private;

        ret->slot = (unsigned)(s - c->slots);
        describe(s, message->data.result, ret);
        release(c, s);
        return true;
    }
    return false;
}
