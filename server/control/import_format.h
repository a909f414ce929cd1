/* SPDX-License-Identifier: Apache-2.0 */
/* import_format - what kind of disk a file holds, and whether it is one that stands alone.
 *
 * The first bytes decide, never the name.  A foreign format is examined here before any other
 * program sees it: a file that names another one (backing file, parent, data file, extents), is
 * encrypted, or whose header contradicts the file is refused.
 * No I/O but through the view; every number is hostile. */
#ifndef GRIDBOX_CONTROL_IMPORT_FORMAT_H
#define GRIDBOX_CONTROL_IMPORT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct view;

enum format {
    FORMAT_RAW, /* everything whose first bytes are nothing else */
    FORMAT_QCOW2,
    FORMAT_VMDK,
    FORMAT_VDI,
    FORMAT_VHDX,
    FORMAT_COUNT
};

struct format_disk {
    enum format format;
    uint64_t disk_bytes; /* virtual size, as the header says; more than 0 */
    bool exact_end;      /* its reader looks for the file's end, or beyond it on purpose */
};

/* "qcow2"; also qemu's name of the driver. */
const char *format_name(enum format f);

/* 0, or -EINVAL in words: compressed, an archive, a format that is not read, or a file that does
 * not stand alone, or is corrupt; or as view_keep.  What was looked at is kept in the view. */
int format_examine(struct view *v, struct format_disk *ret, struct err *e);

/* One each; the magic has been seen.  The same returns; they fill *ret but for its format. */
int format_qcow2(struct view *v, struct format_disk *ret, struct err *e);
int format_vmdk(struct view *v, struct format_disk *ret, struct err *e);
int format_vdi(struct view *v, struct format_disk *ret, struct err *e);
int format_vhdx(struct view *v, struct format_disk *ret, struct err *e);

#endif
