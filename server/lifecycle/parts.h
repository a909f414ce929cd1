/* SPDX-License-Identifier: Apache-2.0 */
/* parts - what the verbs have in common: events, and telling exports of new chains. */
#ifndef GRIDBOX_LIFECYCLE_PARTS_H
#define GRIDBOX_LIFECYCLE_PARTS_H

#include "server/lifecycle/lifecycle.h"

/* An event, in the transaction of what it tells of. */
int life_event(struct lifecycle *l, struct err *e, const char *kind, const char *object,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* There may be dead layers or pairs to merge. */
void life_work(struct lifecycle *l);

/* "volume NAME", or "N volumes": into ret, for events. */
const char *life_count(const struct cat_volume *v, unsigned count, char ret[static 96]);

/* The chain from this layer down. */
int life_chain(struct lifecycle *l, const uint8_t id[static CAT_LAYER_BYTES],
               struct layer_chain *ret, struct err *e);

/* Chains that exports are to be told of: read in the transaction that changes them, told when it is
 * over. */
struct respec {
    char name[80];
    struct layer_id top;
    struct layer_chain chain;
};
struct respec_list {
    struct respec *item; /* heap */
    unsigned count, room;
};
void respec_done(struct respec_list *list); /* idempotent */

/* Nothing is added if nothing is exported. */
int respec_add(struct lifecycle *l, struct respec_list *list, const char *name, const uint8_t *top,
               const uint8_t below[static CAT_LAYER_BYTES], struct err *e);
void respec_send(struct lifecycle *l, const struct respec_list *list);

#endif
