/* SPDX-License-Identifier: Apache-2.0 */
/* import_format - tells formats by their first bytes.  What is inside a format is the business of
 * import_qcow2.c, import_vmdk.c, import_vdi.c and import_vhdx.c. */
#include "server/control/import_format.h"

#include <errno.h>
#include <string.h>

#include "server/control/import_view.h"

#define HEAD_BYTES 512u

static const struct {
    const char *name;
    int (*examine)(struct view *v, struct format_disk *ret, struct err *e);
} formats[FORMAT_COUNT] = {
    [FORMAT_RAW] = { "raw", NULL },          [FORMAT_QCOW2] = { "qcow2", format_qcow2 },
    [FORMAT_VMDK] = { "vmdk", format_vmdk }, [FORMAT_VDI] = { "vdi", format_vdi },
    [FORMAT_VHDX] = { "vhdx", format_vhdx },
};

#define CONVERT "; convert it first: qemu-img convert -O raw FILE disk.raw"

/* The first bytes of what we know.  A row with words is refused with them. */
static const struct {
    unsigned offset, length;
    const char *magic;
    enum format format;
    const char *words;
} magics[] = {
    { 0, 4, "QFI\xfb", FORMAT_QCOW2, NULL },
    { 0, 4, "KDMV", FORMAT_VMDK, NULL },
    { 64, 4, "\x7f\x10\xda\xbe", FORMAT_VDI, NULL },
    { 0, 8, "vhdxfile", FORMAT_VHDX, NULL },
    { 0, 21, "# Disk DescriptorFile", FORMAT_VMDK,
      "a VMDK that only describes a disk in other files; make it one file first: "
      "qemu-img convert -O qcow2 FILE disk.qcow2" },
    { 0, 4, "COWD", FORMAT_VMDK, "a VMDK of the old ESX kind, which is not read here" CONVERT },
    { 0, 4, "QED\0", FORMAT_RAW, "a QED file, a format that is not read here" CONVERT },
    { 0, 8, "conectix", FORMAT_RAW,
      "a VHD file (not VHDX), a format that is not read here" CONVERT },
    { 0, 2, "\x1f\x8b", FORMAT_RAW, "compressed with gzip; unpack it first: gunzip FILE" },
    { 0, 6,
      "\xfd"
      "7zXZ\0",
      FORMAT_RAW, "compressed with xz; unpack it first: unxz FILE" },
    { 0, 4, "\x28\xb5\x2f\xfd", FORMAT_RAW, "compressed with zstd; unpack it first: unzstd FILE" },
    { 0, 3, "BZh", FORMAT_RAW, "compressed with bzip2; unpack it first: bunzip2 FILE" },
    { 0, 4, "PK\3\4", FORMAT_RAW, "a ZIP archive; unpack it and import the disk inside" },
    { 0, 6, "7z\xbc\xaf\x27\x1c", FORMAT_RAW,
      "a 7-Zip archive; unpack it and import the disk inside" },
    { 257, 5, "ustar", FORMAT_RAW,
      "a tar archive (OVA?); unpack it and import the disk inside: tar -xf FILE" },
};

const char *format_name(enum format f)
{
    return formats[f].name;
}

int format_examine(struct view *v, struct format_disk *ret, struct err *e)
{
    uint8_t head[HEAD_BYTES] = { 0 };
    const uint8_t *kept;
    size_t length = v->size < HEAD_BYTES ? (size_t)v->size : HEAD_BYTES;
    enum format found = FORMAT_RAW;
    int rc = view_keep(v, 0, length, &kept, e);

    if (rc < 0)
        return rc;
    memcpy(head, kept, length);
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        if (memcmp(head + magics[i].offset, magics[i].magic, magics[i].length) != 0)
            continue;
        if (magics[i].words)
            return err_set(e, -EINVAL, "it is %s", magics[i].words);
        found = magics[i].format;
        break;
    }

    struct format_disk disk = { .format = found, .disk_bytes = v->size };
    if (formats[found].examine) {
        rc = formats[found].examine(v, &disk, e);
        if (rc < 0)
            return err_wrap(e, rc, "it is a %s file that cannot be imported", formats[found].name);
    }
    *ret = disk;
    return 0;
}
