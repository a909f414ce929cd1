/* SPDX-License-Identifier: Apache-2.0 */
/* map - in memory: for each block of a layer, does the layer hold it, and what changed lately. */
#include "server/store/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STATES_PER_WORD 32u
#define PAGE_WORDS      (DISK_PAGE_BLOCKS / STATES_PER_WORD)
#define CHANGE_WORDS    (DISK_PAGE_BLOCKS / 64u)
#define LOW_BITS        0x5555555555555555ull

void map_init(struct map *m, uint64_t blocks)
{
    assert(blocks && blocks <= DISK_LAYER_MAX / DISK_BLOCK);
    *m = (struct map){
        .blocks = blocks,
        .page_count = (uint32_t)((blocks + DISK_PAGE_BLOCKS - 1) / DISK_PAGE_BLOCKS),
    };
}

void map_set_home(struct map *m, struct map_home *home, struct disk_id key)
{
    m->home = home;
    m->home_key = key;
}

static bool at_home(const struct map *m, const uint64_t *page)
{
    return m->home && (const char *)page >= m->home->begin && (const char *)page < m->home->end;
}

void map_done(struct map *m)
{
    for (uint32_t i = 0; m->pages && i < m->page_count; i++)
        if (!at_home(m, m->pages[i]))
            free(m->pages[i]);
    for (uint32_t i = 0; m->changes && i < m->page_count; i++)
        free(m->changes[i]);
    free(m->pages);
    free(m->changes);
    m->pages = m->changes = NULL;
    m->changed_pages = 0;
}

int map_leave_home(struct map *m)
{
    uint64_t **pages = m->pages ? calloc(m->page_count, sizeof *pages) : NULL;
    uint32_t i;

    if (!m->pages)
        return 0;
    for (i = 0; pages && i < m->page_count; i++) {
        if (!at_home(m, m->pages[i]))
            continue;
        pages[i] = malloc(PAGE_WORDS * sizeof **pages);
        if (!pages[i])
            break;
        memcpy(pages[i], m->pages[i], PAGE_WORDS * sizeof **pages);
    }
    bool all = pages && i == m->page_count;
    for (i = 0; pages && i < m->page_count; i++) {
        if (all && pages[i])
            m->pages[i] = pages[i];
        else if (!all)
            free(pages[i]);
    }
    free(pages);
    return all ? 0 : -ENOMEM;
}

static const uint64_t *page_of(const struct map *m, uint64_t block)
{
    return m->pages ? m->pages[block / DISK_PAGE_BLOCKS] : NULL;
}

enum disk_block_state map_get(const struct map *m, uint64_t block)
{
    assert(block < m->blocks);
    const uint64_t *page = page_of(m, block);
    uint64_t i = block % DISK_PAGE_BLOCKS;

    return page
               ? (enum disk_block_state)(page[i / STATES_PER_WORD] >> (i % STATES_PER_WORD * 2) & 3)
               : DISK_INHERIT;
}

/* How many blocks from `i` on in this page, at most `limit`, have `state`. */
static uint64_t run_in_page(const uint64_t *page, uint64_t i, uint64_t limit, unsigned state)
{
    uint64_t pattern = state * LOW_BITS, length = 0;

    while (length < limit) {
        uint64_t bit = (i + length) % STATES_PER_WORD * 2;
        uint64_t differs = (page[(i + length) / STATES_PER_WORD] ^ pattern) >> bit;
        if (differs)
            return length + (uint64_t)__builtin_ctzll(differs) / 2 < limit
                       ? length + (uint64_t)__builtin_ctzll(differs) / 2
                       : limit;
        length += STATES_PER_WORD - bit / 2;
    }
    return limit;
}

uint64_t map_run(const struct map *m, uint64_t block, uint64_t limit,
                 enum disk_block_state *ret_state)
{
    assert(limit && block < m->blocks && limit <= m->blocks - block);
    enum disk_block_state state = map_get(m, block);
    uint64_t length = 0;

    while (length < limit) {
        uint64_t i = (block + length) % DISK_PAGE_BLOCKS, room = DISK_PAGE_BLOCKS - i;
        if (room > limit - length)
            room = limit - length;
        const uint64_t *page = page_of(m, block + length);
        uint64_t run =
            page ? run_in_page(page, i, room, state) : (state == DISK_INHERIT ? room : 0);
        length += run;
        if (run < room)
            break;
    }
    *ret_state = state;
    return length;
}

bool map_any_data(const struct map *m, uint64_t block, uint64_t count)
{
    while (count) {
        enum disk_block_state state;
        uint64_t run = map_run(m, block, count, &state);
        if (state == DISK_DATA)
            return true;
        block += run;
        count -= run;
    }
    return false;
}

static int reserve(uint64_t ***pages, uint32_t page_count, uint64_t first, uint64_t last,
                   size_t words)
{
    if (!*pages)
        *pages = calloc(page_count, sizeof **pages);
    if (!*pages)
        return -ENOMEM;
    for (uint64_t i = first; words && i <= last; i++) {
        if (!(*pages)[i])
            (*pages)[i] = calloc(words, sizeof ***pages);
        if (!(*pages)[i])
            return -ENOMEM;
    }
    return 0;
}

/* Pages that will be changed move to where the next process finds them. */
static int reserve_home(struct map *m, uint64_t first, uint64_t last)
{
    int rc = reserve(&m->pages, m->page_count, first, last, 0);

    for (uint64_t i = first; i <= last && rc == 0; i++) {
        uint64_t *old = m->pages[i];
        if (!old || !at_home(m, old)) {
            rc = m->home->take(m->home, m->home_key, (uint32_t)i, old, &m->pages[i]);
            if (rc == 0)
                free(old);
        }
    }
    return rc;
}

int map_reserve(struct map *m, uint64_t block, uint64_t count, bool track)
{
    assert(count && block < m->blocks && count <= m->blocks - block);
    uint64_t first = block / DISK_PAGE_BLOCKS, last = (block + count - 1) / DISK_PAGE_BLOCKS;
    int rc;

    if (track && m->home)
        rc = reserve_home(m, first, last);
    else
        rc = reserve(&m->pages, m->page_count, first, last, PAGE_WORDS);
    if (rc == 0 && track)
        rc = reserve(&m->changes, m->page_count, first, last, CHANGE_WORDS);
    return rc;
}

/* The 2-bit fields i to i + count of one word, as a mask. */
static uint64_t field_mask(uint64_t i, uint64_t count)
{
    uint64_t ones = count == STATES_PER_WORD ? ~0ull : (1ull << count * 2) - 1;

    return ones << i * 2;
}

static void set_in_page(struct map *m, uint64_t *page, uint64_t i, uint64_t count, unsigned state)
{
    int64_t gained = 0;

    while (count) {
        uint64_t bit = i % STATES_PER_WORD, n = STATES_PER_WORD - bit;
        if (n > count)
            n = count;
        uint64_t mask = field_mask(bit, n), *word = &page[i / STATES_PER_WORD];
        uint64_t next = (*word & ~mask) | (state * LOW_BITS & mask);
        /* DATA is 01, ZERO is 10: the low bits count the data blocks. */
        gained += __builtin_popcountll(next & mask & LOW_BITS);
        gained -= __builtin_popcountll(*word & mask & LOW_BITS);
        __atomic_store_n(word, next, __ATOMIC_RELEASE); /* the next process may read it */
        i += n;
        count -= n;
    }
    /* One thread changes the map; others only look at this number. */
    uint64_t old = atomic_load_explicit(&m->data_blocks, memory_order_relaxed);
    atomic_store_explicit(&m->data_blocks, old + (uint64_t)gained, memory_order_relaxed);
}

static bool any_bit(const uint64_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (words[i])
            return true;
    return false;
}

static void note_change(struct map *m, uint64_t block, uint64_t count)
{
    uint64_t *bits = m->changes ? m->changes[block / DISK_PAGE_BLOCKS] : NULL;
    uint64_t i = block % DISK_PAGE_BLOCKS;

    if (!bits)
        return;
    if (!any_bit(bits, CHANGE_WORDS))
        m->changed_pages++;
    while (count) {
        uint64_t bit = i % 64, n = 64 - bit;
        if (n > count)
            n = count;
        bits[i / 64] |= (n == 64 ? ~0ull : (1ull << n) - 1) << bit;
        i += n;
        count -= n;
    }
}

void map_set(struct map *m, uint64_t block, uint64_t count, enum disk_block_state state)
{
    assert(count && block < m->blocks && count <= m->blocks - block);
    while (count) {
        uint64_t i = block % DISK_PAGE_BLOCKS, n = DISK_PAGE_BLOCKS - i;
        uint64_t *page = m->pages ? m->pages[block / DISK_PAGE_BLOCKS] : NULL;
        if (n > count)
            n = count;
        assert(page || state == DISK_INHERIT);
        if (page) {
            set_in_page(m, page, i, n, state);
            note_change(m, block, n);
        }
        block += n;
        count -= n;
    }
}

void map_page_export(const struct map *m, uint32_t page, struct disk_map_page *ret)
{
    assert(page < m->page_count);
    const uint64_t *words = m->pages ? m->pages[page] : NULL;

    for (size_t i = 0; i < PAGE_WORDS; i++)
        ret->words[i] = put_le64(words ? words[i] : 0);
}

/* Is this word i of a page possible?  inside: which of its blocks the disk has. */
static bool word_is_sound(const struct map *m, uint32_t page, size_t i, uint64_t word)
{
    uint64_t first = (uint64_t)page * DISK_PAGE_BLOCKS + i * STATES_PER_WORD;
    uint64_t left = first < m->blocks ? m->blocks - first : 0;
    uint64_t inside = left == 0 ? 0 : left < STATES_PER_WORD ? field_mask(0, left) : ~0ull;

    return !(word & word >> 1 & LOW_BITS) && !(word & ~inside);
}

static uint64_t data_in(const uint64_t *words)
{
    uint64_t data = 0;

    for (size_t i = 0; words && i < PAGE_WORDS; i++)
        data += (uint64_t)__builtin_popcountll(words[i] & LOW_BITS);
    return data;
}

int map_page_import(struct map *m, uint32_t page, const struct disk_map_page *content)
{
    assert(page < m->page_count);
    for (size_t i = 0; i < PAGE_WORDS; i++)
        if (!word_is_sound(m, page, i, get_le64(content->words[i])))
            return -EBADMSG;
    if (map_reserve(m, (uint64_t)page * DISK_PAGE_BLOCKS, 1, false) < 0)
        return -ENOMEM;

    uint64_t *words = m->pages[page], old = data_in(words);
    for (size_t i = 0; i < PAGE_WORDS; i++)
        words[i] = get_le64(content->words[i]);
    atomic_fetch_add_explicit(&m->data_blocks, data_in(words) - old, memory_order_relaxed);
    return 0;
}

int map_page_adopt(struct map *m, uint32_t page, uint64_t *words)
{
    assert(page < m->page_count && at_home(m, words));
    uint64_t first = (uint64_t)page * DISK_PAGE_BLOCKS;
    uint64_t count = m->blocks - first < DISK_PAGE_BLOCKS ? m->blocks - first : DISK_PAGE_BLOCKS;

    for (size_t i = 0; i < PAGE_WORDS; i++)
        if (!word_is_sound(m, page, i, words[i]))
            return -EBADMSG;
    if (reserve(&m->pages, m->page_count, page, page, 0) < 0 ||
        reserve(&m->changes, m->page_count, page, page, CHANGE_WORDS) < 0)
        return -ENOMEM;
    atomic_fetch_add_explicit(&m->data_blocks, data_in(words) - data_in(m->pages[page]),
                              memory_order_relaxed);
    if (!at_home(m, m->pages[page]))
        free(m->pages[page]);
    m->pages[page] = words;
    note_change(m, first, count);
    return 0;
}

bool map_page_used(const struct map *m, uint32_t page)
{
    return m->pages && m->pages[page] && any_bit(m->pages[page], PAGE_WORDS);
}

bool map_page_changed(const struct map *m, uint32_t page)
{
    return m->changes && m->changes[page] && any_bit(m->changes[page], CHANGE_WORDS);
}

/* The first bit at or after i that is `value`, or DISK_PAGE_BLOCKS. */
static uint64_t find_bit(const uint64_t *bits, uint64_t i, bool value)
{
    while (i < DISK_PAGE_BLOCKS) {
        uint64_t word = (value ? bits[i / 64] : ~bits[i / 64]) >> i % 64;
        if (word)
            return i + (uint64_t)__builtin_ctzll(word);
        i += 64 - i % 64;
    }
    return DISK_PAGE_BLOCKS;
}

uint64_t map_next_change(const struct map *m, uint32_t page, uint64_t *at,
                         enum disk_block_state *ret_state)
{
    uint64_t first = (uint64_t)page * DISK_PAGE_BLOCKS;
    const uint64_t *bits = m->changes ? m->changes[page] : NULL;

    if (!bits || *at >= first + DISK_PAGE_BLOCKS)
        return 0;
    uint64_t start = find_bit(bits, *at > first ? *at - first : 0, true);
    if (start == DISK_PAGE_BLOCKS)
        return 0;
    *at = first + start;
    return map_run(m, first + start, find_bit(bits, start, false) - start, ret_state);
}

void map_clear_changes(struct map *m)
{
    for (uint32_t i = 0; m->changed_pages && i < m->page_count; i++)
        if (map_page_changed(m, i)) {
            memset(m->changes[i], 0, CHANGE_WORDS * sizeof(uint64_t));
            m->changed_pages--;
        }
}
