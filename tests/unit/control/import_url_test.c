/* SPDX-License-Identifier: Apache-2.0 */
/* URLs: what a web server may do to a transfer, and what comes of it.  The server is a script: for
 * each connection in turn what the request must hold, and the answer. */
#include "tests/unit/control/import_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_BYTES 8192u
#define STEPS_MAX  8u

struct step {
    const char *asks;     /* must be in the request; NULL: anything */
    const char *asks_not; /* must not */
    const char *head;     /* of the answer; "%port" becomes the port */
    unsigned first, end;  /* these bytes of the file follow; then it hangs up */
    uint8_t salt;         /* which content the file has by then */
};

struct server {
    const struct step *steps;
    int listener;
    unsigned port, answered;
    const char *wrong;
    char seen[2000];
    pthread_t thread;
};

static uint8_t byte_at(unsigned i, uint8_t salt)
{
    return (uint8_t)(1 + (i * 13 + i / 256 + salt) % 255);
}

static void say_all(int fd, const void *data, size_t length)
{
    if (send(fd, data, length, MSG_NOSIGNAL) < 0)
        return; /* the client may have had enough */
}

static void answer(struct server *s, const struct step *step, int fd)
{
    static uint8_t body[BODY_BYTES]; /* one server at a time */
    char head[600] = "";
    const char *port = strstr(step->head, "%port");

    if (port)
        snprintf(head, sizeof head, "%.*s%u%s", (int)(port - step->head), step->head, s->port,
                 port + 5);
    else
        snprintf(head, sizeof head, "%s", step->head);
    for (unsigned i = step->first; i < step->end; i++)
        body[i - step->first] = byte_at(i, step->salt);
    say_all(fd, head, strlen(head));
    say_all(fd, body, step->end - step->first);
}

static void *serve(void *arg)
{
    struct server *s = arg;

    for (const struct step *step = s->steps; step->head; step++, s->answered++) {
        size_t have = 0;
        int fd = accept(s->listener, NULL, NULL);

        if (fd < 0)
            break;
        memset(s->seen, 0, sizeof s->seen);
        while (!strstr(s->seen, "\r\n\r\n") && have + 1 < sizeof s->seen) {
            ssize_t n = recv(fd, s->seen + have, sizeof s->seen - 1 - have, 0);
            if (n <= 0)
                break;
            have += (size_t)n;
        }
        if ((step->asks && !strstr(s->seen, step->asks)) ||
            (step->asks_not && strstr(s->seen, step->asks_not)))
            s->wrong = step->asks ? step->asks : step->asks_not;
        answer(s, step, fd);
        shutdown(fd, SHUT_WR);
        while (recv(fd, s->seen, sizeof s->seen, 0) > 0)
            ;
        close(fd);
    }
    return NULL;
}

/* Imports http://127.0.0.1:PORT/f from a server that follows the script. */
static int play(struct import_rig *g, const struct step *steps, unsigned *ret_answered)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof sa;
    struct server s = { .steps = steps };
    char url[60];

    s.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s.listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(s.listener, 8), 0);
    getsockname(s.listener, (struct sockaddr *)&sa, &length);
    s.port = ntohs(sa.sin_port);
    assert_int_equal(pthread_create(&s.thread, NULL, serve, &s), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/f", s.port);
    int rc = irig_import(g, IMPORT_URL, url);
    shutdown(s.listener, SHUT_RDWR);
    pthread_join(s.thread, NULL);
    close(s.listener);
    if (s.wrong)
        fail_msg("request %u: %s", s.answered, s.wrong);
    *ret_answered = s.answered;
    return rc;
}

#define OK_HEAD      "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\nETag: \"one\"\r\n\r\n"
#define NO_ETAG_HEAD "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n"
#define TWO_HEAD     "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\nETag: \"two\"\r\n\r\n"
#define PART_HEAD(from)                                                                            \
    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " from "-8191/8192\r\n\r\n"

/* The file comes whole, with this salt, after all answers of the script. */
static const struct {
    const char *name;
    uint8_t salt;
    struct step steps[STEPS_MAX];
} good[] = {
    { "at once", 0, { { "GET /f HTTP/1.1\r\n", NULL, OK_HEAD, 0, 8192, 0 } } },
    { "taken up where it broke",
      0,
      { { NULL, "Range:", OK_HEAD, 0, 3000, 0 },
        { "Range: bytes=3000-\r\n", NULL, PART_HEAD("3000"), 3000, 5000, 0 },
        { "If-Range: \"one\"\r\n", NULL, PART_HEAD("5000"), 5000, 8192, 0 } } },
    { "by date",
      0,
      { { NULL, NULL,
          "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\nLast-Modified: Mon, 23 Nov 2026 10:00:00 "
          "GMT\r\nETag: W/\"weak\"\r\n\r\n",
          0, 3000, 0 },
        { "If-Range: Mon, 23 Nov 2026 10:00:00 GMT\r\n", NULL, PART_HEAD("3000"), 3000, 8192,
          0 } } },
    { "changed meanwhile",
      9,
      { { NULL, NULL, OK_HEAD, 0, 3000, 0 },
        { "If-Range: \"one\"\r\n", NULL, TWO_HEAD, 0, 4000, 9 },
        { "If-Range: \"two\"\r\n", NULL, PART_HEAD("4000"), 4000, 8192, 9 } } },
    { "shorter meanwhile, and refused for it",
      9,
      { { NULL, NULL, OK_HEAD, 0, 3000, 0 },
        { "Range: bytes=3000-", NULL, "HTTP/1.1 416 No\r\nContent-Length: 0\r\n\r\n", 0, 0, 0 },
        { NULL, "Range:", TWO_HEAD, 0, 8192, 9 } } },
    { "no validator: from the front",
      0,
      { { NULL, NULL, NO_ETAG_HEAD, 0, 3000, 5 }, { NULL, "Range:", NO_ETAG_HEAD, 0, 8192, 0 } } },
    { "busy for a moment",
      0,
      { { NULL, NULL, OK_HEAD, 0, 3000, 0 },
        { NULL, NULL, "HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\n", 0, 10, 0 },
        { "Range: bytes=3000-", NULL, PART_HEAD("3000"), 3000, 8192, 0 } } },
    { "elsewhere",
      0,
      { { NULL, NULL,
          "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%port/g\r\nContent-Length: "
          "0\r\nConnection: close\r\n\r\n",
          0, 0, 0 },
        { "GET /g ", NULL, OK_HEAD, 0, 8192, 0 } } },
};

static void a_file_comes_whole(void **state)
{
    static uint8_t disk[BODY_BYTES];
    struct import_rig g;
    unsigned answered, steps;

    (void)state;
    irig_open(&g);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        for (unsigned n = 0; n < BODY_BYTES; n++)
            disk[n] = byte_at(n, good[i].salt);
        for (steps = 0; steps < STEPS_MAX && good[i].steps[steps].head;)
            steps++;
        if (play(&g, good[i].steps, &answered) < 0)
            fail_msg("%s: %s", good[i].name, g.err.msg);
        assert_int_equal(answered, steps);
        irig_expect_disk(&g, disk, BODY_BYTES, BODY_BYTES);
    }
    irig_close(&g);
}

#define REDIRECT(where) "HTTP/1.1 302 Found\r\nLocation: " where "\r\nContent-Length: 0\r\n\r\n"

static const struct {
    const char *words;
    int rc;
    struct step steps[STEPS_MAX];
} bad[] = {
    { "404", -EINVAL, { { NULL, NULL, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 0, 0, 0 } } },
    { "503", -EINVAL, { { NULL, NULL, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", 0, 0, 0 } } },
    { "how long", -EINVAL, { { NULL, NULL, "HTTP/1.1 200 OK\r\n\r\n", 0, 8192, 0 } } },
    { "limit",
      -EFBIG,
      { { NULL, NULL, "HTTP/1.1 200 OK\r\nContent-Length: 1099511627777\r\n\r\n", 0, 10, 0 } } },
    { "another part",
      -EIO,
      { { NULL, NULL, OK_HEAD, 0, 3000, 0 }, { NULL, NULL, PART_HEAD("3001"), 3001, 8192, 0 } } },
    { "another part",
      -EIO,
      { { NULL, NULL, OK_HEAD, 0, 3000, 0 },
        { NULL, NULL, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3000-9191/9192\r\n\r\n",
          3000, 8192, 0 } } },
    { "rotocol", -EIO, { { NULL, NULL, REDIRECT("file:///etc/passwd"), 0, 0, 0 } } },
    { "", -EIO, { { NULL, NULL, "nonsense\r\n\r\n", 0, 0, 0 } } },
    { "", -EIO, { { NULL, NULL, "", 0, 0, 0 } } },
    { "gzip",
      -EINVAL,
      { { NULL, NULL, "HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n\x1f\x8b", 0, 598, 0 } } },
};

static void what_cannot_be_trusted_is_refused(void **state)
{
    struct import_rig g;
    unsigned answered;

    (void)state;
    irig_open(&g);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        irig_expect_refused(&g, play(&g, bad[i].steps, &answered), bad[i].rc, bad[i].words);
    irig_expect_refused(&g, irig_import(&g, IMPORT_URL, "file:///etc/passwd"), -EINVAL, "http");
    irig_expect_refused(&g, irig_import(&g, IMPORT_URL, "http://"), -EIO, "http");
    irig_close(&g);
}

static void it_is_given_up_when_nothing_new_comes(void **state)
{
    static const struct step steps[] = {
        { NULL, NULL, OK_HEAD, 0, 3000, 0 }, { NULL, NULL, OK_HEAD, 0, 3000, 0 },
        { NULL, NULL, OK_HEAD, 0, 3000, 0 }, { NULL, NULL, OK_HEAD, 0, 3000, 0 },
        { NULL, NULL, OK_HEAD, 0, 3000, 0 }, { NULL, NULL, OK_HEAD, 0, 3000, 0 },
        { NULL, NULL, OK_HEAD, 0, 3000, 0 }, { NULL, NULL, NULL, 0, 0, 0 },
    };
    struct import_rig g;
    unsigned answered;

    (void)state;
    irig_open(&g);
    irig_expect_refused(&g, play(&g, steps, &answered), -EIO, "broke off after 3000 bytes");
    assert_int_equal(answered, 6);
    irig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_comes_whole),
        cmocka_unit_test(what_cannot_be_trusted_is_refused),
        cmocka_unit_test(it_is_given_up_when_nothing_new_comes),
    };

    unsetenv("http_proxy");
    unsetenv("all_proxy");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
