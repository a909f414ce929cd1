/* SPDX-License-Identifier: Apache-2.0 */
/* neigh - who is behind an address: the kernel's neighbour table. */
#ifndef GRIDBOX_BOOT_NEIGH_H
#define GRIDBOX_BOOT_NEIGH_H

#include "server/base/err.h"

#define NEIGH_MAC_SIZE 18 /* "52:54:00:12:34:56", lower case */

/* The MAC address that the neighbour table of this interface has for a numeric IPv4 or IPv6
 * address (IPv4 also as ::ffff:A.B.C.D).  Asks the kernel alone; sends nothing.
 *   -EINVAL  not a numeric address
 *   -ENOENT  no usable entry: unknown, not resolved, or not on this interface
 *   -EIO, -errno  the kernel did not answer */
int neigh_find(unsigned interface_index, const char *address, char ret_mac[static NEIGH_MAC_SIZE],
               struct err *e);

#endif
