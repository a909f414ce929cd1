/* SPDX-License-Identifier: Apache-2.0 */
/* work_verbs - what an operator does, while clients go on: each verb through the functions of
 * server/lifecycle, and what it means for the model. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/catalog/images.h"
#include "server/catalog/snapshots.h"
#include "tests/crash/sim_vfs.h"
#include "tests/crash/work.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/unit.h"

#define VOLUMES_AT_ONCE 8u

/* ---- parts of the model -----------------------------------------------------------------------*/

unsigned work_line(struct work *w, int volume, int sealed)
{
    struct model *m = w->model;

    assert_true(m->line_count < MODEL_LINES);
    m->lines[m->line_count] =
        (struct model_line){ .volume = volume, .sealed = sealed, .before = -1 };
    return m->line_count++;
}

unsigned work_volume(struct work *w, const char *name)
{
    struct model *m = w->model;

    assert_true(m->volume_count < MODEL_VOLUMES);
    struct model_volume *v = &m->volumes[m->volume_count];
    *v = (struct model_volume){ 0 };
    snprintf(v->name, sizeof v->name, "%s", name);
    return m->volume_count++;
}

void work_cover(struct work *w, unsigned line, unsigned begin, unsigned end, unsigned verb)
{
    struct model *m = w->model;

    assert_true(m->cover_count < MODEL_COVERS);
    m->covers[m->cover_count++] =
        (struct model_cover){ .line = line, .begin = begin, .end = end, .verb = verb };
}

unsigned work_line_now(const struct model_volume *v)
{
    return v->turns[v->turn_count - 1].line;
}

bool work_is_there(struct work *w, unsigned volume)
{
    const struct model_volume *v = &w->model->volumes[volume];

    return v->turn_count && model_present(&v->life, w->model->time) == MODEL_PRESENT;
}

static unsigned volumes_there(struct work *w)
{
    unsigned count = 0;

    for (unsigned i = 0; i < w->model->volume_count; i++)
        count += work_is_there(w, i);
    return count;
}

/* One of those that are there. */
unsigned work_some_volume(struct work *w)
{
    unsigned volume;

    do
        volume = (unsigned)work_draw(w, w->model->volume_count);
    while (!work_is_there(w, volume));
    return volume;
}

struct cat_volume work_row(struct work *w, unsigned volume)
{
    struct cat_volume v;

    CHECK(cat_volume_get(w->lab->catalog, w->model->volumes[volume].name, &v, &e));
    return v;
}

/* A sealed content that the verb under way makes. */
static struct model_sealed *new_sealed(struct work *w, unsigned line, unsigned begin, unsigned verb)
{
    struct model *m = w->model;

    assert_true(m->sealed_count < MODEL_SEALED);
    struct model_sealed *s = &m->sealed[m->sealed_count++];
    *s = (struct model_sealed){ .line = line, .begin = begin, .volume = -1 };
    s->limit = (uint32_t)model_setting(&m->volumes[m->lines[line].volume].limits);
    s->life = (struct model_life){ .born_begin = begin, .verb = verb };
    return s;
}

/* What the verb made is there, or never was. */
static void born(struct model_life *life, int rc, unsigned now)
{
    if (rc == 0) {
        life->born_end = now;
    } else {
        life->died_begin = life->born_begin;
        life->died_end = now;
    }
}

/* The end of a verb: all that carries its number. */
void work_conclude(struct work *w, unsigned verb, int rc)
{
    struct model *m = w->model;
    unsigned now = work_now(w);

    if (rc < 0 && cat_failed(w->lab->catalog, NULL)) { /* nobody knows */
        w->has_failed = true;
        m->unsure_verb = verb;
        m->unsure_at = now;
        return;
    }
    for (unsigned i = 0; i < m->sealed_count; i++)
        if (m->sealed[i].life.verb == verb && !m->sealed[i].life.born_end) {
            born(&m->sealed[i].life, rc, now);
            m->sealed[i].end = now;
        }
    for (unsigned i = 0; i < m->volume_count; i++)
        if (m->volumes[i].life.verb == verb && !m->volumes[i].life.born_end)
            born(&m->volumes[i].life, rc, now);
    for (unsigned i = 0; i < m->cover_count && rc == 0; i++)
        if (m->covers[i].verb == verb)
            m->covers[i].end = now;
}

bool work_must(struct work *w, int rc, const struct err *e)
{
    sim_vfs_fail_commit(SIM_VFS_HONEST); /* if the verb had no COMMIT */
    if (rc < 0 && !w->has_failed)
        fail_msg("%s: %s", w->doing, e->msg);
    return rc == 0;
}

void work_commit_next(struct work *w)
{
    if (w->will_fail) {
        w->model->unsure_begin = w->model->time;
        sim_vfs_fail_commit(work_draw(w, 3) ? SIM_VFS_SYNCED : SIM_VFS_NOT_SYNCED);
    }
    w->will_fail = false;
}

static int check_size(const struct model_sealed *s, uint64_t size_bytes, struct err *e)
{
    return size_bytes == model_size_bytes(s->limit) ? 0
                                                    : err_set(e, -EPROTO, "it has another size");
}

/* A disk that grew and was not written to since shows a layer that is smaller than itself. */
int work_read_held(struct lab *l, const struct cat_snapshot_volume *held, uint8_t *ret,
                   struct err *e)
{
    struct layer_report report;
    struct layer_id id;

    memcpy(id.b, held->layer, sizeof id.b);
    int rc = layer_check(l->store, id, false, NULL, NULL, &report, e);
    if (rc < 0)
        return rc;
    struct lab_parts parts = work_parts(report.size_bytes, ret);
    return lab_read_layer(l, held->layer, report.size_bytes, &parts, ret, e);
}

int work_read_sealed(struct lab *l, const struct model *m, const struct model_sealed *s,
                     uint8_t *ret, struct err *e)
{
    struct cat_snapshot snapshot;
    struct cat_snapshot_volume held;
    struct cat_volume v;
    struct cat_image i;
    int rc;

    if (s->image[0]) {
        struct lab_parts parts = work_parts(model_size_bytes(s->limit), ret);
        rc = cat_image_get(l->catalog, s->image, s->version, &i, e);
        if (rc == 0)
            rc = check_size(s, i.size_bytes, e);
        return rc < 0 ? rc : lab_read_layer(l, i.layer, i.size_bytes, &parts, ret, e);
    }
    rc = cat_snapshot_get(l->catalog, s->snapshot, &snapshot, e);
    if (rc == 0)
        rc = cat_volume_get(l->catalog, m->volumes[s->volume].name, &v, e);
    if (rc == 0)
        rc = cat_snapshot_volume(l->catalog, &snapshot, v.id, &held, e);
    if (rc == 0)
        rc = check_size(s, held.size_bytes, e);
    return rc < 0 ? rc : work_read_held(l, &held, ret, e);
}

/* ---- sets of volumes --------------------------------------------------------------------------*/

struct choice {
    unsigned volumes[MODEL_VOLUMES], count;
    const char *names[MODEL_VOLUMES];
};

static bool held_by(struct work *w, unsigned volume, const char *snapshot)
{
    for (unsigned i = 0; i < w->model->sealed_count; i++) {
        const struct model_sealed *s = &w->model->sealed[i];
        if (s->volume == (int)volume && strcmp(s->snapshot, snapshot) == 0 &&
            model_present(&s->life, w->model->time) == MODEL_PRESENT)
            return true;
    }
    return false;
}

/* Some of the volumes, often all; of: those that this snapshot holds. */
static struct choice choose(struct work *w, const char *of)
{
    struct choice c = { 0 };
    bool all = work_draw(w, 2);

    while (c.count == 0)
        for (unsigned i = 0; i < w->model->volume_count; i++)
            if (work_is_there(w, i) && (!of || held_by(w, i, of)) && (all || work_draw(w, 2))) {
                c.names[c.count] = w->model->volumes[i].name;
                c.volumes[c.count++] = i;
            }
    return c;
}

/* The name of a snapshot that is there; "" : none. */
static const char *some_snapshot(struct work *w)
{
    struct model *m = w->model;
    unsigned from = m->sealed_count ? (unsigned)work_draw(w, m->sealed_count) : 0;

    for (unsigned i = 0; i < m->sealed_count; i++) {
        const struct model_sealed *s = &m->sealed[(from + i) % m->sealed_count];
        if (s->snapshot[0] && model_present(&s->life, m->time) == MODEL_PRESENT)
            return s->snapshot;
    }
    return "";
}

static int sealed_of(struct work *w, const char *snapshot, unsigned volume)
{
    for (unsigned i = 0; i < w->model->sealed_count; i++) {
        const struct model_sealed *s = &w->model->sealed[i];
        if (s->volume == (int)volume && strcmp(s->snapshot, snapshot) == 0 &&
            model_present(&s->life, w->model->time) == MODEL_PRESENT)
            return (int)i;
    }
    fail_msg("no such snapshot of a volume");
    return -1;
}

/* ---- the verbs --------------------------------------------------------------------------------*/

static void take_snapshot(struct work *w)
{
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    struct choice c = choose(w, NULL);
    struct cat_snapshot made;
    char name[NAME_SIZE];
    struct err e = { 0 };
    unsigned verb = ++w->model->verbs, begin;

    w->doing = "snapshot";
    snprintf(name, sizeof name, "s%u", w->snapshots++);
    work_must(w, lifecycle_set_named(&w->lab->life, c.names, c.count, &set, &e), &e);
    begin = work_now(w);
    for (unsigned i = 0; i < c.count; i++) {
        unsigned line = work_line_now(&w->model->volumes[c.volumes[i]]);
        struct model_sealed *s = new_sealed(w, line, begin, verb);
        s->volume = (int)c.volumes[i];
        snprintf(s->snapshot, sizeof s->snapshot, "%s", name);
        work_cover(w, line, begin, 0, verb);
    }
    work_commit_next(w);
    int rc = lifecycle_snapshot(&w->lab->life, name, &set, &made, &e);
    work_conclude(w, verb, rc);
    work_must(w, rc, &e);
}

/* The volumes begin new lines; undone when the verb fails. */
static void begin_turns(struct work *w, const struct choice *c, const char *snapshot)
{
    unsigned begin = work_now(w);

    for (unsigned i = 0; i < c->count; i++) {
        unsigned volume = c->volumes[i];
        struct model_volume *v = &w->model->volumes[volume];
        int sealed = snapshot ? sealed_of(w, snapshot, volume) : v->origin;
        struct cat_volume row = work_row(w, volume);
        assert_true(v->turn_count < 32);
        memcpy(v->tops[v->turn_count], row.top, sizeof row.top);
        v->turns[v->turn_count].line = work_line(w, (int)volume, sealed);
        v->turns[v->turn_count].begin = begin;
        v->turns[v->turn_count].end = 0;
        v->turn_count++;
    }
}

static void end_turns(struct work *w, const struct choice *c, const struct lifecycle_set *set)
{
    unsigned now = work_now(w);

    for (unsigned i = 0; i < c->count; i++) {
        struct model_volume *v = &w->model->volumes[c->volumes[i]];
        v->turns[v->turn_count - 1].end = now;
        v->turns[v->turn_count - 1].epoch = set->v[i].epoch;
        assert_true(set->v[i].epoch > v->turns[v->turn_count - 2].epoch);
        if (v->clean_count < 64)
            v->cleans[v->clean_count++] = now; /* its new top was never written to */
    }
}

static void roll_back_or_reset(struct work *w)
{
    AUTO(lifecycle_set_done) struct lifecycle_set set = { 0 };
    char name[NAME_SIZE];
    struct cat_snapshot s;
    struct err e = { 0 };
    int rc;

    snprintf(name, sizeof name, "%s", work_draw(w, 3) ? some_snapshot(w) : "");
    const char *to = name[0] ? name : NULL;
    struct choice c = choose(w, to);
    w->doing = to ? "rollback" : "reset";
    work_must(w, lifecycle_set_named(&w->lab->life, c.names, c.count, &set, &e), &e);
    begin_turns(w, &c, to);
    if (to) {
        work_must(w, cat_snapshot_get(w->lab->catalog, to, &s, &e), &e);
        work_commit_next(w);
        rc = lifecycle_rollback(&w->lab->life, &s, &set, &e);
    } else {
        work_commit_next(w);
        rc = lifecycle_reset(&w->lab->life, &set, &e);
    }
    if (rc < 0)
        work_conclude(w, 0, rc);
    if (!work_must(w, rc, &e))
        return;
    end_turns(w, &c, &set);
    for (unsigned i = 0; i < c.count; i++)
        assert_false(lab_connected(&w->lab->seats[c.volumes[i]]));
    work_attach_all(w);
}

static void begin_volume(struct work *w, const char *name, int sealed, int origin, unsigned begin,
                         unsigned verb, uint64_t quota)
{
    unsigned index = work_volume(w, name);
    struct model_volume *v = &w->model->volumes[index];

    v->life = (struct model_life){ .born_begin = begin, .verb = verb };
    v->origin = origin;
    v->turns[0].line = work_line(w, (int)index, sealed);
    v->turns[0].begin = begin;
    v->turn_count = 1;
    model_set(&v->limits, w->model->sealed[sealed].limit, 0, 1);
    model_set(&v->quotas, quota, 0, 1);
}

/* What verb `verb` made is known from now on. */
static void end_volumes(struct work *w, unsigned verb)
{
    for (unsigned i = 0; i < w->model->volume_count; i++) {
        struct model_volume *v = &w->model->volumes[i];
        if (v->life.verb != verb)
            continue;
        struct cat_volume row = work_row(w, i);
        v->turns[0].end = w->model->time;
        v->turns[0].epoch = row.epoch;
        v->cleans[v->clean_count++] = w->model->time;
        if (work_draw(w, 4))
            work_attach(w, i);
    }
}

static void make_clones(struct work *w)
{
    char text[2][NAME_SIZE], from[NAME_SIZE];
    const char *names[2] = { text[0], text[1] };
    unsigned room = VOLUMES_AT_ONCE - volumes_there(w);
    unsigned verb = ++w->model->verbs, count = 1 + (unsigned)work_draw(w, 2), begin;
    struct err e = { 0 };
    int rc, sealed;

    count = count > room ? room : count;
    if (count == 0 || w->model->volume_count + count > MODEL_VOLUMES)
        return;
    snprintf(from, sizeof from, "%s", work_draw(w, 2) ? some_snapshot(w) : "");
    struct choice c = choose(w, from[0] ? from : NULL);
    struct cat_volume v = work_row(w, c.volumes[0]);
    int origin = w->model->volumes[c.volumes[0]].origin;
    w->doing = "clone";
    for (unsigned i = 0; i < count; i++)
        snprintf(text[i], sizeof text[i], "c%u", w->clones++);
    begin = work_now(w);
    if (from[0]) {
        sealed = sealed_of(w, from, c.volumes[0]);
    } else {
        unsigned line = work_line_now(&w->model->volumes[c.volumes[0]]);
        new_sealed(w, line, begin, verb);
        sealed = (int)w->model->sealed_count - 1;
        work_cover(w, line, begin, 0, verb);
    }
    for (unsigned i = 0; i < count; i++)
        begin_volume(w, names[i], sealed, origin, begin, verb, v.quota_bytes);
    if (from[0]) {
        struct cat_snapshot s;
        work_must(w, cat_snapshot_get(w->lab->catalog, from, &s, &e), &e);
        work_commit_next(w);
        rc = lifecycle_clone_snapshot(&w->lab->life, &v, &s, names, count, &e);
    } else {
        work_commit_next(w);
        rc = lifecycle_clone(&w->lab->life, &v, names, count, &e);
    }
    work_conclude(w, verb, rc);
    if (work_must(w, rc, &e))
        end_volumes(w, verb);
}

static void create(struct work *w)
{
    struct model *m = w->model;
    unsigned verb = ++m->verbs, sealed = (unsigned)work_draw(w, m->sealed_count);
    char name[NAME_SIZE];
    const char *names[1] = { name };
    struct cat_image image;
    struct err e = { 0 };

    if (volumes_there(w) >= VOLUMES_AT_ONCE || m->volume_count == MODEL_VOLUMES)
        return;
    while (!m->sealed[sealed].image[0] ||
           model_present(&m->sealed[sealed].life, m->time) != MODEL_PRESENT)
        sealed = (sealed + 1) % m->sealed_count;
    w->doing = "create";
    snprintf(name, sizeof name, "n%u", w->clones++);
    work_must(w,
              cat_image_get(w->lab->catalog, m->sealed[sealed].image, m->sealed[sealed].version,
                            &image, &e),
              &e);
    begin_volume(w, name, (int)sealed, (int)sealed, work_now(w), verb, 0);
    work_commit_next(w);
    int rc = lifecycle_create(&w->lab->life, &image, names, 1, &e);
    work_conclude(w, verb, rc);
    if (work_must(w, rc, &e))
        end_volumes(w, verb);
}

static void promote(struct work *w)
{
    unsigned verb = ++w->model->verbs, volume = work_some_volume(w), begin = work_now(w);
    unsigned line = work_line_now(&w->model->volumes[volume]);
    struct cat_volume v = work_row(w, volume);
    struct cat_image i = { .name = "golden", .source = "a volume" };
    struct err e = { 0 };

    w->doing = "promote";
    struct model_sealed *s = new_sealed(w, line, begin, verb);
    s->version = 1;
    for (unsigned n = 0; n < w->model->sealed_count; n++)
        if (w->model->sealed[n].image[0] && w->model->sealed[n].version >= s->version)
            s->version = w->model->sealed[n].version + 1;
    snprintf(s->image, sizeof s->image, "%s", i.name);
    work_cover(w, line, begin, 0, verb);
    work_commit_next(w);
    int rc = lifecycle_promote(&w->lab->life, &v, &i, &e);
    work_conclude(w, verb, rc);
    if (work_must(w, rc, &e))
        assert_int_equal(i.version, s->version);
}

/* Everything that is called so begins to go. */
static void remove_snapshot(struct work *w)
{
    struct model *m = w->model;
    struct cat_snapshot s;
    struct err e = { 0 };
    char name[NAME_SIZE];

    snprintf(name, sizeof name, "%s", some_snapshot(w));
    if (!name[0])
        return;
    w->doing = "snapshot remove";
    work_must(w, cat_snapshot_get(w->lab->catalog, name, &s, &e), &e);
    unsigned begin = work_now(w);
    for (unsigned i = 0; i < m->sealed_count; i++)
        if (strcmp(m->sealed[i].snapshot, name) == 0 && !m->sealed[i].life.died_begin)
            m->sealed[i].life.died_begin = begin;
    work_commit_next(w);
    int rc = lifecycle_snapshot_remove(&w->lab->life, &s, &e);
    if (rc < 0)
        work_conclude(w, 0, rc);
    if (!work_must(w, rc, &e))
        return;
    unsigned end = work_now(w);
    for (unsigned i = 0; i < m->sealed_count; i++)
        if (m->sealed[i].life.died_begin == begin)
            m->sealed[i].life.died_end = end;
}

static void remove_volume(struct work *w)
{
    struct model *m = w->model;
    unsigned volume = work_some_volume(w);
    struct err e = { 0 };

    if (volumes_there(w) < 3)
        return;
    struct cat_volume v = work_let_go(w, volume);
    w->doing = "remove";
    unsigned begin = work_now(w);
    for (unsigned i = 0; i < m->sealed_count; i++)
        if (m->sealed[i].volume == (int)volume && !m->sealed[i].life.died_begin)
            m->sealed[i].life.died_begin = begin;
    m->volumes[volume].life.died_begin = begin;
    work_must(w, lifecycle_remove(&w->lab->life, &v, true, &e), &e);
    unsigned end = work_now(w);
    m->volumes[volume].life.died_end = end;
    for (unsigned i = 0; i < m->sealed_count; i++)
        if (m->sealed[i].life.died_begin == begin)
            m->sealed[i].life.died_end = end;
}

static void sweep_and_merge(struct work *w)
{
    struct err e = { 0 };

    w->doing = "merge";
    w->merges++;
    work_now(w);
    lifecycle_sweep(&w->lab->life);
    work_commit_next(w);
    int rc = lifecycle_merge_all(&w->lab->life, &e);
    if (rc < 0)
        work_conclude(w, 0, rc);
    work_must(w, rc, &e);
    lifecycle_sweep(&w->lab->life);
    work_now(w);
}

static const struct {
    const char *name;
    unsigned weight;
    void (*fn)(struct work *w);
} verbs[WORK_VERBS] = {
    { "snapshot", 6, take_snapshot },
    { "rollback/reset", 5, roll_back_or_reset },
    { "clone", 3, make_clones },
    { "create", 1, create },
    { "promote", 3, promote },
    { "snapshot-remove", 4, remove_snapshot },
    { "remove", 1, remove_volume },
    { "merge", 4, sweep_and_merge },
    { "attach/detach", 3, work_attach_or_detach },
    { "resize", 4, work_resize },
    { "quota", 4, work_quota },
    { "verify", 2, work_verify },
    { "detach-hanging", 2, work_detach_hanging },
};

const char *work_verb_name(unsigned verb)
{
    return verbs[verb].name;
}

void work_verb(struct work *w)
{
    unsigned all = 0, at = 0;

    if (w->has_failed)
        return;
    w->will_fail = work_draw(w, 10) == 0;
    for (size_t i = 0; i < WORK_VERBS; i++)
        all += verbs[i].weight;
    for (uint64_t pick = work_draw(w, all); pick >= verbs[at].weight; at++)
        pick -= verbs[at].weight;
    w->verbs[at]++;
    verbs[at].fn(w);
    sim_vfs_fail_commit(SIM_VFS_HONEST);
    w->doing = "nothing";
}
