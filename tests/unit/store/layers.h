/* SPDX-License-Identifier: Apache-2.0 */
/* layers - sealed layers on each other, for the store's tests (rig.h). */
#ifndef GRIDBOX_TESTS_STORE_LAYERS_H
#define GRIDBOX_TESTS_STORE_LAYERS_H

#include "tests/unit/store/rig.h"

/* A volume on this chain, or rather its top: closed by rig_volume_close. */
struct volume *volume_on(struct rig *g, struct layer_id top, const struct layer_chain *below,
                         uint64_t size_bytes);

/* A layer on this chain that holds `byte` in each of these blocks and zeros where byte is 0 (they
 * were trimmed).  Sealed in so far as nobody has it open. */
struct layer_id layer_on(struct rig *g, const struct layer_chain *below, uint64_t size_bytes,
                         const uint64_t *blocks, unsigned count, uint8_t byte);

/* id, then what is in below. */
struct layer_chain chain_of(struct layer_id id, const struct layer_chain *below);

struct blkdev *image_of_chain(struct rig *g, const struct layer_chain *c, uint64_t size_bytes);

/* Flips a bit of this block in the layer's data file, as a bad disk would. */
void damage_block(const struct rig *g, struct layer_id id, uint64_t block);

/* The path of one of its files. */
void layer_path(const struct rig *g, struct layer_id id, const char *suffix, char ret[256]);

#endif
