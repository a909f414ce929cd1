/* SPDX-License-Identifier: Apache-2.0 */
/* nbd service - listens, and joins sockets, NBD sessions and exports.  Only service.c and peer.c of
 * nbd/ see sockets. */
#ifndef GRIDBOX_NBD_SERVICE_H
#define GRIDBOX_NBD_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/net.h"

struct export_table;
struct nbd_service;
struct nbd_tls;
struct shard;

struct nbd_limits {
    unsigned connections;       /* 0 = 4,096; more are refused at once; images have half of them */
    unsigned handshaking;       /* 0 = 1,024; when full the oldest that has named no export goes */
    unsigned handshake_seconds; /* 0 = 10; a peer that is not through by then is dropped */
    const struct nbd_tls *tls;  /* NULL = none is offered; outlives the service */
    bool tls_required;          /* nothing without it */
};

/* control: makes the service; it serves nothing before nbd_service_listen().  limits may be NULL.
 * The process needs a descriptor for each connection. */
int nbd_service_start(struct shard *shard, struct export_table *exports,
                      const struct nbd_limits *limits, struct nbd_service **ret, struct err *e);

/* control: listens on `address` ("10.0.0.1:10809", "[::1]:10809") and serves.  A port in use is
 * waited for, up to 2 s: a killed server's may be held a moment longer than it lived.  -EADDRINUSE
 * … with a message that names the address.  May be called for several addresses, at most 16. */
int nbd_service_listen(struct nbd_service *n, const char *address, struct err *e);

/* control: the address of the newest listener, with the real port where 0 was asked for; "" if
 * there is none. */
void nbd_service_address(struct nbd_service *n, char ret_text[static NET_ADDRESS_SIZE]);

/* control: stops listening, cuts every connection, waits for their running requests, frees.  Before
 * export_table_free().  NULL is legal. */
void nbd_service_stop(struct nbd_service *n);

#endif
