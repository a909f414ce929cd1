/* SPDX-License-Identifier: Apache-2.0 */
/* index - who owns each block, against a naive model; what is shared; what it costs. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/index.h"
#include "server/store/map.h"
#include "tests/unit/unit.h"

#define GIB_BLOCKS ((1ull << 30) / DISK_BLOCK)

static uint64_t seed = 88172645463325252ull;

static uint64_t draw(uint64_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % limit;
}

static void set(struct map *m, uint64_t block, uint64_t count, enum disk_block_state state)
{
    assert_int_equal(map_reserve(m, block, count, false), 0);
    map_set(m, block, count, state);
}

static struct index make(const struct index *below, const struct map *m, uint8_t owner)
{
    struct index x;

    assert_int_equal(index_make(&x, below, m, owner), 0);
    return x;
}

static uint8_t owner_at(const struct index *x, uint64_t block)
{
    uint8_t owner;

    assert_int_equal(index_run(x, block, 1, &owner), 1);
    return owner;
}

/* ---- against a model --------------------------------------------------------------------------*/

/* Runs of all lengths, some of them on whole leaves and pages. */
static void draw_changes(struct map *m, uint8_t *model, uint8_t owner)
{
    static const uint64_t units[] = { 1, 1, 1, 64, 64, 4096, DISK_PAGE_BLOCKS };

    for (uint64_t n = draw(20); n; n--) {
        uint64_t unit = units[draw(7)], at = draw(m->blocks) / unit * unit;
        uint64_t count = unit * (1 + draw(5));
        enum disk_block_state state = (enum disk_block_state)draw(3);
        if (count > m->blocks - at)
            count = m->blocks - at;
        set(m, at, count, state);
    }
    for (uint64_t i = 0; i < m->blocks; i++) {
        enum disk_block_state state = map_get(m, i);
        if (state != DISK_INHERIT)
            model[i] = state == DISK_DATA ? owner : INDEX_ZERO;
    }
}

static void expect_model(const struct index *x, const uint8_t *model, uint64_t blocks)
{
    for (uint64_t i = 0; i < blocks; i++)
        if (owner_at(x, i) != model[i])
            fail_msg("block %llu: owner %u, not %u", (unsigned long long)i, owner_at(x, i),
                     model[i]);
    for (int n = 0; n < 300; n++) {
        uint64_t at = draw(blocks), limit = 1 + draw(blocks - at), run = 0;
        uint8_t owner;
        while (run < limit && model[at + run] == model[at])
            run++;
        assert_int_equal(index_run(x, at, limit, &owner), run);
        assert_int_equal(owner, model[at]);
    }
}

/* Each stack is right, also after those that it was made from are gone. */
static void test_model(void **state)
{
    (void)state;
    for (int round = 0; round < 6; round++) {
        uint64_t blocks = 1 + draw(3 * DISK_PAGE_BLOCKS);
        uint8_t *model = malloc(blocks), *middle = malloc(blocks);
        struct index x = { 0 }, kept = { 0 };
        unsigned depth = 1 + (unsigned)draw(64), keep = (unsigned)draw(depth);

        memset(model, INDEX_ZERO, blocks);
        for (unsigned owner = 0; owner < depth; owner++) {
            struct map m;
            map_init(&m, blocks);
            draw_changes(&m, model, (uint8_t)owner);
            struct index next = make(owner ? &x : NULL, &m, (uint8_t)owner);
            map_done(&m);
            if (owner && owner - 1 == keep)
                kept = x;
            else
                index_done(&x);
            x = next;
            if (owner == keep)
                memcpy(middle, model, blocks);
        }
        expect_model(&x, model, blocks);
        index_done(&x);
        if (kept.root)
            expect_model(&kept, middle, blocks);
        index_done(&kept);
        free(model);
        free(middle);
    }
}

/* A disk that has grown: what lies behind the end of the layer below reads as zeros. */
static void test_grown(void **state)
{
    struct map small, large;
    uint8_t owner;

    (void)state;
    map_init(&small, 100);
    map_init(&large, 3 * DISK_PAGE_BLOCKS);
    set(&small, 0, 100, DISK_DATA);
    set(&large, 90, 2, DISK_DATA);
    struct index below = make(NULL, &small, 0), x = make(&below, &large, 1);

    assert_int_equal(owner_at(&x, 89), 0);
    assert_int_equal(index_run(&x, 90, 1000, &owner), 2);
    assert_int_equal(owner, 1);
    assert_int_equal(index_run(&x, 92, 1000, &owner), 8);
    assert_int_equal(index_run(&x, 100, 1u << 20, &owner), 1u << 20);
    assert_int_equal(owner, INDEX_ZERO);
    assert_int_equal(owner_at(&x, 1ull << 32), INDEX_ZERO);
    index_done(&below);
    index_done(&x);
    map_done(&small);
    map_done(&large);
}

/* ---- what it costs ----------------------------------------------------------------------------*/

/* 20 GiB fully written are a word for each 64 MiB. */
static void test_full_image_is_small(void **state)
{
    struct map m;

    (void)state;
    map_init(&m, 20 * GIB_BLOCKS);
    set(&m, 0, m.blocks, DISK_DATA);
    struct index x = make(NULL, &m, 0);
    printf("# 20 GiB fully written: %zu bytes\n", index_own_bytes(&x));
    assert_true(index_own_bytes(&x) <= 4096);
    index_done(&x);
    map_done(&m);
}

/* 700 blocks anywhere in 20 GiB: tens of KiB; and next to nothing when they lie together. */
static void test_scattered_top_is_small(void **state)
{
    struct map image, far, near;

    (void)state;
    map_init(&image, 20 * GIB_BLOCKS);
    map_init(&far, 20 * GIB_BLOCKS);
    map_init(&near, 20 * GIB_BLOCKS);
    for (uint64_t at = 0; at < image.blocks; at += 1000) /* a mix of data and zeros */
        set(&image, at, 700, DISK_DATA);
    for (int i = 0; i < 700; i++) {
        set(&far, draw(far.blocks), 1, DISK_DATA);
        set(&near, 4 * GIB_BLOCKS + draw(DISK_PAGE_BLOCKS), 1, DISK_DATA);
    }
    struct index below = make(NULL, &image, 0);
    printf("# a mixed image of 20 GiB: %zu bytes\n", index_own_bytes(&below));
    struct index x = make(&below, &far, 1), y = make(&below, &near, 1);
    printf("# 700 blocks on it, scattered: %zu bytes; in 64 MiB: %zu bytes\n", index_own_bytes(&x),
           index_own_bytes(&y));
    assert_true(index_own_bytes(&x) <= 80u << 10);
    assert_true(index_own_bytes(&y) <= 24u << 10);
    index_done(&below);
    index_done(&x);
    index_done(&y);
    map_done(&image);
    map_done(&far);
    map_done(&near);
}

/* What nobody changed is not kept twice, however many lie on each other. */
static void test_sharing(void **state)
{
    struct index x[32];
    struct map image, one;

    (void)state;
    map_init(&image, 20 * GIB_BLOCKS);
    for (uint64_t at = 0; at < image.blocks; at += 1000)
        set(&image, at, 700, DISK_DATA);
    x[0] = make(NULL, &image, 0);
    for (uint8_t i = 1; i < 32; i++) {
        map_init(&one, image.blocks);
        set(&one, i * GIB_BLOCKS / 2, 1, DISK_DATA);
        x[i] = make(&x[i - 1], &one, i);
        assert_true(index_own_bytes(&x[i]) <= 4096);
        map_done(&one);
    }
    for (uint8_t i = 0; i < 31; i++)
        index_done(&x[i]);
    for (uint8_t i = 1; i < 32; i++)
        assert_int_equal(owner_at(&x[31], i * GIB_BLOCKS / 2), i);
    index_done(&x[31]);
    map_done(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_grown),
        cmocka_unit_test(test_full_image_is_small),
        cmocka_unit_test(test_scattered_top_is_small),
        cmocka_unit_test(test_sharing),
    };
    return cmocka_run_group_tests_name("store/index", tests, NULL, NULL);
}
