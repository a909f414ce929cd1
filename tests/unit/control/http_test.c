/* SPDX-License-Identifier: Apache-2.0 */
/* http_test - real requests over TCP and over the Unix socket; the server has a thread of its own,
 * the test is the client. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/control/http.h"
#include "server/control/loop.h"

#define TOKEN "0123456789abcdef"

struct server {
    struct loop *loop;
    struct http *http;
    pthread_t thread;
    char dir[64], socket[96], file[96];
    unsigned topic_id;
    uint64_t streamed;
    _Atomic unsigned gone; /* streams that were cleaned up */
    struct loop_msg wake;
};

static void on_echo(struct http_request *r)
{
    static const char *const keys[] = { "a", "b", NULL };
    struct err e = { 0 };
    json_t *o;

    if (http_json(r, keys, &o, &e) < 0)
        http_answer_err(r, &e);
    else
        http_answer_json(r, 200,
                         json_pack("{s:s, s:s, s:s, s:O}", "arg", http_arg(r, 0), "peer",
                                   http_peer(r), "q", http_query(r, "q") ? http_query(r, "q") : "-",
                                   "body", o));
}

static void on_bearer(struct http_request *r)
{
    http_answer_text(r, 200, "text/plain", http_bearer(r), strlen(http_bearer(r)));
}

static void on_file(struct http_request *r)
{
    struct server *s = http_context(r);

    http_answer_file(r, s->file, "application/octet-stream");
}

static void on_wait(struct http_request *r)
{
    struct server *s = http_context(r);

    if (s->topic_id == 7)
        http_answer_text(r, 200, "text/plain", "woken", 5);
    else if (http_waited(r))
        http_answer_empty(r, 304);
    else
        http_wait(r, http_topic(HTTP_TOPIC_JOB, 7), http_query(r, "long") ? 30 : 0);
}

static void on_silent(struct http_request *r)
{
    (void)r;
}

static int sink_data(void *arg, const void *bytes, size_t length, struct err *e)
{
    struct server *s = arg;

    (void)bytes;
    s->streamed += length;
    return s->streamed > 300000 ? err_set(e, -ENOSPC, "the disk is full") : 0;
}

static void sink_gone(void *arg)
{
    struct server *s = arg;

    s->gone++;
}

static void on_stream(struct http_request *r)
{
    static const struct http_sink sink = { sink_data, sink_gone };
    struct server *s = http_context(r);

    if (http_sink_arg(r)) {
        http_sink_done(r);
        http_answer_text(r, 201, "text/plain", "all", 3);
    } else if (http_query(r, "refuse")) {
        http_answer_problem(r, 507, "no room");
    } else {
        s->streamed = 0;
        http_receive(r, &sink, s);
    }
}

static const struct http_route routes[] = {
    { "POST", "/v1/echo/{}/end", HTTP_ADMIN, on_echo, false },
    { "GET", "/v1/echo/{}/end", HTTP_ADMIN, on_echo, false },
    { "DELETE", "/v1/echo/{}/end", HTTP_ADMIN, on_echo, false },
    { "GET", "/v1/self", HTTP_SELF, on_bearer, false },
    { "GET", "/boot/file", HTTP_PUBLIC, on_file, false },
    { "GET", "/boot/wait", HTTP_PUBLIC, on_wait, false },
    { "GET", "/boot/silent", HTTP_PUBLIC, on_silent, false },
    { "POST", "/v1/stream", HTTP_ADMIN, on_stream, true },
};

static void *run(void *arg)
{
    struct server *s = arg;

    loop_run(s->loop);
    return NULL;
}

static int start(void **state)
{
    static struct server s;
    struct err e = { 0 };

    memset(&s, 0, sizeof s);
    strcpy(s.dir, "/tmp/http_test.XXXXXX");
    assert_non_null(mkdtemp(s.dir));
    snprintf(s.socket, sizeof s.socket, "%s/sock", s.dir);
    snprintf(s.file, sizeof s.file, "%s/file", s.dir);
    assert_int_equal(loop_new(&s.loop, &e), 0);
    struct http_options o = {
        .loop = s.loop, .context = &s, .admin_token = TOKEN, .tcp_connections = 4
    };
    assert_int_equal(http_new(&o, &s.http, &e), 0);
    assert_int_equal(http_routes(s.http, routes, sizeof routes / sizeof *routes, &e), 0);
    assert_int_equal(http_listen(s.http, "127.0.0.1:0", &e), 0);
    assert_int_equal(http_listen_unix(s.http, s.socket, &e), 0);
    assert_int_equal(pthread_create(&s.thread, NULL, run, &s), 0);
    *state = &s;
    return 0;
}

static int stop(void **state)
{
    struct server *s = *state;

    loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    http_free(s->http);
    loop_free(s->loop);
    unlink(s->file);
    assert_int_equal(rmdir(s->dir), 0); /* the socket is gone as well */
    return 0;
}

/* ---- the client ---------------------------------------------------------------------------------
 */

static int dial(struct server *s, bool tcp)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct timeval limit = { .tv_sec = 10 };
    int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    in.sin_port = htons((uint16_t)atoi(strrchr(http_address(s->http, 0), ':') + 1));
    snprintf(un.sun_path, sizeof un.sun_path, "%s", s->socket);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(tcp ? connect(fd, (struct sockaddr *)&in, sizeof in)
                         : connect(fd, (struct sockaddr *)&un, sizeof un),
                     0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads one answer: head and as many bytes as it says.  Returns its status; 0 at the end of the
 * connection. */
static int hear(int fd, char *body, size_t size)
{
    static char text[400000];
    size_t at = 0, head = 0, length = 0;
    const char *mark;

    while (!head || at < head + length) {
        ssize_t got = recv(fd, text + at, sizeof text - at - 1, 0);
        if (got <= 0)
            return 0;
        at += (size_t)got;
        text[at] = '\0';
        if (!head && (mark = strstr(text, "\r\n\r\n"))) {
            head = (size_t)(mark - text) + 4;
            mark = strcasestr(text, "Content-Length: ");
            length = mark && mark < text + head ? strtoul(mark + 16, NULL, 10) : 0;
        }
    }
    assert_int_equal(at, head + length);
    snprintf(body, size, "%s", text + head);
    return atoi(text + 9);
}

static char body[400000];

static int ask(struct server *s, bool tcp, const char *request)
{
    int fd = dial(s, tcp);

    say(fd, request);
    int status = hear(fd, body, sizeof body);
    close(fd);
    return status;
}

#define AUTH "Authorization: Bearer " TOKEN "\r\n"

/* ---- tests --------------------------------------------------------------------------------------
 */

static void test_request_and_answer(void **state)
{
    int status = ask(*state, false,
                     "POST /v1/echo/a%20b/end?x=1&q=%41%26 HTTP/1.1\r\nHost: x\r\n"
                     "Content-Length: 9\r\n\r\n{\"a\": 1 }");

    assert_string_equal(body, "{\"arg\":\"a b\",\"peer\":\"\",\"q\":\"A&\",\"body\":{\"a\":1}}");
    assert_int_equal(status, 200);
}

static void test_statuses(void **state)
{
    static const struct {
        const char *name;
        bool tcp;
        int status;
        const char *request, *says;
    } cases[] = {
        { "no path", false, 404, "GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", "no such path" },
        { "wrong method", false, 405,
          "PUT /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 0\r\n\r\n",
          "method PUT" },
        { "empty segment", false, 404, "GET /v1/echo//end HTTP/1.1\r\nHost: x\r\n\r\n", "" },
        { "no token", true, 401, "GET /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n\r\n", "Bearer TOKEN" },
        { "wrong token", true, 401,
          "GET /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Authorization: Bearer 0123456789abcdee\r\n\r\n",
          "not the administrator's" },
        { "right token", true, 200, "GET /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n",
          "\"peer\":\"127.0.0.1\"" },
        { "own bearer", true, 200,
          "GET /v1/self HTTP/1.1\r\nHost: x\r\n"
          "Authorization: Bearer xyz\r\n\r\n",
          "xyz" },
        { "not JSON", false, 400,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 3\r\n\r\n{a}",
          "not JSON" },
        { "not an object", false, 400,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 2\r\n\r\n[]",
          "JSON object" },
        { "key twice", false, 400,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 13\r\n\r\n{\"a\":1,\"a\":2}",
          "duplicate" },
        { "a key that is none", false, 400,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 7\r\n\r\n{\"c\":1}",
          "c: is not known here" },
        { "chunked", false, 411,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "Content-Length" },
        { "no length", false, 200, "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n\r\n", "{}" },
        { "length zero", false, 200,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 0\r\n\r\n",
          "{}" },
        { "two lengths", false, 400,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
          "one" },
        { "negative length", false, 400,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: -1\r\n\r\n",
          "one number" },
        { "too large", false, 413,
          "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 1048577\r\n\r\n",
          "1048576" },
        { "handler forgot", false, 500, "GET /boot/silent HTTP/1.1\r\nHost: x\r\n\r\n", "" },
        { "no file", false, 404, "GET /boot/file HTTP/1.1\r\nHost: x\r\n\r\n", "no such file" },
        { "delete with a body", false, 200,
          "DELETE /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n"
          "Content-Length: 2\r\n\r\n{}",
          "{}" },
        { "waited in vain", false, 304, "GET /boot/wait HTTP/1.1\r\nHost: x\r\n\r\n", "" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = ask(*state, cases[i].tcp, cases[i].request);
        if (status != cases[i].status || !strstr(body, cases[i].says))
            print_message("# %s: %d %s\n", cases[i].name, status, body);
        assert_int_equal(status, cases[i].status);
        assert_non_null(strstr(body, cases[i].says));
    }
}

static void test_connection_is_kept(void **state)
{
    int fd = dial(*state, true);

    for (int i = 0; i < 20; i++) {
        say(fd, i % 2 ? "GET /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n"
                      : "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n" AUTH
                        "Content-Length: 2\r\n\r\n{}");
        assert_int_equal(hear(fd, body, sizeof body), 200);
    }
    close(fd);
}

static void test_refused_body_keeps_connection(void **state)
{
    int fd = dial(*state, true);

    say(fd, "POST /v1/echo/a/end HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    assert_int_equal(hear(fd, body, sizeof body), 401);
    say(fd, "12345");
    say(fd, "GET /v1/echo/a/end HTTP/1.1\r\nHost: x\r\n" AUTH "\r\n");
    assert_int_equal(hear(fd, body, sizeof body), 200);
    close(fd);
}

static void test_head_in_small_pieces(void **state)
{
    static const char request[] = "POST /v1/echo/abc/end?q=zz HTTP/1.1\r\nHost: x\r\n"
                                  "Content-Length: 8\r\n\r\n{\"b\":[]}";
    int fd = dial(*state, false);

    for (const char *p = request; *p; p++) {
        char one[2] = { *p, 0 };
        say(fd, one);
    }
    assert_int_equal(hear(fd, body, sizeof body), 200);
    assert_non_null(strstr(body, "{\"b\":[]}"));
    close(fd);
}

static void test_head_too_large(void **state)
{
    static char request[16384];
    int fd = dial(*state, false);
    size_t at = (size_t)snprintf(request, sizeof request, "GET /v1/echo/a/end HTTP/1.1\r\nX: ");

    memset(request + at, 'a', 12000);
    strcpy(request + at + 12000, "\r\n\r\n");
    say(fd, request);
    assert_int_not_equal(hear(fd, body, sizeof body), 200);
    close(fd);
}

static void test_garbage_is_dropped(void **state)
{
    static const char *const garbage[] = {
        "\1\2\3\4\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /v1/self HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "GET /v1/self HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        "GET relative HTTP/1.1\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        int fd = dial(*state, false);
        say(fd, garbage[i]);
        shutdown(fd, SHUT_WR);
        int status = hear(fd, body, sizeof body);
        if (status && (status < 400 || status > 499))
            print_message("# garbage %zu: %d %s\n", i, status, body);
        assert_true(status == 0 || (status >= 400 && status <= 499));
        close(fd);
    }
    assert_int_equal(ask(*state, false, "GET /v1/self HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}

static void test_file(void **state)
{
    static char content[300000];
    struct server *s = *state;

    for (size_t i = 0; i < sizeof content - 1; i++)
        content[i] = (char)('a' + i % 23);
    assert_int_equal(file_replace(s->file, content, sizeof content - 1, 0600, NULL), 0);
    assert_int_equal(ask(s, true, "GET /boot/file HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_string_equal(body, content);

    int fd = dial(s, true);
    say(fd, "HEAD /boot/file HTTP/1.0\r\nHost: x\r\n\r\n");
    ssize_t got = recv(fd, body, sizeof body - 1, MSG_WAITALL); /* to the end of the connection */
    body[got > 0 ? got : 0] = '\0';
    assert_non_null(strstr(body, "Content-Length: 299999\r\n"));
    assert_true(strcmp(body + strlen(body) - 4, "\r\n\r\n") == 0);
    close(fd);
}

static void do_wake(struct loop_msg *m)
{
    struct server *s = (struct server *)((char *)m - offsetof(struct server, wake));

    s->topic_id = 7;
    http_wake(s->http, http_topic(HTTP_TOPIC_JOB, 7));
}

static void test_wait_is_woken(void **state)
{
    struct server *s = *state;
    int a = dial(s, true), b = dial(s, false);

    say(a, "GET /boot/wait?long=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    say(b, "GET /boot/wait?long=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(ask(s, false, "GET /v1/self HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    s->wake.fn = do_wake;
    loop_post(s->loop, &s->wake);
    assert_int_equal(hear(a, body, sizeof body), 200);
    assert_int_equal(hear(b, body, sizeof body), 200);
    assert_string_equal(body, "woken");
    say(a, "GET /v1/self HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer again\r\n\r\n");
    assert_int_equal(hear(a, body, sizeof body), 200);
    assert_string_equal(body, "again");
    close(a);
    close(b);
}

static void test_waiting_peer_leaves(void **state)
{
    struct server *s = *state;

    for (int i = 0; i < 8; i++) { /* more than the 4 connections that are allowed */
        int fd = dial(s, true);
        say(fd, "GET /boot/wait?long=1 HTTP/1.1\r\nHost: x\r\n\r\n");
        struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(fd);
        int64_t limit = clock_mono_ns() + 5 * NS_PER_S;
        int status = 0;
        while (status != 200 && clock_mono_ns() < limit)
            status = ask(s, true, "GET /v1/self HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(status, 200);
    }
}

static void test_too_many_connections(void **state)
{
    struct server *s = *state;
    int fd[4];

    for (int i = 0; i < 4; i++) {
        fd[i] = dial(s, true);
        say(fd[i], "GET /v1/self HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(hear(fd[i], body, sizeof body), 200);
    }
    int extra = dial(s, true);
    assert_int_equal(hear(extra, body, sizeof body), 503);
    assert_non_null(strstr(body, "try later\"}"));
    close(extra);
    assert_int_equal(ask(s, false, "GET /v1/self HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    for (int i = 0; i < 4; i++)
        close(fd[i]);
}

static void send_stream(int fd, size_t length)
{
    static char zeros[65536];

    while (length) {
        size_t part = length < sizeof zeros ? length : sizeof zeros;
        ssize_t put = send(fd, zeros, part, MSG_NOSIGNAL);
        if (put <= 0)
            return;
        length -= (size_t)put;
    }
}

static void test_stream(void **state)
{
    struct server *s = *state;
    int fd = dial(s, false);

    say(fd, "POST /v1/stream HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            "Content-Length: 250000\r\n\r\n");
    assert_int_equal(hear(fd, body, sizeof body), 100);
    send_stream(fd, 250000);
    assert_int_equal(hear(fd, body, sizeof body), 201);
    assert_int_equal(s->streamed, 250000);
    assert_int_equal(s->gone, 0);

    say(fd, "POST /v1/stream?refuse=1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            "Content-Length: 250000\r\n\r\n");
    assert_int_equal(hear(fd, body, sizeof body), 507);
    close(fd);
}

static void test_stream_fails_midway(void **state)
{
    struct server *s = *state;
    int fd = dial(s, false);

    say(fd, "POST /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n");
    send_stream(fd, 900000);
    assert_int_equal(hear(fd, body, sizeof body), 507);
    assert_non_null(strstr(body, "disk is full"));
    close(fd);
    assert_int_equal(ask(s, false, "GET /v1/self HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_int_equal(s->gone, 1);
}

static void test_stream_breaks_off(void **state)
{
    struct server *s = *state;
    int fd = dial(s, false);

    say(fd, "POST /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    send_stream(fd, 100000);
    close(fd);
    int64_t limit = clock_mono_ns() + 5 * NS_PER_S;
    while (!s->gone && clock_mono_ns() < limit)
        assert_int_equal(ask(s, false, "GET /v1/self HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    assert_int_equal(s->gone, 1);
}

static void test_listen_errors(void **state)
{
    struct server *s = *state;
    struct err e = { 0 };
    char path[200];

    assert_int_equal(http_listen(s->http, http_address(s->http, 0), &e), -EADDRINUSE);
    assert_non_null(strstr(e.msg, "in use"));
    static const char *const wrong[] = { "",         "1.2.3.4",       "localhost:80",
                                         "1.2.3.4:", "1.2.3.4:70000", "::1:80",
                                         "[::1]80",  "1.2.3.4:8x",    "[::1:80",
                                         ":80" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(http_listen(s->http, wrong[i], &e), -EINVAL);
    memset(path, 'a', sizeof path);
    path[150] = '\0';
    assert_int_equal(http_listen_unix(s->http, path, &e), -ENAMETOOLONG);
    assert_non_null(strstr(e.msg, "150 bytes, the kernel allows 107"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_request_and_answer, start, stop),
        cmocka_unit_test_setup_teardown(test_statuses, start, stop),
        cmocka_unit_test_setup_teardown(test_connection_is_kept, start, stop),
        cmocka_unit_test_setup_teardown(test_refused_body_keeps_connection, start, stop),
        cmocka_unit_test_setup_teardown(test_head_in_small_pieces, start, stop),
        cmocka_unit_test_setup_teardown(test_head_too_large, start, stop),
        cmocka_unit_test_setup_teardown(test_garbage_is_dropped, start, stop),
        cmocka_unit_test_setup_teardown(test_file, start, stop),
        cmocka_unit_test_setup_teardown(test_wait_is_woken, start, stop),
        cmocka_unit_test_setup_teardown(test_waiting_peer_leaves, start, stop),
        cmocka_unit_test_setup_teardown(test_too_many_connections, start, stop),
        cmocka_unit_test_setup_teardown(test_stream, start, stop),
        cmocka_unit_test_setup_teardown(test_stream_fails_midway, start, stop),
        cmocka_unit_test_setup_teardown(test_stream_breaks_off, start, stop),
        cmocka_unit_test_setup_teardown(test_listen_errors, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
