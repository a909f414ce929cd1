/* SPDX-License-Identifier: Apache-2.0 */
/* attach_nbd - the kernel NBD driver of attach.h, over a world that may be a rehearsed one. */
#ifndef GRIDBOX_HOSTSIDE_ATTACH_NBD_H
#define GRIDBOX_HOSTSIDE_ATTACH_NBD_H

#include "hostside/attach.h"
#include "hostside/nbd_world.h"

/* Takes the world over, also when it fails. */
int attach_nbd_over(struct nbd_world *world, struct attach_driver **ret, struct err *e);

#endif
