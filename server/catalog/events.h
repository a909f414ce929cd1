/* SPDX-License-Identifier: Apache-2.0 */
/* events - what happened, for people: the last 10,000 of them.
 *
 * An event is added in the transaction of what it tells, so that neither is there without the
 * other.  Never a token in one. */
#ifndef GRIDBOX_CATALOG_EVENTS_H
#define GRIDBOX_CATALOG_EVENTS_H

#include <stdint.h>

#include "server/base/err.h"

struct catalog;

#define CAT_EVENTS_KEPT 10000

struct cat_event {
    uint64_t seq; /* grows by one; never used twice */
    int64_t at;   /* seconds since 1970 */
    char kind[32];
    char object[80]; /* the name of what it is about */
    char text[512];
};

/* Control characters in the text become '?'. */
int cat_event_add(struct catalog *c, const char *kind, const char *object, const char *text,
                  struct err *e);

/* Those after `seq`, oldest first, at most `limit`.  Ends early with what `each` answers. */
int cat_event_list(struct catalog *c, uint64_t after, unsigned limit,
                   int (*each)(void *ctx, const struct cat_event *event), void *ctx, struct err *e);

/* The newest number, 0 if there is none. */
int cat_event_last(struct catalog *c, uint64_t *ret_seq, struct err *e);

#endif
