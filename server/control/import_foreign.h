/* SPDX-License-Identifier: Apache-2.0 */
/* import_foreign - reads the disk in a qcow2, vmdk, vdi or vhdx file through a locked-in qemu-nbd.
 */
#ifndef GRIDBOX_CONTROL_IMPORT_FOREIGN_H
#define GRIDBOX_CONTROL_IMPORT_FOREIGN_H

#include "server/base/err.h"
#include "server/control/import.h"

struct format_disk;
struct view;

/* As import_run, of a file that format_examine has accepted; all but ret->format is filled. */
int foreign_read(struct store *store, const struct import_source *source, const struct view *view,
                 const struct format_disk *disk, struct job_progress *progress,
                 struct import_result *ret, struct err *e);

#endif
