/* SPDX-License-Identifier: Apache-2.0 */
/* job_check - POST /v1/store/check: every layer of the catalog against its files; deep: all data
 * against its checksums. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/jobs.h"
#include "server/control/json.h"
#include "server/store/store.h"

#define PROBLEMS_MOST 100 /* that are told one by one */

struct problem {
    size_t layer;
    char what[sizeof((struct err *)NULL)->msg];
};

struct check_work {
    bool deep;
    struct cat_layer *layers;
    size_t count, room;
    uint64_t checked_layers, checked_bytes;
    struct problem problems[PROBLEMS_MOST];
    unsigned problem_count, more;
};

static void check_free(void *work)
{
    struct check_work *w = work;

    if (!w)
        return;
    free(w->layers);
    free(w);
}

static int add_layer(void *ctx, const struct cat_layer *l)
{
    struct check_work *w = ctx;

    if (w->count == w->room) {
        size_t room = w->room ? 2 * w->room : 256;
        struct cat_layer *grown = reallocarray(w->layers, room, sizeof *grown);
        if (!grown)
            return -ENOMEM;
        w->layers = grown;
        w->room = room;
    }
    w->layers[w->count++] = *l;
    return 0;
}

static bool is_cancelled(void *ctx)
{
    struct job *j = ctx;

    return atomic_load(&j->progress.cancel);
}

/* -ECANCELED, or 0. */
static int check_one(struct job *j, size_t n)
{
    struct check_work *w = j->work;
    const struct cat_layer *l = &w->layers[n];
    struct layer_report report = { 0 };
    struct layer_id id;
    struct err e = { 0 };

    memcpy(id.b, l->id, sizeof id.b);
    int rc = layer_check(j->control->store, id, w->deep, is_cancelled, j, &report, &e);
    if (rc == -ECANCELED)
        return rc;
    /* A top that was never written to has no files; one that is being written to is not still. */
    if (rc == 0) {
        w->checked_layers++;
        w->checked_bytes += report.checked_bytes;
    } else if (!(l->top && (rc == -ENOENT || rc == -EBUSY))) {
        w->checked_layers++;
        if (w->problem_count == PROBLEMS_MOST) {
            w->more++;
            return 0;
        }
        struct problem *p = &w->problems[w->problem_count++];
        p->layer = n;
        memcpy(p->what, e.msg, sizeof p->what);
    }
    return 0;
}

/* What there is to read. */
static uint64_t total_of(struct job *j)
{
    const struct check_work *w = j->work;
    uint64_t total = 0;

    for (size_t i = 0; i < w->count; i++) {
        uint64_t bytes = 0;
        struct layer_id id;
        memcpy(id.b, w->layers[i].id, sizeof id.b);
        if (layer_usage(j->control->store, id, &bytes, NULL) == 0)
            total += bytes;
    }
    return total;
}

static int check_run(struct job *j)
{
    struct check_work *w = j->work;
    int rc = 0;

    if (w->deep)
        atomic_store(&j->progress.total_bytes, total_of(j));
    atomic_store(&j->progress.phase, w->deep ? "read" : "compare");
    for (size_t i = 0; i < w->count && rc == 0; i++) {
        rc = is_cancelled(j) ? -ECANCELED : check_one(j, i);
        if (w->deep)
            atomic_store(&j->progress.done_bytes, w->checked_bytes);
    }
    return rc < 0 ? err_set(&j->e, rc, "cancelled") : 0;
}

/* What was removed or merged while the job ran is no problem. */
static json_t *problems_json(struct job *j)
{
    struct check_work *w = j->work;
    json_t *list = json_array();

    for (unsigned i = 0; i < w->problem_count; i++) {
        struct problem *p = &w->problems[i];
        const struct cat_layer *l = &w->layers[p->layer];
        char hex[2 * sizeof l->id + 1];
        unsigned depth;
        if (cat_layer_depth(j->control->catalog, l->id, &depth, NULL) == 0 && depth == 0)
            continue;
        hex_encode(l->id, sizeof l->id, hex);
        json_text_clean(p->what);
        log_error("control check: %s: %s", l->owner, p->what);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s}", "layer", hex, "of",
                                        l->owner[0] ? l->owner : "other layers", "what", p->what));
    }
    return list;
}

static bool check_conclude(struct job *j)
{
    struct check_work *w = j->work;
    struct err e = { 0 };

    if (j->rc < 0)
        return false;
    json_t *problems = problems_json(j);
    size_t count = json_array_size(problems) + w->more;
    if (count && control_event(j->control, &e, "store-damaged", "store",
                               "%zu layer%s of the store %s damaged: `gridbox store %s` says which",
                               count, count == 1 ? "" : "s", count == 1 ? "is" : "are",
                               w->deep ? "scrub" : "check") < 0)
        log_error("control check: event: %s", e.msg);
    j->result = json_pack("{s:I, s:I, s:o}", "layers", (json_int_t)w->checked_layers,
                          "checked_bytes", (json_int_t)w->checked_bytes, "problems", problems);
    return false;
}

static const struct job_kind check_kind = {
    .name = "check",
    .run = check_run,
    .conclude = check_conclude,
    .free = check_free,
};

static const struct job_kind scrub_kind = {
    .name = "scrub",
    .run = check_run,
    .conclude = check_conclude,
    .free = check_free,
};

static int begin(struct control *c, bool deep, struct job **ret, struct err *e)
{
    const struct job_kind *kind = deep ? &scrub_kind : &check_kind;

    *ret = jobs_find(c->jobs, kind, NULL);
    if (*ret)
        return 0;
    struct check_work *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, -ENOMEM, "out of memory");
    w->deep = deep;
    int rc = cat_layer_list(c->catalog, add_layer, w, e);
    if (rc < 0) {
        check_free(w);
        return rc == -ENOMEM ? err_set(e, rc, "out of memory") : rc;
    }
    return jobs_add(c, kind, "store", w, ret, e);
}

void jobs_on_check(struct http_request *r)
{
    static const char *const keys[] = { "deep", NULL };
    struct control *c = http_context(r);
    struct err e = { 0 };
    struct job *j;
    json_t *body;
    bool deep = false;
    int rc = http_json(r, keys, &body, &e);

    if (rc == 0)
        rc = json_get_bool(body, "deep", false, &deep, &e);
    if (rc == 0)
        rc = begin(c, deep, &j, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_json(r, 202, json_pack("{s:s}", "job", j->id));
}
