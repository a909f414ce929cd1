/* SPDX-License-Identifier: Apache-2.0 */
/* conn - one TCP connection on the ring.  It knows neither what is spoken nor who listens.
 *
 * Output is written straight from the loop, not through the ring: a send to a socket with room
 * completes inline either way, and this way its buffers are free at once and no completion has to
 * be waited for.  Only when the socket is full does the ring wait for room. */
#include "server/io/conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GATHER_PARTS 128         /* parts in one sendmsg */
#define DISCARD_MAX  (64u << 20) /* bytes that conn_finish() throws away before it gives up */
#define PEER_GONE_MS 30000u      /* unacknowledged, or its window shut, for so long */

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

static void set_int(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value); /* an optimisation each */
}

static void tune(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
    set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
    set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)PEER_GONE_MS);
}

static void settle(struct conn *c)
{
    if (c->closing && !c->receiving && !c->waiting_to_send)
        shard_defer(c->shard, &c->close_task);
}

/* ---- input ----------------------------------------------------------------------------------- */

static void receive(struct conn *c)
{
    size_t length = RING_BUFFER_BYTES;

    if (c->receiving || c->closing || c->ended)
        return;
    c->room = !c->discard && c->events->room ? c->events->room(c, &length) : NULL;
    struct io_uring_sqe *sqe = ring_sqe(c->shard);
    io_uring_prep_recv(sqe, c->fd, c->room, length, 0);
    if (!c->room) {
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = RING_BUFFERS;
    }
    ring_own(sqe, &c->recv_op);
    c->receiving = true;
}

static size_t give_input(struct conn *c, const uint8_t *bytes, size_t length)
{
    size_t taken = c->events->input(c, bytes, length);

    assert(taken <= length);
    conn_flush(c);
    return taken;
}

/* Offers bytes to the owner and keeps what it leaves.  False if it left something. */
static bool offer(struct conn *c, const uint8_t *bytes, size_t length)
{
    size_t taken = give_input(c, bytes, length);

    if (c->closing || c->discard || taken == length)
        return true;
    c->paused = true;
    c->rest = malloc(length - taken);
    if (!c->rest) {
        c->ended = true;
        c->events->ended(c, -ENOMEM);
        return false;
    }
    memcpy(c->rest, bytes + taken, length - taken);
    c->rest_at = 0;
    c->rest_length = length - taken;
    return false;
}

static void drop_rest(struct conn *c)
{
    free(c->rest);
    c->rest = NULL;
    c->rest_at = c->rest_length = 0;
}

/* The owner can go on: first what was kept, then the socket. */
static void on_input_task(struct shard_task *t)
{
    struct conn *c = OWNER(struct conn, input_task, t);
    static const uint8_t nothing[1];

    if (c->closing || c->ended || (c->paused && !c->again))
        return;
    if (c->again && !c->discard) {
        c->again = false;
        size_t taken = give_input(c, c->rest ? c->rest + c->rest_at : nothing, c->rest_length);
        if (c->closing)
            return;
        c->rest_at += taken;
        c->rest_length -= taken;
        if (c->rest_length > 0 && !c->discard)
            return;
        c->paused = false;
        drop_rest(c);
    }
    receive(c);
}

static void end_input(struct conn *c, int error)
{
    if (c->ended)
        return;
    c->ended = true;
    c->events->ended(c, error);
}

static void take_bytes(struct conn *c, const uint8_t *bytes, size_t length)
{
    if (!c->discard) {
        if (offer(c, bytes, length))
            receive(c);
        return;
    }
    c->discarded += length;
    if (c->discarded > DISCARD_MAX)
        end_input(c, -EMSGSIZE);
    else
        receive(c);
}

static void on_received(struct ring_op *op, int res, uint32_t flags)
{
    struct conn *c = OWNER(struct conn, recv_op, op);
    bool shared = flags & IORING_CQE_F_BUFFER;

    c->receiving = false;
    if (!c->closing && res == -ENOBUFS)
        shard_defer(c->shard, &c->input_task); /* after the batch there are buffers again */
    else if (!c->closing && res == -EINTR)
        receive(c);
    else if (!c->closing && res <= 0)
        end_input(c, res);
    else if (!c->closing)
        take_bytes(c, shared ? ring_buffer(c->shard, flags) : c->room, (size_t)res);
    if (shared)
        ring_buffer_return(c->shard, flags);
    settle(c);
}

void conn_resume(struct conn *c)
{
    if (c->closing || c->ended || c->discard)
        return;
    c->again = true;
    shard_defer(c->shard, &c->input_task);
}

/* ---- output ---------------------------------------------------------------------------------- */

static size_t bytes_of(const struct conn_out *o)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < o->parts; i++)
        bytes += o->part[i].iov_len;
    return bytes;
}

/* Drops `bytes` from the front of the queue; tells the owner of each that has left whole. */
static void sent_bytes(struct conn *c, size_t bytes)
{
    c->out_skip += bytes;
    c->out_bytes -= bytes;
    while (c->out) {
        struct conn_out *o = c->out;
        size_t length = bytes_of(o);
        if (c->out_skip < length)
            break;
        c->out_skip -= length;
        c->out = o->next;
        if (!c->out)
            c->out_end = &c->out;
        o->sent(o, true);
    }
}

static unsigned gather(const struct conn *c, struct iovec *parts)
{
    size_t skip = c->out_skip;
    unsigned n = 0;

    for (const struct conn_out *o = c->out; o; o = o->next)
        for (unsigned i = 0; i < o->parts; i++) {
            struct iovec v = o->part[i];
            if (skip >= v.iov_len) {
                skip -= v.iov_len;
                continue;
            }
            if (n == GATHER_PARTS)
                return n;
            parts[n].iov_base = (char *)v.iov_base + skip;
            parts[n++].iov_len = v.iov_len - skip;
            skip = 0;
        }
    return n;
}

static void wait_to_send(struct conn *c)
{
    struct io_uring_sqe *sqe = ring_sqe(c->shard);

    io_uring_prep_poll_add(sqe, c->fd, POLLOUT);
    ring_own(sqe, &c->send_op);
    c->waiting_to_send = true;
}

void conn_flush(struct conn *c)
{
    while (c->out && !c->closing && !c->waiting_to_send) {
        struct iovec parts[GATHER_PARTS];
        struct msghdr m = { .msg_iov = parts };
        m.msg_iovlen = gather(c, parts);
        ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            shard_tick(c->shard); /* this is where the time of a cached request goes */
            sent_bytes(c, (size_t)n);
        } else if (errno == EAGAIN) {
            wait_to_send(c);
        } else if (errno != EINTR) {
            end_input(c, -errno);
            return;
        }
    }
}

static void on_output_task(struct shard_task *t)
{
    struct conn *c = OWNER(struct conn, output_task, t);

    conn_flush(c);
    if (!c->out && c->discard && !c->closing)
        shutdown(c->fd, SHUT_WR);
}

static void on_can_send(struct ring_op *op, int res, uint32_t flags)
{
    struct conn *c = OWNER(struct conn, send_op, op);

    (void)res, (void)flags; /* sendmsg will say what is wrong */
    c->waiting_to_send = false;
    shard_defer(c->shard, &c->output_task);
    settle(c);
}

void conn_send(struct conn *c, struct conn_out *o)
{
    o->next = NULL;
    *c->out_end = o;
    c->out_end = &o->next;
    c->out_bytes += bytes_of(o);
    shard_defer(c->shard, c->closing ? &c->close_task : &c->output_task);
}

bool conn_output_empty(const struct conn *c)
{
    return !c->out;
}

/* ---- life ------------------------------------------------------------------------------------ */

void conn_finish(struct conn *c)
{
    if (c->discard || c->closing)
        return;
    c->discard = true;
    if (c->paused) {
        c->paused = false;
        drop_rest(c);
    }
    shard_defer(c->shard, &c->output_task);
    shard_defer(c->shard, &c->input_task);
}

static void on_close_task(struct shard_task *t)
{
    struct conn *c = OWNER(struct conn, close_task, t);

    while (c->out) {
        struct conn_out *o = c->out;
        c->out = o->next;
        o->sent(o, false);
    }
    c->out_end = &c->out;
    if (c->receiving || c->waiting_to_send || c->fd < 0)
        return;
    if (c->output_task.queued || c->input_task.queued) { /* they refer to us: after them */
        shard_defer(c->shard, &c->close_task);
        return;
    }
    close(c->fd);
    c->fd = -1;
    drop_rest(c);
    c->events->closed(c);
}

void conn_close(struct conn *c)
{
    if (c->closing)
        return;
    c->closing = true;
    shutdown(c->fd, SHUT_RDWR); /* ends what is under way on the ring, too */
    shard_defer(c->shard, &c->close_task);
}

void conn_start(struct conn *c, struct shard *s, int fd, const struct conn_events *events)
{
    assert(shard_here(s));
    *c = (struct conn){ .shard = s,
                        .events = events,
                        .fd = fd,
                        .recv_op.fn = on_received,
                        .send_op.fn = on_can_send,
                        .output_task.fn = on_output_task,
                        .input_task.fn = on_input_task,
                        .close_task.fn = on_close_task };
    c->out_end = &c->out;
    tune(fd);
    shard_defer(s, &c->input_task);
}

static void address_text(const struct sockaddr_storage *a, char *ret_text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;

    if (a->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(ret_text, size, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(ret_text, size, "%s:%u", host, ntohs(v4->sin_port));
    }
}

void conn_peer_text(const struct conn *c, char *ret_text, size_t size)
{
    struct sockaddr_storage a = { .ss_family = AF_INET };
    socklen_t length = sizeof a;

    if (getpeername(c->fd, (struct sockaddr *)&a, &length) < 0)
        snprintf(ret_text, size, "a peer that is gone");
    else
        address_text(&a, ret_text, size);
}
