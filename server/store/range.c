/* SPDX-License-Identifier: Apache-2.0 */
/* range - a table of block ranges in which overlapping holders wait for each other.
 * A list: there are as many entries as mutators run in one volume, a few dozen. */
#include "server/store/range.h"

#include <assert.h>
#include <stddef.h>

/* Does any range that came before r overlap it? */
static bool blocked(const struct range *r)
{
    for (const struct range *o = r->prev; o; o = o->prev)
        if (o->first <= r->last && r->first <= o->last)
            return true;
    return false;
}

bool range_enter(struct range_table *t, struct range *r, uint64_t first, uint64_t last)
{
    assert(first <= last);
    *r = (struct range){ .first = first, .last = last, .prev = t->newest };
    if (t->newest)
        t->newest->next = r;
    else
        t->oldest = r;
    t->newest = r;
    r->held = !blocked(r);
    t->waiting += !r->held;
    return r->held;
}

static void unlink_range(struct range_table *t, struct range *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        t->oldest = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else
        t->newest = r->prev;
}

/* The oldest that waits without a reason. */
static struct range *next_free(const struct range_table *t)
{
    for (struct range *r = t->waiting ? t->oldest : NULL; r; r = r->next)
        if (!r->held && !blocked(r))
            return r;
    return NULL;
}

void range_leave(struct range_table *t, struct range *r, void (*granted)(struct range *r))
{
    struct range *free;

    assert(r->held);
    unlink_range(t, r);
    while ((free = next_free(t))) { /* from the start again: granted() may have changed all */
        free->held = true;
        t->waiting--;
        granted(free);
    }
}
