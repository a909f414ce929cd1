/* SPDX-License-Identifier: Apache-2.0 */
/* loop - the control thread: one event loop with watched descriptors, timers and messages from
 * other threads.  It runs on libwebsockets' loop, which only this file and http.c know.
 * Threads: all of it belongs to the thread that made it, but loop_post() and loop_stop(). */
#ifndef GRIDBOX_CONTROL_LOOP_H
#define GRIDBOX_CONTROL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct loop;
struct lws_context;

int loop_new(struct loop **ret, struct err *e);

/* Messages that were posted and have not run are dropped (their fn is not called).  NULL is legal.
 */
void loop_free(struct loop *l);

/* Runs until loop_stop(), which may have come before.  Legal again afterwards. */
void loop_run(struct loop *l);

/* Any thread, also from a callback of the loop; not from a signal handler (watch a signalfd). */
void loop_stop(struct loop *l);

/* A message: fn runs once on the loop's thread.  The sender owns the memory and keeps it until fn
 * has begun.  Any thread; never blocks, never fails. */
struct loop_msg {
    void (*fn)(struct loop_msg *m);
    struct loop_msg *next; /* the loop's own while it is under way */
};
void loop_post(struct loop *l, struct loop_msg *m);

/* Takes back a message that may be under way, so that its memory can go.  The loop's thread, not
 * from a message's fn. */
void loop_unpost(struct loop *l, struct loop_msg *m);

/* Calls fn whenever the descriptor is readable, until loop_unwatch().  The descriptor stays the
 * caller's (the loop watches a copy of it) and should not block. */
struct loop_watch;
int loop_watch(struct loop *l, int fd, void (*fn)(void *arg), void *arg, struct loop_watch **ret,
               struct err *e);
void loop_unwatch(struct loop_watch *w); /* also from fn; NULL is legal */

/* One shot; the owner embeds it and sets it again to repeat. */
struct loop_timer {
    void (*fn)(struct loop_timer *t);
    int64_t due_ns; /* clock_mono_ns(); 0 = not set */
    struct loop_timer *next;
};
void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t due_ns);
void loop_timer_cancel(struct loop *l, struct loop_timer *t); /* idempotent */

/* For http.c. */
struct lws_context *loop_lws(struct loop *l);

#endif
