/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP calls against a server that answers what the test says, on loopback. */
#include "tests/unit/unit.h"

#include "hostside/api_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/contract/contract.h"

struct server {
    int listener;
    pthread_t thread;
    const char *answer; /* NULL: hangs up */
    size_t padding;     /* bytes of 'x' after it */
    int hold;           /* an eventfd: answers when it is readable; -1 = at once */
    char request[2048];
    char url[64];
};

static void send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

        if (sent <= 0)
            return;
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void answer_one(struct server *s, int fd)
{
    size_t used = 0;
    static const char x[4096] = "xxxxxxxxxxxxxxxx";

    while (used < sizeof s->request - 1 && !strstr(s->request, "\r\n\r\n")) {
        ssize_t got = recv(fd, s->request + used, sizeof s->request - 1 - used, 0);

        if (got <= 0)
            return;
        used += (size_t)got;
    }
    if (s->hold >= 0) {
        struct pollfd p = { .fd = s->hold, .events = POLLIN };

        poll(&p, 1, 10000);
    }
    if (!s->answer)
        return;
    send_all(fd, s->answer, strlen(s->answer));
    for (size_t i = 0; i < s->padding; i += sizeof x)
        send_all(fd, x, sizeof x);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    int fd = accept(s->listener, NULL, NULL);

    if (fd >= 0) {
        answer_one(s, fd);
        close(fd);
    }
    return NULL;
}

static void start_server(struct server *s, const char *answer)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof a;

    s->answer = answer;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->listener, 4), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &size), 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u/", ntohs(a.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop_server(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

/* Waits as long as the agent would: what comes must end the wait. */
static struct api_done wait_done(struct api_client *c)
{
    int64_t begun = clock_mono_ns();
    struct api_done done = { 0 };

    while (!api_client_done(c, &done)) {
        api_client_wait(c, NULL, 0, 30000);
        assert_true(clock_mono_ns() - begun < 20 * NS_PER_S);
    }
    return done;
}

static void a_get_brings_status_and_body(void **state)
{
    struct server s = { .hold = -1 };
    struct api_client *c;
    struct api_done done;
    struct api_call call = { .slot = 2, .path = "/v1/x?y=1", .bearer = "secret", .timeout_s = 10 };

    (void)state;
    start_server(&s, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_int_equal(api_client_new(s.url, &c, NULL), 0);
    assert_int_equal(api_client_start(c, &call, NULL), 0);
    done = wait_done(c);
    assert_int_equal(done.slot, 2);
    assert_int_equal(done.status, 200);
    assert_int_equal(done.length, 2);
    assert_memory_equal(done.body, "hi", 2);
    assert_non_null(strstr(s.request, "GET /v1/x?y=1 HTTP/1.1\r\n"));
    assert_non_null(strstr(s.request, "Authorization: Bearer secret\r\n"));
    assert_false(api_client_done(c, &done));
    api_client_free(c);
    stop_server(&s);
}

static void a_body_is_posted_as_json(void **state)
{
    struct server s = { .hold = -1 };
    struct api_client *c;
    struct api_call call = { .path = "/p", .bearer = "", .body = "{}", .timeout_s = 10 };

    (void)state;
    start_server(&s, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(api_client_new(s.url, &c, NULL), 0);
    assert_int_equal(api_client_start(c, &call, NULL), 0);
    assert_int_equal(wait_done(c).status, 204);
    assert_non_null(strstr(s.request, "POST /p "));
    assert_non_null(strstr(s.request, "Content-Type: application/json"));
    assert_null(strstr(s.request, "Authorization"));
    api_client_free(c);
    stop_server(&s);
}

static void a_redirect_is_not_followed(void **state)
{
    struct server s = { .hold = -1 };
    struct api_client *c;
    struct api_call call = { .path = "/", .bearer = "secret", .timeout_s = 10 };

    (void)state;
    start_server(&s, "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n"
                     "Content-Length: 0\r\n\r\n");
    assert_int_equal(api_client_new(s.url, &c, NULL), 0);
    assert_int_equal(api_client_start(c, &call, NULL), 0);
    assert_int_equal(wait_done(c).status, 302);
    api_client_free(c);
    stop_server(&s);
}

static void an_answer_above_the_limit_is_cut_off(void **state)
{
    struct server s = { .hold = -1, .padding = CONTRACT_TEXT_MAX + 8192 };
    struct api_client *c;
    struct api_call call = { .path = "/", .bearer = "", .timeout_s = 10 };

    (void)state;
    start_server(&s, "HTTP/1.0 200 OK\r\n\r\n");
    assert_int_equal(api_client_new(s.url, &c, NULL), 0);
    assert_int_equal(api_client_start(c, &call, NULL), 0);
    assert_int_equal(wait_done(c).status, -EFBIG);
    api_client_free(c);
    stop_server(&s);
}

static void a_server_that_hangs_up_or_is_away_is_an_error_with_words(void **state)
{
    struct server s = { .hold = -1 };
    struct api_client *c;
    struct api_done done;
    struct api_call call = { .path = "/", .bearer = "", .timeout_s = 10 };

    (void)state;
    start_server(&s, NULL);
    assert_int_equal(api_client_new(s.url, &c, NULL), 0);
    assert_int_equal(api_client_start(c, &call, NULL), 0);
    done = wait_done(c);
    assert_int_equal(done.status, -EIO);
    assert_true(done.length > 0);
    stop_server(&s);
    assert_int_equal(api_client_start(c, &call, NULL), 0); /* nobody listens now */
    assert_int_equal(wait_done(c).status, -ECONNREFUSED);
    api_client_free(c);
}

static void another_descriptor_ends_the_wait(void **state)
{
    struct server s = { .hold = eventfd(0, EFD_CLOEXEC) };
    int event = eventfd(0, EFD_CLOEXEC);
    struct pollfd fds[2] = { { .fd = s.hold }, { .fd = event } };
    struct api_client *c;
    struct api_call call = { .path = "/", .bearer = "", .timeout_s = 10 };
    uint64_t one = 1;

    (void)state;
    start_server(&s, "HTTP/1.0 304 Not Modified\r\n\r\n");
    assert_int_equal(api_client_new(s.url, &c, NULL), 0);
    assert_int_equal(api_client_start(c, &call, NULL), 0);
    assert_int_equal(write(event, &one, sizeof one), sizeof one);
    while (!fds[1].revents)
        api_client_wait(c, fds, 2, 30000);
    assert_int_equal(fds[0].revents, 0);
    assert_int_equal(write(s.hold, &one, sizeof one), sizeof one);
    assert_int_equal(wait_done(c).status, 304); /* the call went on */
    api_client_free(c);
    stop_server(&s);
    close(s.hold);
    close(event);
}

static void a_url_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = { "", "10.0.0.1:8420", "file:///x", "ftp://x" };
    struct api_client *c;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(api_client_new(bad[i], &c, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_brings_status_and_body),
        cmocka_unit_test(a_body_is_posted_as_json),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(an_answer_above_the_limit_is_cut_off),
        cmocka_unit_test(a_server_that_hangs_up_or_is_away_is_an_error_with_words),
        cmocka_unit_test(another_descriptor_ends_the_wait),
        cmocka_unit_test(a_url_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
