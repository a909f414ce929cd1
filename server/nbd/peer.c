/* SPDX-License-Identifier: Apache-2.0 */
/* peer - one client: what its session wants is done here, step by step, until it wants more bytes.
 * How it ends is here too: by goodbye, by its own or our fault, or because a newer connection of
 * the same attachment has come. */
#include "server/nbd/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/block/blkdev.h"

#define LEAVE_NS          (2 * NS_PER_S)
#define TURN_WANTS        256u         /* of one peer; then others have their turn */
#define FLUSH_BYTES       (256u << 10) /* answers that wait: more would fall out of the cache */
#define IN_PLACE_AT_LEAST (16u << 10)  /* bytes of a payload worth a receive of their own */

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* ---- ends ------------------------------------------------------------------------------------ */

/* Gives back what nothing refers to any more; perhaps the peer itself. */
static void let_go(struct peer *p)
{
    if (transfer_busy(p))
        return;
    if (p->export) {
        struct export_session *e = p->export;
        p->export = NULL;
        export_closed(e);
    }
    if (!p->conn_closed || p->opening)
        return;
    transfer_abandon(p);
    assert(p->slots == 0);
    service_forget(p);
    peer_tls_free(p);
    nbds_free(p->session);
    free(p);
}

/* One line for each connection that had named an export; strangers are only worth a debug line. */
static void log_end(const struct peer *p, const char *why)
{
    if (p->name[0])
        log_info("nbd %s: connection of %s ended: %s", p->name, p->address, why);
    else
        log_debug("nbd: connection of %s ended: %s", p->address, why);
}

void peer_end(struct peer *p, const char *why)
{
    if (p->phase == PEER_ENDED)
        return;
    if (p->phase != PEER_LEAVING)
        log_end(p, why);
    service_set_deadline(p, 0);
    bool serving = p->phase == PEER_SERVING;
    p->phase = PEER_ENDED;
    if (serving && !p->device->read_only) /* what has not begun must not run any more; an image is
                                           * shared, and nothing waits there */
        blk_drop(p->device);
    transfer_stop_starving(p);
    conn_close(&p->conn);
    let_go(p);
}

/* The last answers have left: no more is read, and the export is free. */
static void leave(struct peer *p)
{
    log_end(p, nbds_why(p->session));
    peer_tls_bye(p);
    conn_finish(&p->conn);
    service_set_deadline(p, 0);
    p->phase = PEER_LEAVING;
    service_set_deadline(p, clock_mono_ns() + LEAVE_NS);
    if (p->export) {
        struct export_session *e = p->export;
        p->export = NULL;
        export_closed(e);
    }
}

void peer_settle(struct peer *p)
{
    if (p->phase == PEER_ENDED)
        let_go(p);
    else if (p->goodbye && p->phase != PEER_LEAVING && p->slots == 0 && !p->hello_sending)
        leave(p);
}

static void on_cut(struct export_peer *ep)
{
    peer_end(OWNER(struct peer, as_peer, ep), "its place was taken, or the attachment is over");
}

/* ---- the handshake --------------------------------------------------------------------------- */

static void on_hello_sent(struct conn_out *o, bool sent)
{
    struct peer *p = OWNER(struct peer, hello, o);

    p->hello_sending = false;
    if (!sent)
        return;
    nbds_sent(p->session);
    conn_resume(&p->conn);
}

static void send_hello(struct peer *p)
{
    size_t length;
    const void *bytes = nbds_output(p->session, &length);

    p->hello.parts = 1;
    p->hello.part[0] = (struct iovec){ (void *)(uintptr_t)bytes, length };
    p->hello.sent = on_hello_sent;
    p->hello_sending = true;
    peer_send(p, &p->hello);
}

/* What people may see of an export name: not the token. */
static void note_name(struct peer *p)
{
    const char *name = nbds_export_name(p->session);
    const char *dot = strrchr(name, '.');

    snprintf(p->name, sizeof p->name, "%.*s", dot ? (int)(dot - name) : 1, dot ? name : "?");
}

static void count_refusal(struct peer *p)
{
    if (++p->refusals > PEER_REFUSALS_MAX)
        peer_end(p, "it is guessing names");
}

static void refuse(struct peer *p, int error, const char *why)
{
    service_log_refusal(p, why);
    p->name[0] = '\0';
    nbds_refuse(p->session, error, why);
    count_refusal(p);
}

static void look_up(struct peer *p)
{
    struct err e = { 0 };
    uint64_t size;
    bool writable;
    int rc = export_peek(p->service->exports, nbds_export_name(p->session), &size, &writable, &e);

    if (rc < 0) {
        nbds_refuse(p->session, rc, e.msg);
        count_refusal(p);
    } else {
        nbds_found(p->session, size, writable);
    }
}

static void on_ready(struct export_peer *ep, struct export_session *session, struct blkdev *device,
                     int error, const char *why)
{
    struct peer *p = OWNER(struct peer, as_peer, ep);

    p->opening = false;
    if (p->phase == PEER_ENDED) { /* the client did not wait */
        p->export = session;
        let_go(p);
        return;
    }
    if (!session) {
        p->phase = PEER_HANDSHAKE;
        service_set_deadline(p, p->deadline_ns);
        refuse(p, error, why);
    } else {
        log_info("nbd %s: opened by %s%s", p->name, p->address,
                 !p->tls            ? ""
                 : peer_encrypts(p) ? " (TLS)"
                                    : " (TLS, encrypted by the kernel)");
        p->phase = PEER_SERVING;
        p->export = session;
        p->stats = export_session_stats(session);
        p->device = device;
        nbds_found(p->session, device->size_bytes, !device->read_only);
    }
    conn_resume(&p->conn);
}

static bool is_image(const struct peer *p)
{
    uint64_t size;
    bool writable;

    int rc = export_peek(p->service->exports, nbds_export_name(p->session), &size, &writable, NULL);
    return rc == 0 && !writable;
}

/* True: it was refused at once. */
static bool start_opening(struct peer *p)
{
    int64_t deadline_ns = p->deadline_ns;

    note_name(p);
    if (!service_admit(p, is_image(p))) {
        refuse(p, -ESHUTDOWN, "too many connections to images: try again later");
        return true;
    }
    service_set_deadline(p, 0); /* draining the old connection may take its time */
    p->deadline_ns = deadline_ns;
    p->phase = PEER_OPENING;
    p->opening = true;
    p->as_peer.cut = on_cut;
    export_open(p->service->exports, nbds_export_name(p->session), &p->as_peer, on_ready);
    return false;
}

/* ---- the connection -------------------------------------------------------------------------- */

static void start_tls(struct peer *p)
{
    if (!peer_tls_start(p)) {
        peer_end(p, "no memory");
        return;
    }
    nbds_secured(p->session);
    conn_resume(&p->conn);
}

/* Answers one want.  False: the next byte must wait. */
static bool answer(struct peer *p, int want)
{
    switch (want) {
    case NBDS_WANT_SEND:
        send_hello(p);
        return false;
    case NBDS_WANT_TLS: /* what has come behind the option is fed to TLS, never to the session */
        start_tls(p);
        return false;
    case NBDS_WANT_LOOKUP:
        look_up(p);
        return true;
    case NBDS_WANT_OPEN:
        return start_opening(p);
    case NBDS_WANT_BUFFER:
        return transfer_want_buffer(p);
    case NBDS_WANT_BACKEND:
        return transfer_want_backend(p);
    case NBDS_WANT_CLOSE:
        p->goodbye = true;
        peer_settle(p);
        return false;
    default:
        peer_end(p, nbds_why(p->session));
        return false;
    }
}

bool peer_listens(const struct peer *p)
{
    return !p->hello_sending && !p->goodbye &&
           (p->phase == PEER_HANDSHAKE || p->phase == PEER_SERVING);
}

size_t peer_feed(struct peer *p, const uint8_t *bytes, size_t length)
{
    const uint8_t *at = bytes;
    size_t left = length, used;
    unsigned wants = 0;

    while (peer_listens(p)) {
        int want = nbds_feed(p->session, at, left, &used);
        at += used;
        left -= used;
        if (want == NBDS_WANT_INPUT || !answer(p, want))
            break;
        if (conn_output_bytes(&p->conn) >= FLUSH_BYTES)
            conn_flush(&p->conn);
        if (++wants == TURN_WANTS) { /* a receive may hold 2,340 requests */
            conn_resume(&p->conn);
            break;
        }
    }
    return length - left;
}

static size_t on_input(struct conn *c, const void *bytes, size_t length)
{
    struct peer *p = OWNER(struct peer, conn, c);
    size_t used = p->tls ? peer_tls_input(p, bytes, length) : peer_feed(p, bytes, length);

    return p->goodbye ? length : used;
}

static void *on_room(struct conn *c, size_t *ret_length)
{
    struct peer *p = OWNER(struct peer, conn, c);
    size_t length;
    void *room =
        p->phase == PEER_SERVING && !p->tls ? nbds_payload_room(p->session, &length) : NULL;

    if (!room || length < IN_PLACE_AT_LEAST)
        return NULL;
    *ret_length = length;
    return room;
}

static void on_ended(struct conn *c, int error)
{
    struct peer *p = OWNER(struct peer, conn, c);

    if (error < 0)
        peer_end(p, strerror(-error));
    else
        peer_end(p, p->collecting ? "closed in the middle of a write" : "closed by the client");
}

static void on_closed(struct conn *c)
{
    struct peer *p = OWNER(struct peer, conn, c);

    p->conn_closed = true;
    let_go(p);
}

static const struct conn_events events = {
    .input = on_input, .room = on_room, .ended = on_ended, .closed = on_closed
};

void peer_new(struct nbd_service *n, int fd)
{
    struct peer *p = calloc(1, sizeof *p);
    struct nbds_session *s = nbds_new();

    if (!p || !s) {
        free(p);
        nbds_free(s);
        close(fd);
        return;
    }
    p->service = n;
    p->session = s;
    if (n->limits.tls)
        nbds_offer_tls(s, n->limits.tls_required);
    TAILQ_INSERT_TAIL(&n->peers, p, all);
    n->peer_count++;
    conn_start(&p->conn, n->shard, fd, &events);
    conn_peer_text(&p->conn, p->address, sizeof p->address);
    service_set_deadline(p, clock_mono_ns() + n->limits.handshake_seconds * NS_PER_S);
    conn_resume(&p->conn); /* the session speaks first */
}
