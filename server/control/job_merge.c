/* SPDX-License-Identifier: Apache-2.0 */
/* job_merge - layers that nothing needs apart become one, pair by pair, in the background.
 *
 * It begins by itself when something was removed, and at the start.  A pair that cannot be merged
 * is left for the next time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/control/control.h"
#include "server/control/jobs.h"
#include "server/lifecycle/lifecycle.h"

struct merge_work {
    struct control *control;
    struct lifecycle_merge pair;
    bool open; /* the pair was taken on: it is to be finished or dropped */
    unsigned merged;
};

/* Whatever was written for the last pair, if anything was: nobody will ever name it. */
static void merge_free(void *work)
{
    struct merge_work *w = work;

    if (w && w->open)
        lifecycle_merge_drop(control_life(w->control), &w->pair);
    free(w);
}

static bool is_cancelled(void *ctx)
{
    struct job *j = ctx;

    return atomic_load(&j->progress.cancel);
}

static int merge_run(struct job *j)
{
    struct merge_work *w = j->work;

    atomic_store(&j->progress.phase, "merge");
    j->e = (struct err){ 0 };
    return lifecycle_merge_write(j->control->store, &w->pair, is_cancelled, j, &j->e);
}

static bool merge_conclude(struct job *j)
{
    struct merge_work *w = j->work;
    struct lifecycle *l = control_life(j->control);
    struct lifecycle_merge at = w->pair;
    struct err e = { 0 };

    if (j->rc == -ECANCELED)
        return false;
    w->open = false;
    if (j->rc == 0)
        j->rc = lifecycle_merge_finish(l, &w->pair, &j->e);
    else
        lifecycle_merge_drop(l, &w->pair);
    if (j->rc == 0)
        w->merged++;
    else if (j->rc != -ESTALE)
        log_warn("control merge: a pair of layers stays as it is: %s", j->e.msg);
    /* A pair that would not is passed by; one that would may be part of another pair. */
    w->open = lifecycle_merge_next(l, j->rc == 0 ? NULL : &at, &w->pair, &e) == 1;
    if (w->open)
        return true;
    if (w->merged || j->rc == -ESTALE) {
        j->rc = 0;
        j->result = json_pack("{s:I}", "merged", (json_int_t)w->merged);
    }
    return false;
}

static const struct job_kind merge_kind = {
    .name = "merge",
    .run = merge_run,
    .conclude = merge_conclude,
    .free = merge_free,
};

void jobs_merge(struct control *c)
{
    struct lifecycle_merge pair;
    struct err e = { 0 };
    struct job *j;

    if (jobs_find(c->jobs, &merge_kind, NULL))
        return; /* it looks for more when it is done with its pair */
    int rc = lifecycle_merge_next(control_life(c), NULL, &pair, &e);
    if (rc == 0)
        return;
    struct merge_work *w = rc == 1 ? calloc(1, sizeof *w) : NULL;
    if (w) {
        *w = (struct merge_work){ .control = c, .pair = pair, .open = true };
        rc = jobs_add(c, &merge_kind, "layers", w, &j, &e);
    } else if (rc == 1) {
        lifecycle_merge_drop(control_life(c), &pair);
        rc = err_set(&e, -ENOMEM, "out of memory");
    }
    if (rc < 0)
        log_error("control: merge layers: %s", e.msg);
}
