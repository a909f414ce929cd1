/* SPDX-License-Identifier: Apache-2.0 */
/* stats_test - what is counted of requests, and that one which hangs is told of. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/clock.h"
#include "server/block/blk_mem.h"
#include "server/export/backend.h"
#include "server/export/export.h"
#include "server/export/stats.h"
#include "server/io/shard.h"

#define SIZE 65536

struct fixture {
    struct shard *shard;
    struct export_backend backend;
    struct export_table *table;
    struct export_peer peer;
    struct export_session *session;
    struct export_ticket tickets[3];
    sem_t opened, stalled, recovered, replaced;
    int64_t stalled_ns;
    bool fenced;
};

static int open_device(void *ctx, const struct export_grant *g, const struct export_told *told,
                       struct export_device *ret, struct err *e)
{
    (void)ctx, (void)g, (void)told, (void)e;
    *ret = (struct export_device){ .blk = blk_mem_new(SIZE, false) };
    return 0;
}

static void close_device(void *ctx, struct export_device *d, void (*closed)(void *), void *arg)
{
    (void)ctx;
    blk_mem_free(d->blk);
    closed(arg);
}

static uint64_t dirty_bytes(void *ctx, const struct export_device *d)
{
    (void)ctx, (void)d;
    return 4096;
}

static void on_stalled(void *ctx, const char *name, bool stalled, int64_t stalled_ns)
{
    struct fixture *f = ctx;

    assert_string_equal(name, "v");
    f->stalled_ns = stalled_ns;
    sem_post(stalled ? &f->stalled : &f->recovered);
}

static void on_replaced(void *ctx, const char *name, bool fenced, const char *why)
{
    struct fixture *f = ctx;

    assert_string_equal(name, "v");
    assert_true(*why);
    f->fenced = fenced;
    sem_post(&f->replaced);
}

static void wait_for(sem_t *sem)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 10;
    assert_int_equal(sem_timedwait(sem, &t), 0);
}

static void on_ready(struct export_peer *p, struct export_session *session, struct blkdev *device,
                     int error, const char *why)
{
    struct fixture *f = (struct fixture *)((char *)p - offsetof(struct fixture, peer));

    (void)device, (void)error, (void)why;
    f->session = session;
    sem_post(&f->opened);
}

/* The peer has requests under way: they are dropped. */
static void on_cut(struct export_peer *p)
{
    struct fixture *f = (struct fixture *)((char *)p - offsetof(struct fixture, peer));
    struct export_stats *s = export_session_stats(f->session);

    while (!TAILQ_EMPTY(&s->running))
        export_end(s, TAILQ_FIRST(&s->running), 0, -ESHUTDOWN, clock_mono_ns());
    export_closed(f->session);
    f->session = NULL;
}

static void run_open(void *arg)
{
    struct fixture *f = arg;
    char name[EXPORT_NAME_SIZE];

    snprintf(name, sizeof name, "v.%032d", 0);
    export_open(f->table, name, &f->peer, on_ready);
}

static int start(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct export_events events = { .stalled = on_stalled, .replaced = on_replaced, .ctx = f };
    struct export_grant g = {
        .name = "v", .holder = "pc7", .writable = true, .volume.size_bytes = SIZE
    };

    assert_non_null(f);
    f->backend = (struct export_backend){ .open = open_device,
                                          .close = close_device,
                                          .dirty_bytes = dirty_bytes };
    f->peer.cut = on_cut;
    sem_init(&f->opened, 0, 0);
    sem_init(&f->stalled, 0, 0);
    sem_init(&f->recovered, 0, 0);
    sem_init(&f->replaced, 0, 0);
    assert_int_equal(shard_start("test", &f->shard, NULL), 0);
    assert_int_equal(export_table_new_over(f->shard, &f->backend, &f->table, NULL), 0);
    export_set_events(f->table, &events);
    assert_int_equal(export_grant(f->table, &g, NULL), 0);
    shard_call(f->shard, run_open, f);
    wait_for(&f->opened);
    assert_non_null(f->session);
    *state = f;
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;

    export_table_free(f->table);
    shard_stop(f->shard);
    free(f);
    return 0;
}

static struct export_stats_row only_row(struct fixture *f)
{
    struct export_stats_row *rows, row;
    unsigned count;

    assert_int_equal(export_stats_all(f->table, &rows, &count, NULL), 0);
    assert_int_equal(count, 1);
    row = rows[0];
    free(rows);
    return row;
}

static void run_three(void *arg)
{
    struct fixture *f = arg;
    struct export_stats *s = export_session_stats(f->session);
    int64_t now_ns = clock_mono_ns();

    export_begin(s, &f->tickets[0], BLK_WRITE, now_ns - 3 * NS_PER_S);
    export_begin(s, &f->tickets[1], BLK_READ, now_ns - 2 * NS_PER_S);
    export_begin(s, &f->tickets[2], BLK_ZERO, now_ns - NS_PER_S);
    export_end(s, &f->tickets[1], 4096, 0, now_ns);
    export_end(s, &f->tickets[2], 8192, -EIO, now_ns);
}

static void run_end_first(void *arg)
{
    struct fixture *f = arg;

    export_end(export_session_stats(f->session), &f->tickets[0], 512, 0, clock_mono_ns());
}

static void test_counted(void **state)
{
    struct fixture *f = *state;

    shard_call(f->shard, run_three, f);
    struct export_stats_row r = only_row(f);
    assert_string_equal(r.name, "v");
    assert_string_equal(r.holder, "pc7");
    assert_true(r.volume && r.connected && !r.failed && !r.parked);
    assert_int_equal(r.dirty_bytes, 4096);
    assert_int_equal(r.in_flight, 1);
    assert_in_range(r.oldest_ns, 3 * NS_PER_S, 60 * NS_PER_S);
    assert_int_equal(r.op[EXPORT_READ].bytes, 4096);
    assert_int_equal(r.op[EXPORT_TRIM].bytes, 0);
    assert_int_equal(r.op[EXPORT_TRIM].errors, 1);
    assert_int_equal(histogram_total(&r.op[EXPORT_TRIM].latency), 1);
    assert_int_equal(histogram_total(&r.op[EXPORT_WRITE].latency), 0);

    shard_call(f->shard, run_end_first, f);
    r = only_row(f);
    assert_int_equal(r.in_flight, 0);
    assert_int_equal(r.oldest_ns, 0);
    assert_int_equal(r.op[EXPORT_WRITE].bytes, 512);
    assert_int_equal(histogram_total(&r.op[EXPORT_WRITE].latency), 1);
}

static void run_hang(void *arg)
{
    struct fixture *f = arg;

    export_begin(export_session_stats(f->session), &f->tickets[0], BLK_WRITE,
                 clock_mono_ns() - 7 * NS_PER_S);
}

static void test_hanging(void **state)
{
    struct fixture *f = *state;

    shard_call(f->shard, run_hang, f);
    wait_for(&f->stalled);
    assert_in_range(f->stalled_ns, 7 * NS_PER_S, 60 * NS_PER_S);
    shard_call(f->shard, run_end_first, f);
    wait_for(&f->recovered);
    assert_in_range(f->stalled_ns, 7 * NS_PER_S, 60 * NS_PER_S);
}

static void test_reconnected_then_fenced(void **state)
{
    struct fixture *f = *state;

    shard_call(f->shard, run_hang, f);
    shard_call(f->shard, run_open, f);
    wait_for(&f->replaced);
    assert_false(f->fenced);
    wait_for(&f->opened);
    assert_int_equal(only_row(f).op[EXPORT_WRITE].errors, 1);
    export_revoke(f->table, "v", "the volume was reset");
    wait_for(&f->replaced);
    assert_true(f->fenced);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_counted),
        TEST(test_hanging),
        TEST(test_reconnected_then_fenced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
