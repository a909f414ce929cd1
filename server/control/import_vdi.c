/* SPDX-License-Identifier: Apache-2.0 */
/* import_vdi - is this VirtualBox disk one that stands alone?  Checks its header, version 1.1. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/base/be.h"
#include "server/base/checked.h"
#include "server/control/import_format.h"
#include "server/control/import_view.h"

struct vdi_header {
    char text[64];
    struct le32 signature; /* the magic */
    struct le32 version;
    struct le32 header_length;
    struct le32 image_type;
    struct le32 flags;
    char description[256];
    struct le32 map_offset;
    struct le32 data_offset;
    struct le32 geometry[4]; /* cylinders, heads, sectors, bytes in a sector */
    struct le32 unused;
    struct le64 disk_bytes;
    struct le32 block_bytes;
    struct le32 block_extra;
    struct le32 blocks;
    struct le32 blocks_stored;
    uint8_t uuid_image[16], uuid_snapshot[16];
    uint8_t uuid_link[16], uuid_parent[16]; /* all zero: no parent */
};
static_assert(sizeof(struct vdi_header) == 0x1c8, "VDI 1.1: up to and with uuid_parent");
static_assert(offsetof(struct vdi_header, disk_bytes) == 0x170, "VDI 1.1");

enum { VDI_VERSION = 0x00010001, VDI_DYNAMIC = 1, VDI_FIXED = 2 };

int format_vdi(struct view *v, struct format_disk *ret, struct err *e)
{
    static const uint8_t none[16];
    struct vdi_header h = { 0 };
    const uint8_t *kept;
    uint64_t data_end;
    int rc = view_keep(v, 0, sizeof h, &kept, e);

    if (rc < 0)
        return rc;
    memcpy(&h, kept, sizeof h);
    if (get_le32(h.version) != VDI_VERSION)
        return err_set(e, -EINVAL, "its version %u.%u is not known (1.1 is)",
                       get_le32(h.version) >> 16, get_le32(h.version) & 0xffff);
    if ((get_le32(h.image_type) != VDI_DYNAMIC && get_le32(h.image_type) != VDI_FIXED) ||
        memcmp(h.uuid_link, none, sizeof none) != 0 ||
        memcmp(h.uuid_parent, none, sizeof none) != 0)
        return err_set(e, -EINVAL,
                       "it is only a difference to another file (its parent); make it one file "
                       "first: VBoxManage clonemedium FILE disk.vdi");
    if (get_le64(h.disk_bytes) == 0 || get_le64(h.disk_bytes) > INT64_MAX)
        return err_set(e, -EINVAL, "it holds a disk of size zero, or of no possible size");
    if (get_le32(h.block_bytes) != 1u << 20 || get_le32(h.block_extra))
        return err_set(e, -EINVAL, "its blocks of %u bytes are not known (1 MiB are)",
                       get_le32(h.block_bytes));
    data_end = get_le32(h.data_offset) + (uint64_t)get_le32(h.blocks_stored) * (1u << 20);
    if (get_le32(h.blocks_stored) > get_le32(h.blocks) || data_end > v->size ||
        !range_inside(get_le32(h.map_offset), (uint64_t)get_le32(h.blocks) * 4, v->size))
        return err_set(e, -EINVAL,
                       "it is truncated or corrupt: the file has %llu bytes, its header names "
                       "%llu",
                       (unsigned long long)v->size, (unsigned long long)data_end);
    ret->disk_bytes = get_le64(h.disk_bytes);
    return 0;
}
