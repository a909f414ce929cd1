/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: which driver call a planned step is.
 * Must never know: why it was planned. */
#include "hostside/step.h"

#include <errno.h>

/* Killed between the two, the domain is found half made and goes. */
static int create_and_start(struct step *s, struct domain_driver *domains)
{
    int rc = domains->ops->create(domains, &s->want, s->paths, &s->domid, &s->err);

    if (rc < 0)
        return rc;
    return domains->ops->start(domains, s->domid, &s->err);
}

static int run(struct step *s, struct domain_driver *domains, struct attach_driver *disks)
{
    switch (s->kind) {
    case PLAN_ATTACH:
        return disks->ops->connect(disks, &s->want.disks[s->disk], &s->err);
    case PLAN_KEEP:
        return disks->ops->keep(disks, s->device, &s->want.disks[s->disk], &s->err);
    case PLAN_DISCONNECT:
        return disks->ops->disconnect(disks, s->device, &s->err);
    case PLAN_CREATE:
        return create_and_start(s, domains);
    case PLAN_START:
        return domains->ops->start(domains, s->domid, &s->err);
    case PLAN_SHUTDOWN:
        return domains->ops->shutdown(domains, s->domid, s->now_ns, &s->err);
    case PLAN_PAUSE:
        return domains->ops->pause(domains, s->domid, &s->err);
    case PLAN_DESTROY:
        return domains->ops->destroy(domains, s->domid, &s->err);
    case PLAN_NOTHING:
    case PLAN_WAIT:
    case PLAN_STEP_COUNT:
        break;
    }
    return err_set(&s->err, -EINVAL, "no such step");
}

void step_run(struct step *s, struct domain_driver *domains, struct attach_driver *disks)
{
    s->rc = run(s, domains, disks);
}
