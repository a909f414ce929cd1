/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_dial - the wire of the lean NBD client. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/be.h"
#include "server/base/clock.h"
#include "server/nbd/wire.h"
#include "tests/crash/load/nbd_load.h"

#define SEND_SECONDS 20 /* a server that is there and takes nothing for so long hangs */

int64_t nbd_now_ns(void)
{
    return clock_mono_ns();
}

int nbd_uri_parse(const char *text, struct nbd_uri *ret, struct err *e)
{
    int end = 0;

    if (sscanf(text, "nbd://%63[^:/]:%7[0-9]/%159s%n", ret->host, ret->port, ret->export, &end) !=
            3 ||
        text[end] != '\0')
        return err_set(e, -EINVAL, "%s: not nbd://ADDRESS:PORT/EXPORT", text);
    return 0;
}

int nbd_send(int fd, const void *data, uint64_t length)
{
    const char *at = data;

    while (length) {
        ssize_t put = send(fd, at, length, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return -EAGAIN;
        at += put;
        length -= (uint64_t)put;
    }
    return 0;
}

int nbd_receive(int fd, void *buf, uint64_t length)
{
    char *at = buf;

    while (length) {
        ssize_t got = recv(fd, at, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -EAGAIN;
        at += got;
        length -= (uint64_t)got;
    }
    return 0;
}

static int dial_socket(const struct nbd_uri *u, int *ret_fd, struct err *e)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                              .ai_socktype = SOCK_STREAM },
                    *found;
    struct timeval limit = { .tv_sec = SEND_SECONDS };
    int one = 1;

    if (getaddrinfo(u->host, u->port, &hints, &found) != 0)
        return err_set(e, -EINVAL, "%s: not an address", u->host);
    AUTO(auto_close) int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : connect(fd, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (rc < 0)
        return err_set(e, -EAGAIN, "connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    *ret_fd = take_fd(&fd);
    return 0;
}

static int send_go(int fd, const char *export)
{
    char buf[sizeof(struct nbdw_client_flags) + sizeof(struct nbdw_option) + 6 + 160];
    size_t name = strlen(export), at = 0;
    struct nbdw_client_flags flags = { .flags = put_be32(NBDW_FLAG_FIXED_NEWSTYLE |
                                                         NBDW_FLAG_NO_ZEROES) };
    struct nbdw_option option = { .magic = put_be64(NBDW_OPTION_MAGIC),
                                  .option = put_be32(NBDW_OPT_GO),
                                  .length = put_be32((uint32_t)name + 6) };
    struct be32 length = put_be32((uint32_t)name);

    memcpy(buf, &flags, sizeof flags);
    at += sizeof flags;
    memcpy(buf + at, &option, sizeof option);
    at += sizeof option;
    memcpy(buf + at, &length, sizeof length);
    at += sizeof length;
    memcpy(buf + at, export, name);
    at += name;
    memset(buf + at, 0, 2); /* no information asked for */
    return nbd_send(fd, buf, at + 2);
}

/* Reads answers to GO until it is acknowledged or refused. */
static int await_go(int fd, uint64_t *ret_size_bytes, struct err *e)
{
    for (;;) {
        struct nbdw_option_reply head;
        struct nbdw_info_export info;
        char data[4096];
        if (nbd_receive(fd, &head, sizeof head) < 0)
            return err_set(e, -EAGAIN, "the connection ended during the handshake");
        uint32_t type = get_be32(head.type), length = get_be32(head.length);
        if (length >= sizeof data || nbd_receive(fd, data, length) < 0)
            return err_set(e, -EAGAIN, "the connection ended during the handshake");
        data[length] = '\0';
        if (type == NBDW_REP_ACK)
            return 0;
        if (type == NBDW_REP_INFO && length == sizeof info) {
            memcpy(&info, data, sizeof info);
            if (get_be16(info.type) == NBDW_INFO_EXPORT)
                *ret_size_bytes = get_be64(info.size_bytes);
        } else if (type & 0x80000000u) {
            return err_set(e, type == NBDW_REP_ERR_SHUTDOWN ? -EAGAIN : -EACCES, "%s", data);
        }
    }
}

int nbd_dial(const struct nbd_uri *u, int *ret_fd, uint64_t *ret_size_bytes, struct err *e)
{
    AUTO(auto_close) int fd = -1;
    struct nbdw_greeting greeting;
    int rc = dial_socket(u, &fd, e);

    if (rc < 0)
        return rc;
    if (nbd_receive(fd, &greeting, sizeof greeting) < 0 || send_go(fd, u->export) < 0)
        return err_set(e, -EAGAIN, "the connection ended during the handshake");
    rc = await_go(fd, ret_size_bytes, e);
    if (rc == 0)
        *ret_fd = take_fd(&fd);
    return rc;
}

int nbd_send_request(int fd, unsigned type, unsigned flags, uint64_t cookie, uint64_t offset,
                     uint32_t length, const void *data)
{
    struct nbdw_request head = { .magic = put_be32(NBDW_REQUEST_MAGIC),
                                 .flags = put_be16((uint16_t)flags),
                                 .type = put_be16((uint16_t)type),
                                 .cookie = put_be64(cookie),
                                 .offset = put_be64(offset),
                                 .length = put_be32(length) };
    int rc = nbd_send(fd, &head, sizeof head);

    return rc < 0 || !data ? rc : nbd_send(fd, data, length);
}

int nbd_receive_reply(int fd, uint64_t *ret_cookie, uint32_t *ret_error)
{
    struct nbdw_simple_reply reply;
    int rc = nbd_receive(fd, &reply, sizeof reply);

    if (rc < 0)
        return rc;
    if (get_be32(reply.magic) != NBDW_SIMPLE_MAGIC)
        return -EPROTO;
    *ret_cookie = get_be64(reply.cookie);
    *ret_error = get_be32(reply.error);
    return 0;
}
