/* SPDX-License-Identifier: Apache-2.0 */
/* worker - a few threads that do steps, so that a slow hypervisor or server holds up nobody.
 *
 * Steps of different domains run beside each other, at most WORKER_THREADS at once; the agent sees
 * to it that a domain has one at a time. */
#ifndef GRIDBOX_HOSTSIDE_WORKER_H
#define GRIDBOX_HOSTSIDE_WORKER_H

#include <stdbool.h>

#include "hostside/step.h"
#include "server/base/err.h"

#define WORKER_THREADS 4u

struct worker;

/* Borrows the drivers. */
int worker_new(struct domain_driver *domains, struct attach_driver *disks, struct worker **ret,
               struct err *e);

/* Waits for the steps under way (not for those that wait), frees the rest.  NULL is legal. */
void worker_free(struct worker *w);

/* Takes the step. */
void worker_submit(struct worker *w, struct step *s);

/* Readable when a step is done. */
int worker_fd(const struct worker *w);
/* The next one that is done, the caller's again; NULL = none. */
struct step *worker_take(struct worker *w);

#endif
