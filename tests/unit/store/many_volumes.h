/* SPDX-License-Identifier: Apache-2.0 */
/* many_volumes - some volumes on one image, on a simulated disk, that are sealed together: what the
 * tests of seals begin with.  Everything runs on the test's thread (fake_shard.h). */
#ifndef GRIDBOX_TESTS_STORE_MANY_VOLUMES_H
#define GRIDBOX_TESTS_STORE_MANY_VOLUMES_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/store/sim_ops.h"

#define MANY_VOLUMES 8
#define MANY_BLOCK   4096u
#define MANY_SIZE    (64u * MANY_BLOCK)

struct many_volumes {
    struct rig rig;
    struct sim *sim;
    struct layer_id image;
    unsigned count;
    struct volume *v[MANY_VOLUMES]; /* NULL: it is closed */
    struct blkdev *d[MANY_VOLUMES];
    struct layer_chain chain[MANY_VOLUMES]; /* below the top */
    struct seal_volume part[MANY_VOLUMES];
    struct store_seal *seal;
    uint8_t buf[4][MANY_BLOCK]; /* bytes of 0xA0 + i */
    int error[8];               /* of requests that were begun; PENDING before */
};

/* For cmocka: a store with an image; no volume yet. */
int many_set_up(void **state);
int many_tear_down(void **state);

/* New ones, of a top each on the image. */
void many_open(struct many_volumes *f, unsigned count);
void many_close(struct many_volumes *f);
/* Number i, with the top that it has now. */
void many_open_one(struct many_volumes *f, unsigned i);
void many_close_one(struct many_volumes *f, unsigned i);

/* Begins to seal all of them; as store_seal_begin. */
int many_seal(struct many_volumes *f);
/* Ends that; if committed, the new tops are what the next seal takes. */
void many_seal_end(struct many_volumes *f, bool committed);
/* What volume i showed when it was sealed last; for image_close. */
struct blkdev *many_sealed(struct many_volumes *f, unsigned i);

/* Begins to write block b of volume v with buf[i], and runs what can run; error[i] says how it
 * ended. */
void many_begin_put(struct many_volumes *f, unsigned v, unsigned b, int i);

#endif
