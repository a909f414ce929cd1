/* SPDX-License-Identifier: Apache-2.0 */
/* job_verify - POST /v1/images/{}/verify: an image is read and compared with its hash, or hashed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/name.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/jobs.h"
#include "server/control/json.h"
#include "server/lifecycle/lifecycle.h"

struct verify_work {
    int64_t image_id;
    struct lifecycle_verify v;
};

static void verify_free(void *work)
{
    free(work);
}

static bool on_progress(void *ctx, uint64_t done_bytes)
{
    struct job *j = ctx;

    atomic_store(&j->progress.done_bytes, done_bytes);
    return atomic_load(&j->progress.cancel);
}

static int verify_run(struct job *j)
{
    struct verify_work *w = j->work;

    atomic_store(&j->progress.phase, "read");
    atomic_store(&j->progress.total_bytes, w->v.size_bytes);
    j->e = (struct err){ 0 };
    return lifecycle_verify_read(j->control->store, &w->v, on_progress, j, &j->e);
}

/* Reads the image's chain as it is now; for the first run and, after a merge, for another one. */
static int begin(struct control *c, struct verify_work *w, struct err *e)
{
    struct cat_image i;
    int rc = cat_image_get_id(c->catalog, w->image_id, &i, e);

    return rc < 0 ? rc : lifecycle_verify_begin(control_life(c), &i, &w->v, e);
}

static bool verify_conclude(struct job *j)
{
    struct verify_work *w = j->work;
    char hex[65];

    j->rc = lifecycle_verify_end(control_life(j->control), &w->v, j->rc, &j->e);
    if (j->rc == -EAGAIN) {
        j->rc = begin(j->control, w, &j->e);
        return j->rc == 0;
    }
    if (j->rc == 0) {
        hex_encode(w->v.sha256, sizeof w->v.sha256, hex);
        j->result = json_pack("{s:s, s:s}", "image", j->object, "sha256", hex);
    }
    return false;
}

static const struct job_kind verify_kind = {
    .name = "verify",
    .run = verify_run,
    .conclude = verify_conclude,
    .free = verify_free,
};

int jobs_verify(struct control *c, const struct cat_image *i, char ret_id[static 17], struct err *e)
{
    char object[80];

    snprintf(object, sizeof object, "%s@%u", i->name, i->version);
    struct job *j = jobs_find(c->jobs, &verify_kind, object);
    if (!j) {
        struct verify_work *w = calloc(1, sizeof *w);
        if (!w)
            return err_set(e, -ENOMEM, "out of memory");
        w->image_id = i->id;
        int rc = begin(c, w, e);
        if (rc < 0) {
            free(w);
            return rc;
        }
        rc = jobs_add(c, &verify_kind, object, w, &j, e);
        if (rc < 0)
            return rc;
    }
    memcpy(ret_id, j->id, sizeof j->id);
    return 0;
}

void jobs_on_verify(struct http_request *r)
{
    struct control *c = http_context(r);
    static const char *const keys[] = { NULL };
    struct cat_image i;
    struct err e = { 0 };
    char name[NAME_SIZE], id[17];
    uint32_t version;
    json_t *body;
    int rc = http_json(r, keys, &body, &e);

    if (rc == 0)
        rc = name_split_image(http_arg(r, 0), name, &version, &e);
    if (rc == 0)
        rc = cat_image_get(c->catalog, name, version, &i, &e);
    if (rc == 0)
        rc = jobs_verify(c, &i, id, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    else
        http_answer_json(r, 202, json_pack("{s:s}", "job", id));
}
