/* SPDX-License-Identifier: Apache-2.0 */
/* model - what volumes, snapshots and images may show after a crash at any moment. */
#include "tests/crash/model.h"

#include <assert.h>
#include <string.h>

/* Disks of 64 MiB each have a map page. */
struct model_place model_place(unsigned number)
{
    static const struct model_place places[MODEL_PLACES] = {
        { 0, 128, 0 },
        { 128, 32, (64u << 20) - 16 * MODEL_SECTOR },
        { 160, 32, (128u << 20) - 16 * MODEL_SECTOR },
    };

    return places[number];
}

unsigned model_place_of(uint32_t sector)
{
    return sector < 128 ? 0 : sector < 160 ? 1 : 2;
}

uint64_t model_offset(uint32_t sector)
{
    struct model_place p = model_place(model_place_of(sector));

    return p.offset + (uint64_t)(sector - p.first) * MODEL_SECTOR;
}

uint64_t model_size_bytes(uint32_t limit)
{
    return model_offset(limit - 1) + MODEL_SECTOR;
}

uint32_t model_limit_of(uint64_t size_bytes)
{
    for (unsigned i = 0; i < MODEL_PLACES; i++)
        if (model_size_bytes(model_limit(i)) == size_bytes)
            return model_limit(i);
    return 0;
}

uint64_t model_setting(const struct model_settings *s)
{
    unsigned i = s->count - 1;

    while (i && !s->at[i].end)
        i--;
    return s->at[i].value;
}

bool model_setting_may(const struct model_settings *s, unsigned at, uint64_t value)
{
    for (unsigned i = s->count; i-- > 0;) {
        if (s->at[i].begin > at)
            continue;
        if (s->at[i].value == value)
            return true;
        if (s->at[i].end && s->at[i].end <= at)
            return false;
    }
    return false;
}

model_value model_value_of(const void *sector)
{
    const uint8_t *bytes = sector;
    uint64_t hash = 5, word;

    for (unsigned i = 0; i < MODEL_SECTOR; i += 8) {
        memcpy(&word, bytes + i, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
        hash ^= hash >> 31;
    }
    return hash;
}

model_value model_zeros(void)
{
    static const uint8_t zeros[MODEL_SECTOR];

    return model_value_of(zeros);
}

model_value model_value_stamp(uint32_t stamp)
{
    uint32_t words[MODEL_SECTOR / 4];

    for (unsigned i = 0; i < MODEL_SECTOR / 4; i++)
        words[i] = stamp;
    return model_value_of(words);
}

unsigned model_tick(struct model *m, uint64_t count)
{
    assert(m->time + 1 < MODEL_TIMES);
    m->counts[++m->time] = count;
    return m->time;
}

unsigned model_moment(const struct model *m, uint64_t count)
{
    unsigned at = m->time;

    while (at && m->counts[at] > count)
        at--;
    return at;
}

enum model_presence model_present(const struct model_life *life, unsigned at)
{
    if (at < life->born_begin || (life->died_end && at >= life->died_end))
        return MODEL_ABSENT;
    if (!life->born_end || at < life->born_end || (life->died_begin && at >= life->died_begin))
        return MODEL_EITHER;
    return MODEL_PRESENT;
}

/* ---- one sector -------------------------------------------------------------------------------*/

static bool touches(const struct model_op *op, unsigned line, uint32_t sector)
{
    return op->line == line && sector >= op->first && sector - op->first < op->count;
}

/* Who of the requests is looked at, and who of them is surely there. */
struct rule {
    unsigned until; /* later requests are not there */
    unsigned sure;  /* those that were answered by then are */
    bool fua;       /* and those that asked for it, if answered at all */
};

static bool answered(const struct model_op *op, unsigned until)
{
    return op->done && op->done <= until && op->error == 0;
}

static bool surely_there(const struct model_op *op, const struct rule *r)
{
    return answered(op, r->until) && (op->done <= r->sure || (r->fua && op->fua));
}

/* x NULL: what the line began with. */
static bool overwritten(const struct model *m, unsigned line, const struct rule *r, uint32_t sector,
                        const struct model_op *x)
{
    for (unsigned i = 0; i < m->op_count; i++) {
        const struct model_op *y = &m->ops[i];
        if (touches(y, line, sector) && surely_there(y, r) &&
            (!x || (x->done && x->done <= r->until && y->submitted >= x->done)))
            return true;
    }
    return false;
}

static bool may(const struct model *m, unsigned line, const struct rule *r, uint32_t sector,
                model_value shown)
{
    const struct model_line *l = &m->lines[line];

    for (unsigned i = 0; i < m->op_count; i++) {
        const struct model_op *x = &m->ops[i];
        if (touches(x, line, sector) && x->value == shown && x->submitted <= r->until &&
            !overwritten(m, line, r, sector, x))
            return true;
    }
    if (overwritten(m, line, r, sector, NULL))
        return false;
    if (l->sealed < 0)
        return l->base[sector] == shown;
    return model_sealed_may(m, (unsigned)l->sealed, r->until, 0, sector, shown);
}

unsigned model_covered(const struct model *m, unsigned line, unsigned at)
{
    unsigned latest = 0;

    for (unsigned i = 0; i < m->cover_count; i++) {
        const struct model_cover *c = &m->covers[i];
        if (c->line == line && c->end && c->end <= at && c->begin > latest)
            latest = c->begin;
    }
    return latest;
}

bool model_line_may(const struct model *m, unsigned line, const struct model_view *view,
                    uint32_t sector, model_value shown)
{
    struct rule r = { .until = view->at, .fua = true };
    unsigned covered = model_covered(m, line, view->at);

    /* What was under way when a process was killed may be seen after that, and be lost later. */
    if (m->lines[line].before >= 0 && !covered && !view->cover &&
        !overwritten(m, line, &r, sector, NULL)) {
        struct model_view then = { .at = m->before_at, .crash = view->crash };
        if (model_line_may(m->before, (unsigned)m->lines[line].before, &then, sector, shown))
            return true;
    }
    r.sure = view->crash == MODEL_KILL ? view->at : covered > view->cover ? covered : view->cover;
    return may(m, line, &r, sector, shown);
}

bool model_sealed_may(const struct model *m, unsigned sealed, unsigned at, unsigned since,
                      uint32_t sector, model_value shown)
{
    const struct model_sealed *s = &m->sealed[sealed];
    struct rule r = { .until = s->end && s->end < at ? s->end : at, .sure = s->begin };

    if (s->exact)
        return s->content[sector] == shown;
    if (since > r.sure)
        r.sure = since;
    return may(m, s->line, &r, sector, shown);
}

unsigned model_latest_shown(const struct model *m, unsigned line, unsigned at,
                            const model_value *shown)
{
    unsigned latest = 0;

    for (unsigned i = 0; i < m->op_count; i++) {
        const struct model_op *x = &m->ops[i];
        if (x->kind != BLK_WRITE || x->line != line || x->submitted > at || x->submitted <= latest)
            continue;
        for (uint32_t s = x->first; s < x->first + x->count; s++)
            if (shown[s] == x->value)
                latest = x->submitted;
    }
    return latest;
}

bool model_surely_clean(const struct model *m, unsigned volume, unsigned at)
{
    const struct model_volume *v = &m->volumes[volume];
    unsigned clean = 0;

    for (unsigned i = 0; i < v->clean_count; i++)
        if (v->cleans[i] <= at)
            clean = v->cleans[i];
    if (!clean)
        return false;
    for (unsigned i = 0; i < m->op_count; i++) {
        const struct model_op *op = &m->ops[i];
        if (m->lines[op->line].volume == (int)volume && op->submitted > clean &&
            op->submitted <= at)
            return false;
    }
    return true;
}

unsigned model_turn(const struct model *m, unsigned volume, unsigned at)
{
    const struct model_volume *v = &m->volumes[volume];
    unsigned turn = 0;

    for (unsigned i = 0; i < v->turn_count; i++)
        if (v->turns[i].begin <= at)
            turn = i;
    return turn;
}
