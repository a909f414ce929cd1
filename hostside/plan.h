/* SPDX-License-Identifier: Apache-2.0 */
/* plan - what is desired and what is there → the next small step for one domain.
 *
 * Pure: no clock, no memory of its own, no effects.  Every step is idempotent, and after each of
 * them the world is looked at again, so it does not matter when the agent dies in between. */
#ifndef GRIDBOX_HOSTSIDE_PLAN_H
#define GRIDBOX_HOSTSIDE_PLAN_H

#include <stdint.h>

#include "hostside/attach.h"
#include "hostside/domain.h"
#include "server/contract/contract.h"

enum plan_step {
    PLAN_NOTHING,    /* as desired */
    PLAN_WAIT,       /* for an event, or until wake_ns */
    PLAN_ATTACH,     /* want->disks[disk] */
    PLAN_KEEP,       /* devices[device], by want->disks[disk] */
    PLAN_CREATE,     /* with the devices of all disks; starts it as well */
    PLAN_START,      /* a domain that was made but never ran, or was paused: it goes on */
    PLAN_SHUTDOWN,   /* ask the guest */
    PLAN_PAUSE,      /* before its disk is taken away, or while that waits */
    PLAN_DISCONNECT, /* devices[device] */
    PLAN_DESTROY,
    PLAN_STEP_COUNT
};

const char *plan_step_name(enum plan_step s); /* "attach", … */

struct plan_input {
    const struct contract_domain *want; /* NULL: not desired at all */
    const struct domain_seen *have;     /* NULL: not there */
    const struct attach_seen *devices;  /* those that it uses, and those of volumes it wants */
    unsigned device_count;
    const char *in_the_way; /* why it cannot be made now, in words; NULL = nothing */
    int64_t now_ns;
    int64_t create_after_ns; /* a domain that ends again and again is not made before */
};

struct plan {
    enum plan_step step;
    unsigned disk, device;
    int64_t wake_ns; /* of PLAN_WAIT; 0 = an event will come */
    enum contract_state state;
    char detail[200]; /* for people; may be empty */
};

struct plan plan_next(const struct plan_input *in);

#endif
