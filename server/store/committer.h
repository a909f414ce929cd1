/* SPDX-License-Identifier: Apache-2.0 */
/* committer - takes journal records from volumes and makes them durable, as many as are ready in
 * one batch, one batch at a time; has a half that is full put into map files.
 *
 * Owns the batch under way.  Must never know what a record means, nor volumes; but a checkpoint
 * asks volume_log.c whether it may begin. Threads: the shard's; the append and the checkpoint run
 * on the slow pool. */
#ifndef GRIDBOX_STORE_COMMITTER_H
#define GRIDBOX_STORE_COMMITTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/io/pool.h"
#include "server/store/journal.h"

struct store;

/* Records that wait; the submitter keeps entry and bytes until done(). */
struct commit_entry {
    const char *records; /* whole records, made by batch.h */
    size_t length;       /* not 0 */
    /* On the shard, once: 0 = durable; an error is final for the store. */
    void (*done)(struct commit_entry *entry, int error);

    size_t taken; /* the committer's own */
    struct commit_entry *next;
};

struct committer {
    struct store *store;
    struct commit_entry *waiting, **waiting_end;
    struct commit_entry *running, **running_end; /* wholly in the batch under way */
    struct disk_batch *batch;                    /* room for jnl_batch_max; whole blocks */
    uint32_t length;                             /* of the records in it */
    bool busy;                                   /* an append is under way */
    bool corked;                                 /* no new one begins */
    int error;                                   /* the store has failed */
    int append_error;                            /* the job's */
    int64_t append_ns;                           /* how long it took */
    struct journal_place place;
    uint64_t turn; /* how many halves of the journal were begun; from 1 on */
    struct pool_job append;
    struct {
        struct pool_job job;
        unsigned half;
        bool waits; /* for data files (volume_log.c) */
        struct err err;
        struct shard_timer retry;
    } checkpoint;
};

int committer_init(struct committer *c, struct store *s);
/* On the shard, at start: does the checkpoint that the process before this one could not end. */
void committer_resume(struct committer *c);
/* On the shard: no checkpoint is tried again. */
void committer_stop(struct committer *c);
void committer_done(struct committer *c); /* nothing may be under way */

/* Entries become durable in the order in which they were submitted. */
void committer_submit(struct committer *c, struct commit_entry *entry);

/* A data file holds durably what the journal says of its content: perhaps a checkpoint waits. */
void committer_settled(struct committer *c);

/* While corked entries only gather, so that those of many volumes go into one batch. */
void committer_cork(struct committer *c, bool corked);

#endif
