/* SPDX-License-Identifier: Apache-2.0 */
/* rig - a whole NBD service on 127.0.0.1 over RAM disks, for tests: shard, exports, service. */
#ifndef GRIDBOX_TESTS_NBD_RIG_H
#define GRIDBOX_TESTS_NBD_RIG_H

#include <semaphore.h>
#include <stdatomic.h>

#include "server/block/blk_fault.h"
#include "server/block/blk_mem.h"
#include "server/export/backend.h"
#include "server/export/export.h"
#include "server/io/shard.h"
#include "server/nbd/service.h"

#define RIG_DISKS 4
#define RIG_SIZE  (64u << 20)

/* A RAM disk with a device before it that can hold or fail requests. */
struct rig_disk {
    struct blkdev *mem, *fault;
    atomic_uint opens, closes;
};

/* Disk n is called "disk-N" (writable), its token is 16 times the byte N. */
struct rig {
    struct shard *shard;
    struct export_backend backend;
    struct export_table *exports;
    struct nbd_service *service;
    char address[NET_ADDRESS_SIZE];
    int open_error; /* what the next open of any disk fails with */
    struct rig_disk disks[RIG_DISKS];
};

struct rig *rig_start(const struct nbd_limits *limits);
void rig_stop(struct rig *r);

/* Grants disk n, writable or not; token_byte is what its token consists of. */
void rig_grant(struct rig *r, unsigned n, bool writable, uint8_t token_byte);
/* "disk-N.TOKEN" */
const char *rig_name(char *ret_name, unsigned n, uint8_t token_byte);

/* The content of a disk, with all that the shard has done to it; after a change of it by the test,
 * to be called again. */
uint8_t *rig_bytes(struct rig *r, unsigned n);
uint64_t rig_count(struct rig *r, unsigned n, unsigned op);

/* Lends from now on, or no more; how many loans are out.  rig_stop() wants none. */
void rig_lending(struct rig *r, unsigned n, bool on);
unsigned rig_loans(struct rig *r, unsigned n);

/* Runs on the shard. */
void rig_hold(struct rig *r, unsigned n, unsigned op, bool on);
void rig_fail(struct rig *r, unsigned n, unsigned op, unsigned times, int error);
unsigned rig_release(struct rig *r, unsigned n, unsigned count);
bool rig_holds(struct rig *r, unsigned n, unsigned count); /* so many requests, at least */
/* Waits until `count` requests are held; false after 10 s. */
bool rig_wait_held(struct rig *r, unsigned n, unsigned count);

#endif
