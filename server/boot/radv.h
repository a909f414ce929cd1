/* SPDX-License-Identifier: Apache-2.0 */
/* radv - answers IPv6 router solicitations of the boot interface, so that nobody waits for one.
 *
 * iPXE asks for an IPv6 router for 15 s before it goes on without.  The answer here says "there is
 * one, and it routes nothing": lifetime 0, no prefix, no DHCPv6.  So nobody gets an address or a
 * route from it, and a real router beside it is not disturbed.  (dnsmasq would answer only where
 * the interface has an address of its own beyond the link-local one, and would then hand out
 * addresses.) RFC 4861, 4.1, 4.2, 6.1.1. */
#ifndef GRIDBOX_BOOT_RADV_H
#define GRIDBOX_BOOT_RADV_H

#include "server/base/err.h"

struct boot_interface;
struct boot_radv;

/* -EPERM not root; other -errno where the interface has no IPv6. */
int boot_radv_open(const struct boot_interface *i, struct boot_radv **ret, struct err *e);
void boot_radv_close(struct boot_radv *r); /* NULL is legal */

/* Readable when somebody asks; stays the same. */
int boot_radv_fd(const struct boot_radv *r);

/* Answers those who have asked; never blocks. */
void boot_radv_answer(struct boot_radv *r);

#endif
