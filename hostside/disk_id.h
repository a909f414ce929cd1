/* SPDX-License-Identifier: Apache-2.0 */
/* disk_id - which life of which volume a device is: VOLUME.GENERATION.EPOCH.
 *
 * This text is the `backend` of a kernel NBD device and part of a domain's marks in xenstore, so an
 * agent that starts anew knows what it finds. */
#ifndef GRIDBOX_HOSTSIDE_DISK_ID_H
#define GRIDBOX_HOSTSIDE_DISK_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/name.h"

struct contract_disk;

struct disk_id {
    char volume[NAME_SIZE];
    uint64_t generation, epoch;
};

#define DISK_ID_SIZE 112 /* bytes of the text with its NUL */

struct disk_id disk_id_of(const struct contract_disk *disk);
bool disk_id_equal(const struct disk_id *a, const struct disk_id *b);
void disk_id_text(const struct disk_id *id, char ret_text[static DISK_ID_SIZE]);

/* 0, or -EINVAL when the text is not one of ours. */
int disk_id_parse(const char *text, struct disk_id *ret);

#endif
