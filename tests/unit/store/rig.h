/* SPDX-License-Identifier: Apache-2.0 */
/* rig - a store in a temporary directory, with images, volumes and requests, for the store's tests.
 * Everything runs on the test's thread (fake_shard.h). */
#ifndef GRIDBOX_TESTS_STORE_RIG_H
#define GRIDBOX_TESTS_STORE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "server/block/blkdev.h"
#include "server/store/store.h"
#include "tests/unit/unit.h"

struct file_ops;

struct rig {
    char dir[128], live[136];   /* live: where its live maps lie, in dir */
    const struct file_ops *ops; /* NULL: the kernel's */
    uint64_t journal_bytes;
    unsigned log_blocks;       /* as in store_options */
    uint32_t live_slots;       /* 0: 256 */
    struct pool *journal_pool; /* as in store_options */
    struct store *store;
    unsigned failures;    /* volumes that said that they failed */
    unsigned parked;      /* that said that their writes wait for room, and not that they go on */
    char why[128];        /* of the last of these */
    uint64_t quota_bytes; /* of volumes that are opened */
};

/* Fails the test, with the message, when rc is not what was wanted. */
#define CHECK(call)                                                                                \
    do {                                                                                           \
        struct err e = { 0 };                                                                      \
        int _rc = (call);                                                                          \
        if (_rc < 0)                                                                               \
            fail_msg("%s: %s", #call, e.msg);                                                      \
    } while (0)

void rig_init(struct rig *g); /* makes the directory; opens nothing */
struct store_options rig_options(struct rig *g);
void rig_open(struct rig *g); /* store_open; fails the test when that does */
/* What the live file holds, and the same put there again: the memory of a process that dies and of
 * the one after it.  NULL: no file (the machine was started anew). */
void *rig_live_copy(const struct rig *g, size_t *ret_length);
void rig_live_put(const struct rig *g, const void *copy, size_t length);

void rig_close(struct rig *g);  /* runs what is left, then store_close */
void rig_remove(struct rig *g); /* deletes the directory */

/* How many files lie in layers/. */
unsigned rig_files(const struct rig *g);

/* Byte i of block b of an image: never 0, differs from block to block. */
uint8_t image_byte(uint64_t offset);

/* An image of this size whose blocks hold image_byte(), but for every 4th, which is zeros. */
struct layer_id rig_image(struct rig *g, uint64_t size_bytes);

struct layer_id rig_new_id(void);
/* A chain of this one layer; good until the next call. */
const struct layer_chain *rig_chain(struct layer_id id);
struct volume *rig_volume(struct rig *g, struct layer_id top, struct layer_id below,
                          uint64_t size_bytes, uint64_t epoch);
void rig_volume_close(struct volume *v); /* waits for drained() */

/* One request, run until it is done; returns its error.  flags: BLK_FUA … */
int rig_io(struct blkdev *d, enum blk_op op, uint32_t flags, uint64_t offset, uint64_t length,
           void *buf);

/* The same, begun only; *ret_error becomes its error, before it 1. */
#define PENDING 1
void rig_begin(struct blkdev *d, enum blk_op op, uint32_t flags, uint64_t offset, uint64_t length,
               void *buf, int *ret_error);

/* Fails the test unless the device reads so. */
void expect_bytes(struct blkdev *d, uint64_t offset, uint64_t length, const uint8_t *want);
void expect_fill(struct blkdev *d, uint64_t offset, uint64_t length, uint8_t want);
void expect_image(struct blkdev *d, uint64_t offset, uint64_t length);
void fill_image(uint8_t *buf, uint64_t offset, uint64_t length);

#endif
