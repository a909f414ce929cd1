/* SPDX-License-Identifier: Apache-2.0 */
/* peer_tls - between a peer's connection and its session: decrypts what comes, encrypts what goes,
 * if the kernel does not.
 *
 * Input keeps its bounds: no more of the wire is used than the session takes, but for one record.
 * Output keeps its: an answer's slot is held until its encrypted bytes have left. */
#include "server/nbd/tls.h"

#include <errno.h>
#include <stdlib.h>

#include "server/nbd/peer.h"

#define CONTROL_MAX 64u /* TLS messages of its own that have not left: more is a flood */

struct peer_tls {
    struct tls_link *link;
    unsigned control; /* outputs without an answer in them that have not left */
    size_t at, left;  /* of plain: what the session has not taken */
    uint8_t plain[TLS_RECORD_BYTES];
};

/* Encrypted bytes on their way. */
struct output {
    struct conn_out out;
    struct peer *peer;
    struct conn_out *plain; /* whose bytes they are; NULL: TLS's own */
    void *bytes;
};

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* ---- output ----------------------------------------------------------------------------------*/

static void on_sent(struct conn_out *out, bool sent)
{
    struct output *o = OWNER(struct output, out, out);
    struct conn_out *plain = o->plain;

    if (!plain)
        o->peer->tls->control--;
    free(o->bytes);
    free(o);
    if (plain)
        plain->sent(plain, sent);
}

/* Sends what TLS has put out, in the name of `plain`.  False: no memory. */
static bool send_output(struct peer *p, struct conn_out *plain)
{
    size_t length;
    void *bytes = tls_link_output(p->tls->link, &length);

    if (!bytes)
        return !plain;
    struct output *o = calloc(1, sizeof *o);
    if (!o) {
        free(bytes);
        return false;
    }
    o->peer = p;
    o->plain = plain;
    o->bytes = bytes;
    o->out.part[0] = (struct iovec){ bytes, length };
    o->out.parts = 1;
    o->out.sent = on_sent;
    if (!plain)
        p->tls->control++;
    conn_send(&p->conn, &o->out);
    return true;
}

bool peer_encrypts(const struct peer *p)
{
    return p->tls && !tls_link_in_kernel(p->tls->link);
}

void peer_send(struct peer *p, struct conn_out *o)
{
    if (!peer_encrypts(p)) {
        conn_send(&p->conn, o);
        return;
    }
    if (tls_link_write(p->tls->link, o->part, o->parts) == 0 && send_output(p, o))
        return;
    peer_end(p, "no memory for TLS");
    conn_send(&p->conn, o); /* closed: it will hear that it was not sent */
}

/* ---- input -----------------------------------------------------------------------------------*/

/* What is plain goes to the session.  False: it does not take more now. */
static bool give_plain(struct peer *p)
{
    struct peer_tls *t = p->tls;

    if (!peer_listens(p))
        return false;
    size_t used = peer_feed(p, t->plain + t->at, t->left);
    t->at += used;
    t->left -= used;
    return t->left == 0 && peer_listens(p);
}

/* Decrypts the next bytes, right to where they belong if they are a payload. */
static ssize_t read_plain(struct peer *p, const uint8_t **wire, size_t *left)
{
    struct peer_tls *t = p->tls;
    size_t length;
    void *room = p->phase == PEER_SERVING ? nbds_payload_room(p->session, &length) : NULL;

    if (room) {
        ssize_t n = tls_link_read(t->link, wire, left, room, length);
        if (n > 0)
            peer_feed(p, room, (size_t)n); /* takes it whole: it is not more than the payload */
        return n;
    }
    ssize_t n = tls_link_read(t->link, wire, left, t->plain, sizeof t->plain);
    if (n > 0) {
        t->at = 0;
        t->left = (size_t)n;
    }
    return n;
}

size_t peer_tls_input(struct peer *p, const uint8_t *wire, size_t length)
{
    size_t left = length;
    ssize_t n = 0;

    while (give_plain(p) && (n = read_plain(p, &wire, &left)) > 0)
        ;
    if (!send_output(p, NULL))
        n = -ENOMEM;
    if (n == -EPIPE) {
        peer_end(p, "closed by the client");
    } else if (n == -EPROTO) {
        conn_flush(&p->conn); /* the alert, which says why */
        peer_end(p, tls_link_why(p->tls->link));
    } else if (n == -ENOMEM) {
        peer_end(p, "no memory for TLS");
    } else if (p->tls->control > CONTROL_MAX) {
        peer_end(p, "it makes TLS talk and does not listen");
    }
    return length - left;
}

/* ---- life ------------------------------------------------------------------------------------*/

bool peer_tls_start(struct peer *p)
{
    struct peer_tls *t = calloc(1, sizeof *t);

    if (!t || tls_link_new(p->service->limits.tls, p->conn.fd, &t->link) < 0) {
        free(t);
        return false;
    }
    p->tls = t;
    return true;
}

void peer_tls_bye(struct peer *p)
{
    if (!p->tls)
        return;
    tls_link_bye(p->tls->link);
    (void)send_output(p, NULL); /* it goes without */
}

void peer_tls_free(struct peer *p)
{
    if (!p->tls)
        return;
    tls_link_free(p->tls->link);
    free(p->tls);
    p->tls = NULL;
}
