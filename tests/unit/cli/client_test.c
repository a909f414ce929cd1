/* SPDX-License-Identifier: Apache-2.0 */
/* One call of the API, against a server that answers whatever the case says. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/file.h"
#include "server/cli/client.h"
#include "server/cli/interrupt.h"

/* Takes one connection, reads one request, answers, hangs up. */
struct fake {
    struct cli_address address;
    int listener;
    pthread_t thread;
    const char *answer; /* NULL: none, until the client is gone */
    char request[4096];
    size_t length;
};

static bool whole(const struct fake *f)
{
    const char *end = memmem(f->request, f->length, "\r\n\r\n", 4);
    const char *length = strcasestr(f->request, "Content-Length: ");
    size_t body = length ? (size_t)strtoul(length + 16, NULL, 10) : 0;

    return end && f->length >= (size_t)(end - f->request) + 4 + body;
}

static void *serve(void *ctx)
{
    struct fake *f = ctx;
    AUTO(auto_close) int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
    ssize_t got;

    while (fd >= 0 && !(whole(f) && f->answer)) {
        got = read(fd, f->request + f->length, sizeof f->request - 1 - f->length);
        if (got <= 0)
            return NULL;
        f->length += (size_t)got;
    }
    if (fd >= 0 && f->answer)
        file_write_all(fd, f->answer, strlen(f->answer));
    return NULL;
}

static void fake_start(struct fake *f, const char *answer)
{
    const char *dir = getenv("TMPDIR");
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    memset(f, 0, sizeof *f);
    f->answer = answer;
    f->address.is_unix = true;
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s/client.%d", dir ? dir : "/tmp", (int)getpid());
    memcpy(f->address.unix_path, sun.sun_path, sizeof sun.sun_path);
    snprintf(f->address.base, sizeof f->address.base, "http://localhost");
    snprintf(f->address.text, sizeof f->address.text, "unix:%.100s", sun.sun_path);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&sun, sizeof sun), 0);
    assert_int_equal(listen(f->listener, 1), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void fake_end(struct fake *f)
{
    pthread_join(f->thread, NULL);
    close(f->listener);
    unlink(f->address.unix_path);
}

/* One POST of {"a": 1} to /v1/x. */
static int call(struct fake *f, struct client_reply *ret, struct err *e)
{
    struct client *c = NULL;
    json_t *body = json_pack("{s:i}", "a", 1);

    assert_int_equal(client_new(&f->address, NULL, NULL, &c, e), 0);
    int rc = client_call(c, "POST", "/v1/x", body, 0, ret, e);
    json_decref(body);
    client_free(c);
    fake_end(f);
    return rc;
}

#define HEAD(status, length)                                                                       \
    "HTTP/1.1 " status "\r\nConnection: close\r\nContent-Length: " length "\r\n\r\n"

static void an_answer_is_read(void **state)
{
    struct fake f;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    struct err e = { 0 };

    (void)state;
    fake_start(&f, HEAD("201 Created", "25") "{\"n\": 7, \"t\": \"x\", \"b\":1}");
    assert_int_equal(call(&f, &r, &e), 0);
    assert_int_equal(r.status, 201);
    assert_string_equal(r.text, "{\"n\": 7, \"t\": \"x\", \"b\":1}");
    assert_int_equal(client_number(r.json, "n"), 7);
    assert_string_equal(client_text(r.json, "t"), "x");
    assert_string_equal(client_text(r.json, "n"), ""); /* of another kind */
    assert_false(client_true(r.json, "b"));
    assert_non_null(strstr(f.request, "POST /v1/x HTTP/1.1\r\n"));
    assert_non_null(strstr(f.request, "\r\n\r\n{\"a\":1}"));
    assert_null(strstr(f.request, "Authorization"));
    assert_null(strstr(f.request, "Expect"));
}

static void no_content_is_an_empty_reply(void **state)
{
    struct fake f;
    AUTO(client_reply_done) struct client_reply r = { 0 };

    (void)state;
    fake_start(&f, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_int_equal(call(&f, &r, NULL), 0);
    assert_int_equal(r.status, 204);
    assert_null(r.text);
    assert_null(r.json);
}

static void a_refusal_is_its_detail(void **state)
{
    struct fake f;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    struct err e = { 0 };

    (void)state;
    fake_start(
        &f, HEAD("409 Conflict", "48") "{\"status\": 409, \"detail\": \"in the \\u001b[1mway\"}");
    assert_int_equal(call(&f, &r, &e), -EREMOTEIO);
    assert_string_equal(e.msg, "in the ?[1mway");
    assert_int_equal(r.status, 409);
    assert_null(r.text);
}

static void a_refusal_without_words_is_its_status(void **state)
{
    struct fake f;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    struct err e = { 0 };

    (void)state;
    fake_start(&f, HEAD("502 Bad Gateway", "6") "<html>");
    assert_int_equal(call(&f, &r, &e), -EREMOTEIO);
    assert_non_null(strstr(e.msg, "502"));
}

static void an_answer_that_is_no_json_is_refused(void **state)
{
    struct fake f;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    struct err e = { 0 };

    (void)state;
    fake_start(&f, HEAD("200 OK", "6") "<html>");
    assert_int_equal(call(&f, &r, &e), -EPROTO);
    assert_non_null(strstr(e.msg, "no JSON"));
    assert_null(r.json);
}

static void a_server_that_hangs_up_is_told(void **state)
{
    struct fake f;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    struct err e = { 0 };

    (void)state;
    fake_start(&f, "");
    assert_int_equal(call(&f, &r, &e), -EIO);
    assert_non_null(strstr(e.msg, f.address.unix_path));
}

static void nobody_there_says_what_to_do(void **state)
{
    struct cli_address address;
    struct client *c = NULL;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    struct err e = { 0 };

    (void)state;
    address_parse("unix:/nonexistent/socket", &address, NULL);
    assert_int_equal(client_new(&address, NULL, NULL, &c, NULL), 0);
    assert_int_equal(client_call(c, "GET", "/v1/status", NULL, 0, &r, &e), -ENOTCONN);
    assert_non_null(strstr(e.msg, "unix:/nonexistent/socket (No such file or directory)"));
    assert_non_null(strstr(e.msg, "start gridboxd"));
    client_free(c);
}

static void a_signal_ends_a_call_that_waits(void **state)
{
    struct fake f;
    struct interrupt i;
    struct client *c = NULL;
    AUTO(client_reply_done) struct client_reply r = { 0 };

    (void)state;
    interrupt_begin(&i); /* before the thread, which must not take the signal */
    fake_start(&f, NULL);
    assert_int_equal(client_new(&f.address, NULL, &i, &c, NULL), 0);
    kill(getpid(), SIGTERM);
    assert_int_equal(client_call(c, "GET", "/v1/x", NULL, 30, &r, NULL), -ECANCELED);
    client_free(c);
    fake_end(&f);
    interrupt_end(&i);
}

static void ignore_progress(void *ctx, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    *(uint64_t *)ctx = done;
}

static void an_upload_is_the_bytes_of_the_file(void **state)
{
    struct fake f;
    struct client *c = NULL;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    uint64_t done = 0;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "content and more", 16), 16);
    fake_start(&f, HEAD("201 Created", "15") "{\"upload\": \"u\"}");
    assert_int_equal(client_new(&f.address, NULL, NULL, &c, NULL), 0);
    assert_int_equal(
        client_upload(c, "/v1/uploads?size=7", ends[0], 7, ignore_progress, &done, &r, NULL), 0);
    client_free(c);
    fake_end(&f);
    assert_int_equal(done, 7);
    assert_string_equal(client_text(r.json, "upload"), "u");
    assert_non_null(strstr(f.request, "\r\n\r\ncontent"));
    assert_null(strstr(f.request, "more"));
    close(ends[0]);
    close(ends[1]);
}

static void a_file_that_becomes_shorter_ends_the_upload(void **state)
{
    struct fake f;
    struct client *c = NULL;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    uint64_t done = 0;
    int ends[2];
    struct err e = { 0 };

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "short", 5), 5);
    close(ends[1]);
    fake_start(&f, HEAD("201 Created", "2") "{}");
    assert_int_equal(client_new(&f.address, NULL, NULL, &c, NULL), 0);
    assert_int_equal(client_upload(c, "/v1/u", ends[0], 100, ignore_progress, &done, &r, &e),
                     -ESTALE);
    client_free(c);
    fake_end(&f);
    assert_non_null(strstr(e.msg, "shorter"));
    close(ends[0]);
}

static void a_token_that_would_split_the_header_is_refused(void **state)
{
    struct cli_address address;
    struct client *c = NULL;
    struct err e = { 0 };

    (void)state;
    address_parse("http://127.0.0.1:1", &address, NULL);
    assert_int_equal(client_new(&address, "a\r\nX: y", NULL, &c, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "GRIDBOX_TOKEN"));
    assert_null(c);
}

static void names_are_one_segment_of_a_path(void **state)
{
    char path[CLIENT_PATH_SIZE], name[2000];
    struct err e = { 0 };

    (void)state;
    assert_int_equal(client_path(path, "/v1/volumes/", "../x?y", "/attachment", NULL), 0);
    assert_string_equal(path, "/v1/volumes/..%2Fx%3Fy/attachment");
    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(client_path(path, "/v1/volumes/", name, "", &e), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_read),
        cmocka_unit_test(no_content_is_an_empty_reply),
        cmocka_unit_test(a_refusal_is_its_detail),
        cmocka_unit_test(a_refusal_without_words_is_its_status),
        cmocka_unit_test(an_answer_that_is_no_json_is_refused),
        cmocka_unit_test(a_server_that_hangs_up_is_told),
        cmocka_unit_test(nobody_there_says_what_to_do),
        cmocka_unit_test(a_signal_ends_a_call_that_waits),
        cmocka_unit_test(an_upload_is_the_bytes_of_the_file),
        cmocka_unit_test(a_file_that_becomes_shorter_ends_the_upload),
        cmocka_unit_test(a_token_that_would_split_the_header_is_refused),
        cmocka_unit_test(names_are_one_segment_of_a_path),
    };

    signal(SIGPIPE, SIG_IGN); /* the fake server's */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
