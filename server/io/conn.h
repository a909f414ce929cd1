/* SPDX-License-Identifier: Apache-2.0 */
/* conn - listening sockets, and TCP connections with back-pressure, on a shard.
 *
 * Input: one large receive at a time; the owner takes what it can, and nothing more is received
 * until it has taken all (so the peer's window closes).  Output: what is queued while one receive
 * is worked off leaves together, in one system call, while it is still in the processor's cache;
 * what is queued otherwise leaves at the end of the batch.  The owner bounds what it queues.
 * A connection ends only by its owner: the peer's end is told by `ended`, the owner then calls
 * conn_close(), and `closed` is the last word.
 * Threads: the shard's.  Nothing here calls back into the owner from conn_send(), conn_resume() or
 * conn_close(); callbacks come from the loop. */
#ifndef GRIDBOX_IO_CONN_H
#define GRIDBOX_IO_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "server/base/err.h"
#include "server/io/ring.h"
#include "server/io/shard.h"

struct conn;

#define CONN_OUT_PARTS 9

/* Bytes to send; the owner embeds it and keeps it and its bytes until `sent`. */
struct conn_out {
    struct iovec part[CONN_OUT_PARTS];
    unsigned parts;                              /* 1 to CONN_OUT_PARTS */
    void (*sent)(struct conn_out *o, bool sent); /* false: the connection was closed before */
    struct conn_out *next;                       /* the connection's own until `sent` */
};

struct conn_events {
    /* Bytes came, or (length 0) conn_resume() was called and none were left.  Returns how many were
     * taken; after fewer than all, the rest is kept here and offered again after conn_resume(). */
    size_t (*input)(struct conn *c, const void *bytes, size_t length);
    /* Where the next bytes belong, so that they are received right there and then given to input();
     * NULL: anywhere.  The room must stay until input, ended or closed.  Optional. */
    void *(*room)(struct conn *c, size_t *ret_length);
    /* The peer has ended (error 0) or the connection failed (-errno).  At most once. */
    void (*ended)(struct conn *c, int error);
    /* After conn_close(): nothing refers to it any more. */
    void (*closed)(struct conn *c);
};

/* Embedded by the owner; all fields are the connection's own. */
struct conn {
    struct shard *shard;
    const struct conn_events *events;
    int fd;
    bool receiving, waiting_to_send; /* operations under way */
    bool paused;                     /* the owner has not taken everything */
    bool again;                      /* conn_resume() */
    bool ended;                      /* no more input */
    bool discard;                    /* conn_finish() */
    bool closing;                    /* conn_close() */
    struct ring_op recv_op, send_op;
    uint8_t *room; /* what the receive that is under way goes to, if not to a shared buffer */
    uint8_t *rest; /* heap: what the owner has not taken */
    size_t rest_at, rest_length;
    size_t discarded;
    struct conn_out *out, **out_end;
    size_t out_skip;  /* bytes of *out that have left */
    size_t out_bytes; /* that have not left */
    struct shard_task output_task, input_task, close_task;
};

/* Takes over a connected, blocking socket (the ring would not wait on a non-blocking one) and
 * starts receiving at the end of the batch.  Turns Nagle off and keepalive on; a peer that does not
 * acknowledge for 30 s is gone. */
void conn_start(struct conn *c, struct shard *s, int fd, const struct conn_events *events);

/* Queues bytes; order is kept. */
void conn_send(struct conn *c, struct conn_out *o);
bool conn_output_empty(const struct conn *c);

/* Sends what is queued now, as far as the socket takes it.  For an owner that queues a lot in one
 * input(), and from there alone: `sent` and `ended` may be called from inside. */
void conn_flush(struct conn *c);
static inline size_t conn_output_bytes(const struct conn *c)
{
    return c->out_bytes;
}

/* The owner can take input again. */
void conn_resume(struct conn *c);

/* No more input is offered; after the queued output our side is shut, and what still comes is
 * thrown away until the peer ends (then `ended` is called, if it was not before).  So the peer gets
 * the last answer instead of a reset.  The owner limits the time and then closes. */
void conn_finish(struct conn *c);

/* Shuts the socket at once; unread and unsent bytes are dropped.  `sent` is called for each of the
 * unsent, then `closed`.  Idempotent. */
void conn_close(struct conn *c);

/* The peer's address, "10.0.0.5:51234", for log lines. */
void conn_peer_text(const struct conn *c, char *ret_text, size_t size);

/* ---- listening ------------------------------------------------------------------------------ */

struct listener {
    struct shard *shard;
    int fd;
    void (*accepted)(struct listener *l, int fd); /* the descriptor becomes the callee's */
    void (*stopped)(struct listener *l);          /* after listener_stop(): the last word */
    bool accepting, stopping;
    struct ring_op accept_op;
    struct shard_timer retry; /* after "too many open files" */
    struct shard_task stop_task;
};

/* On the shard.  Takes over a listening socket that is blocking (net_listen()). */
void listener_start(struct listener *l, struct shard *s, int fd);
void listener_stop(struct listener *l);

#endif
