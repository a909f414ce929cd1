/* SPDX-License-Identifier: Apache-2.0 */
/* jobs - queue and life of imports, and their end in the catalog.  What an import reads and writes
 * is import.h's business. */
#include "server/control/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/hide.h"
#include "server/control/http.h"
#include "server/control/import.h"
#include "server/control/json.h"
#include "server/control/loop.h"
#include "server/control/uploads.h"
#include "server/io/thread.h"

#define TICK_NS (200 * NS_PER_MS) /* how often progress is looked at */

enum job_state {
    JOB_WAITING, /* for its turn; told to clients as running */
    JOB_RUNNING, /* its thread runs */
    JOB_DONE,
    JOB_FAILED,
    JOB_CANCELLED
};

struct job {
    struct jobs *jobs;
    struct job *next; /* in the order of creation */
    char id[17];      /* 16 hex digits */
    uint64_t topic;
    enum job_state state;
    uint64_t seq; /* grows with every change that a client can see */

    char name[NAME_SIZE];
    char *where;      /* heap: path, URL, URI */
    char source[512]; /* for people */
    struct import_source import;
    int fd; /* of import.fd; -1: none */

    pthread_t thread;
    struct import_progress progress;
    uint64_t seen_done, seen_total; /* when seq last grew */
    const char *seen_phase;
    struct loop_msg finished; /* posted by the thread as its last act */
    /* Written by the thread, read after `finished`. */
    int rc;
    struct import_result result;
    struct err e;

    char image[80]; /* JOB_DONE: NAME@VERSION */
};

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
    if (j->fd >= 0)
        close(j->fd);
    free(j->where);
    free(j);
}

static void auto_job(struct job **j)
{
    job_free(*j);
}

static void changed(struct job *j)
{
    j->seq++;
    http_wake(j->jobs->control->http, http_topic(HTTP_TOPIC_JOB, j->topic));
}

static unsigned count_state(const struct jobs *jobs, enum job_state state)
{
    unsigned count = 0;

    for (const struct job *j = jobs->first; j; j = j->next)
        count += j->state == state;
    return count;
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

/* ---- the end of an import -----------------------------------------------------------------------
 */

static int name_image(struct job *j, struct err *e)
{
    struct control *c = j->jobs->control;
    struct cat_image i = { .size_bytes = j->result.size_bytes,
                           .data_bytes = j->result.data_bytes,
                           .created_at = clock_wall_s() };
    int rc = cat_begin(c->catalog, e);

    if (rc < 0)
        return rc;
    memcpy(i.name, j->name, sizeof i.name);
    memcpy(i.layer, j->result.layer.b, sizeof i.layer);
    hex_encode(j->result.sha256, sizeof j->result.sha256, i.sha256);
    snprintf(i.source, sizeof i.source, "%s", j->source);
    snprintf(i.format, sizeof i.format, "%s", j->result.format);
    rc = cat_image_add(c->catalog, &i, e);
    snprintf(j->image, sizeof j->image, "%s@%u", i.name, i.version);
    if (rc == 0)
        rc = control_event(c, e, "image-imported", j->image, "image %s was imported from %s",
                           j->image, j->source);
    return cat_end(c->catalog, rc, e);
}

/* The sealed layer becomes an image, or goes. */
static void conclude(struct job *j)
{
    struct control *c = j->jobs->control;
    struct err e = { 0 };

    if (j->rc == 0 && atomic_load(&j->progress.cancel))
        j->rc = err_set(&j->e, -ECANCELED, "cancelled");
    else if (j->rc == 0)
        j->rc = name_image(j, &j->e);
    else
        j->result = (struct import_result){ 0 };
    /* A catalog that has failed may name the layer after all: the next start sees. */
    if (j->rc < 0 && j->result.size_bytes && !cat_failed(c->catalog, NULL) &&
        layer_remove(c->store, j->result.layer, &e) < 0)
        log_error("control job %s: remove the layer of an import that failed: %s", j->id, e.msg);

    j->state = j->rc == 0 ? JOB_DONE : j->rc == -ECANCELED ? JOB_CANCELLED : JOB_FAILED;
    if (j->state == JOB_DONE)
        log_info("control import %s: done size_bytes=%" PRIu64 " data_bytes=%" PRIu64, j->image,
                 j->result.size_bytes, j->result.data_bytes);
    else
        log_warn("control import %s: %s", j->name, j->e.msg);
    if (j->state == JOB_FAILED &&
        control_event(c, &e, "import-failed", j->name, "import of image %s failed: %s", j->name,
                      j->e.msg) < 0)
        log_error("control import %s: event: %s", j->name, e.msg);
}

static void start_next(struct jobs *jobs);

static void let_go(struct job *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
    changed(j);
}

static void on_finished(struct loop_msg *m)
{
    struct job *j = (struct job *)((char *)m - offsetof(struct job, finished));
    struct jobs *jobs = j->jobs;

    pthread_join(j->thread, NULL);
    hide_secrets(j->e.msg);
    json_text_clean(j->e.msg);
    conclude(j);
    let_go(j);
    start_next(jobs);
    trim(jobs);
}

static void *run_import(void *arg)
{
    struct job *j = arg;
    struct control *c = j->jobs->control;

    j->rc = import_run(c->store, &j->import, &j->progress, &j->result, &j->e);
    loop_post(c->loop, &j->finished);
    return NULL;
}

/* ---- the queue ----------------------------------------------------------------------------------
 */

static void start(struct job *j)
{
    int rc = thread_start("import", run_import, j, &j->thread, &j->e);

    if (rc < 0) {
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
        if (j->state == JOB_WAITING && count_state(jobs, JOB_RUNNING) < JOBS_RUNNING)
            start(j);
    if (count_state(jobs, JOB_RUNNING) && !jobs->tick.due_ns)
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
    if (count_state(jobs, JOB_RUNNING))
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
    struct err e = { 0 };

    if (!jobs)
        return;
    for (struct job *j = jobs->first; j; j = j->next)
        cancel(j);
    for (struct job *j = jobs->first, *next; j; j = next) {
        next = j->next;
        if (j->state == JOB_RUNNING) {
            pthread_join(j->thread, NULL); /* its message is dropped with the loop */
            if (j->rc == 0 && layer_remove(jobs->control->store, j->result.layer, &e) < 0)
                log_error("control job %s: remove its layer: %s", j->id, e.msg);
        }
        job_free(j);
    }
    loop_timer_cancel(jobs->control->loop, &jobs->tick);
    free(jobs);
}

/* ---- POST /v1/images ----------------------------------------------------------------------------
 */

static int open_file(struct job *j, const char *path, struct err *e)
{
    struct stat st;

    if (path[0] != '/')
        return err_set(e, -EINVAL, "source: file: must be an absolute path");
    j->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (j->fd < 0)
        return err_set(e, errno == ENOENT ? -ENOENT : -EINVAL, "%s: %s", path, strerror(errno));
    if (fstat(j->fd, &st) < 0)
        return err_errno(e, "%s", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, -EINVAL, "%s: is neither a file nor a block device", path);
    j->import.kind = IMPORT_FILE;
    return 0;
}

/* One of {"file"}, {"url"}, {"nbd"}, {"upload"}. */
static int read_source(struct http_request *r, const json_t *source, struct job *j, struct err *e)
{
    static const char *const keys[] = { "file", "url", "nbd", "upload", NULL };
    struct control *c = http_context(r);
    const char *file, *url, *nbd, *upload;
    int rc;

    if (!json_is_object(source) || json_object_size(source) != 1)
        return err_set(e, -EINVAL,
                       "source: must be an object with one of file, url, nbd or upload");
    if ((rc = json_only(source, keys, e)) < 0 ||
        (rc = json_get_text(source, "file", false, 4095, &file, e)) < 0 ||
        (rc = json_get_text(source, "url", false, 4095, &url, e)) < 0 ||
        (rc = json_get_text(source, "nbd", false, 4095, &nbd, e)) < 0 ||
        (rc = json_get_text(source, "upload", false, 64, &upload, e)) < 0)
        return rc;
    if (file && !http_is_local(r))
        return err_set(e, -EACCES,
                       "source: a file of the server can only be named over its Unix "
                       "socket: upload it, or use that");
    if (nbd && (strncasecmp(nbd, "nbd+unix:", 9) == 0 || strncasecmp(nbd, "nbds+unix:", 10) == 0) &&
        !http_is_local(r))
        return err_set(e, -EACCES,
                       "source: a socket of the server can only be named over its Unix socket");
    const char *where = file ? file : url ? url : nbd ? nbd : "upload";
    j->where = strdup(where);
    if (!j->where)
        return err_set(e, -ENOMEM, "out of memory");
    snprintf(j->source, sizeof j->source, "%s", where);
    hide_secrets(j->source);
    json_text_clean(j->source);
    j->import.kind = url ? IMPORT_URL : nbd ? IMPORT_NBD : IMPORT_FILE;
    if (file)
        return open_file(j, file, e);
    return upload ? uploads_take(c->uploads, upload, &j->fd, e) : 0;
}

static int read_import(struct http_request *r, struct job *j, struct err *e)
{
    static const char *const keys[] = { "name", "source", NULL };
    struct control *c = http_context(r);
    const char *name;
    json_t *body;
    int rc = http_json(r, &body, e);

    if (rc < 0 || (rc = json_only(body, keys, e)) < 0 ||
        (rc = json_get_text(body, "name", true, 4095, &name, e)) < 0 ||
        (rc = name_check("image", name, e)) < 0)
        return rc;
    if (count_state(c->jobs, JOB_WAITING) >= JOBS_WAITING)
        return err_set(e, -EAGAIN, "%d imports are waiting: try later", JOBS_WAITING);
    snprintf(j->name, sizeof j->name, "%s", name);
    rc = read_source(r, json_object_get(body, "source"), j, e);
    j->import.where = j->where;
    j->import.fd = j->fd;
    j->import.limit_bytes = c->image_limit_bytes;
    j->import.scratch_dir = c->scratch_dir;
    return rc;
}

static void append(struct jobs *jobs, struct job *j)
{
    struct job **at = &jobs->first;

    while (*at)
        at = &(*at)->next;
    *at = j;
}

void jobs_on_import(struct http_request *r)
{
    struct control *c = http_context(r);
    AUTO(auto_job) struct job *j = calloc(1, sizeof *j);
    struct err e = { 0 };
    uint8_t id[8];

    if (!j) {
        http_answer_problem(r, 500, "out of memory");
        return;
    }
    j->fd = -1;
    j->jobs = c->jobs;
    j->finished.fn = on_finished;
    random_bytes(id, sizeof id);
    memcpy(&j->topic, id, sizeof id);
    hex_encode(id, sizeof id, j->id);
    if (read_import(r, j, &e) < 0) {
        http_answer_err(r, &e);
        return;
    }
    http_answer_json(r, 202, json_pack("{s:s}", "job", j->id));
    log_info("control import %s: from %s", j->name, j->source);
    append(c->jobs, TAKE(j));
    start_next(c->jobs);
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
    json_t *result = json_null();

    if (j->state == JOB_DONE)
        result = json_pack("{s:s}", "image", j->image);
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s?, s:o}", "id", j->id, "kind",
                     "import", "state", states[j->state], "seq", (json_int_t)j->seq, "done_bytes",
                     (json_int_t)atomic_load(&j->progress.done_bytes), "total_bytes",
                     (json_int_t)atomic_load(&j->progress.total_bytes), "phase", phase_of(j),
                     "error", j->state > JOB_DONE ? j->e.msg : NULL, "result", result);
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
        { "GET", "/v1/jobs/{}", HTTP_ADMIN, on_show, false },
        { "DELETE", "/v1/jobs/{}", HTTP_ADMIN, on_cancel, false },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
