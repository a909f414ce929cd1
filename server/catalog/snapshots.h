/* SPDX-License-Identifier: Apache-2.0 */
/* snapshots - rows of snapshots: one name for what many volumes showed at one instant. */
#ifndef GRIDBOX_CATALOG_SNAPSHOTS_H
#define GRIDBOX_CATALOG_SNAPSHOTS_H

#include <stdint.h>

#include "server/base/err.h"
#include "server/base/name.h"
#include "server/catalog/images.h"

struct catalog;

struct cat_snapshot {
    int64_t id; /* grows in the order of creation */
    char name[NAME_SIZE];
    int64_t created_at;
    uint64_t volumes; /* that it holds; answered, never stored */
};

/* What it holds of one volume. */
struct cat_snapshot_volume {
    int64_t volume_id;
    char volume[NAME_SIZE];
    uint8_t layer[CAT_LAYER_BYTES]; /* sealed; what the volume showed; an image's own, perhaps */
    uint64_t size_bytes;            /* of the volume then */
    bool image;                     /* out: it is an image's own */
};

/* An empty one.  Fills *ret.  -EEXIST. */
int cat_snapshot_add(struct catalog *c, const char *name, struct cat_snapshot *ret, struct err *e);

/* v->volume is not used.  -EEXIST: it holds this volume already. */
int cat_snapshot_hold(struct catalog *c, int64_t id, const struct cat_snapshot_volume *v,
                      struct err *e);

int cat_snapshot_get(struct catalog *c, const char *name, struct cat_snapshot *ret, struct err *e);

/* volume_id 0: of all volumes.  In the order of creation; ends early with what `each` answers. */
int cat_snapshot_list(struct catalog *c, int64_t volume_id,
                      int (*each)(void *ctx, const struct cat_snapshot *s), void *ctx,
                      struct err *e);

/* What it holds, in the order of the volumes' creation; `each` may not change it. */
int cat_snapshot_volumes(struct catalog *c, int64_t id,
                         int (*each)(void *ctx, const struct cat_snapshot_volume *v), void *ctx,
                         struct err *e);

/* -ENOENT: it does not hold this volume. */
int cat_snapshot_volume(struct catalog *c, const struct cat_snapshot *s, int64_t volume_id,
                        struct cat_snapshot_volume *ret, struct err *e);

/* Removes it; its layers that nothing else needs become dead ones. */
int cat_snapshot_remove(struct catalog *c, int64_t id, struct err *e);

/* Takes the volume out of all snapshots; layers that nothing else needs become dead ones, and
 * snapshots that are empty then are removed. */
int cat_snapshot_drop_volume(struct catalog *c, int64_t volume_id, struct err *e);

#endif
