/* SPDX-License-Identifier: Apache-2.0 */
/* Layers are merged, and who stands on them restacked, while devices on them are read, others are
 * opened and closed on other threads, and only one sealed layer's files may stay open. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/name.h"
#include "tests/unit/store_threads/rig.h"

#define LAYERS  8  /* on the image */
#define READERS 6  /* requests at once */
#define PART    40 /* blocks of one read at most */

static uint8_t shows[BLOCKS]; /* by the whole chain */

struct reader {
    struct rig *rig;
    struct blkdev *d;
    struct blk_req r;
    struct shard_msg next;
    uint64_t seed, first, count;
    uint8_t *buf;
    unsigned wrong;
    _Atomic bool *stop;
    struct event *ended;
};

static int set_up(void **state)
{
    struct rig *g = calloc(1, sizeof *g);

    g->sealed_fds = 1;
    rig_start(g);
    *state = g;
    return 0;
}

static int tear_down(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

/* ---- layers -----------------------------------------------------------------------------------*/

struct writing {
    struct volume *v;
    struct blk_req r;
    struct event done;
};

static void note_written(struct blk_req *r)
{
    struct writing *w = r->owner;

    assert_int_equal(r->error, 0);
    event_add(&w->done);
}

static void submit(void *arg)
{
    struct writing *w = arg;

    blk_submit(volume_device(w->v), &w->r);
}

/* A layer that holds every LAYERS'th block, from `number` on. */
static void add_layer(struct rig *g, struct layer_chain *c, unsigned number)
{
    struct layer_id top = new_id();
    struct volume_spec spec = { .name = "vol", .top = top, .below = c, .size_bytes = SIZE };
    static uint8_t buf[BLK_BLOCK];
    struct writing w = { .done = EVENT };
    unsigned written = 0;

    CHECK(volume_open(g->store, &spec, NULL, &w.v, &e));
    for (uint64_t b = number; b < BLOCKS; b += LAYERS) {
        shows[b] = (uint8_t)(100 + number);
        memset(buf, shows[b], sizeof buf);
        w.r = (struct blk_req){ .op = BLK_WRITE,
                                .offset = b * BLK_BLOCK,
                                .length = BLK_BLOCK,
                                .buf = buf,
                                .done = note_written,
                                .owner = &w };
        shard_call(g->shard, submit, &w);
        event_wait(&w.done, ++written);
    }
    close_volume(g, w.v);
    memmove(c->id + 1, c->id, c->count * sizeof *c->id);
    c->id[0] = top;
    c->count++;
}

/* ---- reading ----------------------------------------------------------------------------------*/

static uint64_t draw(struct reader *r, uint64_t limit)
{
    r->seed = r->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (r->seed >> 33) % limit;
}

static void read_next(struct shard_msg *m);

static void read_done(struct blk_req *req)
{
    struct reader *r = req->owner;

    r->wrong += req->error != 0;
    for (uint64_t i = 0; i < r->count; i++)
        r->wrong += r->buf[i * BLK_BLOCK + 7] != shows[r->first + i];
    if (atomic_load(r->stop))
        event_add(r->ended);
    else
        shard_post(r->rig->shard, &r->next); /* others want the shard, too */
}

/* Long enough to need the pool, for only one layer's files stay open. */
static void read_next(struct shard_msg *m)
{
    struct reader *r = (struct reader *)((char *)m - offsetof(struct reader, next));

    r->count = 1 + draw(r, PART);
    r->first = draw(r, BLOCKS - r->count);
    r->r = (struct blk_req){ .op = BLK_READ,
                             .offset = r->first * BLK_BLOCK,
                             .length = r->count * BLK_BLOCK,
                             .buf = r->buf,
                             .done = read_done,
                             .owner = r };
    blk_submit(r->d, &r->r);
}

static void close_image(void *d)
{
    image_close(d);
}

/* ---- others come and go -----------------------------------------------------------------------*/

struct guest {
    struct rig *rig;
    pthread_mutex_t *lock;
    const struct layer_chain *chain; /* under the lock: the catalog */
    _Atomic bool *stop;
    unsigned opened;
};

static void *come_and_go(void *arg)
{
    struct guest *t = arg;

    while (!atomic_load(t->stop)) {
        struct layer_chain c;
        struct blkdev *d;
        pthread_mutex_lock(t->lock); /* what is opened has the chain of that moment */
        c = *t->chain;
        int rc = image_open(t->rig->store, &c, SIZE, &d, NULL);
        pthread_mutex_unlock(t->lock);
        if (rc < 0)
            break;
        t->opened++;
        shard_call(t->rig->shard, close_image, d);
    }
    return NULL;
}

static void merging_is_not_seen(void **state)
{
    struct rig *g = *state;
    struct layer_chain chain = { .count = 1, .id = { g->image } };
    _Atomic bool stop = false;
    struct event ended = EVENT;
    struct reader readers[READERS];
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct guest guest = { .rig = g, .lock = &lock, .chain = &chain, .stop = &stop };
    pthread_t thread;
    struct blkdev *d;

    for (uint64_t b = 0; b < BLOCKS; b++)
        shows[b] = image_fill(b);
    for (unsigned i = 0; i < LAYERS; i++)
        add_layer(g, &chain, i);
    CHECK(image_open(g->store, &chain, SIZE, &d, &e));
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){ .rig = g,
                                      .d = d,
                                      .next = { .fn = read_next },
                                      .seed = i + 1,
                                      .buf = malloc(PART * BLK_BLOCK),
                                      .stop = &stop,
                                      .ended = &ended };
        shard_post(g->shard, &readers[i].next);
    }
    assert_int_equal(pthread_create(&thread, NULL, come_and_go, &guest), 0);

    while (chain.count > 2) { /* from the top down, until one layer lies on the image */
        struct layer_id upper = chain.id[0], lower = chain.id[1], merged;
        random_bytes(merged.b, sizeof merged.b);
        CHECK(store_merge(g->store, lower, upper, merged, NULL, NULL, &e));
        pthread_mutex_lock(&lock);
        chain.id[0] = merged;
        chain.count--;
        memmove(chain.id + 1, chain.id + 2, (chain.count - 1) * sizeof *chain.id);
        pthread_mutex_unlock(&lock);
        CHECK(store_restack(g->store, lower, upper, merged, &e));
        CHECK(layer_remove(g->store, lower, &e));
        CHECK(layer_remove(g->store, upper, &e));
    }
    atomic_store(&stop, true);
    event_wait(&ended, READERS);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < READERS; i++) {
        assert_int_equal(readers[i].wrong, 0);
        free(readers[i].buf);
    }
    assert_true(guest.opened > 0);
    shard_call(g->shard, close_image, d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(merging_is_not_seen, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
