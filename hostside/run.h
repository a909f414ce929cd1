/* SPDX-License-Identifier: Apache-2.0 */
/* run - the agent's life as a process: wires server, hypervisor, devices and reconciler together.
 */
#ifndef GRIDBOX_HOSTSIDE_RUN_H
#define GRIDBOX_HOSTSIDE_RUN_H

struct run_options {
    const char *server;     /* URL */
    const char *token_file; /* the boot token, one line; may not be there */
    const char *sim_dir;    /* a rehearsal in this directory; NULL = the real thing */
};

/* Until SIGTERM or SIGINT.  The exit status: 0 ended by a signal, 1 something is missing. */
int run(const struct run_options *o);

#endif
