/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_keeper - keeps one kernel NBD device connected, on a thread of its own.
 *
 * What the kernel does (Linux 6.1, seen): RECONFIGURE takes a new socket only once the kernel knows
 * that the old one is dead; before that it answers "ok" and drops the new one.  So the old socket
 * (a duplicate is kept for this) is shut down first, or the server does that when it sees the new
 * one; then the kernel's LINK_DEAD is awaited; and afterwards the keeper looks whether the new
 * socket is really used, and offers the same one again if not, which is harmless if it is. */
#ifndef GRIDBOX_HOSTSIDE_NBD_KEEPER_H
#define GRIDBOX_HOSTSIDE_NBD_KEEPER_H

#include <stdint.h>

#include "hostside/attach.h"
#include "hostside/nbd_world.h"
#include "server/contract/contract.h"

struct nbd_keeper;

struct nbd_keeper_start {
    struct nbd_world *world;    /* outlives the keeper's thread: see nbd_keeper_stop */
    unsigned index;             /* of the connected device */
    struct contract_disk disk;  /* how it is reached; its id is the device's */
    int fd;                     /* taken over: the socket in use; -1 = unknown (device was found) */
    uint64_t size_bytes;        /* that a new connection must have, too */
    uint64_t flags;             /* likewise; only nbd_sysfs_visible() ones count */
    void (*changed)(void *arg); /* the link is another one; on the keeper's thread */
    void *arg;
};

/* fd >= 0: starts as LIVE; -1: as BROKEN, and connects anew. */
int nbd_keeper_new(const struct nbd_keeper_start *start, struct nbd_keeper **ret, struct err *e);

/* Ends the thread and frees; may wait for a handshake under way (10 s).  NULL is legal. */
void nbd_keeper_stop(struct nbd_keeper *k);

/* The rest: any thread, quick. */
void nbd_keeper_link_dead(struct nbd_keeper *k); /* the kernel said so */
void nbd_keeper_set_disk(struct nbd_keeper *k, const struct contract_disk *disk);
/* The link ends now, so that nothing waits for it in the kernel. */
void nbd_keeper_cut(struct nbd_keeper *k);
/* ret_why has room for as much as attach_seen.why. */
enum attach_link nbd_keeper_link(struct nbd_keeper *k, char *ret_why, size_t size);

#endif
