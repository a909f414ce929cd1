/* SPDX-License-Identifier: Apache-2.0 */
/* index - who owns each block of a stack of layers. */
#include "server/store/index.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/map.h"

#define LEAF_BLOCKS 64u
#define NODE_LEAVES (DISK_PAGE_BLOCKS / LEAF_BLOCKS)
/* Differences that a sparse node may have.  The next index that changes such a node copies them, so
 * few: with more, a whole node (2 KiB) is made once, and what comes later differs from that. */
#define SPARSE_MAX 16u

#define STATES_DATA 0x5555555555555555ull /* 32 blocks in a word of a map page */
#define STATES_ZERO 0xaaaaaaaaaaaaaaaaull
#define BYTES       0x0101010101010101ull

static_assert(sizeof(uintptr_t) == 8, "words hold pointers");
static_assert(LEAF_BLOCKS == 2 * 32, "a leaf is two words of a map page");

struct leaf {
    uint8_t owner[LEAF_BLOCKS];
    _Atomic uint32_t refs;
};

/* Whole: words of all leaves.  Sparse: those that differ from `base`, which is an owner or a whole
 * node. */
struct node {
    _Atomic uint32_t refs;
    bool whole;
    uint8_t rank[NODE_LEAVES / 64]; /* bits that are set in the words before */
    uint64_t present[NODE_LEAVES / 64];
    uintptr_t base;
    uintptr_t words[];
};

/* ---- words ------------------------------------------------------------------------------------
 * Lowest bit set: an owner; else a pointer to a node (in a root or base) or to a leaf. */

static uintptr_t word_of_owner(uint8_t owner)
{
    return (uintptr_t)owner << 1 | 1;
}

static bool is_owner(uintptr_t word)
{
    return word & 1;
}

static uint8_t owner_of(uintptr_t word)
{
    return (uint8_t)(word >> 1);
}

static struct node *node_of(uintptr_t word)
{
    return (struct node *)word;
}

static struct leaf *leaf_of(uintptr_t word)
{
    return (struct leaf *)word;
}

static uintptr_t share_leaf(uintptr_t word)
{
    if (!is_owner(word))
        atomic_fetch_add_explicit(&leaf_of(word)->refs, 1, memory_order_relaxed);
    return word;
}

static uintptr_t share_node(uintptr_t word)
{
    if (!is_owner(word))
        atomic_fetch_add_explicit(&node_of(word)->refs, 1, memory_order_relaxed);
    return word;
}

static bool was_last(_Atomic uint32_t *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

static void drop_leaf(uintptr_t word)
{
    if (!is_owner(word) && was_last(&leaf_of(word)->refs))
        free(leaf_of(word));
}

static unsigned count_bits(uint64_t x)
{
    return (unsigned)__builtin_popcountll(x);
}

static unsigned word_count(const struct node *n)
{
    const unsigned last = NODE_LEAVES / 64 - 1;

    return n->whole ? NODE_LEAVES : n->rank[last] + count_bits(n->present[last]);
}

static void drop_node(uintptr_t word)
{
    while (!is_owner(word) && was_last(&node_of(word)->refs)) { /* the node, then its base */
        struct node *n = node_of(word);
        for (unsigned i = 0; i < word_count(n); i++)
            drop_leaf(n->words[i]);
        word = n->base;
        free(n);
    }
}

void index_done(struct index *x)
{
    for (uint32_t i = 0; x->root && i < x->pages; i++)
        drop_node(x->root[i]);
    free(x->root);
    x->root = NULL;
}

/* ---- finding ----------------------------------------------------------------------------------*/

/* The word of leaf i below this word of a root. */
static uintptr_t leaf_word(uintptr_t word, unsigned i)
{
    const struct node *n;

    while (!is_owner(word)) { /* twice at most: a base is whole */
        n = node_of(word);
        if (n->whole)
            return n->words[i];
        uint64_t bits = n->present[i / 64] >> i % 64;
        if (bits & 1)
            return n
                ->words[n->rank[i / 64] + count_bits(n->present[i / 64] & ((1ull << i % 64) - 1))];
        word = n->base;
    }
    return word;
}

/* How many bytes from `i` on in this leaf, at most `limit`, are `owner`. */
static uint64_t run_in_leaf(const struct leaf *l, uint64_t i, uint64_t limit, uint8_t owner)
{
    uint64_t length = 0;

    while (length < limit && l->owner[i + length] == owner)
        length++;
    return length;
}

/* The same from `i` on in a page. */
static uint64_t run_in_page(uintptr_t page, uint64_t i, uint64_t limit, uint8_t owner)
{
    uint64_t length = 0;

    if (is_owner(page))
        return owner_of(page) == owner ? limit : 0;
    while (length < limit) {
        uint64_t at = (i + length) % LEAF_BLOCKS, room = LEAF_BLOCKS - at;
        uintptr_t word = leaf_word(page, (unsigned)((i + length) / LEAF_BLOCKS));
        if (room > limit - length)
            room = limit - length;
        uint64_t run = !is_owner(word)           ? run_in_leaf(leaf_of(word), at, room, owner)
                       : owner_of(word) == owner ? room
                                                 : 0;
        length += run;
        if (run < room)
            break;
    }
    return length;
}

uint64_t index_run(const struct index *x, uint64_t block, uint64_t limit, uint8_t *ret_owner)
{
    assert(limit);
    uint64_t page = block / DISK_PAGE_BLOCKS, i = block % DISK_PAGE_BLOCKS, length = 0;
    uintptr_t word = word_of_owner(INDEX_ZERO);

    if (page < x->pages)
        word = leaf_word(x->root[page], (unsigned)(i / LEAF_BLOCKS));
    uint8_t owner = is_owner(word) ? owner_of(word) : leaf_of(word)->owner[i % LEAF_BLOCKS];

    *ret_owner = owner;
    if (limit == 1)
        return 1;
    while (length < limit) {
        uint64_t room = DISK_PAGE_BLOCKS - i, run;
        if (page >= x->pages)
            return owner == INDEX_ZERO ? limit : length;
        if (room > limit - length)
            room = limit - length;
        run = run_in_page(x->root[page++], i, room, owner);
        length += run;
        if (run < room)
            break;
        i = 0;
    }
    return length;
}

/* ---- making -----------------------------------------------------------------------------------*/

/* The 64 owners that a leaf word stands for. */
static void spread(uintptr_t word, uint8_t ret[static LEAF_BLOCKS])
{
    if (is_owner(word))
        memset(ret, owner_of(word), LEAF_BLOCKS);
    else
        memcpy(ret, leaf_of(word)->owner, LEAF_BLOCKS);
}

static bool all_equal(const uint8_t owner[static LEAF_BLOCKS])
{
    return memcmp(owner, owner + 1, LEAF_BLOCKS - 1) == 0;
}

/* The word of a leaf when states lie on what `below` says; counted for the caller.  0: no memory.
 */
static uintptr_t make_leaf(uintptr_t below, const uint64_t states[static 2], uint8_t owner)
{
    uint8_t was[LEAF_BLOCKS], is[LEAF_BLOCKS];

    if (!states[0] && !states[1])
        return share_leaf(below);
    if (states[0] == STATES_DATA && states[1] == STATES_DATA)
        return word_of_owner(owner);
    if (states[0] == STATES_ZERO && states[1] == STATES_ZERO)
        return word_of_owner(INDEX_ZERO);
    spread(below, was);
    for (unsigned i = 0; i < LEAF_BLOCKS; i++) {
        unsigned state = states[i / 32] >> i % 32 * 2 & 3;
        is[i] = state == DISK_DATA ? owner : state == DISK_ZERO ? INDEX_ZERO : was[i];
    }
    if (memcmp(was, is, sizeof is) == 0)
        return share_leaf(below);
    if (all_equal(is))
        return word_of_owner(is[0]);
    struct leaf *l = malloc(sizeof *l);
    if (!l)
        return 0;
    memcpy(l->owner, is, sizeof is);
    atomic_init(&l->refs, 1);
    return (uintptr_t)l;
}

static unsigned differences(const uintptr_t words[static NODE_LEAVES], uintptr_t base)
{
    unsigned count = 0;

    for (unsigned i = 0; i < NODE_LEAVES; i++)
        count += words[i] != leaf_word(base, i);
    return count;
}

/* A node of these words, which it takes over; those equal to base's are given back. */
static uintptr_t make_sparse(const uintptr_t words[static NODE_LEAVES], uintptr_t base,
                             unsigned count)
{
    struct node *n = calloc(1, sizeof *n + count * sizeof *n->words);
    unsigned used = 0;

    if (!n)
        return 0;
    atomic_init(&n->refs, 1);
    n->base = share_node(base);
    for (unsigned i = 0; i < NODE_LEAVES; i++) {
        if (i % 64 == 0)
            n->rank[i / 64] = (uint8_t)used;
        if (words[i] == leaf_word(base, i)) {
            drop_leaf(words[i]);
            continue;
        }
        n->present[i / 64] |= 1ull << i % 64;
        n->words[used++] = words[i];
    }
    return (uintptr_t)n;
}

static uintptr_t make_whole(const uintptr_t words[static NODE_LEAVES])
{
    struct node *n = calloc(1, sizeof *n + NODE_LEAVES * sizeof *n->words);

    if (!n)
        return 0;
    atomic_init(&n->refs, 1);
    n->whole = true;
    n->base = word_of_owner(INDEX_ZERO);
    memcpy(n->words, words, NODE_LEAVES * sizeof *n->words);
    return (uintptr_t)n;
}

/* What differences are best kept from: what lies below, or all of it this layer's. */
static uintptr_t choose_base(const uintptr_t words[static NODE_LEAVES], uintptr_t below,
                             uint8_t owner, unsigned *ret_count)
{
    uintptr_t mine = word_of_owner(owner);
    uintptr_t theirs = !is_owner(below) && !node_of(below)->whole ? node_of(below)->base : below;
    unsigned from_mine = differences(words, mine), from_theirs = differences(words, theirs);

    *ret_count = from_theirs <= from_mine ? from_theirs : from_mine;
    return from_theirs <= from_mine ? theirs : mine;
}

/* As make_leaf, for a page. */
static uintptr_t make_node(uintptr_t below, const uint64_t *states, uint8_t owner)
{
    uintptr_t words[NODE_LEAVES], made = 0;
    unsigned count = 0;

    while (count < NODE_LEAVES) {
        words[count] = make_leaf(leaf_word(below, count), &states[2 * count], owner);
        if (!words[count])
            break;
        count++;
    }
    if (count == NODE_LEAVES) {
        unsigned differ;
        uintptr_t base = choose_base(words, below, owner, &differ);
        if (differ == 0) /* so no leaf of it is a pointer, or all are base's own */
            made = share_node(base);
        else if (differ <= SPARSE_MAX)
            made = make_sparse(words, base, differ);
        else
            made = make_whole(words);
        if (made && differ)
            return made;
    }
    while (count)
        drop_leaf(words[--count]);
    return made;
}

int index_make(struct index *ret, const struct index *below, const struct map *map, uint8_t owner)
{
    struct index x = { .blocks = map->blocks, .pages = map->page_count };

    assert(owner <= INDEX_OWNER_MAX && (!below || below->blocks <= map->blocks));
    x.root = malloc(x.pages * sizeof *x.root);
    if (!x.root)
        return -ENOMEM;
    for (uint32_t i = 0; i < x.pages; i++) {
        uintptr_t under = below && i < below->pages ? below->root[i] : word_of_owner(INDEX_ZERO);
        x.root[i] =
            map_page_used(map, i) ? make_node(under, map->pages[i], owner) : share_node(under);
        if (!x.root[i]) {
            x.pages = i;
            index_done(&x);
            return -ENOMEM;
        }
    }
    *ret = x;
    return 0;
}

/* ---- memory -----------------------------------------------------------------------------------*/

size_t index_own_bytes(const struct index *x)
{
    size_t bytes = x->pages * sizeof *x->root;

    for (uint32_t i = 0; i < x->pages; i++) {
        uintptr_t word = x->root[i];
        while (!is_owner(word) && atomic_load(&node_of(word)->refs) == 1) {
            const struct node *n = node_of(word);
            bytes += sizeof *n + word_count(n) * sizeof *n->words;
            for (unsigned k = 0; k < word_count(n); k++)
                if (!is_owner(n->words[k]) && atomic_load(&leaf_of(n->words[k])->refs) == 1)
                    bytes += sizeof(struct leaf);
            word = n->base;
        }
    }
    return bytes;
}
