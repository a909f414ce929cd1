/* SPDX-License-Identifier: Apache-2.0 */
/* place - an export table over RAM disks, and visitors: connections that are plain structs.  For
 * tests; knows no network and no store. */
#ifndef GRIDBOX_TESTS_EXPORT_PLACE_H
#define GRIDBOX_TESTS_EXPORT_PLACE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/export/backend.h"
#include "server/export/export.h"

struct shard;

#define SIZE 65536u /* of every disk */

/* The backend: RAM disks that are made at open and freed at close, and what it was asked for. */
struct place {
    struct shard *shard;
    struct export_table *table;
    struct export_backend backend;
    atomic_uint opens, closes;
    atomic_bool fail_open, slow_close;
    void (*closed)(void *arg); /* a close that waits for place_let_close() */
    void *closed_arg;
    struct export_told told;
    atomic_bool busy;               /* opens are told -EBUSY */
    atomic_bool slow_open, opening; /* opens wait, one does */
    _Atomic uint8_t top, lowest;    /* of the last open: the first bytes of its layers */
    unsigned discards;
    uint8_t seen; /* for a test's own use on the shard */
};

struct place *place_new(void);
void place_free(struct place *p);

/* A grant of `name` whose token and lowest layer begin with these bytes; grant(): of epoch 1. */
int grant_epoch(struct place *p, const char *name, bool writable, uint8_t token, uint8_t layer,
                uint64_t epoch);
int grant(struct place *p, const char *name, bool writable, uint8_t token, uint8_t layer);

/* Ends a close that is slow. */
void place_let_close(struct place *p);

/* A connection without a network. */
struct visitor {
    struct export_peer peer;
    struct place *place;
    char name[EXPORT_NAME_SIZE];
    struct export_session *session;
    struct blkdev *device;
    int error;
    char why[201];
    bool cut, stubborn; /* stubborn: has a request running, and closes only by visitor_close() */
    sem_t answered, was_cut;
};

/* Begins to open; the answer comes later. */
struct visitor *visit(struct place *p, const char *name, uint8_t token, bool stubborn);
/* Opens and expects that error, 0 = none. */
struct visitor *visit_now(struct place *p, const char *name, uint8_t token, int error);
void visitor_close(struct visitor *v);
void visitor_free(struct visitor *v); /* closes it, too */

/* Whether it was posted within so many ms. */
bool came_within(sem_t *sem, int64_t ms);

/* A thread of its own revokes the export "v". */
struct revoker {
    struct place *place;
    atomic_bool over;
    pthread_t thread;
};
void revoker_start(struct revoker *r);
void revoker_join(struct revoker *r);

#endif
