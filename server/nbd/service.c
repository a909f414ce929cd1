/* SPDX-License-Identifier: Apache-2.0 */
/* service - listens, counts, and throws out who takes too long.  What one client does is peer.c's.
 */
#include "server/nbd/service.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/net.h"
#include "server/nbd/peer.h"

#define CONNECTIONS       4096u
#define HANDSHAKING       1024u /* a class that connects at once */
#define HANDSHAKE_SECONDS 10u
#define LISTENERS_MAX     16u
#define BACKLOG           1024
#define PORT_WAIT_MS      2000
#define PORT_TRY_MS       20

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

struct listen_entry {
    struct nbd_service *service;
    struct listener listener;
    struct listen_entry *next;
};

/* ---- deadlines ------------------------------------------------------------------------------- */

static void set_timer(struct nbd_service *n)
{
    const struct peer *first = TAILQ_FIRST(&n->timed);

    if (!first)
        shard_timer_cancel(n->shard, &n->timer);
    else if (n->timer.due_ns != first->deadline_ns)
        shard_timer_set(n->shard, &n->timer, first->deadline_ns);
}

static void untime(struct peer *p)
{
    if (!p->timed)
        return;
    TAILQ_REMOVE(&p->service->timed, p, by_deadline);
    p->timed = false;
    if (p->phase == PEER_HANDSHAKE)
        p->service->handshaking--;
}

void service_set_deadline(struct peer *p, int64_t deadline_ns)
{
    struct nbd_service *n = p->service;

    untime(p);
    p->deadline_ns = deadline_ns;
    if (deadline_ns != 0) {
        struct peer *before = TAILQ_LAST(&n->timed, peer_list);
        while (before && before->deadline_ns > deadline_ns)
            before = TAILQ_PREV(before, peer_list, by_deadline);
        if (before)
            TAILQ_INSERT_AFTER(&n->timed, before, p, by_deadline);
        else
            TAILQ_INSERT_HEAD(&n->timed, p, by_deadline);
        p->timed = true;
        if (p->phase == PEER_HANDSHAKE)
            n->handshaking++;
    }
    set_timer(n);
}

static void on_timer(struct shard_timer *t)
{
    struct nbd_service *n = OWNER(struct nbd_service, timer, t);
    int64_t now = clock_mono_ns();

    for (struct peer *p; (p = TAILQ_FIRST(&n->timed)) && p->deadline_ns <= now;)
        peer_end(p, "too slow");
    set_timer(n);
}

/* A burst is over: its memory goes back.  If it is not, the next requests map it again, which costs
 * little once in a few seconds. */
static void on_trim(struct shard_timer *t)
{
    bufpool_trim(&OWNER(struct nbd_service, trim_timer, t)->buffers, KEEP_IDLE_BYTES);
}

/* ---- the log --------------------------------------------------------------------------------- */

void service_log_refusal(struct peer *p, const char *why)
{
    struct nbd_service *n = p->service;
    int64_t second = clock_mono_ns() / NS_PER_S;

    if (second != n->refusal_second) {
        if (n->refusal_lines > REFUSAL_LINES_MAX)
            log_info("nbd: %u more refusals in one second", n->refusal_lines - REFUSAL_LINES_MAX);
        n->refusal_second = second;
        n->refusal_lines = 0;
    }
    if (++n->refusal_lines <= REFUSAL_LINES_MAX)
        log_info("nbd %s: %s is refused: %s", p->name, p->address, why);
}

/* ---- coming and going ------------------------------------------------------------------------ */

static void drop_oldest_handshake(struct nbd_service *n)
{
    struct peer *p;

    TAILQ_FOREACH(p, &n->timed, by_deadline)
    if (p->phase == PEER_HANDSHAKE) {
        peer_end(p, "too many are shaking hands");
        return;
    }
}

static void on_accepted(struct listener *l, int fd)
{
    struct nbd_service *n = OWNER(struct listen_entry, listener, l)->service;

    if (n->stopping || n->peer_count >= n->limits.connections) {
        close(fd);
        return;
    }
    if (n->handshaking >= n->limits.handshaking)
        drop_oldest_handshake(n);
    peer_new(n, fd);
}

static void check_stopped(struct nbd_service *n)
{
    if (n->stopping && n->peer_count == 0 && n->listener_count == 0)
        sem_post(n->stopped);
}

/* An image may have any number of connections, but all of them no more than half of the places:
 * with those who shake hands, a quarter is always left to volumes. */
bool service_admit(struct peer *p, bool image)
{
    struct nbd_service *n = p->service;

    n->image_count -= p->of_image;
    p->of_image = image && n->image_count < n->limits.connections / 2;
    n->image_count += p->of_image;
    return p->of_image == image;
}

void service_forget(struct peer *p)
{
    struct nbd_service *n = p->service;

    assert(!p->timed && !p->starving);
    service_admit(p, false);
    TAILQ_REMOVE(&n->peers, p, all);
    n->peer_count--;
    check_stopped(n);
}

static void on_stopped(struct listener *l)
{
    struct nbd_service *n = OWNER(struct listen_entry, listener, l)->service;

    n->listener_count--;
    check_stopped(n);
}

/* ---- control --------------------------------------------------------------------------------- */

int nbd_service_start(struct shard *shard, struct export_table *exports,
                      const struct nbd_limits *limits, struct nbd_service **ret, struct err *e)
{
    struct nbd_service *n = calloc(1, sizeof *n);

    if (!n)
        return err_set(e, -ENOMEM, "nbd: no memory");
    n->shard = shard;
    n->exports = exports;
    if (limits)
        n->limits = *limits;
    if (n->limits.connections == 0)
        n->limits.connections = CONNECTIONS;
    if (n->limits.handshaking == 0)
        n->limits.handshaking = HANDSHAKING;
    if (n->limits.handshake_seconds == 0)
        n->limits.handshake_seconds = HANDSHAKE_SECONDS;
    TAILQ_INIT(&n->peers);
    TAILQ_INIT(&n->timed);
    TAILQ_INIT(&n->starving);
    n->timer.fn = on_timer;
    n->trim_timer.fn = on_trim;
    bufpool_init(&n->buffers, ALL_BYTES_MAX, KEEP_BYTES);
    *ret = n;
    return 0;
}

static void run_listen(void *arg)
{
    struct listen_entry *l = arg;
    struct nbd_service *n = l->service;

    l->next = n->listeners;
    n->listeners = l;
    n->listener_count++;
    listener_start(&l->listener, n->shard, l->listener.fd);
}

/* The ring of a server that was killed is taken down by the kernel after the process is gone, and
 * its listening sockets with it: a port in use is waited for, for a while. */
static int listen_when_free(const char *address, int *ret_fd, struct err *e)
{
    static const struct timespec pause = { .tv_nsec = PORT_TRY_MS * NS_PER_MS };
    int64_t limit = clock_mono_ns() + PORT_WAIT_MS * NS_PER_MS;

    for (;;) {
        int rc = net_listen(address, 0, BACKLOG, ret_fd, e);
        if (rc != -EADDRINUSE || clock_mono_ns() >= limit)
            return rc;
        nanosleep(&pause, NULL);
    }
}

int nbd_service_listen(struct nbd_service *n, const char *address, struct err *e)
{
    struct listen_entry *l = calloc(1, sizeof *l);
    int rc;

    if (!l)
        return err_set(e, -ENOMEM, "nbd: no memory");
    if (n->listener_count >= LISTENERS_MAX)
        rc = err_set(e, -EINVAL, "nbd: at most %u addresses", LISTENERS_MAX);
    else
        rc = listen_when_free(address, &l->listener.fd, e);
    if (rc < 0) {
        free(l);
        return rc;
    }
    l->service = n;
    l->listener.accepted = on_accepted;
    l->listener.stopped = on_stopped;
    shard_call(n->shard, run_listen, l);
    return 0;
}

void nbd_service_address(struct nbd_service *n, char ret_text[static NET_ADDRESS_SIZE])
{
    ret_text[0] = '\0';
    if (n->listeners)
        net_local(n->listeners->listener.fd, ret_text);
}

static void run_stop(void *arg)
{
    struct nbd_service *n = arg;
    struct peer *p, *next;

    n->stopping = true;
    for (struct listen_entry *l = n->listeners; l; l = l->next)
        listener_stop(&l->listener);
    for (p = TAILQ_FIRST(&n->peers); p; p = next) {
        next = TAILQ_NEXT(p, all);
        peer_end(p, "the server is stopping");
    }
    if (n->peer_count == 0 && n->listener_count == 0)
        check_stopped(n);
}

static void run_last(void *arg)
{
    struct nbd_service *n = arg;

    shard_timer_cancel(n->shard, &n->trim_timer);
}

void nbd_service_stop(struct nbd_service *n)
{
    sem_t stopped;

    if (!n)
        return;
    sem_init(&stopped, 0, 0);
    n->stopped = &stopped;
    shard_call(n->shard, run_stop, n);
    while (sem_wait(&stopped) < 0 && errno == EINTR)
        ;
    sem_destroy(&stopped);
    shard_call(n->shard, run_last, n);
    while (n->listeners) {
        struct listen_entry *next = n->listeners->next;
        free(n->listeners);
        n->listeners = next;
    }
    slot_pool_done(&n->slots);
    bufpool_done(&n->buffers);
    free(n);
}
