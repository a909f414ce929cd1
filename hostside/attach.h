/* SPDX-License-Identifier: Apache-2.0 */
/* attach - volumes as block devices of this host, behind a table of functions: kernel NBD, or a
 * directory of small files that behaves like it.
 *
 * A device outlives the agent: the kernel keeps it and its connection.  While an agent lives it
 * keeps each device connected: a lost connection is made again, until the server says for good
 * that the attachment is over. */
#ifndef GRIDBOX_HOSTSIDE_ATTACH_H
#define GRIDBOX_HOSTSIDE_ATTACH_H

#include <stdbool.h>
#include <stdint.h>

#include "hostside/disk_id.h"
#include "hostside/domain.h"
#include "server/base/err.h"

struct contract_disk;

enum attach_link {
    ATTACH_FOUND,   /* there, but this agent does not keep it yet */
    ATTACH_LIVE,    /* kept, connected */
    ATTACH_BROKEN,  /* kept, the connection is being made again; `why` says what is in the way */
    ATTACH_STALE,   /* refused for good: no byte goes over it any more */
    ATTACH_LEAVING, /* disconnected, but a domain still holds it open */
};

struct attach_seen {
    struct disk_id id;
    unsigned index; /* N of /dev/nbdN */
    char path[DOMAIN_PATH_SIZE];
    enum attach_link link;
    char why[160]; /* of BROKEN and STALE */
};

#define ATTACH_MAX (CONTRACT_DOMAINS_MAX * CONTRACT_DISKS_MAX)

struct attach_driver {
    const struct attach_ops *ops;
};

/* "agent": called on the agent's thread, quick.  "worker": any thread, ends within 30 s. */
struct attach_ops {
    /* agent; all devices that bear a disk_id, at most max. */
    int (*list)(struct attach_driver *a, struct attach_seen *ret, unsigned max, unsigned *ret_count,
                struct err *e);
    /* worker; connects and keeps.  No device is left behind by a failure.
     * -ESTALE: the server refuses this attachment; anything else may pass. */
    int (*connect)(struct attach_driver *a, const struct contract_disk *disk, struct err *e);
    /* worker; keeps a device that was found: from now on it is reconnected with this address and
     * export name.  Idempotent. */
    int (*keep)(struct attach_driver *a, unsigned index, const struct contract_disk *disk,
                struct err *e);
    /* agent; the spec may name another address or export name for a device that is kept. */
    void (*refresh)(struct attach_driver *a, const struct contract_disk *disk);
    /* worker; requests that wait for the server end with an error. Idempotent. */
    int (*disconnect)(struct attach_driver *a, unsigned index, struct err *e);
    /* agent; readable when a link has changed, or -1. */
    int (*event_fd)(struct attach_driver *a);
    void (*drain)(struct attach_driver *a);
    void (*free)(struct attach_driver *a); /* leaves the devices to the kernel */
};

/* Kernel NBD.  -ENOENT: the kernel has none. */
int attach_nbd_new(struct attach_driver **ret, struct err *e);

/* One file per device in DIR/devices. */
int attach_sim_new(const char *dir, struct attach_driver **ret, struct err *e);

/* For rehearsals: what the server does to a volume's connection. */
int attach_sim_set_link(struct attach_driver *a, const char *volume, enum attach_link link);
/* For rehearsals: connect() fails with this code (0 = works again). */
void attach_sim_refuse(struct attach_driver *a, int rc);

#endif
