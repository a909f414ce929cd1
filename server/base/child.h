/* SPDX-License-Identifier: Apache-2.0 */
/* child - one supervised child process: started, watched, restarted with a growing delay, stopped.
 *
 * The owner's loop calls child_tick() when child_pidfd() becomes readable and at least once a
 * second; nothing here blocks but child_stop().
 * Threads: a child belongs to one thread, which must live as long as it (PR_SET_PDEATHSIG). */
#ifndef GRIDBOX_BASE_CHILD_H
#define GRIDBOX_BASE_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "server/base/err.h"

struct child_spec {
    const char *name;         /* for log lines */
    char *const *argv;        /* NULL-terminated; argv[0] is looked up in PATH */
    const char *pid_file;     /* names a leftover of an earlier life; NULL = none */
    const char *leftover_arg; /* a leftover is ours only if this argument is on its command line */
};

struct child;

/* Ends the leftover process that pid_file names (if its executable's name and leftover_arg are
 * ours), removes the pid file, then starts the child (which may write it anew); its output joins
 * our standard error.  The strings of *spec are copied.  -errno if it cannot be started at all. */
int child_start(const struct child_spec *spec, struct child **ret, struct err *e);

/* Readable when the child has ended; -1 while it is not running. Borrowed. */
int child_pidfd(const struct child *c);

/* Reaps a child that has ended, logs why, and starts it again when its delay (1 s, doubling to 30
 * s, back to 1 s after a minute of life) is over. */
void child_tick(struct child *c);

bool child_running(const struct child *c);

/* SIGTERM, up to 3 s, SIGKILL; waits for the end and removes the pid file.  NULL is legal. */
void child_stop(struct child *c);

#endif
