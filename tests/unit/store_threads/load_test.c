/* SPDX-License-Identifier: Apache-2.0 */
/* The store on the real shard and pools: several volumes under a verifying load while others are
 * opened and closed; what a volume costs in memory. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/store_threads/rig.h"

#define CLIENTS 4
#define DEPTH   8
#define WORK    1500 /* requests of one client */

static int set_up(void **state)
{
    struct rig *g = calloc(1, sizeof *g);

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
static void verify(struct rig *g, struct client *c)
{
    struct event finished = EVENT;

    c->finished = &finished;
    c->left = 0;
    shard_call(g->shard, start_client, c); /* nothing to do: tells once per slot */
    event_wait(&finished, DEPTH);
    assert_int_equal(c->wrong, 0);
}

static void volumes_under_load_keep_what_they_are_told(void **state)
{
    struct rig *g = *state;
    struct client *clients = calloc(CLIENTS, sizeof *clients);
    struct event finished = EVENT;

    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        c->seed = i + 1;
        c->left = WORK;
        c->finished = &finished;
        c->top = new_id();
        c->v = open_volume(g, c->top, SIZE);
        for (uint64_t b = 0; b < BLOCKS; b++)
            c->expect[b] = image_fill(b);
        shard_call(g->shard, start_client, c);
    }
    for (unsigned i = 0; i < 40; i++) /* meanwhile others come and go */
        close_volume(g, open_volume(g, new_id(), SIZE));
    event_wait(&finished, CLIENTS);
    for (unsigned i = 0; i < CLIENTS; i++) {
        verify(g, &clients[i]);
        close_volume(g, clients[i].v);
    }

    store_close(g->store);
    rig_open_store(g);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        finished.count = 0;
        c->finished = &finished;
        c->left = WORK / 4;
        c->v = open_volume(g, c->top, SIZE);
        shard_call(g->shard, start_client, c);
        event_wait(&finished, 1);
        assert_int_equal(c->wrong, 0);
        close_volume(g, c->v);
    }
    free(clients);
}

static void untouched_volume_costs_little(void **state)
{
    struct rig *g = *state;
    struct volume *v[100];

    close_volume(g, open_volume(g, new_id(), SIZE)); /* what is allocated once */
    v[0] = open_volume(g, new_id(), 20ull << 30);
    size_t before = mallinfo2().uordblks;
    for (int i = 1; i < 100; i++)
        v[i] = open_volume(g, new_id(), 20ull << 30);
    size_t each = (mallinfo2().uordblks - before) / 99;
    print_message("# an untouched 20 GiB volume: %zu bytes\n", each);
    assert_true(each <= 32u << 10);
    for (int i = 0; i < 100; i++)
        close_volume(g, v[i]);
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
