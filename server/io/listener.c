/* SPDX-License-Identifier: Apache-2.0 */
/* listener - accepts connections on the ring and hands the sockets on. */
#include "server/io/conn.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"

#define BACKLOG  1024
#define RETRY_MS 100

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

static int resolve(const char *address, struct addrinfo **ret, struct err *e)
{
    char host[64];
    const char *colon = strrchr(address, ':'), *from = address;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };

    if (!colon || colon == address || (size_t)(colon - address) >= sizeof host)
        return err_set(e, -EINVAL, "'%.64s': not ADDRESS:PORT, for example 127.0.0.1:10809",
                       address);
    size_t length = (size_t)(colon - address);
    if (*from == '[' && colon[-1] == ']') {
        from++;
        length -= 2;
    }
    memcpy(host, from, length);
    host[length] = '\0';
    int rc = getaddrinfo(host, colon + 1, &hints, ret);
    if (rc != 0)
        return err_set(e, -EINVAL,
                       "'%.64s': %s; wanted is ADDRESS:PORT, for example 127.0.0.1:10809", address,
                       gai_strerror(rc));
    return 0;
}

int listener_open(const char *address, int *ret_fd, struct err *e)
{
    struct addrinfo *a;
    int one = 1;
    int rc = resolve(address, &a, e);
    if (rc < 0)
        return rc;

    AUTO(auto_close)
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        freeaddrinfo(a);
        return err_errno(e, "listen on %s", address);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    rc = bind(fd, a->ai_addr, a->ai_addrlen);
    freeaddrinfo(a);
    if (rc < 0 || listen(fd, BACKLOG) < 0)
        return err_errno(e, "listen on %s", address);
    *ret_fd = take_fd(&fd);
    return 0;
}

int listener_address(int fd, char *ret_text, size_t size)
{
    struct sockaddr_storage a;
    socklen_t length = sizeof a;
    char host[64], port[8];

    if (getsockname(fd, (struct sockaddr *)&a, &length) < 0)
        return -errno;
    if (getnameinfo((struct sockaddr *)&a, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -EINVAL;
    snprintf(ret_text, size, a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return 0;
}

static void accept_more(struct listener *l)
{
    struct io_uring_sqe *sqe = ring_sqe(l->shard);

    io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
    ring_own(sqe, &l->accept_op);
    l->accepting = true;
}

static void on_retry(struct shard_timer *t)
{
    accept_more(OWNER(struct listener, retry, t));
}

static void on_accepted(struct ring_op *op, int res, uint32_t flags)
{
    struct listener *l = OWNER(struct listener, accept_op, op);

    l->accepting = flags & IORING_CQE_F_MORE;
    if (res >= 0 && l->stopping)
        close(res);
    else if (res >= 0)
        l->accepted(l, res);
    if (l->accepting)
        return;
    if (l->stopping)
        shard_defer(l->shard, &l->stop_task);
    else if (res >= 0 || res == -ECONNABORTED || res == -EINTR)
        accept_more(l);
    else /* no descriptor or no memory for one more: later, perhaps */
        shard_timer_set(l->shard, &l->retry, clock_mono_ns() + RETRY_MS * NS_PER_MS);
}

static void on_stop(struct shard_task *t)
{
    struct listener *l = OWNER(struct listener, stop_task, t);

    if (l->accepting || l->fd < 0)
        return;
    close(l->fd);
    l->fd = -1;
    l->stopped(l);
}

void listener_start(struct listener *l, struct shard *s, int fd)
{
    assert(shard_here(s));
    l->shard = s;
    l->fd = fd;
    l->stopping = false;
    l->accept_op.fn = on_accepted;
    l->retry = (struct shard_timer){ .fn = on_retry };
    l->stop_task = (struct shard_task){ .fn = on_stop };
    accept_more(l);
}

void listener_stop(struct listener *l)
{
    if (l->stopping)
        return;
    l->stopping = true;
    shard_timer_cancel(l->shard, &l->retry);
    if (l->accepting)
        ring_cancel(l->shard, &l->accept_op);
    shard_defer(l->shard, &l->stop_task);
}
