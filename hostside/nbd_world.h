/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_world - all that keeping a device needs of the outside: the server, and the kernel's NBD.
 *
 * A table of functions, so that lost connections, servers that restart and kernels that drop a
 * socket can be rehearsed in milliseconds. */
#ifndef GRIDBOX_HOSTSIDE_NBD_WORLD_H
#define GRIDBOX_HOSTSIDE_NBD_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "hostside/nbd_dial.h"
#include "hostside/nbd_netlink.h"
#include "hostside/nbd_sysfs.h"
#include "server/base/err.h"

struct contract_disk;

/* All may be called from any thread.  See nbd_dial.h, nbd_netlink.h and nbd_sysfs.h, whose
 * functions of the same names they are. */
struct nbd_world {
    int (*dial)(struct nbd_world *w, const struct contract_disk *disk, struct nbd_dialed *ret,
                struct err *e);
    bool (*alive)(struct nbd_world *w, int fd);
    uint64_t (*sent)(struct nbd_world *w, int fd);
    int (*connect)(struct nbd_world *w, const struct nbdnl_link *link, unsigned *ret_index,
                   struct err *e);
    int (*reconfigure)(struct nbd_world *w, unsigned index, const struct nbdnl_link *link,
                       struct err *e);
    int (*disconnect)(struct nbd_world *w, unsigned index, struct err *e);
    int (*list)(struct nbd_world *w, struct nbd_sysfs_device *ret, unsigned max,
                unsigned *ret_count, struct err *e);
    int (*flags)(struct nbd_world *w, unsigned index, uint64_t *ret_flags, struct err *e);
    int (*set_io_timeout)(struct nbd_world *w, unsigned index, struct err *e);
    bool (*busy)(struct nbd_world *w, unsigned index);
    /* Waits up to a second for devices whose link is dead.  How many, or -errno. */
    int (*next_dead)(struct nbd_world *w, unsigned *ret_index, unsigned max);
    void (*free)(struct nbd_world *w);

    int retry_ms;     /* first delay between attempts; doubles up to 16 times this */
    int check_ms;     /* how often a quiet link is looked at */
    int dead_wait_ms; /* for the kernel to notice the end of the old link */
};

/* The real one.  -ENOENT: the kernel has no NBD. */
int nbd_world_linux(struct nbd_world **ret, struct err *e);

#endif
