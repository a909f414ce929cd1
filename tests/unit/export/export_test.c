/* SPDX-License-Identifier: Apache-2.0 */
/* export_test - grants, hand-over and the end of attachments, with peers that are plain structs. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/base/name.h"
#include "server/block/blk_mem.h"
#include "server/export/backend.h"
#include "server/export/export.h"
#include "server/export/stats.h"
#include "server/export/table.h"
#include "server/io/shard.h"

#define SIZE 65536

/* The backend: RAM disks that are made at open and freed at close, and what it was asked for. */
struct place {
    struct shard *shard;
    struct export_table *table;
    struct export_backend backend;
    atomic_uint opens, closes;
    atomic_bool fail_open, slow_close;
    void (*closed)(void *arg); /* a close that waits for let_close() */
    void *closed_arg;
    struct export_told told;
    atomic_bool busy;               /* opens are told -EBUSY */
    atomic_bool slow_open, opening; /* opens wait, one does */
    _Atomic uint8_t top, lowest;    /* of the last open: the first bytes of its layers */
    unsigned discards;
    uint8_t seen; /* by see_respec() */
};

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

static struct place *place_new(void)
{
    struct place *p = calloc(1, sizeof *p);

    p->backend = (struct export_backend){ .ctx = p, .open = place_open, .close = place_close };
    assert_int_equal(shard_start("test", &p->shard, NULL), 0);
    assert_int_equal(export_table_new_over(p->shard, &p->backend, &p->table, NULL), 0);
    return p;
}

static void place_free(struct place *p)
{
    export_table_free(p->table);
    shard_stop(p->shard);
    assert_int_equal(p->opens, p->closes);
    free(p);
}

static int grant_epoch(struct place *p, const char *name, bool writable, uint8_t token,
                       uint8_t layer, uint64_t epoch)
{
    struct export_grant g = {
        .writable = writable, .size_bytes = SIZE, .volume.size_bytes = SIZE, .epoch = epoch
    };

    snprintf(g.name, sizeof g.name, "%s", name);
    memset(g.token, token, sizeof g.token);
    g.layers.id[0].b[0] = layer;
    return export_grant(p->table, &g, NULL);
}

static int grant(struct place *p, const char *name, bool writable, uint8_t token, uint8_t layer)
{
    return grant_epoch(p, name, writable, token, layer, 1);
}

/* A connection without a network. */
struct visitor {
    struct export_peer peer;
    struct place *place;
    char name[EXPORT_NAME_SIZE];
    struct export_session *session;
    struct blkdev *device;
    int error;
    char why[201];
    bool cut, stubborn; /* stubborn: has a request running, and closes only by visitor_close() */
    sem_t answered, was_cut;
};

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

static bool came_within(sem_t *sem, int64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    int64_t ns = t.tv_nsec + ms * NS_PER_MS;
    t.tv_sec += ns / NS_PER_S;
    t.tv_nsec = ns % NS_PER_S;
    return sem_timedwait(sem, &t) == 0;
}

/* Begins to open; the answer comes later. */
static struct visitor *visit(struct place *p, const char *name, uint8_t token, bool stubborn)
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

static struct visitor *visit_now(struct place *p, const char *name, uint8_t token, int error)
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

static void visitor_close(struct visitor *v)
{
    shard_call(v->place->shard, run_close, v);
}

static void visitor_free(struct visitor *v)
{
    visitor_close(v);
    sem_destroy(&v->answered);
    sem_destroy(&v->was_cut);
    free(v);
}

static void a_name_or_token_that_is_not_there_is_refused_alike(void **state)
{
    struct place *p = place_new();

    (void)state;
    assert_int_equal(grant(p, "web.1", true, 1, 1), 0);
    struct visitor *v[3] = { visit_now(p, "web.1", 2, -ENOENT), visit_now(p, "web.2", 1, -ENOENT),
                             visit_now(p, "web", 1, -ENOENT) };
    for (unsigned i = 0; i < 3; i++) {
        assert_string_equal(v[i]->why, "no such export");
        visitor_free(v[i]);
    }
    assert_int_equal(p->opens, 0); /* nothing is opened for strangers */
    place_free(p);
}

struct peek {
    struct place *place;
    const char *name;
    int rc;
    uint64_t size;
    bool writable;
    struct err e;
};

static void run_peek(void *arg)
{
    struct peek *k = arg;

    k->rc = export_peek(k->place->table, k->name, &k->size, &k->writable, &k->e);
}

static void peek_opens_and_ends_nothing(void **state)
{
    struct place *p = place_new();
    struct peek k = { .place = p, .name = "v.01010101010101010101010101010101" };

    (void)state;
    assert_int_equal(grant(p, "v", true, 1, 1), 0);
    shard_call(p->shard, run_peek, &k);
    assert_int_equal(k.rc, 0);
    assert_true(k.size == SIZE && k.writable);
    assert_int_equal(p->opens, 0);
    k.name = "v.02010101010101010101010101010101";
    shard_call(p->shard, run_peek, &k);
    assert_int_equal(k.rc, -ENOENT);
    place_free(p);
}

static void a_device_is_opened_once_and_kept_until_the_grant_ends(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    for (unsigned i = 0; i < 3; i++)
        visitor_free(visit_now(p, "v", 1, 0));
    assert_int_equal(p->opens, 1);
    assert_int_equal(p->closes, 0);
    export_revoke(p->table, "v", "detached");
    assert_int_equal(p->closes, 1);
    place_free(p);
}

static void the_second_connection_waits_for_the_end_of_the_first(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    struct visitor *a = visit(p, "v", 1, true);
    assert_true(came_within(&a->answered, 10000));
    struct visitor *b = visit(p, "v", 1, false);
    assert_true(came_within(&a->was_cut, 10000));
    assert_false(came_within(&b->answered, 50));
    visitor_close(a);
    assert_true(came_within(&b->answered, 10000));
    assert_int_equal(b->error, 0);
    assert_ptr_equal(a->device, b->device);
    visitor_free(a);
    visitor_free(b);
    place_free(p);
}

static void of_several_that_wait_the_newest_wins(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    struct visitor *a = visit(p, "v", 1, true);
    assert_true(came_within(&a->answered, 10000));
    struct visitor *b = visit(p, "v", 1, false), *c = visit(p, "v", 1, false);
    assert_true(came_within(&b->answered, 10000));
    assert_int_equal(b->error, -ESHUTDOWN);
    visitor_close(a);
    assert_true(came_within(&c->answered, 10000));
    assert_int_equal(c->error, 0);
    visitor_free(a);
    visitor_free(b);
    visitor_free(c);
    place_free(p);
}

static void images_are_shared_by_layer_and_closed_by_the_last(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "debian@1", false, 1, 7);
    grant(p, "debian@1", false, 2, 7);
    grant(p, "other@1", false, 3, 8);
    struct visitor *v[4] = { visit_now(p, "debian@1", 1, 0), visit_now(p, "debian@1", 1, 0),
                             visit_now(p, "debian@1", 2, 0), visit_now(p, "other@1", 3, 0) };
    assert_int_equal(p->opens, 2);
    assert_ptr_equal(v[0]->device, v[2]->device);
    for (unsigned i = 0; i < 4; i++)
        assert_false(v[i]->cut);
    export_revoke(p->table, "debian@1", "removed");
    assert_int_equal(p->closes, 1);
    assert_true(v[0]->cut && v[1]->cut && v[2]->cut && !v[3]->cut);
    for (unsigned i = 0; i < 4; i++)
        visitor_free(v[i]);
    place_free(p);
}

static void a_token_cannot_be_granted_twice(void **state)
{
    struct place *p = place_new();

    (void)state;
    assert_int_equal(grant(p, "v", true, 1, 1), 0);
    assert_int_equal(grant(p, "v", true, 1, 1), -EEXIST);
    assert_int_equal(grant(p, "i@1", false, 1, 1), 0);
    place_free(p);
}

static void a_new_grant_fences_the_old_one_first(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    struct visitor *a = visit_now(p, "v", 1, 0);
    assert_int_equal(grant(p, "v", true, 2, 1), 0);
    assert_true(a->cut);
    assert_int_equal(p->closes, 1);
    visitor_free(a);
    a = visit_now(p, "v", 1, -ESTALE);
    assert_string_equal(a->why, "a newer attachment has replaced this one");
    visitor_free(a);
    visitor_free(visit_now(p, "v", 2, 0));
    place_free(p);
}

struct revoker {
    struct place *place;
    atomic_bool over;
    pthread_t thread;
};

static void *revoke(void *arg)
{
    struct revoker *r = arg;

    export_revoke(r->place->table, "v", "the volume was reset: epoch 4 is over");
    r->over = true;
    return NULL;
}

static void run_let_close(void *arg)
{
    struct place *p = arg;

    p->closed(p->closed_arg);
}

static void revoke_returns_when_requests_and_the_commit_are_over(void **state)
{
    struct place *p = place_new();
    struct revoker r = { .place = p };

    (void)state;
    grant(p, "v", true, 1, 1);
    p->slow_close = true;
    struct visitor *a = visit(p, "v", 1, true);
    assert_true(came_within(&a->answered, 10000));
    pthread_create(&r.thread, NULL, revoke, &r);
    assert_true(came_within(&a->was_cut, 10000));
    visitor_free(visit_now(p, "v", 1, -ESTALE)); /* at once */
    assert_false(r.over);
    visitor_close(a);
    while (p->closes == 0)
        sched_yield();
    assert_false(r.over);
    shard_call(p->shard, run_let_close, p);
    pthread_join(r.thread, NULL);
    visitor_free(a);

    a = visit_now(p, "v", 1, -ESTALE);
    assert_string_equal(a->why, "the volume was reset: epoch 4 is over");
    visitor_free(a);
    visitor_free(visit_now(p, "v", 9, -ENOENT)); /* why is told to its holder only */
    p->slow_close = false;
    place_free(p);
}

static void a_device_that_cannot_be_opened_is_tried_again_next_time(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    p->fail_open = true;
    struct visitor *a = visit_now(p, "v", 1, -ESHUTDOWN);
    assert_string_equal(a->why, "layer 'a41f': not a layer file");
    visitor_free(a);
    p->fail_open = false;
    visitor_free(visit_now(p, "v", 1, 0));
    place_free(p);
}

static void run_count(void *arg)
{
    struct visitor *v = arg;
    struct export_stats *s = export_session_stats(v->session);
    struct export_ticket read, write;

    export_begin(s, &read, BLK_READ, 1000);
    export_begin(s, &write, BLK_WRITE, 1000);
    export_end(s, &write, 512, 0, 2000);
    export_end(s, &read, 8192, 0, 3000);
    v->place->told.failed(v->place->told.arg, "fdatasync: Input/output error");
}

static void query_tells_what_is_going_on(void **state)
{
    struct place *p = place_new();
    struct export_info i;

    (void)state;
    export_query(p->table, "v", &i);
    assert_false(i.granted);
    grant(p, "v", true, 1, 1);
    export_query(p->table, "v", &i);
    assert_true(i.granted && !i.connected && !i.failed);
    struct visitor *a = visit_now(p, "v", 1, 0);
    shard_call(p->shard, run_count, a);
    export_query(p->table, "v", &i);
    assert_true(i.connected && i.failed && i.connected_since_ns > 0);
    assert_true(i.read_bytes == 8192 && i.written_bytes == 512);
    visitor_free(a);
    export_query(p->table, "v", &i);
    assert_true(i.granted && !i.connected);
    place_free(p);
}

static void run_fail(void *arg)
{
    struct place *p = arg;

    p->told.failed(p->told.arg, "fdatasync: Input/output error");
}

static bool has_failed(struct place *p, const char *name)
{
    struct export_info i;

    export_query(p->table, name, &i);
    return i.failed;
}

static void a_volume_that_failed_opens_only_with_a_higher_epoch(void **state)
{
    struct place *p = place_new();

    (void)state;
    assert_int_equal(grant_epoch(p, "v", true, 1, 1, 4), 0);
    assert_int_equal(grant_epoch(p, "w", true, 1, 2, 4), 0);
    visitor_free(visit_now(p, "v", 1, 0));
    shard_call(p->shard, run_fail, p);
    export_revoke(p->table, "v", "detached");
    assert_true(has_failed(p, "v"));
    assert_false(has_failed(p, "w"));

    assert_int_equal(grant_epoch(p, "v", true, 2, 1, 4), 0);
    struct visitor *a = visit_now(p, "v", 2, -ESHUTDOWN);
    assert_non_null(strstr(a->why, "has failed: attach it again"));
    visitor_free(a);
    assert_true(has_failed(p, "v"));

    assert_int_equal(grant_epoch(p, "v", true, 3, 1, 5), 0);
    assert_false(has_failed(p, "v"));
    visitor_free(visit_now(p, "v", 3, 0));
    visitor_free(visit_now(p, "w", 1, 0));
    place_free(p);
}

static void a_volume_that_fails_while_it_is_closed_has_failed(void **state)
{
    struct place *p = place_new();
    struct revoker r = { .place = p };

    (void)state;
    grant(p, "v", true, 1, 1);
    visitor_free(visit_now(p, "v", 1, 0));
    p->slow_close = true;
    pthread_create(&r.thread, NULL, revoke, &r);
    while (p->closes == 0)
        sched_yield();
    shard_call(p->shard, run_fail, p); /* its last commit */
    shard_call(p->shard, run_let_close, p);
    pthread_join(r.thread, NULL);
    assert_true(has_failed(p, "v"));
    p->slow_close = false;
    place_free(p);
}

static void many_grants_are_found_by_name(void **state)
{
    struct place *p = place_new();
    char name[16];

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "v%u", i);
        assert_int_equal(grant(p, name, true, (uint8_t)i, 1), 0);
    }
    visitor_free(visit_now(p, "v1999", (uint8_t)1999, 0));
    visitor_free(visit_now(p, "v0", 0, 0));
    export_revoke(p->table, "v1000", "x");
    visitor_free(visit_now(p, "v1000", (uint8_t)1000, -ESTALE));
    place_free(p);
}

static void a_busy_device_is_opened_again_with_what_the_grant_says_by_then(void **state)
{
    struct place *p = place_new();
    struct layer_chain layers = { .count = 1, .id = { { .b = { 6 } } } };

    (void)state;
    grant(p, "v", true, 1, 1);
    p->busy = true;
    struct visitor *v = visit(p, "v", 1, false);
    export_respec(p->table, "v", (struct layer_id){ .b = { 5 } }, &layers);
    p->busy = false;
    assert_true(came_within(&v->answered, 10000));
    assert_non_null(v->session);
    assert_int_equal(p->opens, 1);
    assert_int_equal(p->top, 5);
    assert_int_equal(p->lowest, 6);
    visitor_free(v);
    place_free(p);
}

struct respecer {
    struct place *place;
    pthread_t thread;
};

static void *respec(void *arg)
{
    struct respecer *r = arg;
    struct layer_chain layers = { .count = 1, .id = { { .b = { 6 } } } };

    export_respec(r->place->table, "v", (struct layer_id){ .b = { 5 } }, &layers);
    return NULL;
}

static void see_respec(void *arg)
{
    struct place *p = arg;
    uint8_t token[EXPORT_TOKEN_BYTES];

    memset(token, 1, sizeof token);
    p->seen = exp_find(p->table, "v", token)->g.volume.top.b[0];
}

/* Its top was sealed meanwhile: nobody may write to it. */
static void what_was_opened_with_an_old_top_is_opened_anew(void **state)
{
    struct place *p = place_new();
    struct respecer r = { .place = p };

    (void)state;
    grant(p, "v", true, 1, 1);
    p->slow_open = true;
    struct visitor *v = visit(p, "v", 1, false);
    while (!p->opening)
        sched_yield();
    pthread_create(&r.thread, NULL, respec, &r);
    do
        shard_call(p->shard, see_respec, p);
    while (p->seen != 5);
    p->slow_open = false;
    pthread_join(r.thread, NULL);
    assert_true(came_within(&v->answered, 10000));
    assert_non_null(v->session);
    assert_int_equal(p->top, 5);
    assert_int_equal(p->opens, 2);
    assert_int_equal(p->closes, 1);
    visitor_free(v);
    place_free(p);
}

static void a_grant_may_end_while_its_device_is_busy(void **state)
{
    struct place *p = place_new();

    (void)state;
    grant(p, "v", true, 1, 1);
    p->busy = true;
    struct visitor *v = visit(p, "v", 1, false);
    export_revoke(p->table, "v", "x");
    assert_true(came_within(&v->answered, 10000));
    assert_int_equal(v->error, -ESTALE);
    visitor_free(v);
    place_free(p);
}

static void many_grants_end_at_once_and_their_devices_are_discarded(void **state)
{
    struct place *p = place_new();
    const char *names[] = { "a", "c", "nobody" };

    (void)state;
    for (uint8_t i = 0; i < 3; i++)
        grant(p, (const char *[]){ "a", "b", "c" }[i], true, i, i);
    struct visitor *v[] = { visit_now(p, "a", 0, 0), visit_now(p, "b", 1, 0),
                            visit_now(p, "c", 2, 0) };
    export_revoke_all(p->table, names, 3, "the volume was reset", true);
    assert_true(v[0]->cut && !v[1]->cut && v[2]->cut);
    assert_int_equal(p->discards, 2);
    visitor_free(visit_now(p, "a", 0, -ESTALE));
    for (unsigned i = 0; i < 3; i++)
        visitor_free(v[i]);
    place_free(p);
}

static void run_park(void *arg)
{
    struct place *p = arg;

    p->told.parked(p->told.arg, true, "the store is full: 0 bytes free");
}

static void run_unpark(void *arg)
{
    struct place *p = arg;

    p->told.parked(p->told.arg, false, "");
}

static void count_parked(void *ctx, const char *name, bool parked, const char *why)
{
    int *count = ctx;

    assert_string_equal(name, "v");
    assert_int_equal(why[0] != '\0', parked);
    *count += parked ? 1 : -1;
}

static void writes_that_wait_for_room_are_told(void **state)
{
    struct place *p = place_new();
    int parked = 0;
    struct export_events events = { .parked = count_parked, .ctx = &parked };
    struct export_info i;

    (void)state;
    export_set_events(p->table, &events);
    grant(p, "v", true, 1, 1);
    struct visitor *v = visit_now(p, "v", 1, 0);
    shard_call(p->shard, run_park, p);
    export_query(p->table, "v", &i);
    assert_true(i.parked);
    assert_int_equal(parked, 1);
    shard_call(p->shard, run_unpark, p);
    export_query(p->table, "v", &i);
    assert_false(i.parked);
    assert_int_equal(parked, 0);
    visitor_free(v);
    place_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_or_token_that_is_not_there_is_refused_alike),
        cmocka_unit_test(peek_opens_and_ends_nothing),
        cmocka_unit_test(a_device_is_opened_once_and_kept_until_the_grant_ends),
        cmocka_unit_test(the_second_connection_waits_for_the_end_of_the_first),
        cmocka_unit_test(of_several_that_wait_the_newest_wins),
        cmocka_unit_test(images_are_shared_by_layer_and_closed_by_the_last),
        cmocka_unit_test(a_token_cannot_be_granted_twice),
        cmocka_unit_test(a_new_grant_fences_the_old_one_first),
        cmocka_unit_test(revoke_returns_when_requests_and_the_commit_are_over),
        cmocka_unit_test(a_device_that_cannot_be_opened_is_tried_again_next_time),
        cmocka_unit_test(query_tells_what_is_going_on),
        cmocka_unit_test(a_volume_that_failed_opens_only_with_a_higher_epoch),
        cmocka_unit_test(a_volume_that_fails_while_it_is_closed_has_failed),
        cmocka_unit_test(many_grants_are_found_by_name),
        cmocka_unit_test(a_busy_device_is_opened_again_with_what_the_grant_says_by_then),
        cmocka_unit_test(what_was_opened_with_an_old_top_is_opened_anew),
        cmocka_unit_test(a_grant_may_end_while_its_device_is_busy),
        cmocka_unit_test(many_grants_end_at_once_and_their_devices_are_discarded),
        cmocka_unit_test(writes_that_wait_for_room_are_told),
    };
    return cmocka_run_group_tests_name("export", tests, NULL, NULL);
}
