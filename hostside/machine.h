/* SPDX-License-Identifier: Apache-2.0 */
/* machine - what this PC says of itself: network cards, SMBIOS UUID, CPU.
 *
 * `root` is "" on a PC, or a directory that looks like / in a test. */
#ifndef GRIDBOX_HOSTSIDE_MACHINE_H
#define GRIDBOX_HOSTSIDE_MACHINE_H

#include "server/base/err.h"
#include "server/contract/contract.h"

/* Fills macs (the card it was booted from first), uuid and cpu.  -ENODEV: no network card. */
int machine_read(const char *root, struct contract_register *ret, struct err *e);

/* A made-up PC for a rehearsal: its MAC and UUID are kept in DIR/machine. */
int machine_made_up(const char *dir, struct contract_register *ret, struct err *e);

#endif
