/* SPDX-License-Identifier: Apache-2.0 */
/* listener - accepts connections on the ring and hands the sockets on. */
#include "server/io/conn.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "server/base/clock.h"

#define RETRY_MS 100 /* after "too many open files" */

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

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
