/* SPDX-License-Identifier: Apache-2.0 */
/* notices - what the shard tells the control thread of its volumes, in rounds: bounded, and of one
 * that flaps only the latest word, once in a while.
 *
 * Of each volume and sort of notice there is one that waits; a later one takes its place and says
 * how many it stands for.  After a few in a row the next waits for half a minute.
 * Threads: notices_put on any; all else, and the rounds, on the loop's. */
#ifndef GRIDBOX_CONTROL_NOTICES_H
#define GRIDBOX_CONTROL_NOTICES_H

#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

struct loop;
struct notices;

#define NOTICES_MAX   1024u /* volumes and sorts that are known of; more are counted as lost */
#define NOTICES_BURST 4u    /* of one volume and sort, before the next one waits */

enum notice_kind {
    NOTICE_FAILED,
    NOTICE_PARKED,
    NOTICE_RESUMED, /* parked no more */
    NOTICE_STALLED,
    NOTICE_RECOVERED, /* stalled no more */
    NOTICE_REPLACED,  /* its connection, by a newer one */
    NOTICE_FENCED,    /* its connection is cut, its attachment over */
    NOTICE_DAMAGED,   /* a layer, by its id */
    NOTICE_KINDS
};

struct notice {
    enum notice_kind kind;
    char name[80]; /* the volume's, or a layer's id */
    char why[200];
    int64_t ns;    /* of a stall: how long */
    unsigned more; /* of its sort that came before it and were not told */
};

/* round: some notices, and how many were lost since the last round. */
typedef void (*notices_round_fn)(void *ctx, const struct notice *list, size_t count, unsigned lost);
struct notices_times {
    int64_t round_ns; /* between two rounds, so that what comes together is told together */
    int64_t quiet_ns; /* after a burst, between two of a volume and sort */
};
/* times: NULL = half a second and half a minute. */
int notices_new(struct loop *loop, const struct notices_times *times, notices_round_fn round,
                void *ctx, struct notices **ret, struct err *e);
/* Nobody puts any more.  What waits is dropped.  NULL is legal. */
void notices_free(struct notices *n);

/* Never blocks for long, never fails.  why may be NULL. */
void notices_put(struct notices *n, enum notice_kind kind, const char *name, const char *why,
                 int64_t ns);

#endif
