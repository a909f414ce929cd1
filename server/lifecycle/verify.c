/* SPDX-License-Identifier: Apache-2.0 */
/* verify - the content of an image against its hash, or the hash of one that has none yet. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/lifecycle/parts.h"

#define BLOCK 4096u

int lifecycle_verify_begin(struct lifecycle *l, const struct cat_image *i,
                           struct lifecycle_verify *ret, struct err *e)
{
    struct lifecycle_verify v = { .image_id = i->id, .size_bytes = i->size_bytes };
    int rc = life_chain(l, i->layer, &v.layers, e);

    if (rc < 0)
        return err_wrap(e, rc, "image '%s@%u'", i->name, i->version);
    memcpy(v.want, i->sha256, sizeof v.want);
    *ret = v;
    return 0;
}

struct reading {
    struct lifecycle_verify *v;
    EVP_MD_CTX *hash;
    bool (*progress)(void *ctx, uint64_t done_bytes);
    void *ctx;
    uint64_t done_bytes;
};

static void reading_done(struct reading *r)
{
    EVP_MD_CTX_free(r->hash);
}

static bool all_zero(const char *p, uint64_t length)
{
    return p[0] == 0 && memcmp(p, p + 1, length - 1) == 0;
}

static int take(void *ctx, const void *data, uint64_t length)
{
    struct reading *r = ctx;
    const char *p = data;

    if (EVP_DigestUpdate(r->hash, data, length) != 1)
        return -EIO;
    for (uint64_t at = 0; at < length; at += BLOCK) {
        uint64_t n = length - at < BLOCK ? length - at : BLOCK;
        r->v->data_bytes += all_zero(p + at, n) ? 0 : n;
    }
    r->done_bytes += length;
    return r->progress && r->progress(r->ctx, r->done_bytes) ? -ECANCELED : 0;
}

static bool is_cancelled(void *ctx)
{
    struct reading *r = ctx;

    return r->progress && r->progress(r->ctx, r->done_bytes);
}

/* What was written once is compared with its checksums first: that names the place. */
static int check_layers(struct store *s, struct reading *r, struct err *e)
{
    struct layer_report report;
    int rc = 0;

    for (unsigned i = 0; i < r->v->layers.count && rc == 0; i++)
        rc = layer_check(s, r->v->layers.id[i], true, is_cancelled, r, &report, e);
    return rc;
}

int lifecycle_verify_read(struct store *s, struct lifecycle_verify *v,
                          bool (*progress)(void *ctx, uint64_t done_bytes), void *ctx,
                          struct err *e)
{
    AUTO(reading_done) struct reading r = { .v = v, .progress = progress, .ctx = ctx };

    v->data_bytes = 0;
    r.hash = EVP_MD_CTX_new();
    if (!r.hash || EVP_DigestInit(r.hash, EVP_sha256()) != 1)
        return err_set(e, -ENOMEM, "SHA-256 cannot start");
    int rc = check_layers(s, &r, e);
    if (rc == 0)
        rc = layer_chain_read(s, &v->layers, v->size_bytes, take, &r, e);
    if (rc == -ECANCELED)
        return err_set(e, rc, "cancelled");
    if (rc < 0)
        return rc;
    if (EVP_DigestFinal(r.hash, v->sha256, NULL) != 1)
        return err_set(e, -EIO, "SHA-256 cannot be computed here");
    return 0;
}

/* Was it read as it is now?  A merge may have come in between. */
static int check_same(struct lifecycle *l, const struct lifecycle_verify *v,
                      const struct cat_image *i, struct err *e)
{
    struct layer_chain now;
    int rc = life_chain(l, i->layer, &now, e);

    if (rc < 0)
        return rc;
    if (now.count != v->layers.count ||
        memcmp(now.id, v->layers.id, now.count * sizeof *now.id) != 0)
        return err_set(e, -EAGAIN, "layers of image '%s@%u' were merged meanwhile: try again",
                       i->name, i->version);
    return 0;
}

static int conclude(struct lifecycle *l, struct cat_image *i, const char *what, struct err *e)
{
    char object[80];
    int rc = cat_begin(l->catalog, e);

    if (rc < 0)
        return rc;
    snprintf(object, sizeof object, "%s@%u", i->name, i->version);
    rc = cat_image_set_state(l->catalog, i, e);
    if (rc == 0)
        rc = life_event(l, e, i->state == CAT_IMAGE_DAMAGED ? "image-damaged" : "image-verified",
                        object, "image %s: %s", object, what);
    return cat_end(l->catalog, rc, e);
}

static int damaged(struct lifecycle *l, struct cat_image *i, const char *what, struct err *e)
{
    char copy[sizeof e->msg];
    struct err why = { 0 };

    snprintf(copy, sizeof copy, "%s", what);
    i->state = CAT_IMAGE_DAMAGED;
    int rc = conclude(l, i, copy, &why);
    if (rc < 0)
        return err_set(e, rc, "%s", why.msg);
    return err_set(e, -EIO, "image '%s@%u' is damaged: %s", i->name, i->version, copy);
}

int lifecycle_verify_end(struct lifecycle *l, const struct lifecycle_verify *v, int read,
                         struct err *e)
{
    char hex[65];
    struct cat_image i;
    struct err gone = { 0 };
    int rc = cat_image_get_id(l->catalog, v->image_id, &i, &gone);

    if (rc < 0)
        return err_set(e, rc == -ENOENT ? -ESTALE : rc, "%s",
                       rc == -ENOENT ? "the image was removed meanwhile" : gone.msg);
    if (read != 0 && read != -EIO && read != -ENOENT)
        return read;
    struct err other = { 0 };
    rc = check_same(l, v, &i, &other);
    if (rc < 0)
        return err_set(e, rc, "%s", other.msg);
    if (read < 0)
        return damaged(l, &i, e ? e->msg : "it cannot be read", e);
    hex_encode(v->sha256, sizeof v->sha256, hex);
    if (v->want[0] && strcmp(hex, v->want) != 0)
        return damaged(l, &i, "its SHA-256 is another one than when it was made", e);
    memcpy(i.sha256, hex, sizeof i.sha256);
    i.state = CAT_IMAGE_VERIFIED;
    i.data_bytes = v->data_bytes;
    return conclude(l, &i, v->want[0] ? "it is as it was made" : "it was hashed", e);
}
