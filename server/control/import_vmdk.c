/* SPDX-License-Identifier: Apache-2.0 */
/* import_vmdk - is this VMDK file a disk that stands alone?  Only sparse files in one piece, with
 * the descriptor inside, are ("Virtual Disk Format 1.1", VMware): monolithicSparse and
 * streamOptimized. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/be.h"
#include "server/base/checked.h"
#include "server/control/import_format.h"
#include "server/control/import_view.h"

#define SECTOR          512u
#define DESCRIPTOR_MAX  (64u << 10)
#define FLAG_COMPRESSED (1u << 16)

struct vmdk_header {
    struct le32 magic; /* "KDMV" */
    struct le32 version;
    struct le32 flags;
    struct le64 disk_sectors;
    struct le64 grain_sectors;
    struct le64 descriptor_offset; /* sectors */
    struct le64 descriptor_sectors;
    struct le32 entries;
    struct le64 spare_directory;
    struct le64 directory; /* all ones: in the footer, at the end of the file */
    struct le64 overhead;
};
static_assert(sizeof(struct vmdk_header) == 72, "SparseExtentHeader up to overHead");

static const char one_file[] = "make it one file first: qemu-img convert -O qcow2 FILE disk.qcow2";

/* What the descriptor says, as far as it matters. */
struct descriptor {
    bool known_kind, other_kind, parent, unknown_extent;
    unsigned extents;
};

static bool starts(const char *line, const char *with)
{
    return strncasecmp(line, with, strlen(with)) == 0;
}

/* RW SECTORS SPARSE "NAME": the name is that of the file itself, as it was once called. */
static bool extent_is_own(char *line)
{
    char *rest = NULL;

    strtok_r(line, " \t", &rest);
    const char *sectors = strtok_r(NULL, " \t", &rest), *type = strtok_r(NULL, " \t", &rest);
    if (!sectors || !type || !rest || strcasecmp(type, "SPARSE") != 0)
        return false;
    return !strpbrk(rest, "/\\:");
}

static void read_line(char *line, struct descriptor *d)
{
    line += strspn(line, " \t");
    if (starts(line, "createType=\"monolithicSparse\"") ||
        starts(line, "createType=\"streamOptimized\""))
        d->known_kind = true;
    else if (starts(line, "createType"))
        d->other_kind = true;
    else if (starts(line, "parentCID="))
        d->parent |= !starts(line + 10, "ffffffff");
    else if (starts(line, "parentFileNameHint"))
        d->parent = true;
    else if (starts(line, "RW ") || starts(line, "RDONLY ") || starts(line, "NOACCESS ")) {
        d->extents++;
        d->unknown_extent |= !extent_is_own(line);
    }
}

static int check_descriptor(const char *text, size_t length, struct err *e)
{
    AUTO(auto_free) char *copy = strndup(text, length);
    struct descriptor d = { 0 };
    char *rest = NULL;

    if (!copy)
        return err_set(e, -ENOMEM, "out of memory");
    for (char *line = strtok_r(copy, "\r\n", &rest); line; line = strtok_r(NULL, "\r\n", &rest))
        read_line(line, &d);
    if (d.parent)
        return err_set(e, -EINVAL, "it is only a difference to another file (its parent); %s",
                       one_file);
    if (!d.known_kind || d.other_kind)
        return err_set(e, -EINVAL,
                       "its kind is not known (monolithicSparse and streamOptimized are); %s",
                       one_file);
    if (d.extents != 1 || d.unknown_extent)
        return err_set(e, -EINVAL, "it names other files (its extents); %s", one_file);
    return 0;
}

int format_vmdk(struct view *v, struct format_disk *ret, struct err *e)
{
    struct vmdk_header h = { 0 };
    const uint8_t *kept;
    uint64_t offset, length, disk_bytes;
    int rc = view_keep(v, 0, SECTOR, &kept, e);

    if (rc < 0)
        return rc;
    memcpy(&h, kept, sizeof h);
    if (get_le32(h.version) < 1 || get_le32(h.version) > 3)
        return err_set(e, -EINVAL, "its version %u is not known (1 to 3 are)", get_le32(h.version));
    if (get_le64(h.disk_sectors) == 0)
        return err_set(e, -EINVAL, "it only describes a disk in other files; %s", one_file);
    if (!checked_mul(get_le64(h.disk_sectors), SECTOR, &disk_bytes) || disk_bytes > INT64_MAX)
        return err_set(e, -EINVAL, "it holds a disk of no possible size");
    if (get_le64(h.descriptor_offset) == 0)
        return err_set(e, -EINVAL, "it is one of several files of a disk; %s", one_file);
    if (!checked_mul(get_le64(h.descriptor_offset), SECTOR, &offset) ||
        !checked_mul(get_le64(h.descriptor_sectors), SECTOR, &length) || length == 0 ||
        length > DESCRIPTOR_MAX)
        return err_set(e, -EINVAL, "it is corrupt: its descriptor has no possible place");
    rc = view_keep(v, offset, (size_t)length, &kept, e);
    if (rc == 0)
        rc = check_descriptor((const char *)kept, (size_t)length, e);
    if (rc < 0)
        return rc;
    ret->disk_bytes = disk_bytes;
    /* With a directory at the end; and of the last compressed grain more is read than there is. */
    ret->exact_end = get_le64(h.directory) == UINT64_MAX || (get_le32(h.flags) & FLAG_COMPRESSED);
    return 0;
}
