/* SPDX-License-Identifier: Apache-2.0 */
/* id_set - a set of layer ids. */
#include "server/store/id_set.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct layer_id none;

static bool equal(struct layer_id a, struct layer_id b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

void id_set_done(struct id_set *s)
{
    free(s->slots);
    *s = (struct id_set){ 0 };
}

/* The slot that holds the id, or the empty one where it belongs. */
static struct layer_id *slot_of(const struct id_set *s, struct layer_id id)
{
    uint64_t hash;

    memcpy(&hash, id.b, sizeof hash);
    for (size_t i = (size_t)hash & (s->capacity - 1);; i = (i + 1) & (s->capacity - 1))
        if (equal(s->slots[i], id) || equal(s->slots[i], none))
            return &s->slots[i];
}

static bool grow(struct id_set *s)
{
    struct id_set larger = { .capacity = s->capacity ? s->capacity * 2 : 16, .count = s->count };

    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < s->capacity; i++)
        if (!equal(s->slots[i], none))
            *slot_of(&larger, s->slots[i]) = s->slots[i];
    free(s->slots);
    *s = larger;
    return true;
}

void id_set_add(struct id_set *s, struct layer_id id)
{
    if (id_set_has(s, id))
        return;
    if (s->incomplete || (s->count >= s->capacity / 2 && !grow(s))) {
        s->incomplete = true;
        return;
    }
    *slot_of(s, id) = id;
    s->count++;
}

bool id_set_has(const struct id_set *s, struct layer_id id)
{
    return s->capacity && equal(*slot_of(s, id), id) && !equal(id, none);
}

struct layer_id *id_set_list(const struct id_set *s, size_t *ret_count)
{
    struct layer_id *list = malloc((s->count + 1) * sizeof *list);

    *ret_count = 0;
    for (size_t i = 0; list && i < s->capacity; i++)
        if (!equal(s->slots[i], none))
            list[(*ret_count)++] = s->slots[i];
    return list;
}
