/* SPDX-License-Identifier: Apache-2.0 */
/* pool - a few plain threads for what blocks: reads that miss the page cache, fdatasync, punching,
 * making files, appending to the journal.
 *
 * Why not io_uring's own workers: they are few, shared by everything on the ring, and eight slow
 * syncs would stop every write of the shard. */
#ifndef GRIDBOX_IO_POOL_H
#define GRIDBOX_IO_POOL_H

#include "server/base/err.h"
#include "server/io/shard.h"

struct pool;

struct pool_job {
    void (*run)(struct pool_job *j);  /* on a pool thread; may block */
    void (*done)(struct pool_job *j); /* on `home`, after run; may free the job */
    struct shard *home;               /* NULL: done runs on the pool thread */
    struct shard_msg msg;             /* the pool's own until done */
    struct pool_job *next;            /* the pool's own until run */
};

int pool_start(const char *name, unsigned threads, struct pool **ret, struct err *e);

/* Its threads get a CPU before all others (SCHED_FIFO), if the process may ask for that: for jobs
 * that many wait for, which are short and wait for a disk most of their time. */
void pool_go_first(struct pool *p);

/* Runs what was submitted, then ends the threads.  Their done() messages may still be under way to
 * `home`, which must outlive them.  NULL is legal. */
void pool_stop(struct pool *p);

/* Any thread.  Jobs start in the order of submission; with one thread they also run in that order.
 */
void pool_submit(struct pool *p, struct pool_job *j);

#endif
