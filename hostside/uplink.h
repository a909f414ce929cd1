/* SPDX-License-Identifier: Apache-2.0 */
/* uplink - what to ask the server next: register, ask for the spec, report; and when.
 *
 * Free of I/O and of any clock: the caller sends what it is told to, gives the answer back, and
 * asks again. A server that is away is asked again and again, with a growing delay that differs
 * from host to host; domains carry on meanwhile.
 * Threads: belongs to one. */
#ifndef GRIDBOX_HOSTSIDE_UPLINK_H
#define GRIDBOX_HOSTSIDE_UPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/contract/contract.h"

#define UPLINK_TOKEN_SIZE   129u
#define UPLINK_WAIT_S       50u /* how long the server may hold a question for the spec */
#define UPLINK_REPORT_EVERY 30u /* seconds, if nothing changes */

enum uplink_call { UPLINK_NONE, UPLINK_REGISTER, UPLINK_SPEC, UPLINK_REPORT, UPLINK_CALL_COUNT };

struct uplink {
    char token[UPLINK_TOKEN_SIZE]; /* of the kernel command line; "" = none */
    char session[65];              /* "" = none: registers first */
    char host[NAME_SIZE];          /* "" until it is known */
    bool try_token;                /* the session was refused: registers again */
    bool asking;                   /* REGISTER or SPEC is under way */
    unsigned failures;             /* of those two in a row */
    int64_t ask_ns;                /* not before */
    uint64_t revision;             /* of the last spec; 0 = none */

    char *report; /* the newest; heap */
    bool report_fresh, reporting;
    unsigned report_failures;
    int64_t report_ns; /* not before, or the next one without news */
};

void uplink_init(struct uplink *u, const char *token, const char *session);
void uplink_done(struct uplink *u); /* idempotent */

/* What is due now.  The two questions and the reports run beside each other: call it until it says
 * UPLINK_NONE.  What it names is under way until its answer is given. *ret_wake_ns: when to ask
 * again at the latest. */
enum uplink_call uplink_next(struct uplink *u, int64_t now_ns, int64_t *ret_wake_ns);

/* The path and query of a call. */
void uplink_path(const struct uplink *u, enum uplink_call call, char *ret, size_t size);
/* The bearer token of a call; a secret. */
const char *uplink_bearer(const struct uplink *u, enum uplink_call call);

/* The newest report, taken over (heap text); sent soon if it differs from the last one. */
void uplink_set_report(struct uplink *u, char *text, int64_t now_ns);

struct uplink_answer {
    int status; /* of HTTP, or -errno: no answer came */
    const char *body;
    size_t length;
};

enum uplink_news {
    UPLINK_NO_NEWS,
    UPLINK_REGISTERED, /* u->session and u->host are new: keep the session */
    UPLINK_NEW_SPEC,   /* *ret_spec is filled; the caller owns it */
};

/* The answer to a call.  *e says what went wrong, for the log (code 0 = nothing). */
enum uplink_news uplink_answer(struct uplink *u, enum uplink_call call,
                               const struct uplink_answer *a, int64_t now_ns,
                               struct contract_spec *ret_spec, struct err *e);

#endif
