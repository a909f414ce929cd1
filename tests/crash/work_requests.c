/* SPDX-License-Identifier: Apache-2.0 */
/* work_requests - what clients ask of their volumes: writes, trims, zeroes, flushes, some with FUA,
 * overlapping as they come; and a counter that goes from volume to volume, one step after the
 * other's answer. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/crash/work.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/unit.h"

#define RUNNING_MAX    4u
#define COUNTER_SECTOR 124u /* the last one that every disk has */

struct request {
    struct blk_req r;
    struct work *work;
    struct lab_seat *seat;
    int op;    /* in the model; -1: a flush */
    int cover; /* of a flush */
    bool counter;
};

static void request_done(struct blk_req *r)
{
    struct request *q = (struct request *)((char *)r - offsetof(struct request, r));
    struct work *w = q->work;
    unsigned now = work_now(w);

    if (q->op >= 0) {
        w->model->ops[q->op].done = now;
        w->model->ops[q->op].error = r->error;
    } else if (r->error == 0) {
        w->model->covers[q->cover].end = now;
    }
    if (r->error && r->error != -ESHUTDOWN)
        fail_msg("a request ended with %s", strerror(-r->error));
    if (q->counter)
        w->counter_runs = false;
    struct lab_seat *seat = q->seat;
    free(r->buf);
    free(q);
    lab_request_over(seat);
}

/* What it shows now; a turn that is on its way has not happened to who is still connected. */
static unsigned line_of(struct work *w, unsigned volume)
{
    const struct model_volume *v = &w->model->volumes[volume];
    unsigned turn = v->turn_count - 1;

    return v->turns[turn && !v->turns[turn].end ? turn - 1 : turn].line;
}

/* Within the disk; data in one place alone, nothing over the counter. */
static void draw_range(struct work *w, struct model_op *op, uint32_t limit, bool holes)
{
    op->first = (uint32_t)work_draw(w, limit);
    op->count = 1 + (uint32_t)work_draw(w, work_draw(w, 4) ? 20 : 80);
    if (work_draw(w, 3) == 0)
        op->first &= ~7u, op->count = (op->count + 7) & ~7u;
    if (op->first == COUNTER_SECTOR)
        op->first--;
    uint32_t end = limit;
    if (op->first < COUNTER_SECTOR) {
        end = COUNTER_SECTOR;
    } else if (!holes || work_draw(w, 4)) { /* what lies between them is long */
        struct model_place p = model_place(model_place_of(op->first));
        end = p.first + p.count < limit ? p.first + p.count : limit;
    }
    if (op->count > end - op->first)
        op->count = end - op->first;
}

static void fill(struct work *w, struct request *q, struct model_op *op)
{
    uint32_t *words = malloc((size_t)op->count * MODEL_SECTOR);

    assert_non_null(words);
    w->stamp++;
    for (uint32_t i = 0; i < op->count * (MODEL_SECTOR / 4); i++)
        words[i] = w->stamp;
    q->r.buf = words;
    op->value = model_value_stamp(w->stamp);
}

static void submit(struct work *w, unsigned volume, struct request *q)
{
    lab_request_begins(q->seat);
    blk_submit(w->lab->seats[volume].device, &q->r);
}

static struct request *new_request(struct work *w, unsigned volume, enum blk_op kind)
{
    struct request *q = calloc(1, sizeof *q);

    assert_non_null(q);
    q->work = w;
    q->seat = &w->lab->seats[volume];
    q->op = -1;
    q->r = (struct blk_req){ .op = kind, .done = request_done };
    return q;
}

static void submit_flush(struct work *w, unsigned volume)
{
    struct request *q = new_request(w, volume, BLK_FLUSH);

    q->cover = (int)w->model->cover_count;
    work_cover(w, line_of(w, volume), work_now(w), 0, 0);
    submit(w, volume, q);
}

static void submit_change(struct work *w, unsigned volume, enum blk_op kind, bool counter)
{
    struct request *q = new_request(w, volume, kind);
    struct model *m = w->model;

    assert_true(m->op_count < MODEL_OPS);
    q->op = (int)m->op_count;
    struct model_op *op = &m->ops[m->op_count++];
    *op = (struct model_op){ .kind = kind, .line = line_of(w, volume), .value = model_zeros() };
    op->fua = work_draw(w, 8) == 0;
    q->r.flags =
        (op->fua ? BLK_FUA : 0u) | (kind == BLK_ZERO && work_draw(w, 4) == 0 ? BLK_NO_HOLE : 0u);
    draw_range(w, op, (uint32_t)model_setting(&m->volumes[volume].limits),
               kind != BLK_WRITE && !(q->r.flags & BLK_NO_HOLE));
    q->counter = counter;
    if (counter) {
        op->first = COUNTER_SECTOR;
        op->count = 1;
    }
    q->r.offset = model_offset(op->first);
    q->r.length = model_offset(op->first + op->count - 1) + MODEL_SECTOR - q->r.offset;
    if (kind == BLK_WRITE)
        fill(w, q, op);
    if (kind == BLK_TRIM) { /* whole blocks alone, as is the last one of the disk */
        uint32_t end = op->first + op->count;
        if (end < model_setting(&m->volumes[volume].limits)) /* else it is the disk's last one */
            end &= ~7u;
        op->first = (op->first + 7) & ~7u;
        op->count = end > op->first ? end - op->first : 0;
    }
    op->submitted = work_now(w);
    submit(w, volume, q);
}

/* The next step of the counter, if its volume has a client. */
static bool submit_counter(struct work *w)
{
    for (unsigned tries = 0; tries < w->model->volume_count; tries++) {
        unsigned volume = w->counter_at++ % w->model->volume_count;
        if (!lab_connected(&w->lab->seats[volume]))
            continue;
        w->counter_runs = true;
        submit_change(w, volume, BLK_WRITE, true);
        return true;
    }
    return false;
}

static void submit_one(struct work *w)
{
    static const enum blk_op kinds[] = { BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_WRITE,
                                         BLK_TRIM,  BLK_ZERO,  BLK_FLUSH };
    unsigned volume = (unsigned)work_draw(w, w->model->volume_count);
    enum blk_op kind = kinds[work_draw(w, 7)];

    if (!w->counter_runs && work_draw(w, 2) && submit_counter(w))
        return;
    if (!lab_connected(&w->lab->seats[volume]) || w->lab->seats[volume].running >= RUNNING_MAX)
        return;
    if (kind == BLK_FLUSH)
        submit_flush(w, volume);
    else
        submit_change(w, volume, kind, false);
}

static void on_tick(struct shard_msg *msg)
{
    struct work *w = (struct work *)((char *)msg - offsetof(struct work, tick));

    w->ticking = false;
    if (w->budget == 0)
        return;
    w->budget--;
    submit_one(w);
    w->ticking = true;
    shard_post(fake_shard(), &w->tick);
}

void work_requests(struct work *w, unsigned requests)
{
    w->budget = requests;
    w->tick.fn = on_tick;
    if (!w->ticking && requests) {
        w->ticking = true;
        shard_post(fake_shard(), &w->tick);
    }
}

void work_let_run(struct work *w, bool all)
{
    for (uint64_t steps = work_draw(w, 60); all || steps; steps--)
        if (!fake_step())
            break;
}

void work_meanwhile(void *ctx)
{
    struct work *w = ctx;

    if (!w->ticking && work_draw(w, 4) == 0)
        work_requests(w, 2);
    for (uint64_t steps = work_draw(w, 5); steps; steps--)
        if (!fake_step())
            break;
}
