/* SPDX-License-Identifier: Apache-2.0 */
/* import_sink - bytes of a disk into a layer and its SHA-256.  It owns the layer writer; it must
 * never know where the bytes come from. */
#include "server/control/import_sink.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <openssl/evp.h>

#include "server/base/checked.h"

#define SECTOR      512u
#define ZEROS_BYTES (64u << 10)

struct sink {
    struct layer_writer *writer;
    EVP_MD_CTX *hash;
    uint64_t size_bytes, at;
    struct job_progress *progress;
};

static const uint8_t zeros[ZEROS_BYTES];

int import_cancelled(const struct job_progress *p, struct err *e)
{
    return atomic_load(&p->cancel) ? err_set(e, -ECANCELED, "the import was cancelled") : 0;
}

int sink_check_size(const char *what, uint64_t disk_bytes, uint64_t limit_bytes, struct err *e)
{
    if (disk_bytes == 0)
        return err_set(e, -EINVAL, "%s is empty: a disk has at least one sector", what);
    if (disk_bytes > limit_bytes)
        return err_set(e, -EFBIG,
                       "%s has a size of %llu bytes, which is over this server's limit of %llu "
                       "(image-limit)",
                       what, (unsigned long long)disk_bytes, (unsigned long long)limit_bytes);
    return 0;
}

int sink_open(struct store *store, const char *what, uint64_t disk_bytes,
              const struct import_source *source, struct job_progress *progress, struct sink **ret,
              struct err *e)
{
    int rc = sink_check_size(what, disk_bytes, source->limit_bytes, e);

    if (rc == 0 && disk_bytes > INT64_MAX - SECTOR)
        rc = err_set(e, -EFBIG, "%s is too large to be stored", what);
    if (rc < 0)
        return rc;
    struct sink *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(e, -ENOMEM, "out of memory");
    s->progress = progress;
    s->size_bytes = round_up(disk_bytes, SECTOR);
    rc = layer_create_as(store, source->layer, s->size_bytes, &s->writer, e);
    s->hash = EVP_MD_CTX_new();
    if (rc == 0 && (!s->hash || EVP_DigestInit(s->hash, EVP_sha256()) != 1))
        rc = err_set(e, -ENOMEM, "SHA-256 cannot be computed here");
    if (rc < 0) {
        sink_free(s);
        return rc;
    }
    atomic_store(&progress->done_bytes, 0);
    atomic_store(&progress->total_bytes, s->size_bytes);
    atomic_store(&progress->phase, "read");
    *ret = s;
    return 0;
}

uint64_t sink_size(const struct sink *s)
{
    return s->size_bytes;
}

uint64_t sink_at(const struct sink *s)
{
    return s->at;
}

static void advance(struct sink *s, uint64_t length)
{
    s->at += length;
    atomic_store(&s->progress->done_bytes, s->at);
}

static int hash_failed(struct err *e)
{
    return err_set(e, -EIO, "SHA-256 cannot be computed here");
}

int sink_data(struct sink *s, const void *data, uint64_t length, struct err *e)
{
    int rc = import_cancelled(s->progress, e);

    assert(range_inside(s->at, length, s->size_bytes));
    if (rc == 0)
        rc = layer_write(s->writer, s->at, data, length, e);
    if (rc == 0 && EVP_DigestUpdate(s->hash, data, length) != 1)
        rc = hash_failed(e);
    if (rc == 0)
        advance(s, length);
    return rc;
}

int sink_zeros(struct sink *s, uint64_t length, struct err *e)
{
    assert(range_inside(s->at, length, s->size_bytes));
    while (length > 0) {
        uint64_t step = length < ZEROS_BYTES ? length : ZEROS_BYTES;
        int rc = import_cancelled(s->progress, e);

        if (rc == 0 && EVP_DigestUpdate(s->hash, zeros, step) != 1)
            rc = hash_failed(e);
        if (rc < 0)
            return rc;
        length -= step;
        advance(s, step);
    }
    return 0;
}

int sink_finish(struct sink *s, struct import_result *ret, struct err *e)
{
    struct import_result r = { .size_bytes = s->size_bytes };
    int rc = import_cancelled(s->progress, e);

    assert(s->at == s->size_bytes);
    if (rc < 0)
        return rc;
    atomic_store(&s->progress->phase, "sync");
    rc = layer_seal(s->writer, &r.data_bytes, e);
    if (rc < 0)
        return rc;
    r.layer = layer_writer_id(s->writer);
    if (EVP_DigestFinal(s->hash, r.sha256, NULL) != 1)
        return hash_failed(e);
    *ret = r;
    return 0;
}

void sink_free(struct sink *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->hash);
    layer_writer_free(s->writer);
    free(s);
}
