/* SPDX-License-Identifier: Apache-2.0 */
/* job - work of the server that takes longer than a call: followed to its end, cancelled on Ctrl-C.
 */
#ifndef GRIDBOX_CLI_JOB_H
#define GRIDBOX_CLI_JOB_H

#include "server/cli/cli.h"
#include "server/cli/progress.h"

/* What is followed, and how it is spoken of. */
struct job {
    struct cli *c; /* its interrupt has begun, or Ctrl-C ends the program and not the job */
    struct progress progress; /* started by the caller */
    const char *title;        /* "debian-12", before the phase on the progress line */
    const char *what;         /* "import of 'debian-12'", for messages */
};

/* Waits until job `id` is over.  Ctrl-C cancels it and waits until nothing of it is left; another
 * one ends the waiting.  0 and *ret (the job as it ended), or a code of client_call, or -ETIMEDOUT.
 * The progress line is removed in any case. */
int job_wait(struct job *j, const char *id, struct client_reply *ret, struct err *e);

/* What became of it: 0 if it was done, -ECANCELED or -EREMOTEIO with its words otherwise.  With
 * --json the job itself is printed. */
int job_result(struct job *j, const struct client_reply *ended, struct err *e);

/* Both, with an interrupt and a progress line of its own, for the job that `started` tells of. */
int job_run(struct cli *c, const struct client_reply *started, const char *title, const char *what,
            struct client_reply *ret, struct err *e);

#endif
