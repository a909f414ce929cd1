/* SPDX-License-Identifier: Apache-2.0 */
/* rig - a store on a real shard with real pools, in a temporary directory, and waiting. */
#ifndef GRIDBOX_TESTS_STORE_THREADS_RIG_H
#define GRIDBOX_TESTS_STORE_THREADS_RIG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/block/blkdev.h"
#include "server/io/pool.h"
#include "server/io/shard.h"
#include "server/store/store.h"
#include "tests/unit/unit.h"

#define SIZE   (4u << 20)
#define BLOCKS (SIZE / BLK_BLOCK)

#define CHECK(call)                                                                                \
    do {                                                                                           \
        struct err e = { 0 };                                                                      \
        int _rc = (call);                                                                          \
        if (_rc < 0)                                                                               \
            fail_msg("%s: %s", #call, e.msg);                                                      \
    } while (0)

struct rig {
    char dir[128];
    const struct file_ops *ops; /* NULL: the kernel's */
    uint64_t journal_bytes;     /* 0 = 256 KiB */
    unsigned sealed_fds;        /* as in store_options */
    struct shard *shard;
    struct pool *read_pool, *slow_pool;
    struct store *store;
    struct layer_id image; /* of SIZE bytes */
};

void rig_start(struct rig *g); /* everything, with the image */
void rig_stop(struct rig *g);
void rig_open_store(struct rig *g); /* after store_close */

/* Block b of the image is full of this byte; every 4th is zeros. */
uint8_t image_fill(uint64_t block);

struct layer_id new_id(void);
struct volume *open_volume(struct rig *g, struct layer_id top, uint64_t size);
void close_volume(struct rig *g, struct volume *v);

/* Something that happens a number of times. */
struct event {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned count;
};

#define EVENT                                                                                      \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER                        \
    }

void event_add(struct event *ev);
unsigned event_count(struct event *ev);
/* Fails the test after a minute. */
void event_wait(struct event *ev, unsigned count);

#endif
