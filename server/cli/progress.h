/* SPDX-License-Identifier: Apache-2.0 */
/* progress - one line on a terminal that says how far something is; silence everywhere else. */
#ifndef GRIDBOX_CLI_PROGRESS_H
#define GRIDBOX_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a line is made of. */
struct progress_view {
    const char *what;     /* "import debian-12: copying" */
    uint64_t done, total; /* bytes; total 0 = unknown */
    int64_t elapsed_ms;
    unsigned columns; /* of the terminal; the line is at most columns - 1 wide */
};

/* Formats the line, without control characters.  Size ret for the columns times 4. */
void progress_line(const struct progress_view *v, char *ret, size_t size);

/* A line that is redrawn in place.  It shows from one second after its start, at most 10 times a
 * second, and only if fd is a terminal. */
struct progress {
    int fd; /* -1 = silent */
    int64_t start_ns, drawn_ns;
    bool drawn;
};

void progress_start(struct progress *p, int fd);
void progress_show(struct progress *p, const char *what, uint64_t done, uint64_t total);
void progress_end(struct progress *p); /* removes the line; idempotent */

#endif
