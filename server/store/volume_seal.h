/* SPDX-License-Identifier: Apache-2.0 */
/* volume_seal - what the volumes tell a seal, and the store's list of layers has to ask.
 * The order of steps is in volume_seal.c. */
#ifndef GRIDBOX_STORE_VOLUME_SEAL_H
#define GRIDBOX_STORE_VOLUME_SEAL_H

#include <stdbool.h>

#include "server/store/store.h"

struct volume;

/* Something of the volume is over, and it has v->seal.  On the shard. */
void vol_seal_step(struct volume *v);

/* The volume is being closed.  On the shard. */
void vol_seal_leave(struct volume *v);

/* Is the layer the old or the new top of a volume that is being sealed?  Under the store's lock. */
bool store_is_sealing(const struct store *s, struct layer_id id);

#endif
