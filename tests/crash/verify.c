/* SPDX-License-Identifier: Apache-2.0 */
/* verify - is what a lab shows after a crash what it may show? */
#include "tests/crash/verify.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/images.h"
#include "server/catalog/layers.h"
#include "tests/crash/work.h"
#include "tests/unit/store/fake_shard.h"

static bool bad(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool bad(struct verify *v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(v->why, sizeof v->why, fmt, ap);
    va_end(ap);
    return false;
}

/* What the model knows of a line, for whoever looks into a failure (SHOW=1). */
static void show_line(const struct model *m, unsigned line, unsigned at, unsigned cover)
{
    if (!getenv("SHOW"))
        return;
    if (m->lines[line].before >= 0)
        show_line(m->before, (unsigned)m->lines[line].before, m->before_at, 0);
    printf("# moment %u; line %u is covered up to %u, or %u\n", at, line,
           model_covered(m, line, at), cover);
    for (unsigned i = 0; i < m->op_count; i++)
        if (m->ops[i].line == line && m->ops[i].submitted <= at)
            printf("# kind %d sectors %u+%u%s submitted %u done %u error %d\n", m->ops[i].kind,
                   m->ops[i].first, m->ops[i].count, m->ops[i].fua ? " FUA" : "",
                   m->ops[i].submitted, m->ops[i].done, m->ops[i].error);
    for (unsigned i = 0; i < m->cover_count; i++)
        if (m->covers[i].line == line && m->covers[i].begin <= at)
            printf("# flush or verb %u: %u to %u\n", m->covers[i].verb, m->covers[i].begin,
                   m->covers[i].end);
}

static void values_of(const uint8_t *bytes, model_value *ret)
{
    for (unsigned s = 0; s < MODEL_SECTORS; s++)
        ret[s] = model_value_of(bytes + s * MODEL_SECTOR);
}

/* ---- what one verb made is there as a whole or not at all --------------------------------------
 */

#define VERBS_MAX 512u

struct groups {
    bool seen[VERBS_MAX], there[VERBS_MAX];
};

static bool in_group(struct verify *v, struct groups *g, unsigned verb, bool there)
{
    if (verb == 0 || verb >= VERBS_MAX)
        return true;
    if (g->seen[verb] && g->there[verb] != there)
        return bad(v, "verb %u is there by half", verb);
    g->seen[verb] = true;
    g->there[verb] = there;
    return true;
}

static bool presence(struct verify *v, struct groups *g, const struct model_life *life, bool there,
                     const char *what)
{
    enum model_presence p = model_present(life, v->at);

    if (there && p == MODEL_ABSENT)
        return bad(v, "%s is there and must not be", what);
    if (!there && p == MODEL_PRESENT)
        return bad(v, "%s is gone", what);
    if (v->at >= life->born_begin && !life->died_begin)
        return in_group(v, g, life->verb, there);
    return true;
}

/* What the seals that are seen to be there make durable. */
static unsigned cover_of(const struct verify *v, const struct groups *g, unsigned line)
{
    unsigned latest = 0;

    for (unsigned i = 0; i < v->model->cover_count; i++) {
        const struct model_cover *c = &v->model->covers[i];
        if (c->line == line && c->verb && c->verb < VERBS_MAX && g->there[c->verb] &&
            c->begin <= v->at && c->begin > latest)
            latest = c->begin;
    }
    return latest;
}

/* ---- sealed contents --------------------------------------------------------------------------*/

struct shown {
    bool there;
    model_value values[MODEL_SECTORS];
};

static bool look_at_sealed(struct verify *v, struct groups *g, struct shown *shown)
{
    for (unsigned i = 0; i < v->model->sealed_count; i++) {
        const struct model_sealed *s = &v->model->sealed[i];
        static uint8_t bytes[MODEL_BYTES];
        struct err e = { 0 };
        char what[96];
        if (!s->snapshot[0] && !s->image[0])
            continue;
        snprintf(what, sizeof what, "%s%s@%u of %s", s->snapshot, s->image, s->version,
                 s->volume < 0 ? "-" : v->model->volumes[s->volume].name);
        int rc = work_read_sealed(v->lab, v->model, s, bytes, &e);
        if (rc < 0 && rc != -ENOENT)
            return bad(v, "%s cannot be read: %s", what, e.msg);
        shown[i].there = rc == 0;
        if (!presence(v, g, &s->life, rc == 0, what))
            return false;
        if (rc == 0)
            values_of(bytes, shown[i].values);
    }
    return true;
}

/* What was answered before anything that one of the verb's contents shows was asked for is in all
 * of them: they are one instant. */
static unsigned since_of(const struct verify *v, const struct shown *shown, unsigned verb)
{
    unsigned since = 0;

    if (verb == v->model->unsure_verb && v->at >= v->model->unsure_at)
        return 0; /* what had been held went on */
    for (unsigned i = 0; i < v->model->sealed_count && verb; i++) {
        const struct model_sealed *s = &v->model->sealed[i];
        if (s->life.verb != verb || !shown[i].there)
            continue;
        unsigned latest = model_latest_shown(v->model, s->line, v->at, shown[i].values);
        since = latest > since ? latest : since;
    }
    return since;
}

static bool check_sealed(struct verify *v, const struct shown *shown)
{
    for (unsigned i = 0; i < v->model->sealed_count; i++) {
        const struct model_sealed *s = &v->model->sealed[i];
        if (!shown[i].there)
            continue;
        unsigned since = s->exact ? 0 : since_of(v, shown, s->life.verb);
        for (uint32_t sector = 0; sector < MODEL_SECTORS; sector++)
            if (!model_sealed_may(v->model, i, v->at, since, sector, shown[i].values[sector]))
                return bad(v, "%s%s@%u of volume %d: sector %u shows what it must not", s->snapshot,
                           s->image, s->version, s->volume, sector);
    }
    return true;
}

/* ---- a write of the server that came up --------------------------------------------------------
 */

struct touch {
    struct blk_req r;
    struct lab_seat *seat;
    uint64_t *done_at;
};

static void touch_done(struct blk_req *r)
{
    struct touch *t = (struct touch *)((char *)r - offsetof(struct touch, r));

    if (r->error == 0)
        *t->done_at = sim_count(t->seat->lab->sim);
    lab_request_over(t->seat);
}

void verify_touch_all(struct lab *l, const struct model *m, struct verify_touch *ret)
{
    static struct touch touches[MODEL_VOLUMES];
    static uint32_t words[MODEL_SECTOR / 4];

    memset(words, 0x77, sizeof words);
    *ret = (struct verify_touch){ .value = model_value_of(words) };
    for (unsigned i = 0; i < m->volume_count; i++) {
        struct cat_volume row;
        char uri[EXPORT_NAME_SIZE];
        if (cat_volume_get(l->catalog, m->volumes[i].name, &row, NULL) < 0 ||
            !cat_volume_attached(&row))
            continue;
        lab_uri(&row, uri);
        if (lab_connect(l, i, uri) < 0)
            continue;
        touches[i] = (struct touch){ .seat = &l->seats[i], .done_at = &ret->done_at[i] };
        touches[i].r = (struct blk_req){ .op = BLK_WRITE,
                                         .flags = BLK_FUA,
                                         .offset = VERIFY_TOUCHED * MODEL_SECTOR,
                                         .length = MODEL_SECTOR,
                                         .buf = words,
                                         .done = touch_done };
        ret->begun[i] = true;
        ret->begun_at[i] = sim_count(l->sim);
        lab_request_begins(&l->seats[i]);
        blk_submit(l->seats[i].device, &touches[i].r);
    }
    fake_run();
}

/* May the sector show this because of that?  *ret_must: it must. */
static bool touched(const struct verify *v, unsigned volume, uint32_t sector, bool *ret_must)
{
    const struct verify_touch *t = v->touch;

    *ret_must = false;
    if (!t || sector != VERIFY_TOUCHED || !t->begun[volume] || v->number < t->begun_at[volume])
        return false;
    *ret_must = t->done_at[volume] && v->number >= t->done_at[volume];
    return true;
}

/* ---- volumes ----------------------------------------------------------------------------------*/

/* Which line the volume shows: the one of its last turn, unless that was on its way and has not
 * happened. */
static unsigned turn_shown(const struct verify *v, unsigned volume, const struct cat_volume *row)
{
    const struct model_volume *mv = &v->model->volumes[volume];
    unsigned turn = model_turn(v->model, volume, v->at);
    bool under_way = turn && (!mv->turns[turn].end || mv->turns[turn].end > v->at);

    if (under_way && memcmp(row->top, mv->tops[turn], sizeof row->top) == 0)
        turn--;
    return turn;
}

/* *ret_same: it is the one that its client knew, so its client goes on, and nothing that it was
 * told may be lost. */
static bool check_epoch(struct verify *v, unsigned volume, unsigned turn,
                        const struct cat_volume *row, bool *ret_same)
{
    const struct model_volume *mv = &v->model->volumes[volume];
    unsigned known = model_turn(v->model, volume, v->at);
    bool fresh;

    while (known && (!mv->turns[known].end || mv->turns[known].end > v->at))
        known--;
    fresh = turn != known; /* a turn on its way has happened: it raised the epoch itself */
    uint64_t epoch = mv->turns[known].epoch;
    *ret_same = row->epoch == epoch;
    if (epoch == 0) /* the volume is being made */
        return true;
    if (row->epoch < epoch + fresh || row->epoch > epoch + fresh + 1 + v->crashes)
        return bad(v, "%s: epoch %" PRIu64 " after %" PRIu64, row->name, row->epoch, epoch);
    if (v->settled && !*ret_same && !fresh && !v->recovering)
        return bad(v, "%s: epoch %" PRIu64 " after %" PRIu64 " though all was brought to disk",
                   row->name, row->epoch, epoch);
    if (*ret_same || fresh || v->recovering || v->crashes)
        return true;
    if (v->crash == MODEL_KILL)
        return bad(v, "%s: epoch %" PRIu64 " after %" PRIu64 " though nothing was lost", row->name,
                   row->epoch, epoch);
    if (model_surely_clean(v->model, volume, v->at))
        return bad(v, "%s: epoch %" PRIu64 " after %" PRIu64 " though it was clean", row->name,
                   row->epoch, epoch);
    return true;
}

/* The client of the volume comes back by the attachment that it had. */
static bool read_as_client(struct verify *v, const struct cat_volume *row, uint8_t *ret, bool *done)
{
    struct lab_parts parts = work_parts(row->size_bytes, ret);
    char uri[EXPORT_NAME_SIZE];

    *done = false;
    if (!row->attachment.id)
        return true;
    lab_uri(row, uri);
    int rc = lab_connect(v->lab, 0, uri);
    if (!cat_volume_attached(row))
        return rc == -ESTALE ? true
                             : bad(v, "%s: a stale attachment is answered %d", row->name, rc);
    if (rc < 0)
        return bad(v, "%s: its attachment is refused: %s", row->name, strerror(-rc));
    lab_read(v->lab->seats[0].device, &parts, ret);
    lab_leave(v->lab, 0);
    *done = true;
    return true;
}

static bool check_volume(struct verify *v, const struct groups *g, unsigned volume,
                         const struct cat_volume *row)
{
    const struct model_volume *mv = &v->model->volumes[volume];
    unsigned turn = turn_shown(v, volume, row), line = mv->turns[turn].line;
    struct model_view view = { .at = v->at, .crash = v->crash, .cover = cover_of(v, g, line) };
    static uint8_t bytes[MODEL_BYTES];
    struct err e = { 0 };
    bool done, same;

    if (!model_setting_may(&mv->limits, v->at, model_limit_of(row->size_bytes)) ||
        !model_setting_may(&mv->quotas, v->at, row->quota_bytes))
        return bad(v, "%s has %" PRIu64 " bytes and a quota of %" PRIu64, row->name,
                   row->size_bytes, row->quota_bytes);
    if (!check_epoch(v, volume, turn, row, &same) || !read_as_client(v, row, bytes, &done)) {
        show_line(v->model, line, v->at, view.cover);
        return false;
    }
    if (same)
        view.crash = MODEL_KILL;
    if (!done) {
        struct lab_parts parts = work_parts(row->size_bytes, bytes);
        if (lab_read_volume(v->lab, row, &parts, bytes, &e) < 0)
            return bad(v, "%s cannot be read: %s", row->name, e.msg);
    }
    for (uint32_t sector = 0; sector < MODEL_SECTORS; sector++) {
        model_value shown = model_value_of(bytes + sector * MODEL_SECTOR);
        bool must, may = touched(v, volume, sector, &must);
        if (may && shown == v->touch->value)
            continue;
        if (must || !model_line_may(v->model, line, &view, sector, shown)) {
            show_line(v->model, line, v->at, view.cover);
            return bad(v,
                       "%s (line %u, top %02x%02x…, epoch %" PRIu64
                       "%s): sector %u shows %02x%02x%02x%02x, which it must not",
                       row->name, line, row->top[0], row->top[1], row->epoch,
                       same ? ", which the client knew" : "", sector,
                       bytes[sector * MODEL_SECTOR + 3], bytes[sector * MODEL_SECTOR + 2],
                       bytes[sector * MODEL_SECTOR + 1], bytes[sector * MODEL_SECTOR]);
        }
    }
    return true;
}

static bool check_volumes(struct verify *v, struct groups *g)
{
    static struct cat_volume rows[MODEL_VOLUMES];
    bool there[MODEL_VOLUMES];

    for (unsigned i = 0; i < v->model->volume_count; i++) {
        const struct model_volume *mv = &v->model->volumes[i];
        struct err e = { 0 };
        int rc = cat_volume_get(v->lab->catalog, mv->name, &rows[i], &e);
        if (rc < 0 && rc != -ENOENT)
            return bad(v, "%s: %s", mv->name, e.msg);
        there[i] = rc == 0;
        if (!presence(v, g, &mv->life, there[i], mv->name))
            return false;
    }
    for (unsigned i = 0; i < v->model->volume_count; i++)
        if (there[i] && !check_volume(v, g, i, &rows[i]))
            return false;
    return true;
}

/* Volumes that change in one verb change all or none. */
static bool check_turns(struct verify *v)
{
    unsigned changed = 0, same = 0;

    for (unsigned i = 0; i < v->model->volume_count; i++) {
        const struct model_volume *mv = &v->model->volumes[i];
        unsigned turn = model_turn(v->model, i, v->at);
        struct cat_volume row;
        if (!turn || (mv->turns[turn].end && mv->turns[turn].end <= v->at) ||
            cat_volume_get(v->lab->catalog, mv->name, &row, NULL) < 0)
            continue;
        if (turn_shown(v, i, &row) == turn)
            changed++;
        else
            same++;
    }
    return !changed || !same ? true : bad(v, "%u volumes changed and %u did not", changed, same);
}

/* ---- files ------------------------------------------------------------------------------------*/

static bool check_files(struct verify *v)
{
    char path[192];
    struct dirent *entry;

    snprintf(path, sizeof path, "%s/layers", v->lab->dir);
    DIR *dir = opendir(path);
    bool ok = dir != NULL;
    while (ok && (entry = readdir(dir))) {
        char hex[33];
        uint8_t id[16];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(hex, sizeof hex, "%.32s", entry->d_name);
        if (hex_decode(hex, id, sizeof id) < 0 || !cat_layer_known(v->lab->catalog, id))
            ok = bad(v, "layers/%s belongs to nothing", entry->d_name);
    }
    if (dir)
        closedir(dir);
    snprintf(path, sizeof path, "%s/lost+found", v->lab->dir);
    dir = ok ? opendir(path) : NULL;
    while (dir && ok && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            ok = bad(v, "lost+found/%s: nothing was to be found there", entry->d_name);
    if (dir)
        closedir(dir);
    return ok;
}

static int check_layer(void *ctx, const struct cat_layer *l)
{
    struct verify *v = ctx;
    struct layer_report report;
    struct layer_id id;
    struct err e = { 0 };

    if (l->top)
        return 0;
    memcpy(id.b, l->id, sizeof id.b);
    if (layer_check(v->lab->store, id, true, NULL, NULL, &report, &e) == 0)
        return 0;
    bad(v, "layer of %s: %s", l->owner, e.msg);
    return 1;
}

/* ---- images -----------------------------------------------------------------------------------*/

struct images {
    struct verify *v;
    unsigned count;
    struct cat_image image[MODEL_SEALED];
};

static int note_image(void *ctx, const struct cat_image *i)
{
    struct images *all = ctx;

    if (i->state == CAT_IMAGE_DAMAGED)
        bad(all->v, "image %s@%u is said to be damaged", i->name, i->version);
    else if (i->size_bytes == model_size_bytes(model_limit(0)))
        all->image[all->count++] = *i;
    return 0;
}

static bool verify_images(struct verify *v)
{
    static struct images all;
    struct lifecycle *l = &v->lab->life;
    struct err e = { 0 };

    all = (struct images){ .v = v };
    if (cat_image_list(v->lab->catalog, note_image, &all, &e) < 0)
        return bad(v, "%s", e.msg);
    for (unsigned i = 0; i < all.count && v->images && !v->why[0]; i++) {
        struct lifecycle_verify job;
        int rc = lifecycle_verify_begin(l, &all.image[i], &job, &e);
        if (rc == 0)
            rc = lifecycle_verify_read(v->lab->store, &job, NULL, NULL, &e);
        if (lifecycle_verify_end(l, &job, rc, &e) < 0)
            return bad(v, "image verify: %s", e.msg);
    }
    return v->why[0] == '\0';
}

bool verify_all(struct verify *v)
{
    static struct shown shown[MODEL_SEALED];
    struct groups g = { 0 };
    struct err e = { 0 };

    memset(shown, 0, sizeof shown);
    v->why[0] = '\0';
    bool served = !v->recovering && !v->crashes && v->at < v->model->stop;
    if (v->crash == MODEL_KILL && served && store_past(v->lab->store) == STORE_PAST_POWER)
        return bad(v, "the death of a process passed for a loss of power");
    if (!look_at_sealed(v, &g, shown) || !check_sealed(v, shown) || !check_volumes(v, &g) ||
        !check_turns(v) || !check_files(v))
        return false;
    int rc = cat_layer_list(v->lab->catalog, check_layer, v, &e);
    if (rc < 0)
        return bad(v, "%s", e.msg);
    return v->why[0] == '\0' && verify_images(v);
}
