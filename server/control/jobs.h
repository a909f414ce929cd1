/* SPDX-License-Identifier: Apache-2.0 */
/* jobs - work that takes longer than a call: imports, each on a thread of its own.
 *
 * At most JOBS_RUNNING run at once, the others wait for their turn; the last JOBS_KEPT that are
 * over can still be asked for.  They do not outlive the server: an import that is under way when it
 * stops is cancelled and leaves nothing. Threads: control. */
#ifndef GRIDBOX_CONTROL_JOBS_H
#define GRIDBOX_CONTROL_JOBS_H

#include "server/base/err.h"

struct control;
struct http_request;
struct jobs;

#define JOBS_RUNNING 2
#define JOBS_WAITING 64
#define JOBS_KEPT    64

int jobs_new(struct control *c, struct jobs **ret, struct err *e);

/* Cancels all and waits for their threads.  NULL is legal. */
void jobs_free(struct jobs *j);

/* POST /v1/images */
void jobs_on_import(struct http_request *r);

#endif
