/* SPDX-License-Identifier: Apache-2.0 */
/* op_cache - a short list of memory pieces of one size. */
#include "server/store/op_cache.h"

#include <assert.h>
#include <stdlib.h>

struct link {
    struct link *next;
};

void op_cache_init(struct op_cache *c, size_t bytes, unsigned limit)
{
    assert(bytes >= sizeof(struct link));
    *c = (struct op_cache){ .bytes = bytes, .limit = limit };
}

void op_cache_done(struct op_cache *c)
{
    while (c->free) {
        struct link *l = c->free;
        c->free = l->next;
        free(l);
    }
    c->count = 0;
}

void *op_get(struct op_cache *c)
{
    struct link *l = c->free;

    if (!l)
        return malloc(c->bytes);
    c->free = l->next;
    c->count--;
    return l;
}

void op_put(struct op_cache *c, void *op)
{
    struct link *l = op;

    if (c->count >= c->limit) {
        free(op);
        return;
    }
    l->next = c->free;
    c->free = l;
    c->count++;
}
