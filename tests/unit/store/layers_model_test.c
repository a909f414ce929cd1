/* SPDX-License-Identifier: Apache-2.0 */
/* Layers against a model: random layers up to the greatest depth, merged at random while devices
 * stand on them, are read as a plain array of bytes says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/open_layers.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/layers.h"

#define BLOCKS 600u
#define SIZE   (BLOCKS * BLK_BLOCK)
#define WORLDS 3u

struct world {
    struct rig rig;
    uint64_t seed;
    struct layer_chain chain;               /* nearest first */
    uint8_t shows[LAYER_CHAIN_MAX][BLOCKS]; /* by how many layers lie below it: block -> byte */
    struct blkdev *image;                   /* of the whole chain, while it is open */
    struct volume *volume;                  /* likewise */
};

static uint64_t draw(struct world *w, uint64_t limit)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return w->seed % limit;
}

/* ---- layers -----------------------------------------------------------------------------------*/

static void add_image(struct world *w)
{
    struct layer_writer *writer;
    uint8_t *bytes = malloc(SIZE);
    uint64_t data_bytes;

    for (unsigned b = 0; b < BLOCKS; b++) {
        w->shows[0][b] = (uint8_t)(draw(w, 3) ? 1 + draw(w, 255) : 0);
        memset(bytes + b * BLK_BLOCK, w->shows[0][b], BLK_BLOCK);
    }
    CHECK(layer_create(w->rig.store, SIZE, &writer, &e));
    CHECK(layer_write(writer, 0, bytes, SIZE, &e));
    CHECK(layer_seal(writer, &data_bytes, &e));
    w->chain = (struct layer_chain){ .count = 1, .id = { layer_writer_id(writer) } };
    layer_writer_free(writer);
    free(bytes);
}

/* Writes and trims of runs. */
static void change(struct world *w, struct blkdev *d, uint8_t *shows)
{
    uint8_t *bytes = malloc(BLOCKS * BLK_BLOCK);

    for (uint64_t n = 1 + draw(w, 6); n; n--) {
        uint64_t at = draw(w, BLOCKS), count = 1 + draw(w, draw(w, 3) ? 4 : 150);
        uint8_t byte = (uint8_t)draw(w, 4);
        if (count > BLOCKS - at)
            count = BLOCKS - at;
        byte = byte ? (uint8_t)(1 + draw(w, 255)) : 0;
        memset(bytes, byte, count * BLK_BLOCK);
        enum blk_op op = byte || draw(w, 2) ? BLK_WRITE : BLK_TRIM;
        assert_int_equal(
            rig_io(d, op, 0, at * BLK_BLOCK, count * BLK_BLOCK, op == BLK_WRITE ? bytes : NULL), 0);
        memset(shows + at, byte, count);
    }
    free(bytes);
}

static void add_layer(struct world *w)
{
    unsigned below = w->chain.count;
    struct layer_id id = rig_new_id();
    struct volume *v = volume_on(&w->rig, id, &w->chain, SIZE);

    memcpy(w->shows[below], w->shows[below - 1], BLOCKS);
    change(w, volume_device(v), w->shows[below]);
    rig_volume_close(v);
    w->chain = chain_of(id, &w->chain);
}

/* Two that lie on each other become one; who stands on them goes on. */
static void merge_some(struct world *w)
{
    if (w->chain.count < 2)
        return;
    unsigned upper = (unsigned)draw(w, w->chain.count - 1), lower = upper + 1;
    unsigned height = w->chain.count - 1 - upper; /* of the upper one */
    struct layer_id ids[2] = { w->chain.id[upper], w->chain.id[lower] };
    struct layer_id merged = rig_new_id();

    CHECK(store_merge(w->rig.store, ids[1], ids[0], merged, NULL, NULL, &e));
    CHECK(store_restack(w->rig.store, ids[1], ids[0], merged, &e));
    for (unsigned i = 0; i < 2; i++)
        CHECK(layer_remove(w->rig.store, ids[i], &e));
    w->chain.id[upper] = merged;
    w->chain.count--;
    for (unsigned i = lower; i < w->chain.count; i++)
        w->chain.id[i] = w->chain.id[i + 1];
    for (unsigned i = height - 1; i < w->chain.count; i++)
        memcpy(w->shows[i], w->shows[i + 1], BLOCKS);
}

/* ---- what they show ---------------------------------------------------------------------------*/

static void expect_device(struct world *w, struct blkdev *d, const uint8_t *shows)
{
    uint8_t *want = malloc(SIZE);

    for (unsigned b = 0; b < BLOCKS; b++)
        memset(want + b * BLK_BLOCK, shows[b], BLK_BLOCK);
    expect_bytes(d, 0, SIZE, want);
    for (int n = 0; n < 10; n++) {
        uint64_t at = draw(w, SIZE / 512) * 512, length = 512 * (1 + draw(w, 40));
        if (length > SIZE - at)
            length = SIZE - at;
        expect_bytes(d, at, length, want + at);
    }
    free(want);
}

static void open_devices(struct world *w)
{
    w->image = image_of_chain(&w->rig, &w->chain, SIZE);
    w->volume = volume_on(&w->rig, rig_new_id(), &w->chain, SIZE);
}

static void close_devices(struct world *w)
{
    image_close(w->image);
    rig_volume_close(w->volume);
}

static void run_world(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);

    w->seed = seed;
    rig_init(&w->rig);
    fake_reset(seed);
    rig_open(&w->rig);
    w->rig.store->fd_limit = 1 + (unsigned)draw(w, 8);
    add_image(w);
    for (unsigned round = 0; round < 5; round++) {
        unsigned depth = 1 + (unsigned)draw(w, LAYER_CHAIN_MAX);
        while (w->chain.count < depth)
            add_layer(w);
        open_devices(w);
        uint8_t *shows = malloc(BLOCKS); /* of the volume */
        memcpy(shows, w->shows[w->chain.count - 1], BLOCKS);
        change(w, volume_device(w->volume), shows);
        for (uint64_t n = draw(w, 4); n; n--)
            merge_some(w);
        expect_device(w, w->image, w->shows[w->chain.count - 1]);
        expect_device(w, volume_device(w->volume), shows);
        assert_int_equal(stack_depth(w->volume->chain.below), w->chain.count);
        close_devices(w);
        free(shows);
    }
    assert_null(w->rig.store->stacks);
    rig_close(&w->rig);
    rig_remove(&w->rig);
    free(w);
}

static void layers_are_what_a_model_says(void **state)
{
    const char *worlds = getenv("WORLDS");
    unsigned count = worlds ? (unsigned)strtoul(worlds, NULL, 10) : WORLDS;

    (void)state;
    for (uint64_t i = 1; i <= count; i++)
        run_world(i * 0x9e3779b97f4a7c15ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(layers_are_what_a_model_says) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
