/* SPDX-License-Identifier: Apache-2.0 */
/* dnsmasq - its configuration as text.  Pure; who runs it is boot/service.c.
 *
 * It is static: DHCP (or proxy DHCP) and TFTP for the two loaders.  Which PC boots what is decided
 * by the HTTP server, in scripts. */
#ifndef GRIDBOX_BOOT_DNSMASQ_H
#define GRIDBOX_BOOT_DNSMASQ_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/buf.h"
#include "server/base/err.h"

struct boot_interface;

struct boot_range {
    struct in_addr first, last;
};

/* The addresses to be given out: "FIRST-LAST" of the configuration, or, if text is NULL, those of
 * the interface's network without its first ten (if it has more than 32) and its last one, and on
 * the longer side of the interface's own address if that lies among them.
 *   -EINVAL  not two addresses of this network in order, or the server's own is among them
 *   -ERANGE  the network is too small to derive a range */
int boot_range_read(const char *text, const struct boot_interface *i, struct boot_range *ret,
                    struct err *e);

struct boot_dnsmasq {
    const struct boot_interface *interface;
    bool proxy; /* another DHCP server gives out the addresses */
    struct boot_range range;
    unsigned lease_seconds;
    const char *router, *dns; /* numeric, or NULL: nothing is said */
    uint16_t http_port;
    const char *user; /* that it becomes */
    const char *pid_file, *lease_file, *tftp_dir;
};

/* -EINVAL: a path holds a character that dnsmasq's configuration cannot. */
int boot_dnsmasq_conf(const struct boot_dnsmasq *d, struct buf *out, struct err *e);

#endif
