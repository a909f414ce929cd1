/* SPDX-License-Identifier: Apache-2.0 */
/* stack - sealed layers that lie on each other, and which of them owns a block. */
#include "server/store/stack.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/index.h"
#include "server/store/open_layers.h"
#include "server/store/store_state.h"

struct stack {
    _Atomic unsigned refs;
    struct stack *next; /* on the store's list; its lock guards the list */
    struct stack *base; /* the lower part that others stand on as well; keeps it to be found */
    struct index index;
    unsigned count;
    struct layer *layers[]; /* lowest first: the index's owners; those of base are counted there */
};

/* ---- one stack --------------------------------------------------------------------------------*/

static unsigned base_count(const struct stack *k)
{
    return k->base ? k->base->count : 0;
}

static struct stack *new_stack(unsigned count)
{
    struct stack *k = calloc(1, sizeof *k + count * sizeof *k->layers);

    if (!k)
        return NULL;
    atomic_init(&k->refs, 1);
    k->count = count;
    return k;
}

/* Not on the list. */
static void free_stack(struct store *s, struct stack *k)
{
    for (unsigned i = base_count(k); i < k->count; i++)
        if (k->layers[i])
            store_layer_put(s, k->layers[i]);
    index_done(&k->index);
    store_stack_put(s, k->base);
    free(k);
}

struct stack *stack_ref(struct stack *k)
{
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    return k;
}

void store_stack_put(struct store *s, struct stack *k)
{
    if (!k || store_count_less(&k->refs))
        return;
    pthread_mutex_lock(&s->lock); /* the list must not give it out while the last one goes */
    bool last = atomic_fetch_sub(&k->refs, 1) == 1;
    for (struct stack **at = &s->stacks; last && *at; at = &(*at)->next)
        if (*at == k) {
            *at = k->next;
            break;
        }
    pthread_mutex_unlock(&s->lock);
    if (last)
        free_stack(s, k);
}

uint64_t stack_resolve(const struct stack *k, uint64_t block, uint64_t limit, struct layer **ret)
{
    uint8_t owner;
    uint64_t run = index_run(&k->index, block, limit, &owner);

    *ret = owner == INDEX_ZERO ? NULL : k->layers[owner];
    return run;
}

uint64_t stack_size_bytes(const struct stack *k)
{
    return k->layers[k->count - 1]->info.size_bytes;
}

unsigned stack_depth(const struct stack *k)
{
    return k->count;
}

void stack_layers(const struct stack *k, struct layer_chain *ret)
{
    ret->count = k->count;
    for (unsigned i = 0; i < k->count; i++)
        ret->id[i] = k->layers[k->count - 1 - i]->id;
}

size_t stack_own_bytes(const struct stack *k)
{
    return sizeof *k + k->count * sizeof *k->layers + index_own_bytes(&k->index);
}

/* ---- the list ---------------------------------------------------------------------------------*/

/* How many of the lowest layers the two have in common. */
static unsigned common_part(const struct stack *k, const struct layer_chain *c)
{
    unsigned same = 0;

    while (same < k->count && same < c->count &&
           lay_id_equal(k->layers[same]->id, c->id[c->count - 1 - same]))
        same++;
    return same;
}

/* Counted once more; NULL: there is none.  ret_common: how many of the lowest layers, but not all,
 * some stack shares.  Under the lock. */
static struct stack *find(const struct store *s, const struct layer_chain *c, unsigned *ret_common)
{
    unsigned most = 0;

    for (struct stack *k = s->stacks; k; k = k->next) {
        unsigned same = common_part(k, c);
        if (same == c->count && same == k->count)
            return stack_ref(k);
        if (same == c->count)
            same--;
        if (same > most)
            most = same;
    }
    *ret_common = most;
    return NULL;
}

/* On the list; or, if another thread was quicker, its stack instead. */
static struct stack *publish(struct store *s, struct stack *fresh)
{
    struct layer_chain c;
    struct stack *k;
    unsigned common;

    stack_layers(fresh, &c);
    pthread_mutex_lock(&s->lock);
    k = find(s, &c, &common);
    if (!k) {
        fresh->next = s->stacks;
        s->stacks = fresh;
    }
    pthread_mutex_unlock(&s->lock);
    if (!k)
        return fresh;
    free_stack(s, fresh);
    return k;
}

/* Does upper lie on lower? */
static bool has_pair(const struct stack *k, struct layer_id lower, struct layer_id upper)
{
    for (unsigned i = 1; i < k->count; i++)
        if (lay_id_equal(k->layers[i]->id, upper) && lay_id_equal(k->layers[i - 1]->id, lower))
            return true;
    return false;
}

int store_stacks_with(struct store *s, struct layer_id lower, struct layer_id upper,
                      struct stack ***ret, unsigned *ret_count, struct err *e)
{
    struct stack **found = NULL;
    unsigned count = 0;

    pthread_mutex_lock(&s->lock);
    for (struct stack *k = s->stacks; k; k = k->next)
        count += has_pair(k, lower, upper);
    if (count)
        found = calloc(count, sizeof *found);
    unsigned used = 0;
    for (struct stack *k = s->stacks; k && found; k = k->next)
        if (has_pair(k, lower, upper))
            found[used++] = stack_ref(k);
    pthread_mutex_unlock(&s->lock);
    if (count && !found)
        return err_set(e, -ENOMEM, "out of memory");
    *ret = found;
    *ret_count = count;
    return 0;
}

bool store_layer_stacked(const struct store *s, struct layer_id id)
{
    for (const struct stack *k = s->stacks; k; k = k->next)
        for (unsigned i = 0; i < k->count; i++)
            if (lay_id_equal(k->layers[i]->id, id))
                return true;
    return false;
}

/* ---- made from files --------------------------------------------------------------------------*/

/* Lays one more layer on what k shows so far. */
static int add_layer(struct store *s, struct stack *k, unsigned at, struct layer_id id,
                     struct err *e)
{
    const struct index *below = k->index.root ? &k->index : k->base ? &k->base->index : NULL;
    struct index made;
    struct map map;
    char text[9];
    int rc;

    rc = store_layer_get(s, id, &k->layers[at], &map, e);
    if (rc < 0)
        return rc;
    if (at && k->layers[at]->info.size_bytes < k->layers[at - 1]->info.size_bytes)
        rc = err_set(e, -EIO, "layer %s is smaller than the one below it", lay_id_short(id, text));
    else if (index_make(&made, below, &map, (uint8_t)at) < 0)
        rc = err_set(e, -ENOMEM, "out of memory");
    map_done(&map);
    if (rc < 0)
        return rc;
    index_done(&k->index);
    k->index = made;
    return 0;
}

/* base: taken, NULL for none. */
static int build(struct store *s, const struct layer_chain *layers, struct stack *base,
                 struct stack **ret, struct err *e)
{
    struct stack *k = new_stack(layers->count);
    int rc = 0;

    if (!k) {
        store_stack_put(s, base);
        return err_set(e, -ENOMEM, "out of memory");
    }
    k->base = base;
    for (unsigned i = 0; i < base_count(k); i++)
        k->layers[i] = base->layers[i];
    for (unsigned i = base_count(k); i < k->count && rc == 0; i++)
        rc = add_layer(s, k, i, layers->id[k->count - 1 - i], e);
    if (rc < 0) {
        free_stack(s, k);
        return rc;
    }
    *ret = publish(s, k);
    return 0;
}

int store_stack_get(struct store *s, const struct layer_chain *layers, struct stack **ret,
                    struct err *e)
{
    struct stack *base = NULL, *k;
    unsigned common = 0;
    int rc;

    if (layers->count == 0 || layers->count > LAYER_CHAIN_MAX)
        return err_set(e, -EINVAL, "a stack of %u layers, not 1 to %u", layers->count,
                       LAYER_CHAIN_MAX);
    pthread_mutex_lock(&s->lock);
    k = find(s, layers, &common);
    pthread_mutex_unlock(&s->lock);
    if (k) {
        *ret = k;
        return 0;
    }
    /* What others share is made a stack of its own, and so is the lowest layer: an image. */
    if (common == 0 && layers->count > 1)
        common = 1;
    if (common) {
        struct layer_chain lower = { .count = common };
        for (unsigned i = 0; i < common; i++)
            lower.id[i] = layers->id[layers->count - common + i];
        rc = store_stack_get(s, &lower, &base, e);
        if (rc < 0)
            return rc;
    }
    return build(s, layers, base, ret, e);
}

/* ---- made from a top --------------------------------------------------------------------------*/

int store_stack_push(struct store *s, struct stack *below, struct layer *top, struct stack **ret,
                     struct err *e)
{
    struct stack *k;
    char text[9];

    if (below->count >= LAYER_CHAIN_MAX)
        return err_set(e, -E2BIG, "it stands on %u layers already: merge some first", below->count);
    if (top->info.size_bytes < stack_size_bytes(below))
        return err_set(e, -EIO, "layer %s is smaller than the one below it",
                       lay_id_short(top->id, text));
    k = new_stack(below->count + 1);
    if (!k || index_make(&k->index, &below->index, &top->map, (uint8_t)below->count) < 0) {
        free(k);
        return err_set(e, -ENOMEM, "out of memory");
    }
    /* Kept to be found: what others use as well.  The rest lives on in the nodes that are shared.
     */
    bool shared = below->count == 1 || atomic_load(&below->refs) > 1;
    if (shared)
        k->base = stack_ref(below);
    else if (below->base)
        k->base = stack_ref(below->base);
    memcpy(k->layers, below->layers, below->count * sizeof *k->layers);
    k->layers[below->count] = top;
    for (unsigned i = base_count(k); i < k->count; i++)
        store_layer_ref(k->layers[i]);
    *ret = publish(s, k);
    return 0;
}
