/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt - Ctrl-C (SIGINT), SIGTERM and SIGHUP as something that can be waited for.
 *
 * The first one is seen by interrupt_seen(); from then on a second one ends the program at once.
 * Threads: the one thread of the program. */
#ifndef GRIDBOX_CLI_INTERRUPT_H
#define GRIDBOX_CLI_INTERRUPT_H

#include <stdbool.h>

struct interrupt {
    int fd; /* readable when a signal has come; -1 = not begun, or already seen */
    bool seen;
};

/* From here on the signals do not end the program.  Without a descriptor for them (EMFILE) they
 * keep their usual effect. */
void interrupt_begin(struct interrupt *i);

/* Whether a signal has come since interrupt_begin. */
bool interrupt_seen(struct interrupt *i);

/* Gives the signals their usual effect back; idempotent. */
void interrupt_end(struct interrupt *i);

#endif
