/* SPDX-License-Identifier: Apache-2.0 */
/* job - follows a job of the server.  It knows not what the job does. */
#include "server/cli/job.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"

#define POLL_SECONDS   20
#define CANCEL_SECONDS 15 /* how long the server may take to end a cancelled job */

static int get(struct job *j, const char *id, int64_t after, unsigned wait,
               struct client_reply *ret, struct err *e)
{
    char path[CLIENT_PATH_SIZE], query[64];

    snprintf(query, sizeof query, "?after=%lld&wait=%u", (long long)after, wait);
    int rc = client_path(path, "/v1/jobs/", id, query, e);
    return rc < 0 ? rc : client_call(j->c->client, "GET", path, NULL, wait, ret, e);
}

static bool runs(const struct client_reply *r)
{
    return strcmp(client_text(r->json, "state"), "running") == 0;
}

static void show(struct job *j, const struct client_reply *r)
{
    int64_t done = client_number(r->json, "done_bytes"),
            total = client_number(r->json, "total_bytes");
    char what[256];

    snprintf(what, sizeof what, "%s: %s", j->title, client_text(r->json, "phase"));
    progress_show(&j->progress, what, done > 0 ? (uint64_t)done : 0,
                  total > 0 ? (uint64_t)total : 0);
}

/* Follows the job until it ends or the user has enough of it (-ECANCELED). */
static int follow(struct job *j, const char *id, struct client_reply *ret, struct err *e)
{
    int64_t after = 0;

    while (!interrupt_take(&j->c->interrupt)) {
        struct client_reply r = { 0 };
        int rc = get(j, id, after, POLL_SECONDS, &r, e);
        if (rc < 0)
            return rc;
        if (!runs(&r)) {
            *ret = r;
            return 0;
        }
        after = client_number(r.json, "seq");
        show(j, &r);
        client_reply_done(&r);
    }
    return -ECANCELED;
}

/* Tells the server to stop, and waits until nothing of the job is left there. */
static int cancel(struct job *j, const char *id, struct client_reply *ret, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char path[CLIENT_PATH_SIZE];
    int64_t deadline = clock_mono_ns() + CANCEL_SECONDS * NS_PER_S, after = 0;

    int rc = client_path(path, "/v1/jobs/", id, "", e);
    if (rc == 0)
        rc = client_call(j->c->client, "DELETE", path, NULL, 0, &r, e);
    if (rc < 0)
        return rc;
    while (clock_mono_ns() < deadline) {
        client_reply_done(&r);
        rc = get(j, id, after, 1, &r, e);
        if (rc == -ECANCELED)
            break;
        if (rc < 0)
            return rc;
        if (!runs(&r)) {
            *ret = r;
            r = (struct client_reply){ 0 };
            return 0;
        }
        after = client_number(r.json, "seq");
    }
    return err_set(e, -ETIMEDOUT, "the server was told to cancel the %s, and still works on it",
                   j->what);
}

int job_wait(struct job *j, const char *id, struct client_reply *ret, struct err *e)
{
    int rc = follow(j, id, ret, e);

    if (rc == -ECANCELED)
        rc = cancel(j, id, ret, e);
    progress_end(&j->progress);
    return rc;
}

int job_result(struct job *j, const struct client_reply *ended, struct err *e)
{
    const char *state = client_text(ended->json, "state"), *why = client_text(ended->json, "error");

    if (j->c->json)
        cli_print_json(j->c, ended);
    if (strcmp(state, "cancelled") == 0)
        return err_set(e, -ECANCELED, "the %s was cancelled", j->what);
    if (strcmp(state, "done") != 0)
        return err_set(e, -EREMOTEIO, "%s: %s", j->what, why[0] ? why : state);
    return 0;
}

int job_run(struct cli *c, const struct client_reply *started, const char *title, const char *what,
            struct client_reply *ret, struct err *e)
{
    struct job j = { .c = c, .title = title, .what = what };

    progress_start(&j.progress, STDERR_FILENO);
    interrupt_begin(&c->interrupt);
    int rc = job_wait(&j, client_text(started->json, "job"), ret, e);
    interrupt_end(&c->interrupt);
    return rc < 0 ? rc : job_result(&j, ret, e);
}
