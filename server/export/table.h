/* SPDX-License-Identifier: Apache-2.0 */
/* table - the state of the exports, for the files of this room.
 *
 *   export.c  the life of a grant: looked up, opened, handed over, ended
 *   orders.c  what the control thread wants of them
 *   stats.c   what they have come to
 *
 * Threads: all of it is the shard's; an order belongs to the control thread until it is posted and
 * from when it is done. */
#ifndef GRIDBOX_EXPORT_TABLE_H
#define GRIDBOX_EXPORT_TABLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/export/backend.h"
#include "server/export/device.h"
#include "server/export/export.h"
#include "server/export/stats.h"
#include "server/io/shard.h"

#define EXP_BUCKETS  1024u
#define EXP_WHY_SIZE 201

/* A peer that waits for ready(). */
struct waiter {
    struct export_peer *peer;
    export_ready_fn ready;
    struct waiter *next;
};

struct export_session {
    struct grant *grant;
    struct export_peer *peer;
    bool cut; /* the peer has been told to end */
    struct export_session *next;
};

/* Owned by the shard's thread.  Lives from export_grant() until it has ended. */
struct grant {
    struct export_table *table;
    struct export_grant g;
    struct grant *next; /* in its bucket */
    struct shard_task step;

    struct device_user user; /* its hold on the device */
    struct export_session *sessions;
    struct waiter *waiters;
    struct export_stats stats;
    bool stalled;     /* a request hangs, and that was told */
    int64_t stall_ns; /* the longest of them so far */
    int64_t connected_since_ns;

    struct shard_timer retry; /* the device is busy just now */
    unsigned tries;           /* since it was last opened */

    bool ending;
    int end_error; /* -ESTALE, or -ESHUTDOWN when it is the server that ends */
    char why[EXP_WHY_SIZE];
    struct order *order; /* waits for the end */
};

/* An attachment that is over. */
struct over {
    char name[sizeof((struct export_grant *)NULL)->name];
    uint8_t token[EXPORT_TOKEN_BYTES];
    char why[EXP_WHY_SIZE];
    struct over *next;
};

struct export_table {
    struct shard *shard;
    struct export_backend backend;
    struct devices devices;
    pthread_mutex_t control; /* one order at a time */

    struct grant *buckets[EXP_BUCKETS];
    unsigned count;
    struct order *draining;        /* waits until there are none */
    struct over *over, **over_end; /* oldest first */
    unsigned over_count;

    struct export_events events;
    struct shard_timer look; /* stats.c: for requests that hang */
};

/* What the control thread wants; it waits until `pending` grants have ended, but not for ever: then
 * they end by themselves, and what is granted anew waits for their device. */
struct order {
    struct export_table *table;
    unsigned pending;
    struct shard_gate done;
    bool is_done;
    bool abandoned; /* nobody waits any more: freed when it is done */
    int rc;
    struct err *e;
    const char *name, *why;   /* NULL name = all */
    int end_error;            /* what GO is told from now on */
    struct grant *to_insert;  /* when the others have ended */
    struct export_info *info; /* query */
    struct pool_job barrier;  /* respec: what is being opened with the old one is over */
    /* export_revoke_all, export_respec, export_set_quota */
    const char *const *names;
    unsigned name_count;
    bool discard;
    struct layer_id top;
    const struct layer_chain *layers;
    uint64_t quota_bytes;
};

/* ---- export.c --------------------------------------------------------------------------------*/

struct grant **exp_bucket(struct export_table *t, const char *name);

/* The grant of this name and token, ending or not; NULL. */
struct grant *exp_find(struct export_table *t, const char *name,
                       const uint8_t token[static EXPORT_TOKEN_BYTES]);

/* A grant that nobody knows yet; NULL: no memory. */
struct grant *exp_grant_new(struct export_table *t, const struct export_grant *spec);

/* Something about it has changed: it takes a step at the end of the batch. */
void exp_mark(struct grant *g);

/* ---- orders.c --------------------------------------------------------------------------------*/

/* What the order asked for has come to be; who gave it goes on. */
void exp_order_done(struct order *o);

/* Runs one order on the shard and waits until it is carried out; returns its rc.  patience_ns:
 * waits no longer than this (0 = as long as it takes).  run() has read all that the order points at
 * when it returns, but for to_insert. */
int exp_carry_out(const struct order *wanted, void (*run)(void *arg), int64_t patience_ns);

#endif
