/* SPDX-License-Identifier: Apache-2.0 */
/* The map against a plain array of states, and what it takes in memory. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/map.h"
#include "tests/unit/unit.h"

#define BLOCKS (3u * DISK_PAGE_BLOCKS + 77)

struct model {
    struct map map;
    uint8_t state[BLOCKS];
    bool changed[BLOCKS];
    uint64_t seed;
};

static uint64_t draw(struct model *m, uint64_t limit)
{
    m->seed = m->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (m->seed >> 33) % limit;
}

static void set_at_random(struct model *m)
{
    uint64_t first = draw(m, BLOCKS), count = 1 + draw(m, draw(m, 4) ? 100 : 40000);
    uint8_t state = (uint8_t)draw(m, 3);

    if (count > BLOCKS - first)
        count = BLOCKS - first;
    assert_int_equal(map_reserve(&m->map, first, count, true), 0);
    map_set(&m->map, first, count, state);
    memset(m->state + first, state, count);
    memset(m->changed + first, true, count);
}

static void map_equals_an_array(void **state)
{
    struct model *m = calloc(1, sizeof *m);

    (void)state;
    m->seed = 42;
    map_init(&m->map, BLOCKS);
    for (int round = 0; round < 300; round++) {
        uint64_t data = 0;

        set_at_random(m);
        for (uint64_t b = 0; b < BLOCKS; b++)
            data += m->state[b] == DISK_DATA;
        assert_int_equal(m->map.data_blocks, data);

        uint64_t from = draw(m, BLOCKS), limit = 1 + draw(m, BLOCKS - from), want = 1;
        enum disk_block_state got;
        while (want < limit && m->state[from + want] == m->state[from])
            want++;
        assert_int_equal(map_run(&m->map, from, limit, &got), want);
        assert_int_equal(got, m->state[from]);
        assert_int_equal(map_get(&m->map, from), m->state[from]);
        bool any = memchr(m->state + from, DISK_DATA, limit) != NULL;
        assert_int_equal(map_any_data(&m->map, from, limit), any);
    }
    map_done(&m->map);
    free(m);
}

static void changes_are_noted_once_and_with_their_states(void **state)
{
    struct model *m = calloc(1, sizeof *m);

    (void)state;
    m->seed = 7;
    map_init(&m->map, BLOCKS);
    for (int round = 0; round < 50; round++) {
        memset(m->changed, 0, sizeof m->changed);
        for (uint64_t n = draw(m, 6); n; n--)
            set_at_random(m);
        for (uint32_t page = 0; page < m->map.page_count; page++) {
            uint64_t at = (uint64_t)page * DISK_PAGE_BLOCKS, length;
            enum disk_block_state got;
            while ((length = map_next_change(&m->map, page, &at, &got)) > 0)
                for (; length; length--, at++) {
                    assert_true(m->changed[at]);
                    assert_int_equal(got, m->state[at]);
                    m->changed[at] = false;
                }
        }
        assert_null(memchr(m->changed, true, sizeof m->changed));
        map_clear_changes(&m->map);
        assert_int_equal(m->map.changed_pages, 0);
    }
    map_done(&m->map);
    free(m);
}

static void pages_travel_by_disk(void **state)
{
    struct model *m = calloc(1, sizeof *m);
    struct map copy;
    struct disk_map_page page;

    (void)state;
    m->seed = 3;
    map_init(&m->map, BLOCKS);
    map_init(&copy, BLOCKS);
    for (int i = 0; i < 20; i++)
        set_at_random(m);
    for (uint32_t i = 0; i < m->map.page_count; i++) {
        map_page_export(&m->map, i, &page);
        assert_int_equal(map_page_import(&copy, i, &page), 0);
    }
    for (uint64_t b = 0; b < BLOCKS; b++)
        assert_int_equal(map_get(&copy, b), m->state[b]);
    assert_int_equal(copy.data_blocks, m->map.data_blocks);
    map_done(&copy);
    map_done(&m->map);
    free(m);
}

static void impossible_pages_are_refused(void **state)
{
    struct disk_map_page page = { 0 };
    struct map map;

    (void)state;
    map_init(&map, DISK_PAGE_BLOCKS + 33);
    page.words[5] = put_le64(3ull << 20); /* no such state */
    assert_int_equal(map_page_import(&map, 0, &page), -EBADMSG);
    page.words[5] = put_le64(0);
    page.words[1] = put_le64(1ull << 2); /* block 33 of the last page: beyond the end */
    assert_int_equal(map_page_import(&map, 1, &page), -EBADMSG);
    page.words[1] = put_le64(1);
    assert_int_equal(map_page_import(&map, 1, &page), 0);
    assert_int_equal(map.data_blocks, 1);
    map_done(&map);
}

static void untouched_map_allocates_nothing(void **state)
{
    struct map map;
    size_t before = mallinfo2().uordblks;

    (void)state;
    map_init(&map, (20ull << 30) / DISK_BLOCK);
    assert_int_equal(map_get(&map, 12345), DISK_INHERIT);
    assert_int_equal(mallinfo2().uordblks, before);
    map_done(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_equals_an_array),
        cmocka_unit_test(changes_are_noted_once_and_with_their_states),
        cmocka_unit_test(pages_travel_by_disk),
        cmocka_unit_test(impossible_pages_are_refused),
        cmocka_unit_test(untouched_map_allocates_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
