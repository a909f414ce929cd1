/* SPDX-License-Identifier: Apache-2.0 */
/* boot - the boot service of one network interface: dnsmasq under supervision and the boot files.
 *
 * The HTTP side (scripts, files) is control/boot*.c; it asks here for what it must know.
 * Files: STATE/boot/dnsmasq.conf, dnsmasq.pid and leases; the two loaders that TFTP serves lie in
 * /run/gridbox-tftp.XXXXXXXX (or in $RUNTIME_DIRECTORY/tftp): dnsmasq gives root up and could not
 * reach them inside the state directory, which is closed to others.
 * Threads: the one that started it. */
#ifndef GRIDBOX_BOOT_BOOT_H
#define GRIDBOX_BOOT_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct boot_interface;
struct boot_service;

struct boot_options {
    const struct boot_interface *interface; /* copied */
    bool proxy;                             /* another DHCP server gives out the addresses */
    const char *state_dir;                  /* STATE: exists */
    const char *files_dir;                  /* boot files: boot_files_check() */
    uint16_t http_port;                     /* where the HTTP server listens on the interface */
    const char *range;                      /* "FIRST-LAST"; NULL = derived: dnsmasq.h */
    unsigned lease_seconds;                 /* 0 = an hour; at least 120 */
    const char *router, *dns;               /* what DHCP says, IPv4; NULL = nothing */
};

/* Checks that a directory holds the files that PCs need, all of them readable.  -ENOENT and so on
 * with one line that says how they are made. */
int boot_files_check(const char *dir, struct err *e);

/* Writes the configuration, ends what an earlier server left running, starts dnsmasq.
 *   -ENOENT  dnsmasq or a boot file is missing
 *   -EINVAL  range, lease, router or dns are not valid
 *   -EACCES, -EPERM … not root
 *   -EADDRINUSE  it did not come up; most likely another server has its ports
 * A dnsmasq that ends later is started again.  Where the interface has no IPv6 that is logged: PCs
 * then wait for 15 s. */
int boot_service_start(const struct boot_options *o, struct boot_service **ret, struct err *e);

/* Stops dnsmasq and removes what lies in /run.  NULL is legal. */
void boot_service_stop(struct boot_service *b);

/* To be called when boot_service_fd() is readable, and once a second; never blocks. */
void boot_service_tick(struct boot_service *b);
int boot_service_fd(const struct boot_service *b); /* stays the same; -1 = none */

bool boot_service_running(const struct boot_service *b);                           /* dnsmasq */
const struct boot_interface *boot_service_interface(const struct boot_service *b); /* borrowed */
const char *boot_service_files(const struct boot_service *b);                      /* borrowed */
uint16_t boot_service_http_port(const struct boot_service *b);

#endif
