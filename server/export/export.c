/* SPDX-License-Identifier: Apache-2.0 */
/* export - the table of grants, and the steps by which one is opened, handed over and ended.
 *
 * Every change of a grant marks it for one step at the end of the batch (grant_step), which looks
 * at what is wanted and does what is possible: so nothing here is re-entered.
 * It must never know sockets, protocols or the catalog. */
#include "server/export/export.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/block/blkdev.h"
#include "server/export/backend.h"
#include "server/export/device.h"
#include "server/io/pool.h"
#include "server/io/shard.h"

#define BUCKETS    1024u
#define OVER_MAX   4096u /* ended attachments that are remembered, so that a late GO is told why */
#define WHY_SIZE   201
#define TOKEN_TEXT (2 * EXPORT_TOKEN_BYTES)

#define OWNER(type, member, p) ((type *)(void *)((char *)(p)-offsetof(type, member)))

/* A peer that waits for ready(). */
struct waiter {
    struct export_peer *peer;
    export_ready_fn ready;
    struct waiter *next;
};

struct export_session {
    struct grant *grant;
    struct export_peer *peer;
    bool cut; /* the peer has been told to end */
    struct export_session *next;
};

/* Owned by the shard's thread.  Lives from export_grant() until it has ended. */
struct grant {
    struct export_table *table;
    struct export_grant g;
    struct grant *next; /* in its bucket */
    struct shard_task step;

    struct device_user user; /* its hold on the device */
    struct export_session *sessions;
    struct waiter *waiters;
    uint64_t read_bytes, written_bytes;
    int64_t connected_since_ns;

    bool ending;
    int end_error; /* -ESTALE, or -ESHUTDOWN when it is the server that ends */
    char why[WHY_SIZE];
    struct order *order; /* waits for the end */
};

/* An attachment that is over. */
struct over {
    char name[sizeof((struct export_grant *)NULL)->name];
    uint8_t token[EXPORT_TOKEN_BYTES];
    char why[WHY_SIZE];
    struct over *next;
};

struct export_table {
    struct shard *shard;
    struct export_backend backend;
    struct devices devices;
    pthread_mutex_t control; /* one order at a time */

    struct grant *buckets[BUCKETS];
    unsigned count;
    struct over *over, **over_end; /* oldest first */
    unsigned over_count;
};

/* What the control thread wants; it waits until `pending` grants have ended. */
struct order {
    struct export_table *table;
    unsigned pending;
    struct shard_gate done;
    int rc;
    struct err *e;
    const char *name, *why;   /* NULL name = all */
    int end_error;            /* what GO is told from now on */
    struct grant *to_insert;  /* when the others have ended */
    struct export_info *info; /* query */
};

/* ---- looking up ------------------------------------------------------------------------------ */

static struct grant **bucket_of(struct export_table *t, const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return &t->buckets[hash % BUCKETS];
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

static struct grant *find(struct export_table *t, const char *name,
                          const uint8_t token[static EXPORT_TOKEN_BYTES])
{
    for (struct grant *g = *bucket_of(t, name); g; g = g->next)
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
    struct grant *g = find(t, name, token);
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

static void mark(struct grant *g)
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

static void order_done(struct order *o);

/* The last step: nothing refers to it any more. */
static void forget(struct grant *g)
{
    struct export_table *t = g->table;
    struct order *order = g->order;

    for (struct grant **at = bucket_of(t, g->g.name); *at; at = &(*at)->next)
        if (*at == g) {
            *at = g->next;
            break;
        }
    t->count--;
    remember(t, g);
    free(g);
    if (--order->pending == 0)
        order_done(order);
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
        cut_sessions(g); /* export_closed() brings us back */
        return;
    }
    struct err e = { 0 };
    int rc = device_get(&g->table->devices, &g->user, &g->g, &e);
    if (rc == -EINPROGRESS)
        return; /* on_device_change() brings us back */
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
    refuse_waiters(g, g->end_error, g->why);
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

static void on_device_change(struct device_user *u)
{
    mark(OWNER(struct grant, user, u));
}

/* ---- for services ---------------------------------------------------------------------------- */

struct refusal {
    struct shard_task task;
    struct export_peer *peer;
    export_ready_fn ready;
    int error;
    char why[WHY_SIZE];
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
    mark(g);
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
    mark(g);
}

void export_count(struct export_session *session, uint64_t read_bytes, uint64_t written_bytes)
{
    session->grant->read_bytes += read_bytes;
    session->grant->written_bytes += written_bytes;
}

/* ---- orders of the control thread ------------------------------------------------------------ */

static void order_done(struct order *o)
{
    struct export_table *t = o->table;

    if (o->to_insert) {
        struct grant **bucket = bucket_of(t, o->to_insert->g.name);
        devices_renew(&t->devices, o->to_insert->g.name, o->to_insert->g.epoch);
        o->to_insert->next = *bucket;
        *bucket = o->to_insert;
        t->count++;
    }
    shard_gate_open(&o->done);
}

/* Ends what is called order->name, or everything; order_done() follows, perhaps at once. */
static void end_grants(struct order *o)
{
    struct export_table *t = o->table;

    o->pending = 1; /* our own, so that it does not end before all are marked */
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct grant *g = t->buckets[i]; g; g = g->next) {
            if (g->ending || (o->name && strcmp(g->g.name, o->name) != 0))
                continue;
            g->ending = true;
            g->order = o;
            g->end_error = o->end_error;
            snprintf(g->why, sizeof g->why, "%s", o->why);
            o->pending++;
            mark(g);
        }
    if (--o->pending == 0)
        order_done(o);
}

static void run_end(void *arg)
{
    end_grants(arg);
}

static void run_grant(void *arg)
{
    struct order *o = arg;
    const struct export_grant *g = &o->to_insert->g;

    if (find(o->table, g->name, g->token)) {
        o->to_insert = NULL;
        o->rc = err_set(o->e, -EEXIST, "export '%s': this token is in use", g->name);
        order_done(o);
    } else if (g->writable) {
        end_grants(o);
    } else {
        order_done(o);
    }
}

static void run_query(void *arg)
{
    struct order *o = arg;

    o->info->failed = devices_failed(&o->table->devices, o->name, 0);
    for (struct grant *g = *bucket_of(o->table, o->name); g; g = g->next) {
        if (strcmp(g->g.name, o->name) != 0 || g->ending)
            continue;
        o->info->granted = true;
        o->info->connected |= g->sessions != NULL;
        o->info->failed |= g->user.device && g->user.device->failed;
        o->info->read_bytes += g->read_bytes;
        o->info->written_bytes += g->written_bytes;
        if (g->sessions)
            o->info->connected_since_ns = g->connected_since_ns;
    }
    order_done(o);
}

/* Runs one order on the shard and waits until it is carried out. */
static int carry_out(struct order *o, void (*run)(void *arg))
{
    struct export_table *t = o->table;

    shard_gate_init(&o->done);
    pthread_mutex_lock(&t->control);
    shard_call(t->shard, run, o);
    (void)shard_gate_wait(t->shard, &o->done, 0);
    pthread_mutex_unlock(&t->control);
    return o->rc;
}

int export_grant(struct export_table *t, const struct export_grant *g, struct err *e)
{
    struct grant *new = calloc(1, sizeof *new);
    struct order o = { .table = t,
                       .e = e,
                       .to_insert = new,
                       .name = g->name,
                       .end_error = -ESTALE,
                       .why = "a newer attachment has replaced this one" };

    if (!new)
        return err_set(e, -ENOMEM, "export '%s': no memory", g->name);
    new->table = t;
    new->g = *g;
    new->step.fn = grant_step;
    new->user.changed = on_device_change;
    int rc = carry_out(&o, run_grant);
    if (rc < 0)
        free(new);
    return rc;
}

void export_revoke(struct export_table *t, const char *name, const char *why)
{
    struct order o = { .table = t, .name = name, .why = why, .end_error = -ESTALE };

    carry_out(&o, run_end);
}

void export_query(struct export_table *t, const char *name, struct export_info *ret)
{
    struct order o = { .table = t, .name = name, .info = ret };

    *ret = (struct export_info){ 0 };
    carry_out(&o, run_query);
}

/* ---- the table ------------------------------------------------------------------------------- */

int export_table_new_over(struct shard *shard, const struct export_backend *backend,
                          struct export_table **ret, struct err *e)
{
    struct export_table *t = calloc(1, sizeof *t);

    if (!t)
        return err_set(e, -ENOMEM, "export table: no memory");
    t->shard = shard;
    t->backend = *backend;
    t->over_end = &t->over;
    int rc = devices_init(&t->devices, shard, &t->backend, e);
    if (rc < 0) {
        free(t);
        return rc;
    }
    pthread_mutex_init(&t->control, NULL);
    *ret = t;
    return 0;
}

int export_table_new(struct shard *shard, struct store *store, struct export_table **ret,
                     struct err *e)
{
    struct export_backend backend;

    export_backend_store(store, &backend);
    return export_table_new_over(shard, &backend, ret, e);
}

void export_table_free(struct export_table *t)
{
    if (!t)
        return;
    struct order o = { .table = t, .why = "the server is stopping", .end_error = -ESHUTDOWN };
    carry_out(&o, run_end);
    assert(t->count == 0);
    devices_done(&t->devices);
    while (t->over) {
        struct over *next = t->over->next;
        free(t->over);
        t->over = next;
    }
    pthread_mutex_destroy(&t->control);
    free(t);
}
