/* SPDX-License-Identifier: Apache-2.0 */
/* orders - what the control thread wants of the exports: that a grant begins or ends, how it is.
 * Each call is an order that the shard carries out while the caller waits. */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/export/export.h"
#include "server/export/table.h"

#define PATIENCE_NS (5 * NS_PER_S) /* with a disk that hangs; then the control thread goes on */

static void insert(struct order *o)
{
    struct export_table *t = o->table;

    if (!o->to_insert)
        return;
    struct grant **bucket = exp_bucket(t, o->to_insert->g.name);
    devices_renew(&t->devices, o->to_insert->g.name, o->to_insert->g.epoch);
    o->to_insert->next = *bucket;
    *bucket = o->to_insert;
    t->count++;
}

void exp_order_done(struct order *o)
{
    if (o->abandoned) {
        free(o);
        return;
    }
    insert(o);
    o->is_done = true;
    shard_gate_open(&o->done);
}

/* One grant more that the order waits for. */
static void end_one(struct order *o, struct grant *g)
{
    g->ending = true;
    g->order = o;
    g->end_error = o->end_error;
    snprintf(g->why, sizeof g->why, "%s", o->why);
    if (o->discard)
        device_discard(&g->user);
    o->pending++;
    exp_mark(g);
}

static void end_named(struct order *o, const char *name)
{
    for (struct grant *g = *exp_bucket(o->table, name); g; g = g->next)
        if (!g->ending && strcmp(g->g.name, name) == 0)
            end_one(o, g);
}

/* Ends what is called order->name, or each of order->names, or everything; exp_order_done()
 * follows, perhaps at once. */
static void end_grants(struct order *o)
{
    struct export_table *t = o->table;

    o->pending = 1; /* our own, so that it does not end before all are marked */
    if (o->name)
        end_named(o, o->name);
    for (unsigned i = 0; i < o->name_count; i++)
        end_named(o, o->names[i]);
    for (unsigned i = 0; !o->name && !o->names && i < EXP_BUCKETS; i++)
        for (struct grant *g = t->buckets[i]; g; g = g->next)
            if (!g->ending)
                end_one(o, g);
    if (--o->pending == 0)
        exp_order_done(o);
}

static void run_end(void *arg)
{
    end_grants(arg);
}

static void run_grant(void *arg)
{
    struct order *o = arg;
    const struct export_grant *g = &o->to_insert->g;

    if (exp_find(o->table, g->name, g->token)) {
        o->to_insert = NULL;
        o->rc = err_set(o->e, -EEXIST, "export '%s': this token is in use", g->name);
        exp_order_done(o);
    } else if (g->writable) {
        end_grants(o);
    } else {
        exp_order_done(o);
    }
}

static void run_query(void *arg)
{
    struct order *o = arg;

    o->info->failed = devices_failed(&o->table->devices, o->name, 0);
    for (struct grant *g = *exp_bucket(o->table, o->name); g; g = g->next) {
        if (strcmp(g->g.name, o->name) != 0 || g->ending)
            continue;
        o->info->granted = true;
        o->info->connected |= g->sessions != NULL;
        o->info->failed |= g->user.device && g->user.device->failed;
        o->info->parked |= g->user.device && g->user.device->parked;
        o->info->read_bytes += g->stats.op[EXPORT_READ].bytes;
        o->info->written_bytes += g->stats.op[EXPORT_WRITE].bytes;
        if (g->sessions)
            o->info->connected_since_ns = g->connected_since_ns;
    }
    exp_order_done(o);
}

struct abandon {
    struct order *order;
    bool done; /* it was carried out in the last moment */
};

static void run_abandon(void *arg)
{
    struct abandon *a = arg;

    a->done = a->order->is_done;
    if (a->done)
        return;
    insert(a->order);
    a->order->abandoned = true;
}

/* How it ended; o is gone. */
static int await(struct order *o, int64_t patience_ns)
{
    struct shard *shard = o->table->shard;
    struct abandon a = { .order = o, .done = true };

    if (!shard_gate_wait(shard, &o->done, patience_ns ? clock_mono_ns() + patience_ns : 0))
        shard_call(shard, run_abandon, &a);
    if (!a.done) {
        log_warn("export: requests that were running are not over yet: they are not waited for");
        return 0;
    }
    int rc = o->rc;
    free(o);
    return rc;
}

int exp_carry_out(const struct order *wanted, void (*run)(void *arg), int64_t patience_ns)
{
    struct export_table *t = wanted->table;
    struct order *o;

    pthread_mutex_lock(&t->control);
    while (!(o = malloc(sizeof *o))) /* it must be carried out: somebody will free some memory */
        sched_yield();
    *o = *wanted;
    shard_gate_init(&o->done);
    shard_call(t->shard, run, o);
    int rc = await(o, patience_ns);
    pthread_mutex_unlock(&t->control);
    return rc;
}

int export_grant(struct export_table *t, const struct export_grant *g, struct err *e)
{
    struct grant *new = exp_grant_new(t, g);
    struct order o = { .table = t,
                       .e = e,
                       .to_insert = new,
                       .name = g->name,
                       .end_error = -ESTALE,
                       .why = "a newer attachment has replaced this one" };

    if (!new)
        return err_set(e, -ENOMEM, "export '%s': no memory", g->name);
    int rc = exp_carry_out(&o, run_grant, PATIENCE_NS);
    if (rc < 0)
        free(new);
    return rc;
}

void export_revoke(struct export_table *t, const char *name, const char *why)
{
    struct order o = { .table = t, .name = name, .why = why, .end_error = -ESTALE };

    exp_carry_out(&o, run_end, PATIENCE_NS);
}

void export_revoke_all(struct export_table *t, const char *const *names, unsigned count,
                       const char *why, bool discard)
{
    struct order o = { .table = t,
                       .names = names,
                       .name_count = count,
                       .why = why,
                       .discard = discard,
                       .end_error = -ESTALE };

    if (count)
        exp_carry_out(&o, run_end, PATIENCE_NS);
}

static void passed(struct pool_job *j)
{
    exp_order_done((struct order *)((char *)j - offsetof(struct order, barrier)));
}

static void run_respec(void *arg)
{
    struct order *o = arg;
    bool opening = false;

    for (struct grant *g = *exp_bucket(o->table, o->name); g; g = g->next) {
        if (g->ending || strcmp(g->g.name, o->name) != 0)
            continue;
        g->g.layers = *o->layers;
        if (g->g.writable) {
            g->g.volume.top = o->top;
            device_respec(&g->user, o->top);
        }
        opening |= g->user.device && g->user.device->state == DEVICE_OPENING;
    }
    if (opening)
        devices_barrier(&o->table->devices, &o->barrier, passed);
    else
        exp_order_done(o);
}

void export_respec(struct export_table *t, const char *name, struct layer_id top,
                   const struct layer_chain *layers)
{
    struct order o = { .table = t, .name = name, .top = top, .layers = layers };

    exp_carry_out(&o, run_respec, PATIENCE_NS);
}

static void run_quota(void *arg)
{
    struct order *o = arg;

    for (struct grant *g = *exp_bucket(o->table, o->name); g; g = g->next) {
        if (g->ending || strcmp(g->g.name, o->name) != 0)
            continue;
        g->g.volume.quota_bytes = o->quota_bytes;
        device_set_quota(&g->user, o->quota_bytes);
    }
    exp_order_done(o);
}

void export_set_quota(struct export_table *t, const char *name, uint64_t quota_bytes)
{
    struct order o = { .table = t, .name = name, .quota_bytes = quota_bytes };

    exp_carry_out(&o, run_quota, PATIENCE_NS);
}

void export_query(struct export_table *t, const char *name, struct export_info *ret)
{
    struct order o = { .table = t, .name = name, .info = ret };

    *ret = (struct export_info){ 0 };
    exp_carry_out(&o, run_query, PATIENCE_NS);
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
    int rc = devices_init(&t->devices, shard, &t->backend, &t->events, e);
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

/* Also those end that earlier orders did not wait for. */
static void run_drain(void *arg)
{
    struct order *o = arg;

    if (o->table->count)
        o->table->draining = o; /* the last grant brings us back */
    else
        exp_order_done(o);
}

void export_table_free(struct export_table *t)
{
    if (!t)
        return;
    struct order o = { .table = t, .why = "the server is stopping", .end_error = -ESHUTDOWN };
    export_set_events(t, NULL); /* and no timer any more */
    exp_carry_out(&o, run_end, 0);
    exp_carry_out(&o, run_drain, 0);
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
