/* SPDX-License-Identifier: Apache-2.0 */
/* shard - one thread with one io_uring; the home of connections and volumes.
 *
 * All state that belongs to a shard is touched on its thread alone; other threads send it messages.
 * Nothing that runs on it may block: blocking file work goes to a pool (io/pool.h), whose answers
 * come back as messages. */
#ifndef GRIDBOX_IO_SHARD_H
#define GRIDBOX_IO_SHARD_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct shard;

/* A message: fn runs once on the shard's thread.  The sender owns the memory and keeps it until fn
 * has begun; messages from one thread run in the order in which they were posted. */
struct shard_msg {
    void (*fn)(struct shard_msg *m);
    struct shard_msg *next; /* the shard's own while the message is under way */
};

/* Starts the thread.  -ENOSYS with one clear sentence when the kernel forbids io_uring. */
int shard_start(const char *name, struct shard **ret, struct err *e);

/* Ends the loop after the messages that were posted before, joins the thread, frees.  What belongs
 * to the shard must have been taken away first.  NULL is legal. */
void shard_stop(struct shard *s);

/* Any thread.  Never blocks, never fails. */
void shard_post(struct shard *s, struct shard_msg *m);

/* Any thread but the shard's own: runs fn(arg) on the shard and returns when it is over. */
void shard_call(struct shard *s, void (*fn)(void *arg), void *arg);

/* Something on the shard that another thread waits for, when shard_call() is not enough because it
 * takes more than one step.  The waiter owns it; it may be gone as soon as it was opened. */
struct shard_gate {
    sem_t opened;
    atomic_bool open; /* the same, in the form that race detectors understand */
};
void shard_gate_init(struct shard_gate *g);
/* Any thread; once. */
void shard_gate_open(struct shard_gate *g);
/* Any thread but the shard's own.  deadline_ns: clock_mono_ns(), 0 = none.  False: it did not open
 * in time, and may still be opened. */
bool shard_gate_wait(struct shard *s, struct shard_gate *g, int64_t deadline_ns);

/* True on the shard's own thread; for assertions. */
bool shard_here(const struct shard *s);

/* Work for the end of the present batch: fn runs once, on the shard, after everything that has
 * already arrived was handled.  This is how answers that are ready together leave together.
 * Deferring a task that is already queued does nothing.  On the shard. */
struct shard_task {
    void (*fn)(struct shard_task *t);
    struct shard_task *next; /* the shard's own while queued */
    bool queued;
};
void shard_defer(struct shard *s, struct shard_task *t);

/* On the shard: clock_mono_ns() as it was last read, at the beginning of this batch or by
 * shard_tick(): good enough for whatever one batch does, and free. */
int64_t shard_now(const struct shard *s);
/* Reads the clock: where a system call was made that may have taken its time. */
int64_t shard_tick(struct shard *s);

/* A timer of the shard's thread; the owner embeds it.  One shot; set again from fn to repeat.
 * They lie in a sorted list: meant for a few long ones, not for one per request. */
struct shard_timer {
    void (*fn)(struct shard_timer *t);
    int64_t due_ns; /* clock_mono_ns(); 0 = not set */
    struct shard_timer *next;
};
void shard_timer_set(struct shard *s, struct shard_timer *t, int64_t due_ns);
void shard_timer_cancel(struct shard *s, struct shard_timer *t); /* idempotent */

#endif
