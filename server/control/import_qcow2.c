/* SPDX-License-Identifier: Apache-2.0 */
/* import_qcow2 - is this qcow2 file a disk that stands alone?  Checks its header and header
 * extensions, as in QEMU's docs/interop/qcow2.txt.  It reads no data; tables are qemu's business.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/base/be.h"
#include "server/base/checked.h"
#include "server/control/import_format.h"
#include "server/control/import_view.h"

struct qcow2_header {
    struct be32 magic; /* "QFI\xfb" */
    struct be32 version;
    struct be64 backing_offset;
    struct be32 backing_length;
    struct be32 cluster_bits;
    struct be64 disk_bytes;
    struct be32 crypt_method;
    struct be32 l1_entries;
    struct be64 l1_offset;
    struct be64 refcounts_offset;
    struct be32 refcounts_clusters;
    struct be32 snapshots;
    struct be64 snapshots_offset;
    /* Version 3 alone. */
    struct be64 incompatible;
    struct be64 compatible;
    struct be64 autoclear;
    struct be32 refcount_order;
    struct be32 header_length;
};
static_assert(sizeof(struct qcow2_header) == 104, "qcow2.txt: 104 bytes in version 3");
static_assert(offsetof(struct qcow2_header, incompatible) == 72, "qcow2.txt: 72 in version 2");

#define V2_LENGTH 72u

enum {
    INCOMPATIBLE_DIRTY = 1, /* refcounts may be wrong: no matter for reading */
    INCOMPATIBLE_CORRUPT = 2,
    INCOMPATIBLE_DATA_FILE = 4,
    INCOMPATIBLE_COMPRESSION = 8, /* another one than zlib */
    INCOMPATIBLE_EXTENDED_L2 = 16,
    INCOMPATIBLE_KNOWN = 31,
};

struct qcow2_extension {
    struct be32 type, length; /* then `length` bytes, padded to a multiple of 8 */
};

#define EXTENSION_END       0u
#define EXTENSION_DATA_FILE 0x44415441u
#define EXTENSION_CRYPT     0x0537be77u

static int encrypted(struct err *e)
{
    return err_set(e, -EINVAL, "it is encrypted; decrypt it first with qemu-img convert");
}

static int data_elsewhere(struct err *e)
{
    return err_set(e, -EINVAL,
                   "its data lies in another file (an external data file); make it one file "
                   "first: qemu-img convert -O qcow2 FILE disk.qcow2");
}

static int check_features(const struct qcow2_header *h, struct err *e)
{
    uint64_t bits = get_be64(h->incompatible);

    if (bits & INCOMPATIBLE_CORRUPT)
        return err_set(e, -EINVAL,
                       "it is marked as corrupt; repair it first: qemu-img check -r all FILE");
    if (bits & INCOMPATIBLE_DATA_FILE)
        return data_elsewhere(e);
    if (bits & ~(uint64_t)INCOMPATIBLE_KNOWN)
        return err_set(e, -EINVAL, "it uses features that are not known here (bits %llx)",
                       (unsigned long long)bits);
    return 0;
}

/* cluster: the first one, which holds the header and all its extensions. */
static int check_extensions(const uint8_t *cluster, uint64_t at, uint64_t end, struct err *e)
{
    struct qcow2_extension x;

    while (end - at >= sizeof x) {
        memcpy(&x, cluster + at, sizeof x);
        uint32_t type = get_be32(x.type), length = get_be32(x.length);
        at += sizeof x;
        if (type == EXTENSION_END)
            return 0;
        if (type == EXTENSION_DATA_FILE)
            return data_elsewhere(e);
        if (type == EXTENSION_CRYPT)
            return encrypted(e);
        if (length > end - at)
            break;
        at += round_up(length, 8) < end - at ? round_up(length, 8) : end - at;
    }
    return at == end ? 0 : err_set(e, -EINVAL, "its header extensions are corrupt");
}

/* The tables that the header names lie in the file. */
static int check_tables(const struct view *v, const struct qcow2_header *h, uint64_t cluster,
                        struct err *e)
{
    uint64_t l1 = get_be64(h->l1_offset), refs = get_be64(h->refcounts_offset);
    uint64_t covered = cluster * (cluster / 8); /* by one L1 entry; twice the truth is no harm */
    uint64_t entries = get_be32(h->l1_entries);

    if (l1 % cluster || refs % cluster || !range_inside(l1, entries * 8, v->size) ||
        !range_inside(refs, get_be32(h->refcounts_clusters) * cluster, v->size))
        return err_set(e, -EINVAL,
                       "it is truncated or corrupt: its tables do not lie in the file of %llu "
                       "bytes",
                       (unsigned long long)v->size);
    if (entries < (get_be64(h->disk_bytes) - 1) / covered + 1)
        return err_set(e, -EINVAL, "it is corrupt: its L1 table is too small for its size");
    return 0;
}

int format_qcow2(struct view *v, struct format_disk *ret, struct err *e)
{
    struct qcow2_header h = { 0 };
    const uint8_t *kept;
    uint64_t header_length = V2_LENGTH;
    int rc = view_keep(v, 0, sizeof h, &kept, e);

    if (rc < 0)
        return rc;
    memcpy(&h, kept, sizeof h);
    if (get_be32(h.version) != 2 && get_be32(h.version) != 3)
        return err_set(e, -EINVAL,
                       "its version %u is not known (2 and 3 are); convert it first: qemu-img "
                       "convert -O qcow2 FILE disk.qcow2",
                       get_be32(h.version));
    if (get_be64(h.backing_offset) || get_be32(h.backing_length))
        return err_set(e, -EINVAL,
                       "it is only a difference to another file (its backing file); make it one "
                       "file first: qemu-img convert -O qcow2 FILE disk.qcow2");
    if (get_be32(h.crypt_method))
        return encrypted(e);
    if (get_be32(h.cluster_bits) < 9 || get_be32(h.cluster_bits) > 21)
        return err_set(e, -EINVAL, "it is corrupt: clusters of 2^%u bytes do not exist",
                       get_be32(h.cluster_bits));
    if (get_be64(h.disk_bytes) == 0 || get_be64(h.disk_bytes) > INT64_MAX)
        return err_set(e, -EINVAL, "it holds a disk of size zero, or of no possible size");

    uint64_t cluster = 1ull << get_be32(h.cluster_bits);
    if (get_be32(h.version) == 3) {
        header_length = get_be32(h.header_length);
        rc = check_features(&h, e);
        if (rc < 0)
            return rc;
    }
    if (header_length < (get_be32(h.version) == 3 ? sizeof h : V2_LENGTH) || header_length % 8 ||
        header_length > cluster)
        return err_set(e, -EINVAL, "it is corrupt: its header is %llu bytes long",
                       (unsigned long long)header_length);
    rc = view_keep(v, 0, (size_t)cluster, &kept, e);
    if (rc == 0)
        rc = check_extensions(kept, header_length, cluster, e);
    if (rc == 0)
        rc = check_tables(v, &h, cluster, e);
    if (rc == 0)
        ret->disk_bytes = get_be64(h.disk_bytes);
    return rc;
}
