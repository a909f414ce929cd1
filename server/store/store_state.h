/* SPDX-License-Identifier: Apache-2.0 */
/* store_state - the one struct store, for the files of this room that share it.
 *
 * Locks, in the order in which they may be taken: files_lock, then lock, then journal.lock.  None
 * is held across a callback; files_lock and lock are held across file work, so never on a shard
 * (the shard takes `lock` only to note that a device is gone, see store_layer_put). Everything
 * under "the shard's" is touched on that thread alone. */
#ifndef GRIDBOX_STORE_STORE_STATE_H
#define GRIDBOX_STORE_STORE_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/io/shard.h"
#include "server/store/ballast.h"
#include "server/store/committer.h"
#include "server/store/journal.h"
#include "server/store/layer.h"
#include "server/store/op_cache.h"
#include "server/store/stats.h"
#include "server/store/store.h"
#include "server/store/usage.h"

struct chain;
struct stack;
struct store_seal;
struct volume;

#define STORE_BUCKETS 256u

/* Tops whose files are being made (volume_make.c); the shard's but for the job. */
struct maker {
    struct volume *waiting, *group;
    struct shard_task task;
    struct pool_job job; /* uses group, error */
    int error;
};

/* Volumes whose data files are synced for what the journal holds of them (volume_log.c); the
 * shard's but for the job. */
struct payer {
    struct volume *group; /* NULL: nothing is under way */
    struct pool_job job;  /* uses group */
};

struct store {
    const struct file_ops *ops;
    struct shard *shard;
    struct pool *read_pool, *slow_pool, *journal_pool;
    char *path;
    int state_fd, lock_fd;
    struct layer_dir dir;
    struct journal journal;
    const char *durability;
    struct live *live; /* maps of tops, for the process after this one */
    enum store_past past;

    pthread_mutex_t files_lock; /* a layer's files are being replaced or deleted */
    pthread_mutex_t lock;       /* guards what follows, up to background */
    pthread_cond_t idle;
    struct layer *layers[STORE_BUCKETS]; /* that are open (open_layers.h), by the id's first byte */
    struct stack *stacks;                /* that are open (stack.h) */
    struct shard_gate *layer_gone;       /* opened when a layer is freed; NULL: nobody waits */
    struct chain *chains;                /* of the devices */
    struct layer *adopted;               /* tops of a process that was killed (adopt.h) */
    unsigned opening;                    /* of these: taken, and not among the volumes yet */
    struct id_set unsynced;              /* others that it was writing to; made at start */
    struct settle *settling;             /* of these, those that are being brought to disk */
    struct store_seal *seals;            /* that are under way (volume_seal.c) */
    unsigned background;                 /* jobs of the store itself that have not ended */
    struct shard_gate *no_background;    /* opens when there are none; for store_close */

    struct store_events events;
    struct usage usage;   /* of layers that are not open */
    _Atomic unsigned fds; /* of sealed layers that are open */
    unsigned fd_limit;    /* so many of them stay open */

    /* The shard's. */
    uint64_t fd_clock; /* rises when another sealed layer is read than the last time */
    struct committer committer;
    struct maker maker;
    struct payer payer;
    struct op_cache read_ops, volume_ops, bounces;
    struct volume *volumes;  /* that have been written to */
    struct shard_timer tick; /* marks volumes clean; set while there are such volumes */
    struct shard_timer settle_timer;
    struct ballast ballast;
    struct pool_job reballast; /* makes it again; park_timer has it done */
    bool reballasting;
    struct shard_timer park_timer; /* tries parked writes again; set while there are any */
    unsigned parked_volumes;       /* with such writes */
    uint64_t park_round;           /* how often the timer went off */
    bool closing;
    unsigned log_blocks;     /* a flush of more syncs the data file; at most VOL_LOG_BLOCKS */
    bool no_probe;           /* the file system cannot read without waiting */
    int64_t slow_until_ns;   /* a write took long: writes go to the pool until then */
    uint64_t unsynced_bytes; /* written since the syncs of their volumes */
    uint64_t unsynced_limit; /* beyond it writes go to the pool */
    struct store_stats stats;
};

/* A job of the store itself begins or has ended; store_close waits for them. */
void store_background(struct store *s, int change);

/* Makes records durable, in one batch or more.  Any thread but the shard's; blocks.  An error is
 * final for the store. */
int store_append(struct store *s, const struct buf *records, struct err *e);

/* What the view shows goes into map files, on a full disk with the room that is kept for that.
 * Blocks; errors as replay_to_files. */
int store_replay(struct store *s, const struct journal_view *view, struct err *e);

/* What flushes left in the journal goes back into data files (restore.h: only, locked), on a full
 * disk with the room that is kept.  The half that counts is not begun anew meanwhile; if the other
 * one is, it is all done again.  Blocks; any thread but the shard's. */
int store_restore(struct store *s, const struct id_set *only, bool locked, struct err *e);

/* STATE's file system: refused (-ENOTSUP), or what it promises; store_fs.c. */
int store_check_fs(int state_fd, const char **ret_durability, struct err *e);
/* By type of file system (statfs) and options of the mount; for store_check_fs and its test. */
int store_judge_fs(unsigned long fs_type, const char *super_options, const char **ret_durability,
                   struct err *e);

/* The journal has failed: on the shard; every volume of the store fails. */
void store_fail(struct store *s, const char *why);

#endif
