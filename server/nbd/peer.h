/* SPDX-License-Identifier: Apache-2.0 */
/* peer - one NBD client on its connection, from the greeting to the last byte.  Shared by service.c
 * (who may come in and how long they may take) and peer.c (what one of them does).
 * Threads: the shard's. */
#ifndef GRIDBOX_NBD_PEER_H
#define GRIDBOX_NBD_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "server/export/export.h"
#include "server/export/stats.h"
#include "server/io/bufpool.h"
#include "server/io/conn.h"
#include "server/nbd/service.h"
#include "server/nbd/session.h"

#define PEER_REQUESTS_MAX 128u       /* requests of one peer that are under way or being answered */
#define PEER_BYTES_MAX    (8u << 20) /* their data; one larger request may go alone */
#define PEER_SURE_BYTES   (256u << 10) /* a peer's only request up to here never waits for others */
#define ALL_BYTES_MAX     (512u << 20) /* data of all requests of the service */
#define KEEP_BYTES        (64u << 20)  /* free buffers that are kept … */
#define KEEP_IDLE_BYTES   (8u << 20)   /* … and after a few seconds */
#define TRIM_SECONDS      3

#define PEER_REFUSALS_MAX 32u /* then it is guessing, and goes */
#define REFUSAL_LINES_MAX 20u /* log lines about refusals in one second */

struct peer_tls;
struct slot;

enum peer_phase {
    PEER_HANDSHAKE, /* has not named an export yet */
    PEER_OPENING,   /* waits for its export */
    PEER_SERVING,
    PEER_LEAVING, /* said goodbye: the last answers leave, then what it still sends is ignored */
    PEER_ENDED,   /* the socket is shut; running requests are awaited */
};

struct peer {
    struct nbd_service *service;
    enum peer_phase phase;
    struct conn conn;
    struct nbds_session *session;
    char address[64];
    char name[80]; /* the export's, without its token; "" before it has named one */

    struct export_peer as_peer;
    bool opening;  /* ready() has not come yet */
    bool of_image; /* counted in the service's images */
    struct export_session *export;
    struct export_stats *stats; /* of the export; while `export` is set */
    struct blkdev *device;

    struct peer_tls *tls; /* NULL: plain */

    struct conn_out hello; /* the answer to an option */
    bool hello_sending;
    unsigned refusals; /* of exports that it asked for */

    struct slot *collecting; /* the WRITE whose payload is arriving */
    unsigned slots;          /* in use */
    unsigned running;        /* of these, at the device */
    size_t bytes;            /* of their buffers */
    bool blocked;            /* over its own limits */
    bool starving, called;   /* waits for others' buffers; it is its turn */
    bool goodbye;            /* the session wants to close */
    bool conn_closed;

    int64_t deadline_ns; /* in HANDSHAKE and LEAVING */
    bool timed;          /* is in the service's list of those */
    TAILQ_ENTRY(peer) all, by_deadline, by_hunger;
};
TAILQ_HEAD(peer_list, peer);

struct slot_pool {
    struct slot *free;
    unsigned free_count;
};

struct nbd_service {
    struct shard *shard;
    struct export_table *exports;
    struct nbd_limits limits;

    struct peer_list peers, timed /* soonest first */, starving;
    unsigned peer_count, handshaking;
    unsigned image_count; /* of the peers: that read an image */
    struct shard_timer timer;

    struct bufpool buffers;
    struct shard_timer trim_timer;
    struct slot_pool slots;

    int64_t refusal_second; /* in which `refusal_lines` were logged */
    unsigned refusal_lines;

    struct listen_entry *listeners;
    unsigned listener_count;
    bool stopping;
    void *stopped; /* sem_t * of nbd_service_stop() */
};

/* ---- peer.c --------------------------------------------------------------------------------- */

/* A new connection.  Without memory it is closed. */
void peer_new(struct nbd_service *n, int fd);

/* The session gets bytes and what it wants of them is done: how many were used. */
size_t peer_feed(struct peer *p, const uint8_t *bytes, size_t length);
/* It may be given bytes. */
bool peer_listens(const struct peer *p);

/* Shuts the connection; the peer goes when its running requests are over.  why: for the log. */
void peer_end(struct peer *p, const char *why);

/* ---- peer_tls.c ----------------------------------------------------------------------------- */

/* What is sent must be encrypted here: by TLS, and not by the kernel's. */
bool peer_encrypts(const struct peer *p);
/* conn_send, encrypted if the peer has TLS. */
void peer_send(struct peer *p, struct conn_out *o);

/* From the next byte on.  False: no memory. */
bool peer_tls_start(struct peer *p);
/* Bytes of the wire: how many were used. */
size_t peer_tls_input(struct peer *p, const uint8_t *wire, size_t length);
void peer_tls_bye(struct peer *p);
void peer_tls_free(struct peer *p); /* without TLS too */

/* ---- transfer.c: requests and answers ------------------------------------------------------- */

/* Some of its requests run, or their answers have not left. */
bool transfer_busy(const struct peer *p);
/* The session wants a buffer or has a whole request.  False: not now; the peer is resumed later. */
bool transfer_want_buffer(struct peer *p);
bool transfer_want_backend(struct peer *p);
/* Gives back what was collected of a WRITE. */
void transfer_abandon(struct peer *p);
/* It waits no longer for anybody's buffers. */
void transfer_stop_starving(struct peer *p);
void slot_pool_done(struct slot_pool *pool);

/* A request or an answer is over: is the peer through?  (peer.c) */
void peer_settle(struct peer *p);

/* ---- service.c ------------------------------------------------------------------------------ */

/* Logs that the peer is not let in, unless too many such lines have been written this second. */
void service_log_refusal(struct peer *p, const char *why);
/* It names an export, of an image or not.  False: images have all the places that are theirs. */
bool service_admit(struct peer *p, bool image);
/* The peer must have moved on by then; 0 = no limit any more. */
void service_set_deadline(struct peer *p, int64_t deadline_ns);
/* The peer is about to be freed. */
void service_forget(struct peer *p);

#endif
