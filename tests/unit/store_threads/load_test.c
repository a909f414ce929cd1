/* SPDX-License-Identifier: Apache-2.0 */
/* The store on the real shard and pools: several volumes under a verifying load while others are
 * opened and closed; what a volume costs in memory. */
#include <ftw.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/name.h"
#include "server/block/blkdev.h"
#include "server/io/pool.h"
#include "server/io/shard.h"
#include "server/store/store.h"
#include "tests/unit/unit.h"

#define SIZE    (4u << 20)
#define BLOCKS  (SIZE / BLK_BLOCK)
#define CLIENTS 4
#define DEPTH   8
#define WORK    1500 /* requests of one client */

#define CHECK(call)                                                                                \
    do {                                                                                           \
        struct err e = { 0 };                                                                      \
        int _rc = (call);                                                                          \
        if (_rc < 0)                                                                               \
            fail_msg("%s: %s", #call, e.msg);                                                      \
    } while (0)

struct fixture {
    char dir[128];
    struct shard *shard;
    struct pool *read_pool, *slow_pool;
    struct store *store;
    struct layer_id image;
};

static void open_store(struct fixture *f)
{
    const struct store_options o = { .dir = f->dir,
                                     .journal_bytes = 256u << 10,
                                     .shard = f->shard,
                                     .read_pool = f->read_pool,
                                     .slow_pool = f->slow_pool };

    CHECK(store_open(&o, &f->store, &e));
}

/* Block b of the image is full of the byte 1 + b % 255, but for every 4th, which is zeros. */
static uint8_t image_fill(uint64_t block)
{
    return block % 4 ? (uint8_t)(1 + block % 255) : 0;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    struct layer_writer *w;
    uint8_t *buf = malloc(SIZE);
    uint64_t data;

    snprintf(f->dir, sizeof f->dir, "%s/store.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    CHECK(shard_start("test", &f->shard, &e));
    CHECK(pool_start("read", 2, &f->read_pool, &e));
    CHECK(pool_start("slow", 2, &f->slow_pool, &e));
    open_store(f);
    for (uint64_t b = 0; b < BLOCKS; b++)
        memset(buf + b * BLK_BLOCK, image_fill(b), BLK_BLOCK);
    CHECK(layer_create(f->store, SIZE, &w, &e));
    CHECK(layer_write(w, 0, buf, SIZE, &e));
    CHECK(layer_seal(w, &data, &e));
    f->image = layer_writer_id(w);
    layer_writer_free(w);
    free(buf);
    *state = f;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    pool_stop(f->read_pool);
    pool_stop(f->slow_pool);
    shard_stop(f->shard);
    nftw(f->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* ---- waiting ----------------------------------------------------------------------------------*/

struct event {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    unsigned count;
};

static void event_add(struct event *ev)
{
    pthread_mutex_lock(&ev->lock);
    ev->count++;
    pthread_cond_broadcast(&ev->cond);
    pthread_mutex_unlock(&ev->lock);
}

static void event_wait(struct event *ev, unsigned count)
{
    pthread_mutex_lock(&ev->lock);
    while (ev->count < count)
        pthread_cond_wait(&ev->cond, &ev->lock);
    pthread_mutex_unlock(&ev->lock);
}

#define EVENT                                                                                      \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER                        \
    }

/* ---- volumes ----------------------------------------------------------------------------------*/

static struct layer_id new_id(void)
{
    struct layer_id id;

    random_bytes(id.b, sizeof id.b);
    return id;
}

static struct volume *open_volume(struct fixture *f, struct layer_id top, uint64_t size)
{
    struct layer_chain chain = { .count = 1, .id = { f->image } };
    struct volume_spec spec = {
        .name = "vol", .top = top, .below = &chain, .size_bytes = size, .generation = 1, .epoch = 1
    };
    struct volume *v;

    CHECK(volume_open(f->store, &spec, NULL, &v, &e));
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

static void close_volume(struct fixture *f, struct volume *v)
{
    struct closing c = { .v = v, .drained = EVENT };

    shard_call(f->shard, close_on_shard, &c);
    event_wait(&c.drained, 1);
}

/* ---- a client ---------------------------------------------------------------------------------*/

struct client;

struct slot {
    struct client *c;
    struct blk_req r;
    uint8_t buf[BLK_BLOCK * 4];
    uint64_t first, count; /* blocks */
    uint8_t fill;
};

struct client {
    struct volume *v;
    struct layer_id top;
    uint64_t seed;
    unsigned left, running, wrong;
    uint8_t expect[BLOCKS];
    bool busy[BLOCKS];
    struct slot slots[DEPTH];
    struct event *finished;
};

static uint64_t draw(struct client *c, uint64_t limit)
{
    c->seed = c->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (c->seed >> 33) % limit;
}

static void next_request(struct slot *s);

static void request_done(struct blk_req *r)
{
    struct slot *s = r->owner;
    struct client *c = s->c;

    c->running--;
    c->wrong += r->error != 0;
    for (uint64_t i = 0; i < s->count; i++) {
        c->busy[s->first + i] = false;
        if (r->op != BLK_READ)
            c->expect[s->first + i] = s->fill;
        for (uint64_t at = 0; r->op == BLK_READ && at < BLK_BLOCK; at++)
            c->wrong += s->buf[i * BLK_BLOCK + at] != c->expect[s->first + i];
    }
    next_request(s);
}

/* Blocks that no other request of this client uses. */
static void choose_blocks(struct slot *s)
{
    struct client *c = s->c;

    do
        s->first = draw(c, BLOCKS - 4);
    while (c->busy[s->first]);
    for (s->count = 1; s->count < 1 + draw(c, 4) && !c->busy[s->first + s->count]; s->count++)
        ;
    for (uint64_t i = 0; i < s->count; i++)
        c->busy[s->first + i] = true;
}

static void next_request(struct slot *s)
{
    static const enum blk_op ops[] = { BLK_READ,  BLK_READ, BLK_READ, BLK_WRITE,
                                       BLK_WRITE, BLK_TRIM, BLK_ZERO, BLK_FLUSH };
    struct client *c = s->c;

    if (c->left == 0) {
        if (c->running == 0)
            event_add(c->finished);
        return;
    }
    c->left--;
    c->running++;
    s->r =
        (struct blk_req){ .op = ops[draw(c, 8)], .buf = s->buf, .done = request_done, .owner = s };
    s->count = 0;
    if (s->r.op != BLK_FLUSH)
        choose_blocks(s);
    s->fill = s->r.op == BLK_WRITE ? (uint8_t)(1 + draw(c, 255)) : 0;
    if (s->r.op == BLK_WRITE)
        memset(s->buf, s->fill, sizeof s->buf);
    s->r.offset = s->first * BLK_BLOCK;
    s->r.length = s->count * BLK_BLOCK;
    if (draw(c, 16) == 0)
        s->r.flags = BLK_FUA;
    blk_submit(volume_device(c->v), &s->r);
}

static void start_client(void *arg)
{
    struct client *c = arg;

    for (unsigned i = 0; i < DEPTH; i++) {
        c->slots[i].c = c;
        next_request(&c->slots[i]);
    }
}

/* Reads all of it and compares. */
static void verify(struct fixture *f, struct client *c)
{
    struct event finished = EVENT;

    c->finished = &finished;
    c->left = 0;
    shard_call(f->shard, start_client, c); /* nothing to do: tells once per slot */
    event_wait(&finished, DEPTH);
    assert_int_equal(c->wrong, 0);
}

static void volumes_under_load_keep_what_they_are_told(void **state)
{
    struct fixture *f = *state;
    struct client *clients = calloc(CLIENTS, sizeof *clients);
    struct event finished = EVENT;

    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        c->seed = i + 1;
        c->left = WORK;
        c->finished = &finished;
        c->top = new_id();
        c->v = open_volume(f, c->top, SIZE);
        for (uint64_t b = 0; b < BLOCKS; b++)
            c->expect[b] = image_fill(b);
        shard_call(f->shard, start_client, c);
    }
    for (unsigned i = 0; i < 40; i++) /* meanwhile others come and go */
        close_volume(f, open_volume(f, new_id(), SIZE));
    event_wait(&finished, CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        verify(f, &clients[i]);
        close_volume(f, clients[i].v);
    }

    store_close(f->store);
    open_store(f);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        finished.count = 0;
        c->finished = &finished;
        c->left = WORK / 4;
        c->v = open_volume(f, c->top, SIZE);
        shard_call(f->shard, start_client, c);
        event_wait(&finished, 1);
        assert_int_equal(c->wrong, 0);
        close_volume(f, c->v);
    }
    free(clients);
}

static void untouched_volume_costs_little(void **state)
{
    struct fixture *f = *state;
    struct volume *v[100];

    close_volume(f, open_volume(f, new_id(), SIZE)); /* what is allocated once */
    v[0] = open_volume(f, new_id(), 20ull << 30);
    size_t before = mallinfo2().uordblks;
    for (int i = 1; i < 100; i++)
        v[i] = open_volume(f, new_id(), 20ull << 30);
    size_t each = (mallinfo2().uordblks - before) / 99;
    print_message("# an untouched 20 GiB volume: %zu bytes\n", each);
    assert_true(each <= 32u << 10);
    for (int i = 0; i < 100; i++)
        close_volume(f, v[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(volumes_under_load_keep_what_they_are_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(untouched_volume_costs_little, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
