/* SPDX-License-Identifier: Apache-2.0 */
/* device - the open devices behind the grants of a table: opened off the shard, shared where they
 * are immutable, closed when the last user lets go.
 * Threads: the shard's; the backend's open() runs on a thread of the set. */
#ifndef GRIDBOX_EXPORT_DEVICE_H
#define GRIDBOX_EXPORT_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/export/backend.h"
#include "server/export/export.h"
#include "server/io/pool.h"

struct device_user;
struct devices;

struct device {
    struct devices *set;
    struct device *next; /* in the set */
    enum { DEVICE_OPENING, DEVICE_OPEN, DEVICE_NOT_OPENED, DEVICE_CLOSING, DEVICE_CLOSED } state;
    bool failed;                 /* takes no more writes */
    bool parked;                 /* its writes wait for room */
    struct failure *failure;     /* of a volume: for the set, should it fail */
    struct export_device opened; /* from DEVICE_OPEN on */

    struct export_grant spec; /* as it was opened */
    bool discard;             /* for opened.discard, when it is closed */
    bool stale;               /* its volume was given another top while it was being opened */
    bool requota;             /* the quota moved while it was being opened */
    uint64_t quota_bytes;
    struct device_user *users;
    struct device_user *closer; /* the last user, who waits for the end */
    struct pool_job job;
    int rc; /* of the opening */
    struct err e;
};

/* A volume that has failed, and the epoch that its content will never have again. */
struct failure {
    struct failure *next;
    uint64_t epoch;
    char name[sizeof((struct export_grant *)NULL)->name];
};

/* Embedded by the grant. */
struct device_user {
    struct device *device; /* NULL: none */
    struct device_user *next;
    /* The device is open, or could not be opened, or is closed.  Not from inside the calls below.
     */
    void (*changed)(struct device_user *u);
};

struct devices {
    struct shard *shard;
    const struct export_backend *backend;
    struct pool *opener;
    struct device *all;
    struct failure *failures;           /* they outlive their devices */
    const struct export_events *events; /* the table's; the shard's */
};

/* backend must outlive the set. */
int devices_init(struct devices *set, struct shard *shard, const struct export_backend *backend,
                 const struct export_events *events, struct err *e);
/* Any thread but the shard's; no user may be left. */
void devices_done(struct devices *set);

/* 0: u->device is open.  -EINPROGRESS: changed() will be called.  Another -errno: it could not be
 * opened; u has no device, and the next call tries anew. */
int device_get(struct devices *set, struct device_user *u, const struct export_grant *g,
               struct err *e);

/* Data that the user's volume may hold, from now on. */
void device_set_quota(struct device_user *u, uint64_t quota_bytes);

/* The user's volume writes to this top by now: what is just being opened with another one is closed
 * again, and opened anew.  (One that is open was told by the store.) */
void device_respec(struct device_user *u, struct layer_id top);

/* At its end nobody will ever read again what was written to it. */
void device_discard(struct device_user *u);

/* This volume has failed, at this epoch or a later one: it must not be opened. */
bool devices_failed(const struct devices *set, const char *name, uint64_t epoch);

/* The volume begins this epoch: failures before it are over. */
void devices_renew(struct devices *set, const char *name, uint64_t epoch);

/* Calls passed(j) when everything that is being opened now has been, or has not. */
void devices_barrier(struct devices *set, struct pool_job *j, void (*passed)(struct pool_job *j));

/* Lets go.  True: u has no device any more.  False: it is being closed, changed() will be called,
 * then call again. */
bool device_put(struct devices *set, struct device_user *u);

#endif
