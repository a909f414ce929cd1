/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_netlink - the kernel's NBD client over generic netlink (Linux
 * include/uapi/linux/nbd-netlink.h).
 *
 * Every request goes over a socket of its own and waits for the kernel's answer, so any thread may
 * ask at any time.  The functions that build and read messages are pure. */
#ifndef GRIDBOX_HOSTSIDE_NBD_NETLINK_H
#define GRIDBOX_HOSTSIDE_NBD_NETLINK_H

#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

#define NBDNL_MESSAGE_MAX 1024u /* bytes; what is sent needs about 250 */

struct nbdnl {
    uint16_t family;     /* id of the generic netlink family "nbd" */
    uint32_t dead_group; /* its multicast group, which tells of dead links */
};

struct nbdnl_link {
    int fd; /* a connected socket after the handshake; the kernel takes a reference */
    const char *identifier; /* disk_id text */
    uint64_t size_bytes;    /* of a new device */
    uint64_t flags;         /* transmission flags, proto.md */
};

/* -ENOENT: the kernel has no NBD (module not loaded). */
int nbdnl_open(struct nbdnl *ret, struct err *e);

/* Makes a device of the kernel's choice: one connection, 512-byte logical blocks, requests wait for
 * a lost connection for ten years. */
int nbdnl_connect(const struct nbdnl *nl, const struct nbdnl_link *link, unsigned *ret_index,
                  struct err *e);

/* Gives a device a new connection.  The kernel takes it only if it knows that the old one is dead,
 * and answers 0 if not as well: see attach_nbd.c.  -EINVAL: not connected, or another identifier.
 */
int nbdnl_reconfigure(const struct nbdnl *nl, unsigned index, const struct nbdnl_link *link,
                      struct err *e);

/* 0 also if it is not connected. */
int nbdnl_disconnect(const struct nbdnl *nl, unsigned index, struct err *e);

/* A socket that becomes readable when the kernel tells that a link is dead; the caller closes it.
 */
int nbdnl_listen(const struct nbdnl *nl, int *ret_fd, struct err *e);

/* Reads what is there (or waits for it): ret_index gets at most max indexes of devices with a dead
 * link.  Returns how many, or -errno (-ENOBUFS: some were lost). */
int nbdnl_read_dead(const struct nbdnl *nl, int fd, unsigned *ret_index, unsigned max);

/* ---- pure ---- */

struct nlmsghdr;

/* Each builds one message in `room` (aligned for a nlmsghdr, zeroed or not). */
struct nlmsghdr *nbdnl_build_connect(void *room, uint16_t family, const struct nbdnl_link *link);
struct nlmsghdr *nbdnl_build_reconfigure(void *room, uint16_t family, unsigned index,
                                         const struct nbdnl_link *link);
struct nlmsghdr *nbdnl_build_disconnect(void *room, uint16_t family, unsigned index);

/* Indexes in the LINK_DEAD messages among `length` bytes of messages. */
unsigned nbdnl_parse_dead(const void *bytes, size_t length, uint16_t family, unsigned *ret_index,
                          unsigned max);

#endif
