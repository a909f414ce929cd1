/* SPDX-License-Identifier: Apache-2.0 */
/* domain - the virtual machines of this host, behind a table of functions: libxenlight, or a
 * directory of small files that behaves like it.
 *
 * A domain that the agent makes carries marks that live and die with it (under its own path in
 * xenstore, where its guest cannot write): incarnation, disks, whether it was made to the end, and
 * when it was asked to stop.  So an agent that starts anew knows all it has to. */
#ifndef GRIDBOX_HOSTSIDE_DOMAIN_H
#define GRIDBOX_HOSTSIDE_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "hostside/disk_id.h"
#include "server/base/err.h"
#include "server/contract/contract.h"

enum domain_run {
    DOMAIN_RUNS,
    DOMAIN_PAUSED,
    DOMAIN_ENDED, /* its guest has shut down, in the way that `end` says; it still exists */
    DOMAIN_DYING, /* destroyed, but something still holds on to its memory */
};

enum domain_end { DOMAIN_END_POWEROFF, DOMAIN_END_REBOOT, DOMAIN_END_CRASH, DOMAIN_END_OTHER };

struct domain_seen {
    char uuid[CONTRACT_UUID_SIZE];
    char name[NAME_SIZE]; /* "" while it is half made, or if it is no name of ours */
    uint32_t domid;
    enum domain_run run;
    enum domain_end end;   /* of DOMAIN_ENDED */
    bool marked;           /* the agent made it; without marks it is somebody else's */
    bool made;             /* to the end: it may run */
    uint64_t incarnation;  /* of marked ones */
    int64_t stop_asked_ns; /* clock_mono_ns of the first time; 0 = it was not asked to stop */
    bool stop_heard;       /* its guest has taken that in; else it is asked again */
    struct disk_id disks[CONTRACT_DISKS_MAX];
    unsigned disk_count;
};

struct domain_machine {
    unsigned cpus;
    uint64_t memory_mib;
    bool hvm; /* PVH guests are possible */
};

#define DOMAIN_PATH_SIZE 32 /* "/dev/nbd12" */

struct domain_driver {
    const struct domain_ops *ops;
};

/* Each returns 0 or -errno with words.  "agent": called on the agent's thread, must be quick.
 * "worker": any thread, at most one call per domain at a time, may take tens of seconds. */
struct domain_ops {
    /* agent */
    int (*machine)(struct domain_driver *d, struct domain_machine *ret, struct err *e);
    /* agent; all domains but this one (dom0), at most max. */
    int (*list)(struct domain_driver *d, struct domain_seen *ret, unsigned max, unsigned *ret_count,
                struct err *e);
    /* worker; makes it, paused, marked, not yet `made`.  paths: the block device of each disk. */
    int (*create)(struct domain_driver *d, const struct contract_domain *want,
                  char paths[][DOMAIN_PATH_SIZE], uint32_t *ret_domid, struct err *e);
    /* worker; marks it `made` and lets it run.  Idempotent. */
    int (*start)(struct domain_driver *d, uint32_t domid, struct err *e);
    /* worker; idempotent. */
    int (*pause)(struct domain_driver *d, uint32_t domid, struct err *e);
    /* worker; marks when (if it is the first time), and asks the guest to shut down.  Does not wait
     * for that.  -EAGAIN: the guest does not listen, it may still be booting. */
    int (*shutdown)(struct domain_driver *d, uint32_t domid, int64_t now_ns, struct err *e);
    /* worker; 0 also if it is not there any more. */
    int (*destroy)(struct domain_driver *d, uint32_t domid, struct err *e);
    /* agent; readable when a domain may have changed by itself, or -1.  drain makes it quiet. */
    int (*event_fd)(struct domain_driver *d);
    void (*drain)(struct domain_driver *d);
    void (*free)(struct domain_driver *d); /* disturbs no domain */
};

/* Talks to the hypervisor of the machine that it runs on. */
int domain_libxl_new(struct domain_driver **ret, struct err *e);

/* One file per domain in DIR/domains, so that it outlives the process as real ones do. */
int domain_sim_new(const char *dir, struct domain_driver **ret, struct err *e);

/* For rehearsals: the guest of a simulated domain ends by itself.  -ENOENT: no such domain. */
int domain_sim_end(struct domain_driver *d, const char *uuid, enum domain_end end);
/* For rehearsals: guests do not hear when they are asked to shut down (else they do so at once). */
void domain_sim_set_stubborn(struct domain_driver *d, bool stubborn);

#endif
