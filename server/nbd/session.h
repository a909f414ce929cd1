/* SPDX-License-Identifier: Apache-2.0 */
/* nbds_session - one NBD connection, server side, without any I/O.
 *
 * The caller moves bytes; the session decides what they mean.  Nothing here blocks, logs, allocates
 * per request, or touches a descriptor.  Any number of requests may be under way: the session hands
 * them out one by one and forgets them; the caller answers in any order (nbd/replies.h).
 * Source: NetworkBlockDevice/nbd doc/proto.md, fixed newstyle only.
 * Threads: a session belongs to one loop; no locking inside.
 * Life: new -> feed* -> close -> free (free is legal in any state). */
#ifndef GRIDBOX_NBD_SESSION_H
#define GRIDBOX_NBD_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/nbd/requests.h"

struct nbds_session;

/* What must happen before more bytes make sense.  Until it has, nbds_feed() uses nothing and
 * returns the same again. */
enum nbds_want {
    NBDS_WANT_INPUT,   /* everything was used: feed more */
    NBDS_WANT_SEND,    /* send nbds_output(), then call nbds_sent() */
    NBDS_WANT_TLS,     /* all later bytes are TLS: begin it, then nbds_secured() */
    NBDS_WANT_LOOKUP,  /* look nbds_export_name() up, then nbds_found() or nbds_refuse() */
    NBDS_WANT_OPEN,    /* the same, but open it: if found, requests come next */
    NBDS_WANT_BUFFER,  /* nbds_request() is a WRITE: give its data a place with nbds_payload() */
    NBDS_WANT_BACKEND, /* nbds_request() is complete: copy it, call nbds_take(), carry it out */
    NBDS_WANT_CLOSE,   /* nothing more is read: answer what is under way, then close */
};

/* NULL without memory.  The first want is SEND. */
struct nbds_session *nbds_new(void);
void nbds_free(struct nbds_session *s); /* NULL is legal */

/* Before the first byte: is TLS offered, and wanted of everybody?  Unset: neither. */
void nbds_offer_tls(struct nbds_session *s, bool required);
/* WANT_TLS: what is fed from now on was encrypted, or is not fed. */
void nbds_secured(struct nbds_session *s);

/* Give bytes from the peer to the session.
 *   buf, len   as received, any split; len may be 0; not kept after return.  buf may be what
 *              nbds_payload_room() returned: then nothing is copied
 *   ret_used   bytes taken, 0..len; feed the rest after answering the want
 * Returns enum nbds_want, or
 *   -EPROTO    the peer broke proto.md, nbds_why() says how: close at once.
 * Never any other code. */
int nbds_feed(struct nbds_session *s, const void *buf, size_t len, size_t *ret_used);

/* WANT_SEND: borrowed until nbds_sent(). */
const void *nbds_output(const struct nbds_session *s, size_t *ret_length);
void nbds_sent(struct nbds_session *s);

/* WANT_LOOKUP, WANT_OPEN.  The name is "" if no export can be called what the peer asked for. */
const char *nbds_export_name(const struct nbds_session *s);
void nbds_found(struct nbds_session *s, uint64_t size_bytes, bool writable);
/* error: -ENOENT, -ESTALE, -ESHUTDOWN, another -errno; why: for the peer's user, one line. */
void nbds_refuse(struct nbds_session *s, int error, const char *why);

/* WANT_BUFFER, WANT_BACKEND: borrowed until nbds_take(). */
const struct nbds_request *nbds_request(const struct nbds_session *s);
/* WANT_BUFFER: room for request->length bytes; stays the caller's, in use until WANT_BACKEND. */
void nbds_payload(struct nbds_session *s, void *buf);
/* WANT_BACKEND: the request is the caller's from now on. */
void nbds_take(struct nbds_session *s);

/* Where the next bytes of a payload belong, so that they can be received right there; NULL when
 * something else comes next. */
void *nbds_payload_room(const struct nbds_session *s, size_t *ret_length);

/* What was agreed; valid from the first request on. */
const struct nbds_terms *nbds_terms(const struct nbds_session *s);

/* After -EPROTO or WANT_CLOSE: why it ends, for the log; never NULL. */
const char *nbds_why(const struct nbds_session *s);

#endif
