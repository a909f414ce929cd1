/* SPDX-License-Identifier: Apache-2.0 */
/* jobs - work that takes longer than a call, each on a thread of its own.
 *
 * At most JOBS_IMPORTS imports and JOBS_CARES of the other kinds run at once, the others wait for
 * their turn; the last JOBS_KEPT that are over can still be asked for.  They do not outlive the
 * server: what is under way when it stops is cancelled and leaves nothing.
 * Threads: control, but for job_kind.run. */
#ifndef GRIDBOX_CONTROL_JOBS_H
#define GRIDBOX_CONTROL_JOBS_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/control/loop.h"
#include "server/control/progress.h"

struct control;
struct http_request;
struct job;
struct jobs;

#define JOBS_IMPORTS 2
#define JOBS_CARES   1 /* looking after layers: they read and write all they can */
#define JOBS_WAITING 64
#define JOBS_KEPT    64

enum job_state {
    JOB_WAITING, /* for its turn; told to clients as running */
    JOB_RUNNING, /* its thread runs */
    JOB_DONE,
    JOB_FAILED,
    JOB_CANCELLED
};

struct job_kind {
    const char *name; /* as clients see it */
    bool import;      /* which of the two limits it is under */
    /* On the job's thread: 0 or -errno with j->e.  -ECANCELED if progress.cancel was set. */
    int (*run)(struct job *j);
    /* On the control thread, after run: makes the result known; sets j->rc and j->e, j->result.
     * True: run is to be called once more. */
    bool (*conclude)(struct job *j);
    /* The server stops: run has returned (j->rc), conclude will not be called.  NULL: nothing to
     * undo. */
    void (*abandon)(struct job *j);
    void (*free)(void *work);
};

struct job {
    const struct job_kind *kind;
    struct control *control;
    void *work;      /* the kind's */
    char object[96]; /* what it is about */
    char id[17];     /* 16 hex digits */
    struct job_progress progress;
    int rc; /* of run, then of conclude */
    struct err e;
    json_t *result; /* of JOB_DONE; NULL: null */

    /* The rest is jobs.c's. */
    struct job *next; /* in the order of creation */
    uint64_t topic;
    enum job_state state;
    uint64_t seq; /* grows with every change that a client can see */
    pthread_t thread;
    uint64_t seen_done, seen_total; /* when seq last grew */
    const char *seen_phase;
    struct loop_msg finished; /* posted by the thread as its last act */
};

int jobs_new(struct control *c, struct jobs **ret, struct err *e);

/* Cancels all and waits for their threads.  NULL is legal. */
void jobs_free(struct jobs *j);

/* A job begins, or waits for its turn.  work is taken also on failure.  *ret is good until the
 * handler returns.
 *   -EAGAIN  too many are waiting */
int jobs_add(struct control *c, const struct job_kind *kind, const char *object, void *work,
             struct job **ret, struct err *e);

/* -EAGAIN if one more of this kind could not even wait. */
int jobs_room(const struct control *c, const struct job_kind *kind, struct err *e);

/* One of this kind (and object, if not NULL) that waits or runs, or NULL. */
struct job *jobs_find(struct jobs *jobs, const struct job_kind *kind, const char *object);

/* POST /v1/images (job_import.c) */
void jobs_on_import(struct http_request *r);

/* POST /v1/images/{}/verify, /v1/store/check (job_verify.c, job_check.c) */
void jobs_on_verify(struct http_request *r);
void jobs_on_check(struct http_request *r);

/* The image with this id is read and hashed, unless that is under way.  *ret_id: of the job. */
struct cat_image;
int jobs_verify(struct control *c, const struct cat_image *i, char ret_id[static 17],
                struct err *e);

/* Pairs of layers are merged until there are none, unless that is under way. */
void jobs_merge(struct control *c);

#endif
