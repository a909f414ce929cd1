/* SPDX-License-Identifier: Apache-2.0 */
/* one_volume - what most tests of the store begin with: a store on a simulated disk, an image in
 * it, and one volume on that; and what can become of them: a clean stop, a kill, a loss of power.
 * Everything runs on the test's thread (fake_shard.h). */
#ifndef GRIDBOX_TESTS_STORE_ONE_VOLUME_H
#define GRIDBOX_TESTS_STORE_ONE_VOLUME_H

#include <stdint.h>

#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/store/sim_ops.h"

struct one_volume {
    struct rig rig;
    struct sim *sim;
    uint64_t size_bytes; /* of image and volume */
    struct layer_id image, top;
    struct volume *v; /* NULL: it is closed */
    struct blkdev *d;
    struct volume *other; /* a second one, which one_stop closes as well; NULL: there is none */
    uint64_t epoch;       /* with which it is opened next */
    unsigned named; /* tops that the last start said have lost something: it may be this one */
    int error[8];   /* of requests that were begun; PENDING before */
};

/* ---- set up and tear down ---------------------------------------------------------------------*/

/* Nothing is opened yet: options of rig may be set.  To be freed by one_tear_down. */
struct one_volume *one_new(uint64_t size_bytes);
/* Opens the store, and makes the image. */
void one_start(struct one_volume *f);
/* All of it, for cmocka: on a plain disk, a volume of 1 MiB and a journal of which a half takes 15
 * flushes of one block. */
int one_set_up_small_journal(void **state);
/* For cmocka: state holds what one_new returned, in whatever state it is. */
int one_tear_down(void **state);

/* ---- its life ---------------------------------------------------------------------------------*/

void one_open(struct one_volume *f);
void one_close(struct one_volume *f);
/* Opens the store after it was closed, killed or cut off, as the server does: what is named begins
 * an epoch.  Returns how many tops were named. */
unsigned one_start_again(struct one_volume *f);
/* Closes the volume, and the store. */
void one_stop(struct one_volume *f);
/* A clean stop, and all of it opened again. */
void one_reopen(struct one_volume *f);

/* The process dies; the machine, its page cache and the live maps go on. */
void one_die(struct one_volume *f);
void one_be_killed(struct one_volume *f); /* dies, and is opened again */

/* The power goes at once.  What was not synced is lost: some of it, or all on a plain disk. */
void one_cut(struct one_volume *f);
void one_lose_power(struct one_volume *f); /* the same, and it is opened again */

/* ---- its use ----------------------------------------------------------------------------------*/

/* Writes `count` blocks of 4096 bytes that are all `fill`; fails the test unless that succeeds. */
void one_put(struct one_volume *f, uint64_t block, unsigned count, uint8_t fill);
void one_flush(struct one_volume *f);
/* Begins to write one block of 0xA0 + i, and runs what can run; error[i] says how it ended. */
void one_begin_put(struct one_volume *f, uint64_t block, unsigned i);
/* Pretends that nothing was written for so long that the volume is committed and marked clean. */
void one_be_quiet(struct volume *v);
/* So many flushes of a block each of another volume, which is gone afterwards. */
void one_others_flush(struct one_volume *f, unsigned times);
/* Of files and of the journal, so far. */
uint64_t one_syncs(const struct one_volume *f);

#endif
