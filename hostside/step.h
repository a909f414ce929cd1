/* SPDX-License-Identifier: Apache-2.0 */
/* step - one planned step with all that it needs, to be done on any thread.
 *
 * A step knows nothing of the agent that ordered it: it is made by the agent, done by a worker, and
 * goes back to the agent (or to nobody, if the agent is gone). */
#ifndef GRIDBOX_HOSTSIDE_STEP_H
#define GRIDBOX_HOSTSIDE_STEP_H

#include <stdint.h>

#include "hostside/attach.h"
#include "hostside/domain.h"
#include "hostside/plan.h"
#include "server/contract/contract.h"

struct step {
    struct step *next; /* of whoever owns it */
    unsigned slot;     /* of the agent's book */
    enum plan_step kind;
    struct contract_domain want; /* of ATTACH, KEEP, CREATE; its name for all */
    unsigned disk;               /* of ATTACH and KEEP: want.disks[disk] */
    unsigned device;             /* of KEEP and DISCONNECT: the device's index */
    uint32_t domid;              /* of what is done to a domain */
    int64_t now_ns;              /* when it was ordered */
    char paths[CONTRACT_DISKS_MAX][DOMAIN_PATH_SIZE]; /* of CREATE */

    int rc; /* the result */
    struct err err;
};

/* Does it; fills rc and err. */
void step_run(struct step *s, struct domain_driver *domains, struct attach_driver *disks);

#endif
