/* SPDX-License-Identifier: Apache-2.0 */
/* care - what is left to do after a call, in the background: files of dead layers, layers to merge,
 * images to hash.  Threads: control. */
#ifndef GRIDBOX_CONTROL_CARE_H
#define GRIDBOX_CONTROL_CARE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct care;
struct control;

int care_new(struct control *c, struct care **ret, struct err *e);
void care_free(struct care *a); /* waits for a slice under way; NULL is legal */

/* There are dead layers, or layers to merge: soon, not in this call.  NULL is legal. */
void care_kick(struct care *a);

/* Once, when jobs can run: what the server before this one has left undone. */
void care_begin(struct care *a);

/* Until it has looked at all layers once: to ask for their sizes takes long.  Its end wakes
 * HTTP_TOPIC_CARE. */
bool care_is_looking(const struct care *a);

/* What that look found to be wrong with a layer of this id, or NULL: nothing, or it has not looked.
 */
const char *care_damage(const struct care *a, const uint8_t id[static 16]);
/* Some layer of those that are still there was found to be damaged. */
bool care_found_damage(const struct care *a);

#endif
