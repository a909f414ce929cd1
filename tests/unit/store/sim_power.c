/* SPDX-License-Identifier: Apache-2.0 */
/* sim_power - what a loss of power, or a kill, leaves of the simulated files, and going back to any
 * moment.  It must never know how a file is used: all it reads is the history. */
#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/store/sim_disk.h"
#include "tests/unit/store/sim_ops.h"
#include "tests/unit/store/sim_state.h"

/* ---- into the directory -----------------------------------------------------------------------*/

static bool same_pages(const struct sim_content *a, const struct sim_content *b)
{
    return a->size == b->size && a->page_count == b->page_count &&
           (a->page_count == 0 ||
            memcmp(a->pages, b->pages, a->page_count * sizeof *a->pages) == 0);
}

static void put_pages(int fd, const struct sim_content *have, const struct sim_content *want)
{
    size_t h = 0;

    for (size_t w = 0; w < want->page_count || h < have->page_count;) {
        const struct sim_page *new = w < want->page_count ? want->pages[w] : NULL;
        const struct sim_page *old = h < have->page_count ? have->pages[h] : NULL;
        bool gone = old && (!new || old->index < new->index);
        off_t at = (off_t)((gone ? old : new)->index * SIM_PAGE);
        if (gone)
            assert(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, SIM_PAGE) == 0);
        else if (old != new)
            assert(pwrite(fd, new->bytes, SIM_PAGE, at) == SIM_PAGE);
        h += gone || (old && old->index == new->index);
        w += !gone;
    }
}

/* Makes a file hold `want`, where it holds `have` (NULL: there is none). */
static void put_file(const char *path, const struct sim_content *have,
                     const struct sim_content *want)
{
    static const struct sim_content nothing;

    if (have && same_pages(have, want))
        return;
    int fd = open(path, O_WRONLY | O_CREAT | (have ? 0 : O_TRUNC) | O_CLOEXEC, 0600);
    assert(fd >= 0);
    put_pages(fd, have ? have : &nothing, want);
    assert(ftruncate(fd, (off_t)want->size) == 0);
    close(fd);
}

/* Puts this tree into the directory; it is the beginning of a new history. */
static void put_tree(struct sim *s, struct sim_tree *t)
{
    for (size_t i = 0; i < s->now.name_count; i++)
        if (sim_tree_find(t, s->now.names[i].path) == SIM_NO_FILE)
            unlink(s->now.names[i].path);
    for (size_t i = 0; i < t->name_count; i++) {
        unsigned old = sim_tree_find(&s->now, t->names[i].path);
        put_file(t->names[i].path, old == SIM_NO_FILE ? NULL : &s->now.files[old],
                 &t->files[t->names[i].file]);
    }
    sim_tree_done(&s->now);
    sim_history_done(&s->history);
    s->now = sim_tree_copy(t);
    s->history.before = *t;
    s->history_first = s->count;
    s->cut = false;
    s->cut_at = 0;
    s->fail_times = 0;
    for (int i = 0; i < SIM_FDS; i++)
        assert(!s->fds[i].open);
}

/* ---- power ------------------------------------------------------------------------------------*/

void sim_cut_at(struct sim *s, uint64_t number)
{
    s->cut_at = number;
}

bool sim_is_cut(const struct sim *s)
{
    return s->cut;
}

void sim_restore(struct sim *s)
{
    struct sim_tree t = sim_history_world(&s->history, s->count, sim_draw(s, UINT32_MAX),
                                          s->lose_all ? SIM_LOSE_ALL : SIM_LOSE_SOME);

    put_tree(s, &t);
}

void sim_be_plain(struct sim *s)
{
    s->all_cached = s->lose_all = true;
}

void sim_revive(struct sim *s)
{
    s->cut = false;
    s->cut_at = 0;
    s->fail_times = 0;
    for (int i = 0; i < SIM_FDS; i++)
        assert(!s->fds[i].open);
}

/* ---- going back -------------------------------------------------------------------------------*/

struct sim_past {
    struct sim_history history;
    uint64_t first, end;
};

struct sim_past *sim_past_take(struct sim *s)
{
    struct sim_past *p = calloc(1, sizeof *p);

    assert(p);
    p->history = s->history;
    p->first = s->history_first;
    p->end = s->count;
    s->history = (struct sim_history){ .before = sim_tree_copy(&s->now) };
    s->history_first = s->count;
    return p;
}

void sim_past_free(struct sim_past *p)
{
    if (!p)
        return;
    sim_history_done(&p->history);
    free(p);
}

uint64_t sim_past_first(const struct sim_past *p)
{
    return p->first;
}

uint64_t sim_past_end(const struct sim_past *p)
{
    return p->end;
}

bool sim_past_syncs(const struct sim_past *p, uint64_t number)
{
    for (size_t i = 0; i < p->history.count; i++)
        if (p->history.events[i].number == number)
            return p->history.events[i].kind == SIM_DID_SYNC ||
                   p->history.events[i].kind == SIM_DID_SYNC_DIR;
    return false;
}

/* The last name that a file had before the end of the past. */
static const char *name_of(const struct sim_past *p, unsigned file)
{
    const char *path = "?";

    for (size_t i = 0; i < p->history.before.name_count; i++)
        if (p->history.before.names[i].file == file)
            path = p->history.before.names[i].path;
    for (size_t i = 0; i < p->history.count; i++)
        if (p->history.events[i].kind == SIM_DID_NAME && p->history.events[i].file == file)
            path = p->history.events[i].data;
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void sim_past_show(const struct sim_past *p, uint64_t from, uint64_t to)
{
    static const char *const kinds[] = { "write",       "punch", "truncate",      "sync",
                                         "failed sync", "name",  "sync directory" };

    for (size_t i = 0; i < p->history.count; i++) {
        const struct sim_event *e = &p->history.events[i];
        if (e->number < from || e->number >= to)
            continue;
        printf("# %llu: %s %s %llu+%llu\n", (unsigned long long)(e->number - p->first),
               kinds[e->kind],
               e->kind == SIM_DID_NAME || e->kind == SIM_DID_SYNC_DIR
                   ? strrchr((const char *)e->data, '/') + 1
                   : name_of(p, e->file),
               (unsigned long long)e->offset, (unsigned long long)e->length);
    }
}

uint64_t sim_go_back(struct sim *s, const struct sim_past *p, uint64_t number, enum sim_crash crash,
                     uint64_t seed)
{
    struct sim_tree t = sim_history_world(&p->history, number, seed,
                                          crash == SIM_KILL ? SIM_LOSE_NOTHING : SIM_LOSE_SOME);

    put_tree(s, &t);
    if (crash == SIM_KILL) { /* what was not synced is so still */
        sim_history_done(&s->history);
        s->history = sim_history_copy(&p->history, number);
    }
    return sim_tree_hash(&s->now);
}
