/* SPDX-License-Identifier: Apache-2.0 */
/* usage - how much data closed layers hold: a hash table by their random ids. */
#include "server/store/usage.h"

#include <stdlib.h>
#include <string.h>

#define DROPPED UINT64_MAX /* its slot stays until the table is made anew */

static const struct layer_id none;

static bool equal(struct layer_id a, struct layer_id b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

void usage_init(struct usage *u)
{
    *u = (struct usage){ 0 };
    pthread_mutex_init(&u->lock, NULL);
}

void usage_done(struct usage *u)
{
    free(u->slots);
    pthread_mutex_destroy(&u->lock);
    *u = (struct usage){ 0 };
}

/* The slot that holds the id, or the empty one where it belongs. */
static struct usage_entry *slot_of(const struct usage *u, struct layer_id id)
{
    uint64_t hash;

    memcpy(&hash, id.b, sizeof hash);
    for (size_t i = (size_t)hash & (u->capacity - 1);; i = (i + 1) & (u->capacity - 1))
        if (equal(u->slots[i].id, id) || equal(u->slots[i].id, none))
            return &u->slots[i];
}

/* A table with room for one more, without what was dropped. */
static bool make_room(struct usage *u)
{
    struct usage new = { .capacity = 64 };
    size_t live = 0;

    if (u->count < u->capacity / 2)
        return true;
    for (size_t i = 0; i < u->capacity; i++)
        live += !equal(u->slots[i].id, none) && u->slots[i].data_blocks != DROPPED;
    if (live >= USAGE_MOST)
        return false;
    while (new.capacity / 4 <= live)
        new.capacity *= 2;
    new.slots = calloc(new.capacity, sizeof *new.slots);
    if (!new.slots)
        return false;
    for (size_t i = 0; i < u->capacity; i++)
        if (!equal(u->slots[i].id, none) && u->slots[i].data_blocks != DROPPED)
            *slot_of(&new, u->slots[i].id) = u->slots[i];
    free(u->slots);
    u->slots = new.slots;
    u->capacity = new.capacity;
    u->count = live;
    return true;
}

void usage_put(struct usage *u, struct layer_id id, uint64_t data_blocks, bool replace)
{
    pthread_mutex_lock(&u->lock);
    if (make_room(u)) {
        struct usage_entry *e = slot_of(u, id);
        bool empty = equal(e->id, none);
        u->count += empty;
        if (empty || e->data_blocks == DROPPED || replace)
            *e = (struct usage_entry){ .id = id, .data_blocks = data_blocks };
    }
    pthread_mutex_unlock(&u->lock);
}

bool usage_get(struct usage *u, struct layer_id id, uint64_t *ret_data_blocks)
{
    bool found = false;

    pthread_mutex_lock(&u->lock);
    if (u->capacity) {
        const struct usage_entry *e = slot_of(u, id);
        found = !equal(e->id, none) && e->data_blocks != DROPPED;
        if (found)
            *ret_data_blocks = e->data_blocks;
    }
    pthread_mutex_unlock(&u->lock);
    return found;
}

void usage_drop(struct usage *u, struct layer_id id)
{
    pthread_mutex_lock(&u->lock);
    if (u->capacity) {
        struct usage_entry *e = slot_of(u, id);
        if (!equal(e->id, none))
            e->data_blocks = DROPPED;
    }
    pthread_mutex_unlock(&u->lock);
}
