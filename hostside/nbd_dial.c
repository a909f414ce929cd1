/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the handshake (libnbd's), with a deadline, and the socket's settings.
 * Must never know: the kernel's device, when to dial. */
#include "hostside/nbd_dial.h"

#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <linux/nbd.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/contract/contract.h"

/* A silent death is noticed after half a minute; 10 s was too tight for a loaded PC. */
#define USER_TIMEOUT_MS      30000
#define KEEPALIVE_IDLE_S     20
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_COUNT      3

#define FLAG_SEND_WRITE_ZEROES (1u << 6) /* proto.md; the kernel's header does not know it yet */

static void auto_nbd_close(struct nbd_handle **h)
{
    if (*h)
        nbd_close(*h);
}

/* libnbd's last error on this thread, without the name of the function that it begins with.  The
 * export name is a secret, and libnbd puts it into some. */
static const char *error_words(const struct contract_disk *disk)
{
    const char *text = nbd_get_error();
    const char *colon = text ? strstr(text, ": ") : NULL;

    if (!text || strstr(text, disk->export_name))
        return "unknown error";
    return colon ? colon + 2 : text;
}

struct outcome {
    const struct contract_disk *disk;
    bool refused;
    int error; /* errno of a refusal, as libnbd translates it */
    char words[200];
};

/* Lets libnbd work until it waits for us, is ready, or is dead. */
static int drive(struct nbd_handle *h, int64_t deadline_ns, struct outcome *ret, struct err *e)
{
    while (nbd_aio_is_connecting(h) > 0) {
        int64_t left_ms = (deadline_ns - clock_mono_ns()) / NS_PER_MS;
        int rc;

        if (left_ms <= 0)
            return err_set(e, -ETIMEDOUT, "the server does not answer");
        rc = nbd_poll(h, (int)left_ms);
        if (nbd_get_error())
            snprintf(ret->words, sizeof ret->words, "%s", error_words(ret->disk));
        if (rc < 0) {
            int error = nbd_get_errno();

            return err_set(e, error > 0 ? -error : -EPROTO, "%s", ret->words);
        }
    }
    return 0;
}

static int on_go(void *arg, int *error)
{
    struct outcome *o = arg;

    o->refused = *error != 0;
    o->error = *error;
    return 1;
}

static int refusal(const struct outcome *o, struct err *e)
{
    if (o->error == ESHUTDOWN)
        return err_set(e, -EAGAIN, "the server is not ready to open it");
    if (o->error == ENOENT)
        return err_set(e, -ESTALE, "the server knows no such attachment");
    return err_set(e, -ESTALE, "the server says that the attachment is over");
}

static int handshake(struct nbd_handle *h, const struct contract_disk *disk, int timeout_ms,
                     struct err *e)
{
    int64_t deadline_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
    struct outcome o = { .disk = disk };
    nbd_completion_callback done = { .callback = on_go, .user_data = &o };
    char port[8];
    int rc;

    snprintf(port, sizeof port, "%u", disk->port);
    /* The kernel reads simple replies only; opt mode tells a refusal from a broken connection. */
    if (nbd_set_request_structured_replies(h, false) < 0 || nbd_set_full_info(h, false) < 0 ||
        nbd_set_opt_mode(h, true) < 0 || nbd_set_export_name(h, disk->export_name) < 0 ||
        nbd_aio_connect_tcp(h, disk->address, port) < 0)
        return err_set(e, nbd_get_errno() ? -nbd_get_errno() : -EINVAL, "%s", error_words(disk));
    rc = drive(h, deadline_ns, &o, e);
    if (rc < 0)
        return rc;
    if (nbd_aio_is_negotiating(h) <= 0)
        return err_set(e, -EPROTO, "the server hung up: %s", o.words);
    o.words[0] = '\0';
    if (nbd_aio_opt_go(h, done) < 0)
        return err_set(e, -EPROTO, "%s", error_words(disk));
    rc = drive(h, deadline_ns, &o, e);
    if (rc < 0)
        return rc;
    if (nbd_aio_is_ready(h) > 0)
        return 0;
    if (o.refused && nbd_aio_is_negotiating(h) > 0)
        return refusal(&o, e);
    return err_set(e, -ECONNRESET, "the server hung up: %s", o.words);
}

/* libnbd keeps the flag word to itself. */
static uint64_t flags_of(struct nbd_handle *h)
{
    uint64_t flags = NBD_FLAG_HAS_FLAGS;

    flags |= nbd_is_read_only(h) > 0 ? NBD_FLAG_READ_ONLY : 0;
    flags |= nbd_can_flush(h) > 0 ? NBD_FLAG_SEND_FLUSH : 0;
    flags |= nbd_can_fua(h) > 0 ? NBD_FLAG_SEND_FUA : 0;
    flags |= nbd_can_trim(h) > 0 ? NBD_FLAG_SEND_TRIM : 0;
    flags |= nbd_can_zero(h) > 0 ? FLAG_SEND_WRITE_ZEROES : 0;
    return flags;
}

static int set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int tune(int fd, struct err *e)
{
    if (set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 ||
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S) < 0 ||
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S) < 0 ||
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT) < 0 ||
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0 ||
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS) < 0)
        return err_errno(e, "set socket options");
    return 0;
}

int nbd_dial(const struct contract_disk *disk, int timeout_ms, struct nbd_dialed *ret,
             struct err *e)
{
    AUTO(auto_nbd_close) struct nbd_handle *h = nbd_create();
    AUTO(auto_close) int fd = -1;
    int64_t size;
    int rc;

    if (!h)
        return err_set(e, -ENOMEM, "out of memory");
    rc = handshake(h, disk, timeout_ms, e);
    if (rc < 0)
        return err_wrap(e, rc, "server %s port %u", disk->address, disk->port);
    size = nbd_get_size(h);
    if (size < 0 || nbd_get_structured_replies_negotiated(h) > 0)
        return err_set(e, -EPROTO, "server %s: impossible size or replies", disk->address);
    /* nbd_close() says no goodbye: the duplicate keeps the connection. */
    fd = fcntl(nbd_aio_get_fd(h), F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return err_errno(e, "keep the connection");
    rc = tune(fd, e);
    if (rc < 0)
        return rc;
    *ret = (struct nbd_dialed){ .size_bytes = (uint64_t)size, .flags = flags_of(h) };
    ret->fd = take_fd(&fd);
    return 0;
}

static bool tcp_info(int fd, struct tcp_info *ret)
{
    socklen_t size = sizeof *ret;

    memset(ret, 0, sizeof *ret);
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, ret, &size) == 0;
}

bool nbd_dialed_alive(int fd)
{
    struct tcp_info info;

    return fd >= 0 && tcp_info(fd, &info) && info.tcpi_state == 1 /* TCP_ESTABLISHED */;
}

uint64_t nbd_dialed_sent(int fd)
{
    struct tcp_info info;

    return fd >= 0 && tcp_info(fd, &info) ? info.tcpi_bytes_sent : 0;
}
