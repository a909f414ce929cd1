/* SPDX-License-Identifier: Apache-2.0 */
/* raw - a client that sends bytes. */
#include "tests/unit/nbd/raw.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/unit.h"

int raw_dial(const struct rig *r)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval limit = { .tv_sec = 10 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_port = htons((uint16_t)atoi(strrchr(r->address, ':') + 1));
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

void raw_get(int fd, void *buf, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t n = recv(fd, (char *)buf + at, length - at, 0);
        if (n <= 0)
            fail_msg("%zu bytes are missing: %s", length - at, n ? strerror(errno) : "end");
        at += (size_t)n;
    }
}

void raw_put(int fd, const struct wire *w)
{
    assert_int_equal(send(fd, w->bytes, w->length, MSG_NOSIGNAL), (ssize_t)w->length);
}

void raw_expect_end(int fd)
{
    static char buf[65536];
    ssize_t n;

    while ((n = recv(fd, buf, sizeof buf, 0)) > 0)
        ;
    assert_true(n == 0 || errno == ECONNRESET);
    close(fd);
}

int raw_opened(const struct rig *r, unsigned n, uint8_t token_byte, struct wire *w)
{
    char name[EXPORT_NAME_SIZE];
    uint8_t head[18 + 10];
    int fd = raw_dial(r);

    rig_name(name, n, token_byte);
    w->length = 0;
    wire_be32(w, 3);
    wire_option(w, NBDW_OPT_EXPORT_NAME, name, strlen(name));
    raw_put(fd, w);
    raw_get(fd, head, sizeof head);
    w->length = 0;
    return fd;
}

void raw_expect_reply(int fd, uint64_t cookie, uint32_t error)
{
    struct nbdw_simple_reply r;

    raw_get(fd, &r, sizeof r);
    assert_int_equal(get_be32(r.magic), NBDW_SIMPLE_MAGIC);
    assert_int_equal(get_be32(r.error), error);
    assert_true(get_be64(r.cookie) == cookie);
}

void raw_expect_alive(int fd, struct wire *w)
{
    uint8_t buf[512];

    w->length = 0;
    wire_request(w, NBDW_CMD_READ, 0, 0xa11fe, 0, sizeof buf);
    raw_put(fd, w);
    raw_expect_reply(fd, 0xa11fe, 0);
    raw_get(fd, buf, sizeof buf);
}
