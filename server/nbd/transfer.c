/* SPDX-License-Identifier: Apache-2.0 */
/* transfer - requests of one peer on their way to the device and their answers on the way back.
 *
 * A request holds a slot and a buffer from the moment it is admitted until the last byte of its
 * answer has left; that is what bounds a peer, also one that does not read its answers.  Nothing is
 * allocated per request: slots and buffers come from the service's pools. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/block/blkdev.h"
#include "server/nbd/errors.h"
#include "server/nbd/peer.h"
#include "server/nbd/replies.h"

#define SLOTS_KEPT       4096u
#define LEND_AT_LEAST    (4u << 10) /* bytes; shorter ones are seldom and odd */
#define STATUS_EXTENTS   1024u      /* in one answer */
#define STATUS_BUF_BYTES (STATUS_EXTENTS * sizeof(struct blk_extent))

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

struct slot {
    struct peer *peer;
    struct slot *next; /* in the pool */
    struct nbds_request request;
    struct export_ticket ticket; /* if request.run */
    struct blk_req req;
    struct conn_out out;
    void *buf;
    size_t buf_bytes;     /* 0 = none */
    struct blk_loan loan; /* count 0 = none; then the answer's data is in buf */
    uint8_t head[NBDR_HEAD_MAX];
};

/* ---- slots and buffers ----------------------------------------------------------------------- */

static struct slot *slot_take(struct slot_pool *pool)
{
    struct slot *s = pool->free;

    if (!s)
        return malloc(sizeof *s);
    pool->free = s->next;
    pool->free_count--;
    return s;
}

static void slot_give(struct slot_pool *pool, struct slot *s)
{
    if (pool->free_count >= SLOTS_KEPT) {
        free(s);
        return;
    }
    s->next = pool->free;
    pool->free = s;
    pool->free_count++;
}

void slot_pool_done(struct slot_pool *pool)
{
    while (pool->free) {
        struct slot *next = pool->free->next;
        free(pool->free);
        pool->free = next;
    }
    pool->free_count = 0;
}

/* Whoever waits longest may try again. */
static void call_next(struct nbd_service *n)
{
    struct peer *p = TAILQ_FIRST(&n->starving);

    if (!p)
        return;
    TAILQ_REMOVE(&n->starving, p, by_hunger);
    p->starving = false;
    p->called = true;
    conn_resume(&p->conn);
}

void transfer_stop_starving(struct peer *p)
{
    if (p->starving)
        TAILQ_REMOVE(&p->service->starving, p, by_hunger);
    else if (p->called)
        call_next(p->service);
    p->starving = p->called = false;
}

static void drop_buffer(struct slot *s)
{
    struct peer *p = s->peer;
    struct nbd_service *n = p->service;

    if (s->buf_bytes == 0)
        return;
    bufpool_give(&n->buffers, s->buf, s->buf_bytes);
    p->bytes -= s->buf_bytes;
    s->buf_bytes = 0;
    if (n->buffers.kept_bytes > KEEP_IDLE_BYTES && n->trim_timer.due_ns == 0)
        shard_timer_set(n->shard, &n->trim_timer, clock_mono_ns() + TRIM_SECONDS * NS_PER_S);
    call_next(n);
}

static void release(struct slot *s)
{
    struct peer *p = s->peer;

    drop_buffer(s);
    blk_give_back(p->device, &s->loan);
    p->slots--;
    slot_give(&p->service->slots, s);
    if (p->blocked && p->phase == PEER_SERVING) {
        p->blocked = false;
        conn_resume(&p->conn);
    }
    if (p->starving && p->slots == 0) /* its request may be a sure one now */
        conn_resume(&p->conn);
}

static void starve(struct peer *p)
{
    struct peer_list *line = &p->service->starving;

    if (p->called) /* it was its turn: it stays the first */
        TAILQ_INSERT_HEAD(line, p, by_hunger);
    else
        TAILQ_INSERT_TAIL(line, p, by_hunger);
    p->starving = true;
    p->called = false;
}

static size_t buffer_bytes(const struct nbds_request *r)
{
    if (!r->run)
        return 0;
    if (r->op == BLK_STATUS)
        return STATUS_BUF_BYTES;
    return r->op == BLK_READ || r->op == BLK_WRITE ? r->length : 0;
}

/* A buffer; NULL when others must give back first.  Nobody overtakes who waits already, but a
 * peer's only request, if it is not large, waits for nobody. */
static void *get_buffer(struct peer *p, size_t bytes)
{
    struct nbd_service *n = p->service;

    if (p->slots == 0 && bytes <= PEER_SURE_BYTES) {
        transfer_stop_starving(p);
        return bufpool_take(&n->buffers, bytes, true);
    }
    if (p->starving || (!p->called && !TAILQ_EMPTY(&n->starving)))
        return NULL;
    return bufpool_take(&n->buffers, bytes, false);
}

/* A long read of what lies in memory needs no buffer.  What is to be encrypted is read by us, not
 * by the kernel, which alone can read a file's pages safely: so not that. */
static bool lend(struct peer *p, const struct nbds_request *r, struct blk_loan *ret)
{
    ret->count = 0;
    return r->run && r->op == BLK_READ && r->length >= LEND_AT_LEAST && !peer_encrypts(p) &&
           blk_lend(p->device, r->offset, r->length, ret);
}

/* A slot with its buffer; NULL: not now, and what the peer waits for is noted. */
static struct slot *admit(struct peer *p, const struct nbds_request *r)
{
    struct nbd_service *n = p->service;
    struct blk_loan loan;
    void *buf = NULL;

    if (p->slots >= PEER_REQUESTS_MAX) {
        p->blocked = true;
        return NULL;
    }
    /* What is lent takes no bytes: from here on it is admitted, or given back. */
    size_t bytes = lend(p, r, &loan) ? 0 : buffer_bytes(r);
    if (bytes > 0 && p->bytes > 0 && p->bytes + bytes > PEER_BYTES_MAX) {
        p->blocked = true;
        return NULL;
    }
    if (bytes > 0 && !(buf = get_buffer(p, bytes))) {
        if (n->buffers.out_bytes == 0)
            peer_end(p, "no memory"); /* nobody will give any back */
        else if (!p->starving)
            starve(p);
        return NULL;
    }
    struct slot *s = slot_take(&n->slots);
    if (!s) {
        if (buf)
            bufpool_give(&n->buffers, buf, bytes);
        blk_give_back(p->device, &loan);
        peer_end(p, "no memory");
        return NULL;
    }
    transfer_stop_starving(p); /* also when what it waited for could be lent in the meantime */
    s->peer = p;
    s->buf = buf;
    s->buf_bytes = bytes;
    s->loan = loan;
    p->slots++;
    p->bytes += bytes;
    return s;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void end_ticket(struct slot *s, int error)
{
    export_end(s->peer->stats, &s->ticket, s->request.length, error,
               shard_now(s->peer->service->shard));
}

static void on_sent(struct conn_out *o, bool sent)
{
    struct slot *s = OWNER(struct slot, out, o);
    struct peer *p = s->peer;

    if (s->request.run)
        end_ticket(s, sent ? s->req.error : -ESHUTDOWN);
    release(s);
    peer_settle(p);
}

static void reply(struct slot *s, uint32_t error, const char *why)
{
    struct peer *p = s->peer;
    const struct nbds_request *r = &s->request;
    uint32_t payload = 0;

    if (r->run && !error && r->op == BLK_READ)
        payload = r->length;
    else if (r->run && !error && r->op == BLK_STATUS)
        payload = nbdr_extents(s->buf, s->req.extent_count, r->length);
    if (payload == 0)
        drop_buffer(s);

    size_t head = nbdr_head(nbds_terms(p->session), r, error, why, payload, s->head);
    s->out.part[0] = (struct iovec){ s->head, head };
    s->out.part[1] = (struct iovec){ s->buf, payload };
    s->out.parts = payload > 0 ? 2 : 1;
    if (s->loan.count > 0) {
        memcpy(s->out.part + 1, s->loan.part, s->loan.count * sizeof *s->loan.part);
        s->out.parts = 1 + s->loan.count;
    }
    s->out.sent = on_sent;
    peer_send(p, &s->out);
}

static void on_done(struct blk_req *req)
{
    struct slot *s = req->owner;
    struct peer *p = s->peer;

    p->running--;
    if (p->phase == PEER_ENDED) {
        end_ticket(s, -ESHUTDOWN);
        release(s);
        peer_settle(p);
        return;
    }
    reply(s, nbd_error(req->error), NULL);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void run(struct slot *s)
{
    struct peer *p = s->peer;
    const struct nbds_request *r = &s->request;

    s->req = (struct blk_req){ .op = r->op,
                               .flags = r->op_flags,
                               .offset = r->offset,
                               .length = r->length,
                               .done = on_done,
                               .owner = s };
    if (r->op == BLK_STATUS) {
        s->req.extents = s->buf;
        s->req.extent_count = r->op_flags & BLK_ONE ? 1 : STATUS_EXTENTS;
    } else {
        s->req.buf = s->buf;
    }
    export_begin(p->stats, &s->ticket, r->op, shard_now(p->service->shard));
    if (s->loan.count > 0) {
        s->req.error = 0;
        reply(s, 0, NULL);
        return;
    }
    p->running++;
    blk_submit(p->device, &s->req); /* on_done() may run before this returns */
}

bool transfer_busy(const struct peer *p)
{
    return p->slots > (p->collecting ? 1u : 0u);
}

bool transfer_want_buffer(struct peer *p)
{
    const struct nbds_request *r = nbds_request(p->session);

    assert(!p->collecting);
    p->collecting = admit(p, r);
    if (!p->collecting)
        return false;
    nbds_payload(p->session, p->collecting->buf);
    return true;
}

bool transfer_want_backend(struct peer *p)
{
    struct slot *s = p->collecting;

    if (!s)
        s = admit(p, nbds_request(p->session));
    if (!s)
        return false;
    p->collecting = NULL;
    s->request = *nbds_request(p->session);
    nbds_take(p->session);
    if (s->request.run)
        run(s);
    else
        reply(s, s->request.error, s->request.why);
    return true;
}

void transfer_abandon(struct peer *p)
{
    struct slot *s = p->collecting;

    p->collecting = NULL;
    if (s)
        release(s);
}

static_assert(CONN_OUT_PARTS >= 1 + BLK_LOAN_PARTS, "a head and what was lent");
