/* SPDX-License-Identifier: Apache-2.0 */
/* interface - what the boot service must know of the network interface that the PCs hang on. */
#ifndef GRIDBOX_BOOT_INTERFACE_H
#define GRIDBOX_BOOT_INTERFACE_H

#include <netinet/in.h>

#include "server/base/err.h"

#define BOOT_INTERFACE_SIZE 16 /* IFNAMSIZ */

struct boot_interface {
    char name[BOOT_INTERFACE_SIZE];
    unsigned index;
    struct in_addr address;     /* its first IPv4 address */
    unsigned prefix;            /* bits of its network */
    char text[INET_ADDRSTRLEN]; /* the address */
};

/* Reads the interface's addresses.
 *   -ENODEV         there is none of that name; the message lists those that are there
 *   -EADDRNOTAVAIL  it has no IPv4 address */
int boot_interface_read(const char *name, struct boot_interface *ret, struct err *e);

#endif
