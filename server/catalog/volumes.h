/* SPDX-License-Identifier: Apache-2.0 */
/* volumes - rows of volumes and of attachments.
 *
 * An attachment of a volume is bound to the generation and epoch that the volume had when it was
 * made; it is dead as soon as the volume's have moved on.  Generations and epochs never go back,
 * not even when a volume is removed and another one gets its name. */
#ifndef GRIDBOX_CATALOG_VOLUMES_H
#define GRIDBOX_CATALOG_VOLUMES_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/name.h"
#include "server/catalog/images.h"

struct catalog;

#define CAT_TOKEN_BYTES 16

struct cat_attachment {
    int64_t id; /* 0: there is none */
    uint8_t token[CAT_TOKEN_BYTES];
    int64_t volume_id, image_id; /* one of them; the other is 0 */
    int64_t host_id;             /* 0: the command line */
    char host[NAME_SIZE];        /* "" likewise */
    uint64_t generation, epoch;  /* what it is bound to; 0 for an image */
    int64_t since;
};

struct cat_volume {
    int64_t id; /* grows in the order of creation */
    char name[NAME_SIZE];
    int64_t image_id;
    char image_name[NAME_SIZE];
    uint32_t image_version;
    uint8_t image_layer[CAT_LAYER_BYTES];
    uint8_t top[CAT_LAYER_BYTES], below[CAT_LAYER_BYTES]; /* the top stands on below */
    uint64_t size_bytes;
    uint64_t quota_bytes; /* data that its top may hold; 0: no limit */
    uint64_t generation, epoch;
    bool failed;
    int64_t created_at;
    struct cat_attachment attachment; /* .id 0: none */
    char domain[NAME_SIZE];           /* whose disk it is, or "" */
    uint64_t snapshots;               /* that hold it; answered, never stored */
};

/* True if the volume has an attachment that still fits. */
bool cat_volume_attached(const struct cat_volume *v);

/* Adds a volume on an image, with its top layer (a random id of the caller's).  Fills *ret_id.
 *   -EEXIST  the name is taken */
int cat_volume_add(struct catalog *c, const char *name, const struct cat_image *image,
                   const uint8_t top[static CAT_LAYER_BYTES], int64_t *ret_id, struct err *e);

/* The same on any sealed layer: name, image_id, top, below, size_bytes and quota_bytes of *v. */
int cat_volume_add_on(struct catalog *c, const struct cat_volume *v, int64_t *ret_id,
                      struct err *e);

/* Its top is sealed: a new one stands on it.  Changes *v likewise. */
int cat_volume_seal(struct catalog *c, struct cat_volume *v,
                    const uint8_t new_top[static CAT_LAYER_BYTES], struct err *e);

/* It shows what `below` shows: a new empty top stands on that; generation and epoch + 1; what had
 * failed is well again.  Layers that nothing needs any more become dead ones.  Changes *v
 * likewise. */
int cat_volume_restart(struct catalog *c, struct cat_volume *v,
                       const uint8_t below[static CAT_LAYER_BYTES],
                       const uint8_t new_top[static CAT_LAYER_BYTES], struct err *e);

/* Of the volume and of its top, which nobody has written to.  Changes *v likewise. */
int cat_volume_set_size(struct catalog *c, struct cat_volume *v, uint64_t size_bytes,
                        struct err *e);

int cat_volume_set_quota(struct catalog *c, struct cat_volume *v, uint64_t quota_bytes,
                         struct err *e);

int cat_volume_get(struct catalog *c, const char *name, struct cat_volume *ret, struct err *e);

/* The one with this top layer.  -ENOENT. */
int cat_volume_by_top(struct catalog *c, const uint8_t top[static CAT_LAYER_BYTES],
                      struct cat_volume *ret, struct err *e);

/* One whose top stands directly on this layer.  -ENOENT. */
int cat_volume_by_below(struct catalog *c, const uint8_t below[static CAT_LAYER_BYTES],
                        struct cat_volume *ret, struct err *e);

/* Those that stand on this layer, at any depth.  As cat_volume_list. */
int cat_volume_list_on(struct catalog *c, const uint8_t layer[static CAT_LAYER_BYTES],
                       int (*each)(void *ctx, const struct cat_volume *v), void *ctx,
                       struct err *e);

/* In the order of creation.  Ends early with what `each` answers if that is not 0.  `each` may
 * change the catalog, but not add or remove volumes. */
int cat_volume_list(struct catalog *c, int (*each)(void *ctx, const struct cat_volume *v),
                    void *ctx, struct err *e);

/* Removes the row; layers that nothing else needs become dead ones.  -EBUSY: attached, a domain's
 * disk, or in a snapshot. */
int cat_volume_remove(struct catalog *c, const struct cat_volume *v, struct err *e);

/* The content changed by something else than its writer's requests.  -ENOENT if no volume has this
 * top layer. */
int cat_volume_raise_epoch(struct catalog *c, const uint8_t top[static CAT_LAYER_BYTES],
                           struct err *e);

/* Failed for good (an error of a sync), or served again with a higher epoch. */
int cat_volume_set_failed(struct catalog *c, const char *name, bool failed, struct err *e);

/* A new attachment of the volume, with the next generation, in the place of the present one if
 * there is one.  host_id 0: the command line.  Fills *ret and v->generation, v->attachment. */
int cat_volume_attach(struct catalog *c, struct cat_volume *v, int64_t host_id, struct err *e);

/* An attachment of an image; the present one if there is one. */
int cat_image_attach(struct catalog *c, const struct cat_image *i, struct cat_attachment *ret,
                     struct err *e);

/* No attachment is fine. */
int cat_volume_detach(struct catalog *c, const struct cat_volume *v, struct err *e);
int cat_image_detach(struct catalog *c, const struct cat_image *i, struct err *e);

/* Attachments of images. */
int cat_image_attachments(struct catalog *c, int (*each)(void *ctx, const struct cat_attachment *a),
                          void *ctx, struct err *e);

struct cat_counts {
    uint64_t images, volumes, volumes_failed, hosts, domains, snapshots, layers, dead_layers;
};
int cat_count(struct catalog *c, struct cat_counts *ret, struct err *e);

#endif
