/* SPDX-License-Identifier: Apache-2.0 */
/* rig - a store on a real shard with real pools. */
#include "tests/unit/store_threads/rig.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/base/name.h"

#define PATIENCE_S 60

void rig_open_store(struct rig *g)
{
    char live[sizeof g->dir + 8];
    snprintf(live, sizeof live, "%s/live", g->dir);
    const struct store_options o = { .dir = g->dir,
                                     .live_dir = live,
                                     .ops = g->ops,
                                     .journal_bytes =
                                         g->journal_bytes ? g->journal_bytes : 256u << 10,
                                     .sealed_fds = g->sealed_fds,
                                     .shard = g->shard,
                                     .read_pool = g->read_pool,
                                     .slow_pool = g->slow_pool };

    CHECK(store_open(&o, &g->store, &e));
}

uint8_t image_fill(uint64_t block)
{
    return block % 4 ? (uint8_t)(1 + block % 255) : 0;
}

void rig_start(struct rig *g)
{
    const char *tmp = getenv("TMPDIR");
    struct layer_writer *w;
    uint8_t *buf = malloc(SIZE);
    uint64_t data;

    snprintf(g->dir, sizeof g->dir, "%s/store.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(g->dir));
    CHECK(shard_start("test", &g->shard, &e));
    CHECK(pool_start("read", 2, &g->read_pool, &e));
    CHECK(pool_start("slow", 2, &g->slow_pool, &e));
    rig_open_store(g);
    for (uint64_t b = 0; b < BLOCKS; b++)
        memset(buf + b * BLK_BLOCK, image_fill(b), BLK_BLOCK);
    CHECK(layer_create(g->store, SIZE, &w, &e));
    CHECK(layer_write(w, 0, buf, SIZE, &e));
    CHECK(layer_seal(w, &data, &e));
    g->image = layer_writer_id(w);
    layer_writer_free(w);
    free(buf);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void rig_stop(struct rig *g)
{
    store_close(g->store);
    pool_stop(g->read_pool);
    pool_stop(g->slow_pool);
    shard_stop(g->shard);
    nftw(g->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- waiting ----------------------------------------------------------------------------------*/

void event_add(struct event *ev)
{
    pthread_mutex_lock(&ev->lock);
    ev->count++;
    pthread_cond_broadcast(&ev->cond);
    pthread_mutex_unlock(&ev->lock);
}

unsigned event_count(struct event *ev)
{
    pthread_mutex_lock(&ev->lock);
    unsigned count = ev->count;
    pthread_mutex_unlock(&ev->lock);
    return count;
}

void event_wait(struct event *ev, unsigned count)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&ev->lock);
    while (ev->count < count && rc == 0)
        rc = pthread_cond_timedwait(&ev->cond, &ev->lock, &until);
    pthread_mutex_unlock(&ev->lock);
    assert_int_equal(rc, 0);
}

/* ---- volumes ----------------------------------------------------------------------------------*/

struct layer_id new_id(void)
{
    struct layer_id id;

    random_bytes(id.b, sizeof id.b);
    return id;
}

struct volume *open_volume(struct rig *g, struct layer_id top, uint64_t size)
{
    struct layer_chain chain = { .count = 1, .id = { g->image } };
    struct volume_spec spec = {
        .name = "vol", .top = top, .below = &chain, .size_bytes = size, .generation = 1, .epoch = 1
    };
    struct volume *v;

    CHECK(volume_open(g->store, &spec, NULL, &v, &e));
    return v;
}

struct closing {
    struct volume *v;
    struct event drained;
};

static void note_drained(void *ctx)
{
    event_add(ctx);
}

static void close_on_shard(void *arg)
{
    struct closing *c = arg;

    volume_close(c->v, note_drained, &c->drained);
}

void close_volume(struct rig *g, struct volume *v)
{
    struct closing c = { .v = v, .drained = EVENT };

    shard_call(g->shard, close_on_shard, &c);
    event_wait(&c.drained, 1);
}
