/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt - Ctrl-C (SIGINT), SIGTERM and SIGHUP as something that can be waited for.
 *
 * Signals that come within half a second of one that counted are part of it: a terminal, a shell
 * and timeout(1) may each send theirs. Threads: the one thread of the program. */
#ifndef GRIDBOX_CLI_INTERRUPT_H
#define GRIDBOX_CLI_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

struct interrupt {
    int fd;          /* readable when a signal has come; -1 = not begun */
    int64_t last_ns; /* when the last signal that counted was taken; 0 = never */
};

/* From here on the signals do not end the program.  Without a descriptor for them (EMFILE) they
 * keep their usual effect. */
void interrupt_begin(struct interrupt *i);

/* Takes what has come.  True if a signal came that counts: once for each of them. */
bool interrupt_take(struct interrupt *i);

/* Gives the signals their usual effect back; idempotent. */
void interrupt_end(struct interrupt *i);

#endif
