/* SPDX-License-Identifier: Apache-2.0 */
/* conn_test - connections over loopback: order, back-pressure both ways, the ways to end. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/base/net.h"
#include "server/io/conn.h"

#define OUTS     64
#define OUT_SIZE (256u << 10)

struct server {
    struct shard *shard;
    struct listener listener;
    struct conn conn;
    char address[NET_ADDRESS_SIZE];
    uint16_t port;

    size_t take_max;         /* input takes at most this much at a time; 0 = nothing */
    uint8_t *got;            /* what came */
    size_t got_length, room; /* room: bytes that room() gives out */
    unsigned room_used;      /* bytes that were received right in place */
    int ended_error;
    unsigned sent, dropped;
    struct conn_out outs[OUTS];
    uint8_t *data;
    sem_t event, stopped; /* event: accepted, ended, closed */
};

static struct server *server_of_conn(struct conn *c)
{
    return (struct server *)((char *)c - offsetof(struct server, conn));
}

static size_t on_input(struct conn *c, const void *bytes, size_t length)
{
    struct server *s = server_of_conn(c);
    size_t n = length < s->take_max ? length : s->take_max;

    if (bytes == s->got + s->got_length)
        s->room_used += (unsigned)n;
    else
        memcpy(s->got + s->got_length, bytes, n);
    s->got_length += n;
    if (n < length && s->take_max > 0)
        conn_resume(c);
    return n;
}

static void *on_room(struct conn *c, size_t *ret_length)
{
    struct server *s = server_of_conn(c);

    *ret_length = s->room;
    return s->room > 0 ? s->got + s->got_length : NULL;
}

static void on_ended(struct conn *c, int error)
{
    server_of_conn(c)->ended_error = error;
    sem_post(&server_of_conn(c)->event);
}

static void on_closed(struct conn *c)
{
    sem_post(&server_of_conn(c)->event);
}

static const struct conn_events events = {
    .input = on_input, .room = on_room, .ended = on_ended, .closed = on_closed
};

static void on_accepted(struct listener *l, int fd)
{
    struct server *s = (struct server *)((char *)l - offsetof(struct server, listener));

    conn_start(&s->conn, s->shard, fd, &events);
    sem_post(&s->event);
}

static void on_stopped(struct listener *l)
{
    sem_post(&((struct server *)((char *)l - offsetof(struct server, listener)))->stopped);
}

static void wait_event(sem_t *sem)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 20;
    assert_int_equal(sem_timedwait(sem, &t), 0);
}

static void start_listening(void *arg)
{
    struct server *s = arg;

    listener_start(&s->listener, s->shard, s->listener.fd);
}

#define ALL ((size_t)1 << 30)

static struct server *server_start(size_t take_max, size_t room)
{
    struct server *s = calloc(1, sizeof *s);
    struct err e = { 0 };

    s->take_max = take_max;
    s->room = room;
    s->got = calloc(1, OUTS * OUT_SIZE);
    s->data = calloc(1, OUT_SIZE);
    sem_init(&s->event, 0, 0);
    sem_init(&s->stopped, 0, 0);
    s->listener.accepted = on_accepted;
    s->listener.stopped = on_stopped;
    assert_int_equal(shard_start("test", &s->shard, &e), 0);
    assert_int_equal(net_listen("127.0.0.1:0", 0, 16, &s->listener.fd, &e), 0);
    net_local(s->listener.fd, s->address);
    s->port = (uint16_t)atoi(strchr(s->address, ':') + 1);
    shard_call(s->shard, start_listening, s);
    return s;
}

static int dial(struct server *s)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons(s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    wait_event(&s->event);
    return fd;
}

static void do_close(void *arg)
{
    conn_close(&((struct server *)arg)->conn);
}

static void do_stop(void *arg)
{
    listener_stop(&((struct server *)arg)->listener);
}

static void close_conn(struct server *s)
{
    shard_call(s->shard, do_close, s);
    wait_event(&s->event);
}

static void server_stop(struct server *s)
{
    shard_call(s->shard, do_stop, s);
    wait_event(&s->stopped);
    shard_stop(s->shard);
    sem_destroy(&s->event);
    sem_destroy(&s->stopped);
    free(s->got);
    free(s->data);
    free(s);
}

static uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

static void write_pattern(int fd, size_t length)
{
    uint8_t buf[4096];

    for (size_t at = 0; at < length;) {
        size_t n = length - at < sizeof buf ? length - at : sizeof buf;
        for (size_t i = 0; i < n; i++)
            buf[i] = pattern(at + i);
        assert_int_equal(write(fd, buf, n), (ssize_t)n);
        at += n;
    }
}

static void expect_pattern(const struct server *s, size_t length)
{
    assert_int_equal(s->got_length, length);
    for (size_t i = 0; i < length; i++)
        if (s->got[i] != pattern(i))
            fail_msg("byte %zu differs", i);
}

/* Sends `length` bytes, ends, and lets the server say that it saw the end. */
static void send_and_end(struct server *s, size_t length)
{
    int fd = dial(s);

    write_pattern(fd, length);
    close(fd);
    wait_event(&s->event);
    assert_int_equal(s->ended_error, 0);
}

static void input_arrives_whole_and_in_order(void **state)
{
    struct server *s = server_start(ALL, 0);

    (void)state;
    send_and_end(s, 3000000);
    expect_pattern(s, 3000000);
    close_conn(s);
    server_stop(s);
}

static void input_that_is_taken_in_small_bites_is_not_lost(void **state)
{
    struct server *s = server_start(777, 0);

    (void)state;
    send_and_end(s, 300000);
    expect_pattern(s, 300000);
    close_conn(s);
    server_stop(s);
}

static void input_can_be_received_in_place(void **state)
{
    struct server *s = server_start(ALL, 100000);

    (void)state;
    send_and_end(s, 1000000);
    expect_pattern(s, 1000000);
    assert_int_equal(s->room_used, 1000000);
    close_conn(s);
    server_stop(s);
}

static void an_owner_that_takes_nothing_stops_the_peer(void **state)
{
    struct server *s = server_start(0, 0);
    struct pollfd p = { .events = POLLOUT };
    static uint8_t buf[65536];
    size_t total = 0;

    (void)state;
    p.fd = dial(s);
    /* Until nothing moves for half a second: the sockets' own buffers are full. */
    while (poll(&p, 1, 500) == 1 && total < (256u << 20)) {
        ssize_t n = send(p.fd, buf, sizeof buf, MSG_DONTWAIT);
        total += n > 0 ? (size_t)n : 0;
    }
    assert_true(total < (64u << 20));
    close(p.fd);
    close_conn(s);
    assert_int_equal(s->got_length, 0);
    server_stop(s);
}

static void on_sent(struct conn_out *o, bool sent)
{
    struct server *s = NULL;

    memcpy(&s, o->part[1].iov_base, sizeof s);
    if (sent)
        s->sent++;
    else
        s->dropped++;
}

/* Each consists of 8 bytes that number it and OUT_SIZE bytes of data, which begin with a pointer to
 * the server. */
static void send_all(void *arg)
{
    struct server *s = arg;
    static uint64_t numbers[OUTS];

    memcpy(s->data, &s, sizeof s);
    for (size_t i = 0; i < OUTS; i++) {
        numbers[i] = i;
        s->outs[i] = (struct conn_out){ .parts = 2, .sent = on_sent };
        s->outs[i].part[0] = (struct iovec){ &numbers[i], sizeof numbers[i] };
        s->outs[i].part[1] = (struct iovec){ s->data, OUT_SIZE };
        conn_send(&s->conn, &s->outs[i]);
    }
}

static void read_all(int fd, void *buf, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t n = read(fd, (char *)buf + at, length - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

static void output_larger_than_the_socket_arrives_in_order(void **state)
{
    struct server *s = server_start(ALL, 0);
    uint8_t *buf = malloc(OUT_SIZE);
    int fd = dial(s);

    (void)state;
    for (size_t i = 8; i < OUT_SIZE; i++)
        s->data[i] = pattern(i);
    shard_call(s->shard, send_all, s);
    for (uint64_t i = 0; i < OUTS; i++) {
        uint64_t number;
        read_all(fd, &number, sizeof number);
        assert_int_equal(number, i);
        read_all(fd, buf, OUT_SIZE);
        assert_memory_equal(buf, s->data, OUT_SIZE);
    }
    close(fd);
    wait_event(&s->event);
    close_conn(s);
    server_stop(s);
    free(buf);
}

static void closing_gives_unsent_output_back(void **state)
{
    struct server *s = server_start(ALL, 0);
    int fd = dial(s);

    (void)state;
    shard_call(s->shard, send_all, s); /* 16 MiB: more than the sockets hold, and nobody reads */
    close_conn(s);
    assert_int_equal(s->sent + s->dropped, OUTS);
    assert_true(s->dropped > 0);
    close(fd);
    server_stop(s);
}

static void send_last_word(void *arg)
{
    struct server *s = arg;

    memcpy(s->data, &s, sizeof s);
    s->outs[0] = (struct conn_out){ .parts = 2, .sent = on_sent };
    s->outs[0].part[0] = (struct iovec){ s->data, 8 };
    s->outs[0].part[1] = (struct iovec){ s->data, 8 };
    conn_send(&s->conn, &s->outs[0]);
    conn_finish(&s->conn);
}

/* Without conn_finish() the unread input would turn the close into a reset, which may overtake the
 * last answer. */
static void finish_delivers_the_last_answer_over_unread_input(void **state)
{
    struct server *s = server_start(0, 0);
    uint8_t buf[17];
    int fd;

    (void)state;
    fd = dial(s);
    write_pattern(fd, 500000);
    shard_call(s->shard, send_last_word, s);
    write_pattern(fd, 500000);
    read_all(fd, buf, 16);
    assert_int_equal(read(fd, buf, 1), 0);
    close(fd);
    wait_event(&s->event);
    close_conn(s);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_arrives_whole_and_in_order),
        cmocka_unit_test(input_that_is_taken_in_small_bites_is_not_lost),
        cmocka_unit_test(input_can_be_received_in_place),
        cmocka_unit_test(an_owner_that_takes_nothing_stops_the_peer),
        cmocka_unit_test(output_larger_than_the_socket_arrives_in_order),
        cmocka_unit_test(closing_gives_unsent_output_back),
        cmocka_unit_test(finish_delivers_the_last_answer_over_unread_input),
    };
    return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
