/* SPDX-License-Identifier: Apache-2.0 */
/* work - a run from its beginning to its end. */
#include "tests/crash/work.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/catalog/catalog.h"
#include "server/catalog/images.h"
#include "tests/crash/fake_time.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/unit.h"

uint64_t work_draw(struct work *w, uint64_t limit)
{
    w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (w->seed >> 33) % limit;
}

unsigned work_now(struct work *w)
{
    return model_tick(w->model, sim_count(w->lab->sim));
}

/* ---- the beginning ----------------------------------------------------------------------------*/

static void values_of(const uint8_t *bytes, model_value *ret)
{
    for (unsigned s = 0; s < MODEL_SECTORS; s++)
        ret[s] = model_value_of(bytes + s * MODEL_SECTOR);
}

struct lab_parts work_parts(uint64_t size_bytes, uint8_t *ret)
{
    struct lab_parts parts = { 0 };
    uint32_t limit = model_limit_of(size_bytes);

    assert_true(limit);
    memset(ret, 0, MODEL_BYTES);
    for (unsigned i = 0; i < MODEL_PLACES; i++) {
        struct model_place p = model_place(i);
        if (limit <= p.first)
            break;
        parts.part[i].offset = p.offset;
        parts.part[i].length = (limit - p.first < p.count ? limit - p.first : p.count);
        parts.part[i].length *= MODEL_SECTOR;
        parts.count++;
    }
    return parts;
}

static struct model_sealed *add_known(struct work *w, const uint8_t *bytes, uint64_t size_bytes)
{
    struct model *m = w->model;

    assert_true(m->sealed_count < MODEL_SEALED);
    struct model_sealed *s = &m->sealed[m->sealed_count++];
    *s = (struct model_sealed){ .exact = true, .volume = -1, .limit = model_limit_of(size_bytes) };
    s->life = (struct model_life){ .born_end = 1 };
    values_of(bytes, s->content);
    return s;
}

static void import_image(struct work *w)
{
    struct lab *l = w->lab;
    uint64_t size_bytes = model_size_bytes(model_limit(0));
    struct cat_image i = { .name = "golden", .size_bytes = size_bytes, .format = "raw" };
    static uint8_t bytes[MODEL_BYTES];
    uint8_t sha256[32];
    struct layer_id id = lab_import(l, size_bytes);

    fill_image(bytes, 0, size_bytes);
    memcpy(i.layer, id.b, sizeof i.layer);
    assert_int_equal(EVP_Digest(bytes, size_bytes, sha256, NULL, EVP_sha256(), NULL), 1);
    hex_encode(sha256, sizeof sha256, i.sha256);
    CHECK(cat_image_add(l->catalog, &i, &e));
    struct model_sealed *s = add_known(w, bytes, size_bytes);
    snprintf(s->image, sizeof s->image, "%s", i.name);
    s->version = i.version;
}

void work_set_up(struct work *w, unsigned volumes)
{
    struct cat_image image;
    struct cat_volume v;

    work_now(w);
    import_image(w);
    CHECK(cat_image_get(w->lab->catalog, "golden", 0, &image, &e));
    for (unsigned i = 0; i < volumes; i++) {
        char name[NAME_SIZE];
        const char *names[1] = { name };
        snprintf(name, sizeof name, "v%u", i);
        CHECK(lifecycle_create(&w->lab->life, &image, names, 1, &e));
        CHECK(cat_volume_get(w->lab->catalog, name, &v, &e));
        uint32_t limit = model_limit(i == 0 ? 2 : 0); /* one has many map pages */
        CHECK(lifecycle_resize(&w->lab->life, &v, model_size_bytes(limit), &e));
        unsigned index = work_volume(w, name);
        struct model_volume *mv = &w->model->volumes[index];
        mv->life = (struct model_life){ .born_end = 1 };
        mv->turns[0].line = work_line(w, (int)index, 0);
        mv->turns[0].end = 1;
        mv->turn_count = 1;
        model_set(&mv->limits, limit, 0, 1);
        model_set(&mv->quotas, 0, 0, 1);
        mv->cleans[mv->clean_count++] = 1;
        CHECK(cat_volume_get(w->lab->catalog, name, &v, &e));
        mv->turns[0].epoch = v.epoch;
        work_attach(w, index);
    }
    work_let_run(w, true);
    work_now(w);
}

/* ---- going on after a crash -------------------------------------------------------------------*/

struct adoption {
    struct work *work;
    struct cat_snapshot snapshot;
};

static int adopt_image(void *ctx, const struct cat_image *i)
{
    struct work *w = ctx;
    struct cat_attachment a = { .id = 1 };
    struct export_grant g;
    static uint8_t bytes[MODEL_BYTES];

    CHECK(lifecycle_image_grant(&w->lab->life, i, &a, &g, &e));
    struct lab_parts parts = work_parts(i->size_bytes, bytes);
    CHECK(lab_read_chain(w->lab, &g.layers, i->size_bytes, &parts, bytes, &e));
    struct model_sealed *s = add_known(w, bytes, i->size_bytes);
    snprintf(s->image, sizeof s->image, "%s", i->name);
    s->version = i->version;
    return 0;
}

static int image_sealed(const struct model *m, const char *name, uint32_t version)
{
    for (unsigned i = 0; i < m->sealed_count; i++)
        if (strcmp(m->sealed[i].image, name) == 0 && m->sealed[i].version == version)
            return (int)i;
    fail_msg("a volume of an image that is not there");
    return -1;
}

/* Which line of the model before this one the volume showed when its process was killed. */
static int line_before(const struct model *m, const struct cat_volume *v)
{
    const struct model *b = m->before;

    for (unsigned i = 0; b && i < b->volume_count; i++)
        if (strcmp(b->volumes[i].name, v->name) == 0) {
            unsigned turn = model_turn(b, i, m->before_at);
            const struct model_volume *mv = &b->volumes[i];
            bool under_way = turn && (!mv->turns[turn].end || mv->turns[turn].end > m->before_at);
            if (under_way && memcmp(v->top, mv->tops[turn], sizeof v->top) == 0)
                turn--;
            return (int)mv->turns[turn].line;
        }
    return -1;
}

static int adopt_volume(void *ctx, const struct cat_volume *v)
{
    struct work *w = ctx;
    static uint8_t bytes[MODEL_BYTES];
    unsigned index = work_volume(w, v->name);
    struct model_volume *mv = &w->model->volumes[index];

    mv->life = (struct model_life){ .born_end = 1 };
    mv->origin = image_sealed(w->model, v->image_name, v->image_version);
    mv->turns[0].line = work_line(w, (int)index, -1);
    mv->turns[0].end = 1;
    mv->turns[0].epoch = v->epoch;
    mv->turn_count = 1;
    model_set(&mv->limits, model_limit_of(v->size_bytes), 0, 1);
    model_set(&mv->quotas, v->quota_bytes, 0, 1);
    struct lab_parts parts = work_parts(v->size_bytes, bytes);
    if (!w->killed)
        mv->cleans[mv->clean_count++] = 1;
    if (cat_volume_attached(v)) {
        char uri[EXPORT_NAME_SIZE];
        lab_uri(v, uri);
        assert_int_equal(lab_connect(w->lab, index, uri), 0);
        lab_read(w->lab->seats[index].device, &parts, bytes);
    } else {
        CHECK(lab_read_volume(w->lab, v, &parts, bytes, &e));
    }
    struct model_line *line = &w->model->lines[mv->turns[0].line];
    values_of(bytes, line->base);
    line->before = line_before(w->model, v);
    return 0;
}

static int adopt_held(void *ctx, const struct cat_snapshot_volume *held)
{
    struct adoption *a = ctx;
    struct work *w = a->work;
    static uint8_t bytes[MODEL_BYTES];

    CHECK(work_read_held(w->lab, held, bytes, &e));
    struct model_sealed *s = add_known(w, bytes, held->size_bytes);
    snprintf(s->snapshot, sizeof s->snapshot, "%s", a->snapshot.name);
    for (unsigned i = 0; i < w->model->volume_count; i++)
        if (strcmp(w->model->volumes[i].name, held->volume) == 0)
            s->volume = (int)i;
    return 0;
}

static int adopt_snapshot(void *ctx, const struct cat_snapshot *s)
{
    struct adoption a = { .work = ctx, .snapshot = *s };

    return cat_snapshot_volumes(a.work->lab->catalog, s->id, adopt_held, &a, NULL);
}

void work_adopt(struct work *w)
{
    struct catalog *c = w->lab->catalog;

    work_now(w);
    CHECK(cat_image_list(c, adopt_image, w, &e));
    CHECK(cat_volume_list(c, adopt_volume, w, &e));
    CHECK(cat_snapshot_list(c, 0, adopt_snapshot, w, &e));
    for (unsigned i = 0; i < w->model->volume_count; i++)
        if (!lab_connected(&w->lab->seats[i]) && work_draw(w, 4))
            work_attach(w, i);
    work_let_run(w, true);
    work_now(w);
}

/* ---- the run ----------------------------------------------------------------------------------*/

/* Everything comes to rest for so long that all is committed and marked clean. */
static void rest(struct work *w)
{
    struct model *m = w->model;

    work_requests(w, 0);
    for (int i = 0; i < 4; i++) {
        work_let_run(w, true);
        fake_time_advance(11 * NS_PER_S);
        fake_fire_timers();
    }
    work_let_run(w, true);
    unsigned now = work_now(w);
    for (unsigned i = 0; i < m->volume_count; i++) {
        struct model_volume *v = &m->volumes[i];
        if (v->turn_count == 0 || model_present(&v->life, now) != MODEL_PRESENT)
            continue;
        assert_true(v->clean_count < 64);
        if (w->lab->seats[i].running) /* for room: what came before is not committed for that */
            continue;
        v->cleans[v->clean_count++] = now;
        work_cover(w, v->turns[v->turn_count - 1].line, now, now, 0);
    }
}

void work_run(struct work *w, unsigned verbs, unsigned requests)
{
    for (unsigned i = 0; i < verbs + 1; i++) {
        work_requests(w, requests / (verbs + 1) + (unsigned)work_draw(w, 6));
        work_let_run(w, false);
        if (i < verbs)
            work_verb(w);
        if (work_draw(w, 4) == 0)
            rest(w);
    }
    work_let_run(w, work_draw(w, 2));
}

void work_audit(struct work *w)
{
    struct model *m = w->model;
    static uint8_t bytes[MODEL_BYTES];

    work_requests(w, 0);
    work_check_quotas(w);
    for (unsigned i = 0; i < m->sealed_count; i++) {
        struct model_sealed *s = &m->sealed[i];
        struct err e = { 0 };
        if ((!s->snapshot[0] && !s->image[0]) || s->life.died_begin || !s->life.born_end)
            continue;
        if (work_read_sealed(w->lab, m, s, bytes, &e) < 0)
            fail_msg("what was sealed cannot be read: %s", e.msg);
        for (uint32_t sector = 0; sector < MODEL_SECTORS; sector++) {
            model_value v = model_value_of(bytes + sector * MODEL_SECTOR);
            if (!model_sealed_may(m, i, m->time, 0, sector, v))
                fail_msg("%s%s@%u: sector %u shows what it must not", s->snapshot, s->image,
                         s->version, sector);
        }
        values_of(bytes, s->content);
        s->exact = true;
    }
}

void work_stop(struct work *w)
{
    struct model *m = w->model;
    unsigned first = m->cover_count, begin = work_now(w);

    m->stop = begin;
    for (unsigned i = 0; i < m->volume_count; i++)
        if (m->volumes[i].turn_count)
            work_cover(w, m->volumes[i].turns[m->volumes[i].turn_count - 1].line, begin, 0, 0);
    work_requests(w, 0);
    lab_stop(w->lab);
    unsigned end = work_now(w);
    for (unsigned i = first; i < m->cover_count; i++)
        m->covers[i].end = end;
    for (unsigned i = 0; i < m->volume_count; i++) {
        struct model_volume *v = &m->volumes[i];
        if (v->turn_count && v->clean_count < 64)
            v->cleans[v->clean_count++] = end;
    }
}
