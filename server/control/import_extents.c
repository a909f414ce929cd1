/* SPDX-License-Identifier: Apache-2.0 */
/* import_extents - a bounded list of runs of zeros and data.  It must never know who said so. */
#include "server/control/import_extents.h"

#include <assert.h>
#include <string.h>

void extents_add(struct extents *x, uint64_t length, bool zero)
{
    struct extent_run *last = x->count ? &x->runs[x->count - 1] : NULL;

    if (length == 0)
        return;
    x->end += length;
    if (last && (last->zero == zero || x->count == EXTENTS_MAX)) {
        last->end = x->end;
        last->zero &= zero;
        return;
    }
    x->runs[x->count++] = (struct extent_run){ .end = x->end, .zero = zero };
}

void extents_drop(struct extents *x, uint64_t at)
{
    unsigned n = 0;

    assert(at >= x->start && at <= x->end);
    while (n < x->count && x->runs[n].end <= at)
        n++;
    x->count -= n;
    memmove(x->runs, x->runs + n, x->count * sizeof *x->runs);
    x->start = at;
}

bool extents_data(const struct extents *x, uint64_t at, uint64_t length, uint64_t *ret_first,
                  uint64_t *ret_end)
{
    uint64_t run_start = x->start, end = at + length;
    bool found = false;

    assert(at >= x->start && end <= x->end);
    for (unsigned i = 0; i < x->count && run_start < end; i++) {
        const struct extent_run *run = &x->runs[i];

        if (!run->zero && run->end > at) {
            if (!found)
                *ret_first = run_start > at ? run_start : at;
            *ret_end = run->end < end ? run->end : end;
            found = true;
        }
        run_start = run->end;
    }
    return found;
}
