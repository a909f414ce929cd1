/* SPDX-License-Identifier: Apache-2.0 */
/* jobs - queue and life of jobs, and the calls about them.  What a job does is its kind's business.
 */
#include "server/control/jobs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/control/control.h"
#include "server/control/hide.h"
#include "server/control/http.h"
#include "server/control/json.h"
#include "server/io/thread.h"

#define TICK_NS (200 * NS_PER_MS) /* how often progress is looked at */

struct jobs {
    struct control *control;
    struct job *first;
    struct loop_timer tick;
};

static bool job_over(const struct job *j)
{
    return j->state >= JOB_DONE;
}

static void job_free(struct job *j)
{
    if (!j)
        return;
    if (j->work)
        j->kind->free(j->work);
    json_decref(j->result);
    free(j);
}

static void changed(struct job *j)
{
    j->seq++;
    http_wake(j->control->http, http_topic(HTTP_TOPIC_JOB, j->topic));
}

/* Of the jobs that are under the same limit as this kind. */
static unsigned count_state(const struct jobs *jobs, bool import, enum job_state state)
{
    unsigned count = 0;

    for (const struct job *j = jobs->first; j; j = j->next)
        count += j->state == state && j->kind->import == import;
    return count;
}

static bool any_running(const struct jobs *jobs)
{
    return count_state(jobs, true, JOB_RUNNING) + count_state(jobs, false, JOB_RUNNING) > 0;
}

/* Forgets the oldest of those that are over. */
static void trim(struct jobs *jobs)
{
    unsigned over = 0;

    for (const struct job *j = jobs->first; j; j = j->next)
        over += job_over(j);
    for (struct job **at = &jobs->first; *at && over > JOBS_KEPT;) {
        struct job *j = *at;
        if (!job_over(j)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        job_free(j);
        over--;
    }
}

/* ---- the queue ----------------------------------------------------------------------------------
 */

static void start_next(struct jobs *jobs);

/* What it worked on is of no use any more; its files are to be closed. */
static void let_go(struct job *j)
{
    if (j->work)
        j->kind->free(j->work);
    j->work = NULL;
    changed(j);
}

static void start(struct job *j);

static void on_finished(struct loop_msg *m)
{
    struct job *j = (struct job *)((char *)m - offsetof(struct job, finished));
    struct jobs *jobs = j->control->jobs;

    pthread_join(j->thread, NULL);
    if (j->rc == 0 && atomic_load(&j->progress.cancel)) {
        j->rc = err_set(&j->e, -ECANCELED, "cancelled");
        if (j->kind->abandon)
            j->kind->abandon(j);
    }
    if (j->kind->conclude(j)) {
        start(j);
        return;
    }
    hide_secrets(j->e.msg);
    json_text_clean(j->e.msg);
    j->state = j->rc == 0 ? JOB_DONE : j->rc == -ECANCELED ? JOB_CANCELLED : JOB_FAILED;
    if (j->rc < 0)
        log_warn("control %s %s: %s", j->kind->name, j->object, j->e.msg);
    let_go(j);
    start_next(jobs);
    trim(jobs);
}

static void *run_job(void *arg)
{
    struct job *j = arg;

    j->rc = j->kind->run(j);
    loop_post(j->control->loop, &j->finished);
    return NULL;
}

static void start(struct job *j)
{
    int rc = thread_start(j->kind->name, run_job, j, &j->thread, &j->e);

    if (rc < 0) {
        j->rc = rc;
        j->state = JOB_FAILED;
        let_go(j);
        return;
    }
    j->state = JOB_RUNNING;
    changed(j);
}

static void start_next(struct jobs *jobs)
{
    for (struct job *j = jobs->first; j; j = j->next)
        if (j->state == JOB_WAITING && count_state(jobs, j->kind->import, JOB_RUNNING) <
                                           (j->kind->import ? JOBS_IMPORTS : JOBS_CARES))
            start(j);
    if (any_running(jobs) && !jobs->tick.due_ns)
        loop_timer_set(jobs->control->loop, &jobs->tick, clock_mono_ns() + TICK_NS);
}

static const char *phase_of(const struct job *j)
{
    const char *phase = atomic_load(&j->progress.phase);

    return j->state == JOB_WAITING ? "waiting for its turn" : phase ? phase : "";
}

static void on_tick(struct loop_timer *t)
{
    struct jobs *jobs = (struct jobs *)((char *)t - offsetof(struct jobs, tick));

    for (struct job *j = jobs->first; j; j = j->next) {
        uint64_t done = atomic_load(&j->progress.done_bytes);
        uint64_t total = atomic_load(&j->progress.total_bytes);
        const char *phase = phase_of(j);
        if (j->state != JOB_RUNNING ||
            (done == j->seen_done && total == j->seen_total && phase == j->seen_phase))
            continue;
        j->seen_done = done;
        j->seen_total = total;
        j->seen_phase = phase;
        changed(j);
    }
    if (any_running(jobs))
        loop_timer_set(jobs->control->loop, t, clock_mono_ns() + TICK_NS);
}

static void cancel(struct job *j)
{
    if (j->state == JOB_WAITING) {
        j->state = JOB_CANCELLED;
        err_set(&j->e, -ECANCELED, "cancelled");
        let_go(j);
    } else if (j->state == JOB_RUNNING) {
        atomic_store(&j->progress.cancel, true);
    }
}

int jobs_new(struct control *c, struct jobs **ret, struct err *e)
{
    struct jobs *jobs = calloc(1, sizeof *jobs);

    if (!jobs)
        return err_set(e, -ENOMEM, "jobs: out of memory");
    jobs->control = c;
    jobs->tick.fn = on_tick;
    *ret = jobs;
    return 0;
}

void jobs_free(struct jobs *jobs)
{
    if (!jobs)
        return;
    for (struct job *j = jobs->first; j; j = j->next)
        cancel(j);
    for (struct job *j = jobs->first, *next; j; j = next) {
        next = j->next;
        if (j->state == JOB_RUNNING) {
            pthread_join(j->thread, NULL); /* its message is dropped with the loop */
            if (j->kind->abandon)
                j->kind->abandon(j);
        }
        job_free(j);
    }
    loop_timer_cancel(jobs->control->loop, &jobs->tick);
    free(jobs);
}

static void append(struct jobs *jobs, struct job *j)
{
    struct job **at = &jobs->first;

    while (*at)
        at = &(*at)->next;
    *at = j;
}

int jobs_room(const struct control *c, const struct job_kind *kind, struct err *e)
{
    if (count_state(c->jobs, kind->import, JOB_WAITING) < JOBS_WAITING)
        return 0;
    return err_set(e, -EAGAIN, "%d %s are waiting: try later", JOBS_WAITING,
                   kind->import ? "imports" : "jobs");
}

int jobs_add(struct control *c, const struct job_kind *kind, const char *object, void *work,
             struct job **ret, struct err *e)
{
    uint8_t id[8];
    int rc = jobs_room(c, kind, e);
    struct job *j = rc == 0 ? calloc(1, sizeof *j) : NULL;

    if (!j) {
        kind->free(work);
        return rc < 0 ? rc : err_set(e, -ENOMEM, "out of memory");
    }
    j->kind = kind;
    j->control = c;
    j->work = work;
    j->finished.fn = on_finished;
    snprintf(j->object, sizeof j->object, "%s", object);
    random_bytes(id, sizeof id);
    memcpy(&j->topic, id, sizeof id);
    hex_encode(id, sizeof id, j->id);
    append(c->jobs, j);
    start_next(c->jobs);
    *ret = j;
    return 0;
}

struct job *jobs_find(struct jobs *jobs, const struct job_kind *kind, const char *object)
{
    for (struct job *j = jobs->first; j; j = j->next)
        if (!job_over(j) && j->kind == kind && (!object || strcmp(j->object, object) == 0))
            return j;
    return NULL;
}

/* ---- /v1/jobs -----------------------------------------------------------------------------------
 */

static struct job *of_path(struct http_request *r)
{
    struct control *c = http_context(r);

    for (struct job *j = c->jobs->first; j; j = j->next)
        if (strcmp(j->id, http_arg(r, 0)) == 0)
            return j;
    http_answer_problem(r, 404, "there is no such job");
    return NULL;
}

static json_t *job_json(const struct job *j)
{
    static const char *const states[] = { "running", "running", "done", "failed", "cancelled" };

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s?, s:O?}", "id", j->id, "kind", j->kind->name,
        "object", j->object, "state", states[j->state], "seq", (json_int_t)j->seq, "done_bytes",
        (json_int_t)atomic_load(&j->progress.done_bytes), "total_bytes",
        (json_int_t)atomic_load(&j->progress.total_bytes), "phase", phase_of(j), "error",
        j->state > JOB_DONE ? j->e.msg : NULL, "result", j->state == JOB_DONE ? j->result : NULL);
}

static void on_list(struct http_request *r)
{
    struct control *c = http_context(r);
    json_t *list = json_array();

    for (const struct job *j = c->jobs->first; j; j = j->next)
        json_array_append_new(list, job_json(j));
    http_answer_json(r, 200, json_pack("{s:o}", "jobs", list));
}

static void on_show(struct http_request *r)
{
    struct job *j = of_path(r);
    struct err e = { 0 };
    uint64_t after, wait_s;

    if (!j)
        return;
    if (http_query_u64(r, "after", 0, &after, &e) < 0 ||
        http_query_u64(r, "wait", 0, &wait_s, &e) < 0)
        http_answer_err(r, &e);
    else if (!job_over(j) && http_query(r, "after") && j->seq <= after && wait_s && !http_waited(r))
        http_wait(r, http_topic(HTTP_TOPIC_JOB, j->topic), wait_s);
    else
        http_answer_json(r, 200, job_json(j));
}

static void on_cancel(struct http_request *r)
{
    struct job *j = of_path(r);

    if (!j)
        return;
    cancel(j);
    http_answer_empty(r, 202);
}

int control_job_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/jobs", HTTP_ADMIN, on_list, false },
        { "GET", "/v1/jobs/{}", HTTP_ADMIN, on_show, false },
        { "DELETE", "/v1/jobs/{}", HTTP_ADMIN, on_cancel, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
