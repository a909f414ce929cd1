/* SPDX-License-Identifier: Apache-2.0 */
/* stats - copies of the counters for people, and the look once in a while for requests that hang.
 */
#include "server/export/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/export/table.h"

#define LOOK_NS       NS_PER_S
#define LOOK_CLOSE_NS (100 * NS_PER_MS) /* while one hangs: its end is told soon */

struct export_stats *export_session_stats(struct export_session *session)
{
    return &session->grant->stats;
}

/* ---- copies ---------------------------------------------------------------------------------- */

struct copy {
    struct export_table *table;
    struct export_stats_row *rows;
    unsigned room, count; /* count: of all there are */
};

static uint64_t dirty_bytes(const struct grant *g)
{
    const struct device *d = g->user.device;
    const struct export_backend *b = g->table->devices.backend;

    if (!d || !g->g.writable || d->state != DEVICE_OPEN || !b->dirty_bytes)
        return 0;
    return b->dirty_bytes(b->ctx, &d->opened);
}

static void copy_one(const struct grant *g, int64_t now_ns, struct export_stats_row *r)
{
    const struct device *d = g->user.device;

    *r = (struct export_stats_row){
        .volume = g->g.writable,
        .connected = g->sessions != NULL,
        .failed = g->g.writable &&
                  ((d && d->failed) || devices_failed(&g->table->devices, g->g.name, g->g.epoch)),
        .parked = d && d->parked,
        .in_flight = g->stats.in_flight,
        .oldest_ns = export_oldest_ns(&g->stats, now_ns),
        .dirty_bytes = dirty_bytes(g),
    };
    memcpy(r->name, g->g.name, sizeof r->name);
    memcpy(r->holder, g->g.holder, sizeof r->holder);
    memcpy(r->op, g->stats.op, sizeof r->op);
}

static void run_copy(void *arg)
{
    struct copy *c = arg;
    int64_t now_ns = clock_mono_ns();

    c->count = 0;
    for (unsigned i = 0; i < EXP_BUCKETS; i++)
        for (const struct grant *g = c->table->buckets[i]; g; g = g->next) {
            if (g->ending)
                continue;
            if (c->count < c->room)
                copy_one(g, now_ns, &c->rows[c->count]);
            c->count++;
        }
}

int export_stats_all(struct export_table *t, struct export_stats_row **ret, unsigned *ret_count,
                     struct err *e)
{
    struct copy c = { .table = t, .room = 16 };

    for (;;) {
        c.rows = calloc(c.room, sizeof *c.rows);
        if (!c.rows)
            return err_set(e, -ENOMEM, "statistics: out of memory");
        shard_call(t->shard, run_copy, &c);
        if (c.count <= c.room)
            break;
        c.room = c.count;
        free(c.rows);
    }
    *ret = c.rows;
    *ret_count = c.count;
    return 0;
}

/* ---- requests that hang ---------------------------------------------------------------------- */

static void tell(const struct grant *g, bool stalled, int64_t ns)
{
    const struct export_events *events = &g->table->events;

    if (events->stalled)
        events->stalled(events->ctx, g->g.name, stalled, ns);
}

/* True: it hangs. */
static bool look_at(struct grant *g, int64_t now_ns)
{
    int64_t oldest_ns = export_oldest_ns(&g->stats, now_ns);
    bool parked = g->user.device && g->user.device->parked;

    if (oldest_ns >= EXPORT_STALL_NS && !parked) {
        g->stall_ns = oldest_ns > g->stall_ns ? oldest_ns : g->stall_ns;
        if (!g->stalled)
            tell(g, true, oldest_ns);
        g->stalled = true;
    } else if (g->stalled) {
        tell(g, false, g->stall_ns);
        g->stalled = false;
        g->stall_ns = 0;
    }
    return g->stalled;
}

static void on_look(struct shard_timer *timer)
{
    struct export_table *t =
        (struct export_table *)((char *)timer - offsetof(struct export_table, look));
    int64_t now_ns = clock_mono_ns();
    bool stalled = false;

    for (unsigned i = 0; i < EXP_BUCKETS; i++)
        for (struct grant *g = t->buckets[i]; g; g = g->next)
            stalled |= look_at(g, now_ns);
    shard_timer_set(t->shard, timer, now_ns + (stalled ? LOOK_CLOSE_NS : LOOK_NS));
}

/* ---- events ---------------------------------------------------------------------------------- */

struct events_order {
    struct export_table *table;
    const struct export_events *events; /* NULL: no more */
};

static void run_set_events(void *arg)
{
    const struct events_order *o = arg;
    struct export_table *t = o->table;

    t->events = o->events ? *o->events : (struct export_events){ 0 };
    shard_timer_cancel(t->shard, &t->look);
    t->look.fn = on_look;
    for (const struct failure *f = t->devices.failures; f && t->events.failed; f = f->next)
        t->events.failed(t->events.ctx, f->name, "it has failed before");
    if (t->events.stalled)
        shard_timer_set(t->shard, &t->look, clock_mono_ns() + LOOK_NS);
}

void export_set_events(struct export_table *t, const struct export_events *events)
{
    struct events_order o = { .table = t, .events = events };

    shard_call(t->shard, run_set_events, &o);
}
