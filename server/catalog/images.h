/* SPDX-License-Identifier: Apache-2.0 */
/* images - rows of images: immutable golden disks, NAME@VERSION. */
#ifndef GRIDBOX_CATALOG_IMAGES_H
#define GRIDBOX_CATALOG_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/name.h"

struct catalog;

#define CAT_LAYER_BYTES 16

enum cat_image_state {
    CAT_IMAGE_VERIFIED,   /* its content was hashed, at import or since */
    CAT_IMAGE_UNVERIFIED, /* promoted: no hash yet */
    CAT_IMAGE_DAMAGED,    /* it did not fit its hash, or could not be read */
};

struct cat_image {
    int64_t id;
    char name[NAME_SIZE];
    uint32_t version;
    uint8_t layer[CAT_LAYER_BYTES];
    uint64_t size_bytes, data_bytes;
    char sha256[65]; /* of the disk's content, hex; "": not known yet */
    enum cat_image_state state;
    char source[512]; /* where it came from, for people; never a password */
    char format[16];  /* "raw", "qcow2", … */
    int64_t created_at;
    uint64_t volumes; /* made from it; answered, never stored */
    bool attached;    /* has an attachment; likewise */
};

/* Adds an image and its layer, which may have been expected; gives it the next version of its name.
 * Fills i->id and i->version. -EOVERFLOW  the name has used up its versions */
int cat_image_add(struct catalog *c, struct cat_image *i, struct err *e);

/* The same on a sealed layer that is there already. */
int cat_image_add_on(struct catalog *c, struct cat_image *i, struct err *e);

/* sha256, data_bytes and state, by id. */
int cat_image_set_state(struct catalog *c, const struct cat_image *i, struct err *e);

/* "verified" … */
const char *cat_image_state_name(enum cat_image_state state);

/* version 0: the newest.  -ENOENT "there is no image …" */
int cat_image_get(struct catalog *c, const char *name, uint32_t version, struct cat_image *ret,
                  struct err *e);

/* By id.  -ENOENT. */
int cat_image_get_id(struct catalog *c, int64_t id, struct cat_image *ret, struct err *e);

/* How many versions a name has now (0 = none): 0 or -errno. */
int cat_image_versions(struct catalog *c, const char *name, uint64_t *ret, struct err *e);

/* In the order of name and version.  Ends early with what `each` answers if that is not 0. */
int cat_image_list(struct catalog *c, int (*each)(void *ctx, const struct cat_image *i), void *ctx,
                   struct err *e);

/* Removes the row; layers that nothing else needs become dead ones (layers.h).  -EBUSY while
 * something uses it. */
int cat_image_remove(struct catalog *c, const struct cat_image *i, struct err *e);

#endif
