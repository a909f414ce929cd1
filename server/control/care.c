/* SPDX-License-Identifier: Apache-2.0 */
/* care - what is left to do after a call: files of dead layers are deleted, a slice at a time on a
 * thread of its own; layers that nothing needs apart are merged; promoted images are hashed. */
#include "server/control/care.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/jobs.h"
#include "server/control/loop.h"
#include "server/io/thread.h"
#include "server/lifecycle/lifecycle.h"

struct care {
    struct control *control;
    struct loop_timer timer; /* there is something to do */
    struct loop_msg deleted; /* posted by the thread as its last act */
    pthread_t thread;
    bool running, again;
    struct lifecycle_dead dead; /* the thread's while it runs */
};

static void pick_dead(struct care *a);

static void *delete_files(void *arg)
{
    struct care *a = arg;

    lifecycle_dead_delete(a->control->store, &a->dead);
    loop_post(a->control->loop, &a->deleted);
    return NULL;
}

static void on_deleted(struct loop_msg *m)
{
    struct care *a = (struct care *)((char *)m - offsetof(struct care, deleted));
    struct err e = { 0 };

    pthread_join(a->thread, NULL);
    a->running = false;
    if (lifecycle_dead_forget(control_life(a->control), &a->dead, &e) < 0)
        log_error("control: files that nothing needs: %s", e.msg);
    else
        pick_dead(a);
}

/* The slice behind a->dead; at the end of the list once more from the front if something was added
 * meanwhile. */
static void pick_dead(struct care *a)
{
    struct err e = { 0 };
    int rc = lifecycle_dead_pick(control_life(a->control), &a->dead, &e);

    if (rc == 0 && a->dead.count == 0 && a->again) {
        a->again = false;
        rc = lifecycle_dead_pick(control_life(a->control), &a->dead, &e);
    }
    if (rc == 0 && a->dead.count == 0)
        return;
    if (rc == 0)
        rc = thread_start("sweep", delete_files, a, &a->thread, &e);
    if (rc < 0)
        log_error("control: files that nothing needs: %s", e.msg);
    a->running = rc == 0;
}

static int verify_one(void *ctx, const struct cat_image *i)
{
    struct control *c = ctx;
    struct err e = { 0 };
    char id[17];

    if (i->state == CAT_IMAGE_UNVERIFIED && jobs_verify(c, i, id, &e) < 0)
        log_error("control image %s@%u: verify: %s", i->name, i->version, e.msg);
    return 0;
}

static void on_timer(struct loop_timer *t)
{
    struct care *a = (struct care *)((char *)t - offsetof(struct care, timer));

    if (a->running) {
        a->again = true;
    } else {
        a->dead.count = 0;
        pick_dead(a);
    }
    jobs_merge(a->control);
}

int care_new(struct control *c, struct care **ret, struct err *e)
{
    struct care *a = calloc(1, sizeof *a);

    if (!a)
        return err_set(e, -ENOMEM, "out of memory");
    a->control = c;
    a->timer.fn = on_timer;
    a->deleted.fn = on_deleted;
    *ret = a;
    return 0;
}

void care_free(struct care *a)
{
    if (!a)
        return;
    loop_timer_cancel(a->control->loop, &a->timer);
    if (a->running) {
        pthread_join(a->thread, NULL);
        loop_unpost(a->control->loop, &a->deleted);
    }
    free(a);
}

void care_kick(struct care *a)
{
    if (a && !a->timer.due_ns)
        loop_timer_set(a->control->loop, &a->timer, clock_mono_ns());
}

void care_begin(struct care *a)
{
    struct err e = { 0 };

    if (cat_image_list(a->control->catalog, verify_one, a->control, &e) < 0)
        log_error("control: images that were never verified: %s", e.msg);
    care_kick(a);
}
