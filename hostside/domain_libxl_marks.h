/* SPDX-License-Identifier: Apache-2.0 */
/* domain_libxl_marks - what the agent writes beside a domain in xenstore, below
 * /local/domain/DOMID/gridbox.
 *
 * It is made together with the domain and goes with it; its guest may read it and cannot write it.
 * Threads: any (libxenstore locks by itself). */
#ifndef GRIDBOX_HOSTSIDE_DOMAIN_LIBXL_MARKS_H
#define GRIDBOX_HOSTSIDE_DOMAIN_LIBXL_MARKS_H

#include "hostside/domain.h"
#include "server/base/err.h"

struct marks;

int marks_open(struct marks **ret, struct err *e);
void marks_close(struct marks *m);

/* Fills marked, made, incarnation, stop_*, disks and name of a domain from its domid. */
void marks_read(struct marks *m, struct domain_seen *d);

int marks_set_made(struct marks *m, uint32_t domid, struct err *e);
/* Keeps the time of the first call. */
int marks_set_stop(struct marks *m, uint32_t domid, int64_t now_ns, struct err *e);
int marks_set_stop_heard(struct marks *m, uint32_t domid, struct err *e);

/* Key and value of what a domain is born with, for libxl's xsdata: heap, NULL-terminated, key after
 * value after key; NULL without memory.  The caller frees each and the list. */
char **marks_of_birth(const struct contract_domain *want);

/* Readable when a domain has come, shut down or gone. */
int marks_fd(struct marks *m);
void marks_drain(struct marks *m);

#endif
