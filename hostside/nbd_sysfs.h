/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_sysfs - what the kernel shows of its NBD devices below /sys/block.
 *
 * `base` is "/sys/block", or a directory like it in a test.  No device is opened. */
#ifndef GRIDBOX_HOSTSIDE_NBD_SYSFS_H
#define GRIDBOX_HOSTSIDE_NBD_SYSFS_H

#include <stdbool.h>
#include <stdint.h>

#include "hostside/disk_id.h"
#include "server/base/err.h"

struct nbd_sysfs_device {
    unsigned index;
    struct disk_id id;
    uint64_t size_bytes;
};

/* All devices whose `backend` is a disk_id, at most max. */
int nbd_sysfs_list(const char *base, struct nbd_sysfs_device *ret, unsigned max,
                   unsigned *ret_count, struct err *e);

int nbd_sysfs_size(const char *base, unsigned index, uint64_t *ret_bytes, struct err *e);

/* The transmission flags (proto.md) that matter to data already written and that the kernel shows
 * of a device: read-only, flush, FUA.  nbd_sysfs_visible() leaves the same ones of a handshake's.
 */
int nbd_sysfs_flags(const char *base, unsigned index, uint64_t *ret_flags, struct err *e);
uint64_t nbd_sysfs_visible(uint64_t flags);

/* How soon a request is sent again after its connection was replaced. */
int nbd_sysfs_set_io_timeout(const char *base, unsigned index, unsigned ms, struct err *e);

/* Requests wait for an answer.  False also if that cannot be read. */
bool nbd_sysfs_busy(const char *base, unsigned index);

#endif
