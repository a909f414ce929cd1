/* SPDX-License-Identifier: Apache-2.0 */
/* agent - the reconciler: observe, plan, apply, report, for all domains of this host.
 *
 * One queue per domain: at most one step of a domain is under way, any number of domains at once.
 * It knows no server, no thread and no clock: the spec is put in, the report taken out, steps are
 * handed to `submit` and come back by agent_finish.  Nothing that it must remember lies in it: it
 * can be dropped at any moment and made anew.
 * Threads: all calls on one. */
#ifndef GRIDBOX_HOSTSIDE_AGENT_H
#define GRIDBOX_HOSTSIDE_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "hostside/attach.h"
#include "hostside/domain.h"
#include "hostside/step.h"
#include "server/contract/contract.h"

struct agent;

struct agent_config {
    struct domain_driver *domains; /* both borrowed */
    struct attach_driver *disks;
    /* Takes the step, has it done (step_run), and gives it to agent_finish; may not call that
     * before it returns. */
    void (*submit)(void *arg, struct step *s);
    /* Something for the table of stages is done: "attach VOLUME", "create DOMAIN".  May be NULL. */
    void (*stage)(void *arg, const char *text);
    void *arg;
};

int agent_new(const struct agent_config *config, struct agent **ret, struct err *e);
void agent_free(struct agent *a); /* disturbs nothing; steps under way are the submitter's */

/* What is desired from now on; *spec is taken over and left empty. */
void agent_set_spec(struct agent *a, struct contract_spec *spec);

/* Looks at what is there and starts what is due.  Returns when it wants to be called again at the
 * latest (clock_mono_ns); sooner is always fine. Without a spec, or with one that is not approved,
 * it touches nothing. */
int64_t agent_tick(struct agent *a, int64_t now_ns);

/* A step is done (see step->rc); it is freed.  Call agent_tick soon. */
void agent_finish(struct agent *a, struct step *s, int64_t now_ns);

unsigned agent_steps_running(const struct agent *a);

/* The report as JSON text, heap memory; NULL before the first tick with a spec, or without memory.
 */
char *agent_report(const struct agent *a);

#endif
