/* SPDX-License-Identifier: Apache-2.0 */
/* work_settings - verbs that change no content: a volume grows, gets a quota; an image is verified.
 */
#include <stdio.h>
#include <string.h>

#include "server/catalog/catalog.h"
#include "server/catalog/images.h"
#include "tests/crash/work.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/unit.h"

#define BLOCK 4096u

/* ---- resize -----------------------------------------------------------------------------------*/

void work_resize(struct work *w)
{
    unsigned volume = work_some_volume(w), size = (unsigned)work_draw(w, MODEL_PLACES);
    struct model_volume *mv = &w->model->volumes[volume];
    struct err e = { 0 };

    if (model_limit(size) <= model_setting(&mv->limits))
        size = MODEL_PLACES - 1;
    struct cat_volume v = work_let_go(w, volume);
    unsigned verb = ++w->model->verbs, begin = work_now(w);
    w->doing = "resize";
    work_cover(w, work_line_now(mv), begin, 0, verb);
    assert_true(mv->limits.count < MODEL_SETTINGS);
    model_set(&mv->limits, model_limit(size), begin, 0);
    work_commit_next(w);
    int rc = lifecycle_resize(&w->lab->life, &v, model_size_bytes(model_limit(size)), &e);
    work_conclude(w, verb, rc);
    if (!work_must(w, rc, &e))
        return;
    mv->limits.at[mv->limits.count - 1].end = w->model->time;
    if (work_draw(w, 4))
        work_attach(w, volume);
}

/* ---- quota ------------------------------------------------------------------------------------*/

static uint64_t held_by_top(struct work *w, const struct cat_volume *v)
{
    struct layer_id top;
    uint64_t bytes = 0;

    memcpy(top.b, v->top, sizeof top.b);
    (void)layer_usage(w->lab->store, top, &bytes, NULL); /* it may have no files yet */
    return bytes;
}

static void check_quota(struct work *w, unsigned volume)
{
    struct model_volume *mv = &w->model->volumes[volume];
    struct cat_volume v = work_row(w, volume);
    uint64_t bytes = held_by_top(w, &v);

    if (mv->most && bytes > mv->most)
        fail_msg("%s holds %llu bytes, more than %llu", mv->name, (unsigned long long)bytes,
                 (unsigned long long)mv->most);
}

void work_check_quotas(struct work *w)
{
    for (unsigned i = 0; i < w->model->volume_count; i++)
        if (work_is_there(w, i))
            check_quota(w, i);
}

/* Nothing of it waits any more. */
static void expect_all_done(struct work *w, unsigned volume)
{
    work_let_run(w, true);
    if (w->lab->seats[volume].running)
        fail_msg("%s has no quota any more, and writes wait", w->model->volumes[volume].name);
}

void work_quota(struct work *w)
{
    unsigned volume = work_some_volume(w);
    struct model_volume *mv = &w->model->volumes[volume];
    uint64_t quota = BLOCK * (1 + work_draw(w, 16)), before = model_setting(&mv->quotas);
    struct err e = { 0 };

    if (before && work_draw(w, 3))
        quota = 0;
    work_let_run(w, work_draw(w, 2));
    check_quota(w, volume);
    struct cat_volume v = work_row(w, volume);
    w->doing = "quota";
    assert_true(mv->quotas.count < MODEL_SETTINGS);
    model_set(&mv->quotas, quota, work_now(w), 0);
    mv->most = 0;
    work_commit_next(w);
    int rc = lifecycle_quota(&w->lab->life, &v, quota, &e);
    work_conclude(w, 0, rc);
    if (!work_must(w, rc, &e))
        return;
    mv->quotas.at[mv->quotas.count - 1].end = w->model->time;
    uint64_t bytes = held_by_top(w, &v);
    if (quota == 0)
        expect_all_done(w, volume);
    else if (w->lab->seats[volume].running == 0) /* nobody was let in before */
        mv->most = quota > bytes ? quota : bytes;
}

/* ---- image verify -----------------------------------------------------------------------------*/

/* A large one is read once a run. */
static int some_image(struct work *w)
{
    struct model *m = w->model;
    unsigned from = (unsigned)work_draw(w, m->sealed_count);

    for (unsigned i = 0; i < m->sealed_count; i++) {
        unsigned at = (from + i) % m->sealed_count;
        const struct model_sealed *s = &m->sealed[at];
        bool large = s->limit > model_limit(0);
        if (!s->image[0] || model_present(&s->life, m->time) != MODEL_PRESENT ||
            (large && w->verified))
            continue;
        w->verified |= large;
        return (int)at;
    }
    return -1;
}

void work_verify(struct work *w)
{
    struct lifecycle *l = &w->lab->life;
    struct lifecycle_verify v;
    struct cat_image image;
    struct err e = { 0 };
    int at = some_image(w);

    if (at < 0)
        return;
    const struct model_sealed *s = &w->model->sealed[at];
    w->doing = "image verify";
    work_must(w, cat_image_get(w->lab->catalog, s->image, s->version, &image, &e), &e);
    work_must(w, lifecycle_verify_begin(l, &image, &v, &e), &e);
    work_let_run(w, false);
    int rc = lifecycle_verify_read(w->lab->store, &v, NULL, NULL, &e);
    work_let_run(w, false);
    work_now(w);
    rc = lifecycle_verify_end(l, &v, rc, &e);
    work_must(w, rc, &e);
    work_now(w);
}
