/* SPDX-License-Identifier: Apache-2.0 */
/* import_vhdx - is this VHDX file a disk that stands alone?  Reads region table and metadata
 * ([MS-VHDX] 2.2.3 and 2.6) for its size and for a parent. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/base/be.h"
#include "server/base/checked.h"
#include "server/base/crc32c.h"
#include "server/control/import_format.h"
#include "server/control/import_view.h"

#define REGIONS_OFFSET (192u << 10)
#define TABLE_BYTES    (64u << 10) /* region table; metadata table */
#define REGIONS_MAX    2047u
#define METADATA_MAX   2047u

struct guid {
    uint8_t b[16]; /* as on disk: the first three fields are little-endian */
};

struct vhdx_regions {
    char signature[4]; /* "regi" */
    struct le32 checksum;
    struct le32 count;
    struct le32 reserved;
};
struct vhdx_region {
    struct guid guid;
    struct le64 offset;
    struct le32 length;
    struct le32 required;
};
struct vhdx_metadata {
    char signature[8]; /* "metadata" */
    struct le16 reserved;
    struct le16 count;
    struct le32 reserved2[5];
};
struct vhdx_item {
    struct guid guid;
    struct le32 offset; /* from the start of the metadata region */
    struct le32 length;
    struct le32 flags;
    struct le32 reserved;
};
static_assert(sizeof(struct vhdx_regions) == 16, "[MS-VHDX] 2.2.3.1");
static_assert(sizeof(struct vhdx_region) == 32, "[MS-VHDX] 2.2.3.2");
static_assert(sizeof(struct vhdx_metadata) == 32, "[MS-VHDX] 2.6.1.1");
static_assert(sizeof(struct vhdx_item) == 32, "[MS-VHDX] 2.6.1.2");

#define HAS_PARENT 2u /* in the second word of the file parameters */

static const struct guid region_metadata = { { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8,
                                               0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e } };
static const struct guid item_parameters = { { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3,
                                               0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b } };
static const struct guid item_disk_size = { { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2,
                                              0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 } };
static const struct guid item_parent = { { 0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab,
                                           0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c } };

static bool same(const struct guid *a, const struct guid *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static int corrupt(struct err *e, const char *what)
{
    return err_set(e, -EINVAL, "it is truncated or corrupt: %s", what);
}

static bool checksum_right(const uint8_t *table, struct le32 written)
{
    static const uint8_t zero[4];
    uint32_t crc = crc32c(0, table, 4);

    crc = crc32c(crc, zero, sizeof zero);
    return crc32c(crc, table + 8, TABLE_BYTES - 8) == get_le32(written);
}

/* Where the metadata region is. */
static int find_metadata(struct view *v, uint64_t *ret_offset, uint64_t *ret_length, struct err *e)
{
    struct vhdx_regions head = { 0 };
    struct vhdx_region r;
    const uint8_t *table;
    int rc = view_keep(v, REGIONS_OFFSET, TABLE_BYTES, &table, e);

    if (rc < 0)
        return rc;
    memcpy(&head, table, sizeof head);
    if (memcmp(head.signature, "regi", 4) != 0 || get_le32(head.count) > REGIONS_MAX ||
        !checksum_right(table, head.checksum))
        return corrupt(e, "its region table is wrong");
    for (uint32_t i = 0; i < get_le32(head.count); i++) {
        memcpy(&r, table + sizeof head + i * sizeof r, sizeof r);
        if (!same(&r.guid, &region_metadata))
            continue;
        *ret_offset = get_le64(r.offset);
        *ret_length = get_le32(r.length);
        return 0;
    }
    return corrupt(e, "it has no metadata");
}

/* The bytes of one item that was found. */
static int read_item(struct view *v, const struct vhdx_item *item, uint64_t region, uint64_t length,
                     uint8_t ret_bytes[static 8], struct err *e)
{
    const uint8_t *kept;

    if (get_le32(item->length) < 8 || !range_inside(get_le32(item->offset), 8, length))
        return corrupt(e, "its metadata is wrong");
    int rc = view_keep(v, region + get_le32(item->offset), 8, &kept, e);
    if (rc == 0)
        memcpy(ret_bytes, kept, 8);
    return rc;
}

static int has_parent(struct err *e)
{
    return err_set(e, -EINVAL,
                   "it is only a difference to another file (its parent); make it one file "
                   "first: qemu-img convert -O qcow2 FILE disk.qcow2");
}

struct found {
    bool parameters, disk_size;
    uint64_t disk_bytes;
};

static int look_at(struct view *v, const struct vhdx_item *item, uint64_t region, uint64_t length,
                   struct found *f, struct err *e)
{
    uint8_t bytes[8] = { 0 };
    struct le32 flags;
    struct le64 size;
    int rc;

    if (same(&item->guid, &item_parent))
        return has_parent(e);
    if (!same(&item->guid, &item_parameters) && !same(&item->guid, &item_disk_size))
        return 0;
    rc = read_item(v, item, region, length, bytes, e);
    if (rc < 0)
        return rc;
    memcpy(&flags, bytes + 4, sizeof flags);
    memcpy(&size, bytes, sizeof size);
    if (same(&item->guid, &item_disk_size)) {
        f->disk_size = true;
        f->disk_bytes = get_le64(size);
    } else {
        f->parameters = true;
        if (get_le32(flags) & HAS_PARENT)
            return has_parent(e);
    }
    return 0;
}

int format_vhdx(struct view *v, struct format_disk *ret, struct err *e)
{
    struct vhdx_metadata head = { 0 };
    struct found found = { 0 };
    uint64_t region = 0, length = 0;
    const uint8_t *table;
    int rc = find_metadata(v, &region, &length, e);

    if (rc == 0 && (length < TABLE_BYTES || !range_inside(region, length, v->size)))
        rc = corrupt(e, "its metadata does not lie in the file");
    if (rc == 0)
        rc = view_keep(v, region, TABLE_BYTES, &table, e);
    if (rc < 0)
        return rc;
    memcpy(&head, table, sizeof head);
    if (memcmp(head.signature, "metadata", 8) != 0 || get_le16(head.count) > METADATA_MAX)
        return corrupt(e, "its metadata is wrong");
    for (uint32_t i = 0; i < get_le16(head.count); i++) {
        struct vhdx_item item;

        memcpy(&item, table + sizeof head + i * sizeof item, sizeof item);
        rc = look_at(v, &item, region, length, &found, e);
        if (rc < 0)
            return rc;
    }
    if (!found.parameters || !found.disk_size)
        return corrupt(e, "its metadata is not complete");
    if (found.disk_bytes == 0 || found.disk_bytes > INT64_MAX)
        return err_set(e, -EINVAL, "it holds a disk of size zero, or of no possible size");
    ret->disk_bytes = found.disk_bytes;
    return 0;
}
