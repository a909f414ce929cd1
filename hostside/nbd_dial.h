/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_dial - the NBD handshake, up to a socket that the kernel can take over. */
#ifndef GRIDBOX_HOSTSIDE_NBD_DIAL_H
#define GRIDBOX_HOSTSIDE_NBD_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct contract_disk;

struct nbd_dialed {
    int fd; /* the caller's; ready for the transmission phase, simple replies */
    uint64_t size_bytes;
    uint64_t flags; /* transmission flags, proto.md */
};

/* Connects to disk->address and opens disk->export_name; blocks for timeout_ms at most.
 * -ESTALE     the server refuses it for good; its words are in *e
 * -EAGAIN     the server asks to try again later (NBD_REP_ERR_SHUTDOWN)
 * -ETIMEDOUT and other -errno: could not be reached, or does not speak the protocol */
int nbd_dial(const struct contract_disk *disk, int timeout_ms, struct nbd_dialed *ret,
             struct err *e);

/* The connection is up in both directions, as far as TCP knows. */
bool nbd_dialed_alive(int fd);

/* Bytes ever sent over the socket (Linux 4.19): does its number grow, somebody uses it. */
uint64_t nbd_dialed_sent(int fd);

#endif
