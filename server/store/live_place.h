/* SPDX-License-Identifier: Apache-2.0 */
/* live_place - where a live file lies, and what it must say to be believed (live.h).
 *
 * Owns nothing.  Must never know slots or maps.  Threads: any; blocks. */
#ifndef GRIDBOX_STORE_LIVE_PLACE_H
#define GRIDBOX_STORE_LIVE_PLACE_H

#include <limits.h>

#include "server/base/err.h"
#include "server/store/live.h"
#include "server/store/live_file.h"

struct live_place {
    int dir_fd; /* owned by the caller; -1 = none */
    char path[PATH_MAX];
};

/* The number-th directory to try, made if absent: 0700, ours, and a tmpfs unless it was asked for
 * or lies in STATE.  0; 1: there is no such number; negative, with words: it cannot be used. */
int live_place_open(const struct live_options *o, unsigned number, struct live_place *ret,
                    struct err *e);

/* Fills in what is known of this process and its store.  The instance is what STATE says, all zero
 * if it says nothing. */
int live_expect(const struct live_options *o, uint32_t slots, struct live_header *ret,
                struct err *e);

/* A new instance, durable in STATE: no live file that was made before is believed any more. */
int live_new_instance(const struct live_options *o, struct disk_id *ret, struct err *e);

#endif
