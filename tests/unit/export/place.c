/* SPDX-License-Identifier: Apache-2.0 */
/* place - RAM disks behind an export table, and visitors. */
#include "tests/unit/export/place.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/unit.h"

#include "server/base/clock.h"
#include "server/base/name.h"
#include "server/block/blk_mem.h"
#include "server/io/shard.h"

static int place_open(void *ctx, const struct export_grant *g, const struct export_told *told,
                      struct export_device *ret, struct err *e)
{
    struct place *p = ctx;

    if (p->fail_open)
        return err_set(e, -EIO, "layer 'a41f': not a layer file");
    p->top = g->volume.top.b[0];
    p->lowest = g->layers.id[0].b[0];
    if (p->busy)
        return err_set(e, -EBUSY, "layer a41f is being sealed");
    p->opening = true;
    while (p->slow_open)
        sched_yield();
    p->opens++;
    p->told = *told;
    ret->blk = blk_mem_new(SIZE, !g->writable);
    ret->handle = NULL;
    return 0;
}

static void place_close(void *ctx, struct export_device *d, void (*closed)(void *), void *arg)
{
    struct place *p = ctx;

    blk_mem_free(d->blk);
    p->closes++;
    p->discards += d->discard;
    if (p->slow_close) {
        p->closed = closed;
        p->closed_arg = arg;
    } else {
        closed(arg);
    }
}

struct place *place_new(void)
{
    struct place *p = calloc(1, sizeof *p);

    p->backend = (struct export_backend){ .ctx = p, .open = place_open, .close = place_close };
    assert_int_equal(shard_start("test", &p->shard, NULL), 0);
    assert_int_equal(export_table_new_over(p->shard, &p->backend, &p->table, NULL), 0);
    return p;
}

void place_free(struct place *p)
{
    export_table_free(p->table);
    shard_stop(p->shard);
    assert_int_equal(p->opens, p->closes);
    free(p);
}

int grant_epoch(struct place *p, const char *name, bool writable, uint8_t token, uint8_t layer,
                uint64_t epoch)
{
    struct export_grant g = {
        .writable = writable, .size_bytes = SIZE, .volume.size_bytes = SIZE, .epoch = epoch
    };

    snprintf(g.name, sizeof g.name, "%s", name);
    memset(g.token, token, sizeof g.token);
    g.layers.id[0].b[0] = layer;
    return export_grant(p->table, &g, NULL);
}

int grant(struct place *p, const char *name, bool writable, uint8_t token, uint8_t layer)
{
    return grant_epoch(p, name, writable, token, layer, 1);
}

static void visitor_cut(struct export_peer *peer)
{
    struct visitor *v = (struct visitor *)peer;

    v->cut = true;
    if (!v->stubborn) {
        export_closed(v->session);
        v->session = NULL;
    }
    sem_post(&v->was_cut);
}

static void visitor_ready(struct export_peer *peer, struct export_session *session,
                          struct blkdev *device, int error, const char *why)
{
    struct visitor *v = (struct visitor *)peer;

    v->session = session;
    v->device = device;
    v->error = error;
    if (why)
        snprintf(v->why, sizeof v->why, "%s", why);
    sem_post(&v->answered);
}

static void run_open(void *arg)
{
    struct visitor *v = arg;

    export_open(v->place->table, v->name, &v->peer, visitor_ready);
}

bool came_within(sem_t *sem, int64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    int64_t ns = t.tv_nsec + ms * NS_PER_MS;
    t.tv_sec += ns / NS_PER_S;
    t.tv_nsec = ns % NS_PER_S;
    return sem_timedwait(sem, &t) == 0;
}

struct visitor *visit(struct place *p, const char *name, uint8_t token, bool stubborn)
{
    struct visitor *v = calloc(1, sizeof *v);
    uint8_t bytes[EXPORT_TOKEN_BYTES];
    int at = snprintf(v->name, sizeof v->name, "%s.", name);

    memset(bytes, token, sizeof bytes);
    hex_encode(bytes, sizeof bytes, v->name + at);
    v->place = p;
    v->peer.cut = visitor_cut;
    v->stubborn = stubborn;
    sem_init(&v->answered, 0, 0);
    sem_init(&v->was_cut, 0, 0);
    shard_call(p->shard, run_open, v);
    return v;
}

struct visitor *visit_now(struct place *p, const char *name, uint8_t token, int error)
{
    struct visitor *v = visit(p, name, token, false);

    assert_true(came_within(&v->answered, 10000));
    assert_int_equal(v->error, error);
    assert_int_equal(error == 0, v->session != NULL);
    return v;
}

static void run_close(void *arg)
{
    struct visitor *v = arg;

    if (v->session)
        export_closed(v->session);
    v->session = NULL;
}

void visitor_close(struct visitor *v)
{
    shard_call(v->place->shard, run_close, v);
}

void visitor_free(struct visitor *v)
{
    visitor_close(v);
    sem_destroy(&v->answered);
    sem_destroy(&v->was_cut);
    free(v);
}

static void run_let_close(void *arg)
{
    struct place *p = arg;

    p->closed(p->closed_arg);
}

void place_let_close(struct place *p)
{
    shard_call(p->shard, run_let_close, p);
}

static void *revoke(void *arg)
{
    struct revoker *r = arg;

    export_revoke(r->place->table, "v", "the volume was reset: epoch 4 is over");
    r->over = true;
    return NULL;
}

void revoker_start(struct revoker *r)
{
    pthread_create(&r->thread, NULL, revoke, r);
}

void revoker_join(struct revoker *r)
{
    pthread_join(r->thread, NULL);
}
