/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake against a server that answers NBD_OPT_GO in every way there is (proto.md). */
#include "tests/unit/unit.h"

#include "hostside/nbd_dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/nbd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/be.h"
#include "server/contract/contract.h"

#define REP_ACK          1u
#define REP_INFO         3u
#define REP_ERR_POLICY   0x80000002u
#define REP_ERR_UNKNOWN  0x80000006u
#define REP_ERR_SHUTDOWN 0x80000007u
#define OPT_GO           7u
#define SIZE             (UINT64_C(1) << 30)
#define FLAGS            0x6d /* flush, FUA, trim, write zeroes */

enum behaviour { TAKES, REFUSES, HANGS_UP_AT_GO, HANGS_UP, SAYS_NOTHING, SAYS_NONSENSE };

struct server {
    int listener;
    pthread_t thread;
    enum behaviour behaviour;
    uint32_t reply;    /* of REFUSES */
    const char *words; /* of REFUSES */
    char asked[64];    /* the export name of GO */
    bool structured;   /* it was asked for structured replies */
    bool said_goodbye; /* bytes came after the handshake */
};

struct option {
    struct be64 magic;
    struct be32 type, length;
};

static void send_reply(int fd, uint32_t type, const void *data, uint32_t length)
{
    struct {
        struct be64 magic;
        struct be32 option, type, length;
    } head = { put_be64(0x3e889045565a9), put_be32(OPT_GO), put_be32(type), put_be32(length) };

    assert_int_equal(send(fd, &head, sizeof head, MSG_NOSIGNAL), sizeof head);
    if (length > 0)
        assert_int_equal(send(fd, data, length, MSG_NOSIGNAL), length);
}

static void accept_go(int fd)
{
    struct {
        struct be16 type;
        struct be64 size;
        struct be16 flags;
    } info = { put_be16(0), put_be64(SIZE), put_be16(FLAGS) };

    send_reply(fd, REP_INFO, &info, sizeof info);
    send_reply(fd, REP_ACK, NULL, 0);
}

/* Reads options until GO. */
static bool read_go(struct server *s, int fd)
{
    struct option o;
    uint8_t data[256];

    while (recv(fd, &o, sizeof o, MSG_WAITALL) == sizeof o) {
        uint32_t length = get_be32(o.length);
        uint32_t name_length;

        if (length > sizeof data || recv(fd, data, length, MSG_WAITALL) != (ssize_t)length)
            return false;
        s->structured |= get_be32(o.type) == 8;
        if (get_be32(o.type) != OPT_GO)
            continue;
        name_length = get_be32((struct be32){ { data[0], data[1], data[2], data[3] } });
        if (name_length < sizeof s->asked)
            memcpy(s->asked, data + 4, name_length);
        return true;
    }
    return false;
}

static void serve(struct server *s, int fd)
{
    static const uint8_t greeting[18] = "NBDMAGICIHAVEOPT\0\3";
    static const uint8_t nonsense[18] = "SSH-2.0-OpenSSH_9\n";
    uint32_t client_flags;
    uint8_t byte;

    if (s->behaviour == HANGS_UP)
        return;
    if (s->behaviour != SAYS_NOTHING)
        send(fd, s->behaviour == SAYS_NONSENSE ? nonsense : greeting, 18, MSG_NOSIGNAL);
    if (recv(fd, &client_flags, 4, MSG_WAITALL) == 4 && read_go(s, fd)) {
        if (s->behaviour == HANGS_UP_AT_GO)
            return;
        if (s->behaviour == REFUSES)
            send_reply(fd, s->reply, s->words, (uint32_t)strlen(s->words));
        else
            accept_go(fd);
    }
    if (s->behaviour == TAKES) /* nothing comes until the test closes its end */
        s->said_goodbye = recv(fd, &byte, 1, 0) > 0;
}

static void *run_server(void *arg)
{
    struct server *s = arg;
    int fd = accept(s->listener, NULL, NULL);

    if (fd >= 0) {
        serve(s, fd);
        close(fd);
    }
    return NULL;
}

static struct contract_disk start_server(struct server *s, enum behaviour behaviour)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct contract_disk disk = { .address = "127.0.0.1", .export_name = "v.0123" };
    socklen_t size = sizeof a;

    s->behaviour = behaviour;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->listener, 1), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&a, &size), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run_server, s), 0);
    disk.port = ntohs(a.sin_port);
    return disk;
}

static void stop_server(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

static void a_socket_after_the_handshake_comes_back(void **state)
{
    struct server s = { 0 };
    struct contract_disk disk = start_server(&s, TAKES);
    struct nbd_dialed d = { .fd = -1 };
    struct err e = { 0 };
    int uto = 0;
    socklen_t size = sizeof uto;

    (void)state;
    assert_int_equal(nbd_dial(&disk, 5000, &d, &e), 0);
    assert_int_equal(d.size_bytes, SIZE);
    assert_int_equal(d.flags, FLAGS);
    assert_true(nbd_dialed_alive(d.fd));
    assert_true(nbd_dialed_sent(d.fd) > 0);
    getsockopt(d.fd, IPPROTO_TCP, 18 /* TCP_USER_TIMEOUT */, &uto, &size);
    assert_int_equal(uto, 30000);
    close(d.fd);
    stop_server(&s);
    assert_string_equal(s.asked, "v.0123");
    assert_false(s.structured);
    assert_false(s.said_goodbye); /* no NBD_CMD_DISC from libnbd */
}

static void a_dead_socket_is_seen_to_be_dead(void **state)
{
    struct server s = { 0 };
    struct contract_disk disk = start_server(&s, TAKES);
    struct nbd_dialed d = { .fd = -1 };

    (void)state;
    assert_int_equal(nbd_dial(&disk, 5000, &d, NULL), 0);
    shutdown(d.fd, SHUT_RDWR);
    assert_false(nbd_dialed_alive(d.fd));
    assert_false(nbd_dialed_alive(-1));
    close(d.fd);
    stop_server(&s);
}

static const struct {
    const char *name;
    enum behaviour behaviour;
    uint32_t reply;
    int rc; /* 0: any that may pass */
    const char *says;
} failures[] = {
    { "policy", REFUSES, REP_ERR_POLICY, -ESTALE, "attachment is over" },
    { "unknown", REFUSES, REP_ERR_UNKNOWN, -ESTALE, "no such attachment" },
    { "shutdown", REFUSES, REP_ERR_SHUTDOWN, -EAGAIN, "not ready" },
    { "hangs up at GO", HANGS_UP_AT_GO, 0, 0, "127.0.0.1" },
    { "hangs up", HANGS_UP, 0, 0, "127.0.0.1" },
    { "nonsense", SAYS_NONSENSE, 0, 0, "127.0.0.1" },
    { "silent", SAYS_NOTHING, 0, -ETIMEDOUT, "does not answer" },
};

static void each_failure_is_told_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        struct server s = { .reply = failures[i].reply, .words = "epoch 4 is over" };
        struct contract_disk disk = start_server(&s, failures[i].behaviour);
        struct nbd_dialed d = { .fd = -1 };
        struct err e = { 0 };
        int rc = nbd_dial(&disk, failures[i].rc == -ETIMEDOUT ? 100 : 5000, &d, &e);

        if (rc == 0 || (failures[i].rc && rc != failures[i].rc) ||
            rc == -ESTALE * !failures[i].rc || !strstr(e.msg, failures[i].says) || d.fd != -1)
            fail_msg("%s: rc %d, '%s'", failures[i].name, rc, e.msg);
        stop_server(&s);
    }
}

static void nobody_there_is_an_error_that_may_pass(void **state)
{
    struct server s = { 0 };
    struct contract_disk disk = start_server(&s, TAKES);
    struct nbd_dialed d = { .fd = -1 };
    struct err e = { 0 };

    (void)state;
    stop_server(&s);
    assert_int_equal(nbd_dial(&disk, 5000, &d, &e), -ECONNREFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_after_the_handshake_comes_back),
        cmocka_unit_test(a_dead_socket_is_seen_to_be_dead),
        cmocka_unit_test(each_failure_is_told_apart),
        cmocka_unit_test(nobody_there_is_an_error_that_may_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
