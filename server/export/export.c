/* SPDX-License-Identifier: Apache-2.0 */
/* export - the life of a grant: the steps by which it is opened, handed over and ended.
 *
 * Every change of a grant marks it for one step at the end of the batch (grant_step), which looks
 * at what is wanted and does what is possible: so nothing here is re-entered.
 * It must never know sockets, protocols or the catalog. */
#include "server/export/export.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/block/blkdev.h"
#include "server/export/table.h"

#define OVER_MAX   4096u /* ended attachments that are remembered, so that a late GO is told why */
#define BUSY_NS    (50 * NS_PER_MS) /* a device that is busy is opened again so soon … */
#define BUSY_TRIES 200u             /* … and so often */
#define TOKEN_TEXT (2 * EXPORT_TOKEN_BYTES)

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* ---- looking up ------------------------------------------------------------------------------ */

struct grant **exp_bucket(struct export_table *t, const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return &t->buckets[hash % EXP_BUCKETS];
}

/* Splits "NAME.TOKEN".  False: it cannot be one of ours. */
static bool split(const char *export_name, char name[static EXPORT_NAME_SIZE],
                  uint8_t token[static EXPORT_TOKEN_BYTES])
{
    const char *dot = strrchr(export_name, '.');

    if (!dot || strlen(export_name) >= EXPORT_NAME_SIZE || strlen(dot + 1) != TOKEN_TEXT ||
        hex_decode(dot + 1, token, EXPORT_TOKEN_BYTES) < 0)
        return false;
    memcpy(name, export_name, (size_t)(dot - export_name));
    name[dot - export_name] = '\0';
    return true;
}

struct grant *exp_find(struct export_table *t, const char *name,
                       const uint8_t token[static EXPORT_TOKEN_BYTES])
{
    for (struct grant *g = *exp_bucket(t, name); g; g = g->next)
        if (strcmp(g->g.name, name) == 0 && secret_equal(g->g.token, token, EXPORT_TOKEN_BYTES))
            return g;
    return NULL;
}

/* The grant, or NULL with the refusal: -ENOENT or -ESTALE, and why. */
static struct grant *look_up(struct export_table *t, const char *export_name, int *ret_error,
                             const char **ret_why)
{
    char name[EXPORT_NAME_SIZE];
    uint8_t token[EXPORT_TOKEN_BYTES];

    *ret_error = -ENOENT;
    *ret_why = "no such export";
    if (!split(export_name, name, token))
        return NULL;
    struct grant *g = exp_find(t, name, token);
    if (g && !g->ending)
        return g;
    if (g) {
        *ret_error = g->end_error;
        *ret_why = g->why;
        return NULL;
    }
    for (const struct over *o = t->over; o; o = o->next)
        if (strcmp(o->name, name) == 0 && secret_equal(o->token, token, EXPORT_TOKEN_BYTES)) {
            *ret_error = -ESTALE;
            *ret_why = o->why;
        }
    return NULL;
}

/* ---- the life of a grant --------------------------------------------------------------------- */

void exp_mark(struct grant *g)
{
    shard_defer(g->table->shard, &g->step);
}

static void remember(struct export_table *t, const struct grant *g)
{
    struct over *o = calloc(1, sizeof *o);

    if (!o)
        return; /* a late GO is then told "no such export" */
    memcpy(o->name, g->g.name, sizeof o->name);
    memcpy(o->token, g->g.token, sizeof o->token);
    memcpy(o->why, g->why, sizeof o->why);
    *t->over_end = o;
    t->over_end = &o->next;
    if (t->over_count < OVER_MAX) {
        t->over_count++;
        return;
    }
    struct over *oldest = t->over;
    t->over = oldest->next;
    free(oldest);
}

/* The last step: nothing refers to it any more. */
static void forget(struct grant *g)
{
    struct export_table *t = g->table;
    struct order *order = g->order;

    for (struct grant **at = exp_bucket(t, g->g.name); *at; at = &(*at)->next)
        if (*at == g) {
            *at = g->next;
            break;
        }
    t->count--;
    remember(t, g);
    free(g);
    if (--order->pending == 0)
        exp_order_done(order);
    if (t->draining && t->count == 0) { /* the table may be gone after this */
        order = t->draining;
        t->draining = NULL;
        exp_order_done(order);
    }
}

static void refuse_waiters(struct grant *g, int error, const char *why)
{
    while (g->waiters) {
        struct waiter *w = g->waiters;
        g->waiters = w->next;
        w->ready(w->peer, NULL, NULL, error, why);
        free(w);
    }
}

static void cut_sessions(struct grant *g)
{
    struct export_session *s = g->sessions;

    while (s) {
        struct export_session *next = s->next;
        if (!s->cut) {
            s->cut = true;
            s->peer->cut(s->peer); /* may take s off the list */
        }
        s = next;
    }
}

static void tell_replaced(const struct grant *g, bool fenced, const char *why)
{
    const struct export_events *events = &g->table->events;

    if (events->replaced)
        events->replaced(events->ctx, g->g.name, fenced, why);
}

static void admit(struct grant *g, struct waiter *w)
{
    struct export_session *s = calloc(1, sizeof *s);

    if (!s) {
        w->ready(w->peer, NULL, NULL, -ESHUTDOWN, "the server has no memory left");
        return;
    }
    *s = (struct export_session){ .grant = g, .peer = w->peer, .next = g->sessions };
    g->sessions = s;
    g->connected_since_ns = clock_mono_ns();
    w->ready(w->peer, s, g->user.device->opened.blk, 0, NULL);
}

/* Lets in who waits, if the way is free. */
static void step_open(struct grant *g)
{
    if (!g->waiters)
        return;
    if (g->g.writable && g->sessions) {
        if (!g->sessions->cut)
            tell_replaced(g, false, "a newer connection of the same attachment has come");
        cut_sessions(g); /* export_closed() brings us back */
        return;
    }
    struct err e = { 0 };
    int rc = device_get(&g->table->devices, &g->user, &g->g, &e);
    if (rc == -EINPROGRESS)
        return;                                    /* on_device_change() brings us back */
    if (rc == -EBUSY && ++g->tries < BUSY_TRIES) { /* it is being sealed, say: not for long */
        shard_timer_set(g->table->shard, &g->retry, clock_mono_ns() + BUSY_NS);
        return;
    }
    g->tries = 0;
    if (rc < 0) {
        log_error("export %s: cannot be opened: %s", g->g.name, e.msg);
        refuse_waiters(g, -ESHUTDOWN, e.msg);
        return;
    }
    while (g->waiters) {
        struct waiter *w = g->waiters;
        g->waiters = w->next;
        admit(g, w);
        free(w);
    }
}

static void step_end(struct grant *g)
{
    shard_timer_cancel(g->table->shard, &g->retry);
    refuse_waiters(g, g->end_error, g->why);
    if (g->g.writable && g->sessions && !g->sessions->cut)
        tell_replaced(g, true, g->why);
    cut_sessions(g);
    if (g->sessions || g->step.queued || !device_put(&g->table->devices, &g->user))
        return; /* export_closed() or on_device_change() brings us back */
    forget(g);
}

static void grant_step(struct shard_task *t)
{
    struct grant *g = OWNER(struct grant, step, t);

    if (g->ending)
        step_end(g);
    else
        step_open(g);
}

static void on_retry(struct shard_timer *t)
{
    exp_mark(OWNER(struct grant, retry, t));
}

static void on_device_change(struct device_user *u)
{
    exp_mark(OWNER(struct grant, user, u));
}

struct grant *exp_grant_new(struct export_table *t, const struct export_grant *spec)
{
    struct grant *g = calloc(1, sizeof *g);

    if (!g)
        return NULL;
    g->table = t;
    g->g = *spec;
    g->step.fn = grant_step;
    g->user.changed = on_device_change;
    g->retry.fn = on_retry;
    TAILQ_INIT(&g->stats.running);
    return g;
}

/* ---- for services ---------------------------------------------------------------------------- */

struct refusal {
    struct shard_task task;
    struct export_peer *peer;
    export_ready_fn ready;
    int error;
    char why[EXP_WHY_SIZE];
};

static void on_refusal(struct shard_task *t)
{
    struct refusal *r = OWNER(struct refusal, task, t);

    r->ready(r->peer, NULL, NULL, r->error, r->why);
    free(r);
}

/* ready() comes after export_open() has returned, for refusals too. */
static void refuse_later(struct export_table *t, struct export_peer *p, export_ready_fn ready,
                         int error, const char *why)
{
    struct refusal *r = calloc(1, sizeof *r);

    if (!r) {
        ready(p, NULL, NULL, error, why);
        return;
    }
    r->task.fn = on_refusal;
    r->peer = p;
    r->ready = ready;
    r->error = error;
    snprintf(r->why, sizeof r->why, "%s", why);
    shard_defer(t->shard, &r->task);
}

void export_open(struct export_table *t, const char *export_name, struct export_peer *p,
                 export_ready_fn ready)
{
    const char *why;
    int error;

    assert(shard_here(t->shard));
    struct grant *g = look_up(t, export_name, &error, &why);
    if (!g) {
        refuse_later(t, p, ready, error, why);
        return;
    }
    struct waiter *w = calloc(1, sizeof *w);
    if (!w) {
        refuse_later(t, p, ready, -ESHUTDOWN, "the server has no memory left");
        return;
    }
    if (g->g.writable && g->waiters) {
        struct waiter *older = g->waiters;
        g->waiters = NULL;
        refuse_later(t, older->peer, older->ready, -ESHUTDOWN,
                     "another connection of this attachment came later");
        free(older);
    }
    *w = (struct waiter){ .peer = p, .ready = ready, .next = g->waiters };
    g->waiters = w;
    exp_mark(g);
}

int export_peek(struct export_table *t, const char *export_name, uint64_t *ret_size_bytes,
                bool *ret_writable, struct err *e)
{
    const char *why;
    int error;

    assert(shard_here(t->shard));
    struct grant *g = look_up(t, export_name, &error, &why);
    if (!g)
        return err_set(e, error, "%s", why);
    *ret_size_bytes = g->g.writable ? g->g.volume.size_bytes : g->g.size_bytes;
    *ret_writable = g->g.writable;
    return 0;
}

void export_closed(struct export_session *session)
{
    struct grant *g = session->grant;

    assert(shard_here(g->table->shard));
    for (struct export_session **at = &g->sessions; *at; at = &(*at)->next)
        if (*at == session) {
            *at = session->next;
            break;
        }
    free(session);
    exp_mark(g);
}
