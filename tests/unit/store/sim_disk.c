/* SPDX-License-Identifier: Apache-2.0 */
/* sim_disk - what a disk holds, and what it could hold if the power had gone. */
#include "tests/unit/store/sim_disk.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- contents ---------------------------------------------------------------------------------*/

static void page_put(struct sim_page *p)
{
    if (p && --p->refs == 0)
        free(p);
}

struct sim_content sim_content_copy(const struct sim_content *c)
{
    struct sim_content copy = { .size = c->size, .page_count = c->page_count };

    if (c->page_count) {
        copy.pages = malloc(c->page_count * sizeof *c->pages);
        assert(copy.pages);
        memcpy(copy.pages, c->pages, c->page_count * sizeof *c->pages);
        copy.capacity = c->page_count;
    }
    for (size_t i = 0; i < c->page_count; i++)
        c->pages[i]->refs++;
    return copy;
}

void sim_content_done(struct sim_content *c)
{
    for (size_t i = 0; i < c->page_count; i++)
        page_put(c->pages[i]);
    free(c->pages);
    *c = (struct sim_content){ 0 };
}

/* Where the first page with this index or a higher one is. */
static size_t place_of(const struct sim_content *c, uint64_t index)
{
    size_t from = 0, to = c->page_count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (c->pages[middle]->index < index)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static bool is_at(const struct sim_content *c, size_t at, uint64_t index)
{
    return at < c->page_count && c->pages[at]->index == index;
}

static struct sim_page *new_page(const struct sim_page *like, uint64_t index)
{
    struct sim_page *p = malloc(sizeof *p);

    assert(p);
    p->refs = 1;
    p->index = index;
    if (like)
        memcpy(p->bytes, like->bytes, SIM_PAGE);
    else
        memset(p->bytes, 0, SIM_PAGE);
    return p;
}

static void insert_page(struct sim_content *c, size_t at, struct sim_page *p)
{
    if (c->page_count == c->capacity) {
        c->capacity = c->capacity * 2 + 8;
        c->pages = realloc(c->pages, c->capacity * sizeof *c->pages);
        assert(c->pages);
    }
    memmove(c->pages + at + 1, c->pages + at, (c->page_count - at) * sizeof *c->pages);
    c->pages[at] = p;
    c->page_count++;
}

/* Pages from <= index < to become holes. */
static void drop_pages(struct sim_content *c, uint64_t from, uint64_t to)
{
    size_t first = place_of(c, from), end = place_of(c, to);

    if (first >= end)
        return;
    for (size_t i = first; i < end; i++)
        page_put(c->pages[i]);
    memmove(c->pages + first, c->pages + end, (c->page_count - end) * sizeof *c->pages);
    c->page_count -= end - first;
}

/* A page of our own that may be changed. */
static uint8_t *page_bytes(struct sim_content *c, uint64_t index)
{
    size_t at = place_of(c, index);

    if (!is_at(c, at, index)) {
        insert_page(c, at, new_page(NULL, index));
    } else if (c->pages[at]->refs > 1) {
        struct sim_page *old = c->pages[at];
        c->pages[at] = new_page(old, index);
        page_put(old);
    }
    c->pages[at]->hash = 0;
    return c->pages[at]->bytes;
}

void sim_content_write(struct sim_content *c, uint64_t offset, const void *data, uint64_t length)
{
    const uint8_t *from = data;

    if (offset + length > c->size)
        sim_content_resize(c, offset + length);
    while (length) {
        uint64_t in_page = offset % SIM_PAGE;
        uint64_t step = SIM_PAGE - in_page < length ? SIM_PAGE - in_page : length;
        memcpy(page_bytes(c, offset / SIM_PAGE) + in_page, from, step);
        from += step;
        offset += step;
        length -= step;
    }
}

/* A part of one page. */
static void zero_part(struct sim_content *c, uint64_t from, uint64_t to)
{
    uint64_t index = from / SIM_PAGE;

    if (from < to && is_at(c, place_of(c, index), index))
        memset(page_bytes(c, index) + from % SIM_PAGE, 0, to - from);
}

void sim_content_punch(struct sim_content *c, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length < c->size ? offset + length : c->size;
    uint64_t first = (offset + SIM_PAGE - 1) / SIM_PAGE; /* whole page, as is the file's last one */
    uint64_t past = end == c->size ? (end + SIM_PAGE - 1) / SIM_PAGE : end / SIM_PAGE;

    if (offset >= end)
        return;
    if (first > past) {
        zero_part(c, offset, end);
        return;
    }
    zero_part(c, offset, first * SIM_PAGE < end ? first * SIM_PAGE : end);
    drop_pages(c, first, past);
    zero_part(c, past * SIM_PAGE, end);
}

void sim_content_resize(struct sim_content *c, uint64_t size)
{
    if (size < c->size)
        sim_content_punch(c, size, c->size - size);
    c->size = size;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9E3779B97F4A7C15ull;
    return hash ^ hash >> 29;
}

static uint64_t page_hash(struct sim_page *p)
{
    if (!p->hash) {
        uint64_t hash = mix(2, p->index), word;
        for (size_t i = 0; i < SIM_PAGE; i += 8) {
            memcpy(&word, p->bytes + i, 8);
            hash = mix(hash, word);
        }
        p->hash = hash | 1;
    }
    return p->hash;
}

/* ---- names ------------------------------------------------------------------------------------*/

void sim_tree_done(struct sim_tree *t)
{
    for (size_t i = 0; i < t->name_count; i++)
        free(t->names[i].path);
    for (size_t i = 0; i < t->file_count; i++)
        sim_content_done(&t->files[i]);
    free(t->names);
    free(t->files);
    *t = (struct sim_tree){ 0 };
}

struct sim_tree sim_tree_copy(const struct sim_tree *t)
{
    struct sim_tree copy = { 0 };

    for (size_t i = 0; i < t->name_count; i++)
        sim_tree_set(&copy, t->names[i].path, t->names[i].file);
    copy.files = calloc(t->file_count + 1, sizeof *copy.files);
    assert(copy.files);
    copy.file_count = t->file_count;
    for (size_t i = 0; i < t->file_count; i++)
        copy.files[i] = sim_content_copy(&t->files[i]);
    return copy;
}

unsigned sim_tree_find(const struct sim_tree *t, const char *path)
{
    for (size_t i = 0; i < t->name_count; i++)
        if (strcmp(t->names[i].path, path) == 0)
            return t->names[i].file;
    return SIM_NO_FILE;
}

void sim_tree_set(struct sim_tree *t, const char *path, unsigned file)
{
    size_t at = 0;

    while (at < t->name_count && strcmp(t->names[at].path, path) != 0)
        at++;
    if (at < t->name_count && file == SIM_NO_FILE) {
        free(t->names[at].path);
        t->names[at] = t->names[--t->name_count];
        return;
    }
    if (file == SIM_NO_FILE)
        return;
    if (at == t->name_count) {
        if (t->name_count == t->name_capacity) {
            t->name_capacity = t->name_capacity * 2 + 16;
            t->names = realloc(t->names, t->name_capacity * sizeof *t->names);
            assert(t->names);
        }
        t->names[at].path = strdup(path);
        assert(t->names[at].path);
        t->name_count++;
    }
    t->names[at].file = file;
}

unsigned sim_tree_add(struct sim_tree *t)
{
    t->files = realloc(t->files, (t->file_count + 1) * sizeof *t->files);
    assert(t->files);
    t->files[t->file_count] = (struct sim_content){ 0 };
    return (unsigned)t->file_count++;
}

uint64_t sim_tree_hash(struct sim_tree *t)
{
    uint64_t all = 0;

    for (size_t i = 0; i < t->name_count; i++) {
        const char *name = t->names[i].path;
        struct sim_content *c = &t->files[t->names[i].file];
        uint64_t hash = mix(3, c->size);
        for (; *name; name++)
            hash = mix(hash, (uint8_t)*name);
        for (size_t page = 0; page < c->page_count; page++)
            hash = mix(hash, page_hash(c->pages[page]));
        all += hash; /* in whatever order the names are */
    }
    return all;
}

/* ---- history ----------------------------------------------------------------------------------*/

void sim_history_add(struct sim_history *h, const struct sim_event *event, const void *data,
                     size_t data_bytes)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity * 2 + 64;
        h->events = realloc(h->events, h->capacity * sizeof *h->events);
        assert(h->events);
    }
    struct sim_event *e = &h->events[h->count++];
    *e = *event;
    e->data = NULL;
    if (data) {
        e->data = malloc(data_bytes + 1);
        assert(e->data);
        memcpy(e->data, data, data_bytes);
    }
}

static size_t data_bytes(const struct sim_event *e)
{
    if (e->kind == SIM_DID_NAME || e->kind == SIM_DID_SYNC_DIR)
        return strlen(e->data) + 1;
    return e->length;
}

struct sim_history sim_history_copy(const struct sim_history *h, uint64_t number)
{
    struct sim_history copy = { .before = sim_tree_copy(&h->before) };

    for (size_t i = 0; i < h->count && h->events[i].number < number; i++) {
        const struct sim_event *e = &h->events[i];
        sim_history_add(&copy, e, e->data, e->data ? data_bytes(e) : 0);
    }
    return copy;
}

void sim_history_done(struct sim_history *h)
{
    for (size_t i = 0; i < h->count; i++)
        free(h->events[i].data);
    free(h->events);
    sim_tree_done(&h->before);
    *h = (struct sim_history){ 0 };
}

/* ---- worlds -----------------------------------------------------------------------------------*/

/* Changes of one file that are not synced. */
struct pending {
    const struct sim_event **events;
    size_t count, capacity;
};

struct future {
    struct sim_tree tree; /* durable */
    struct pending *files;
    struct pending names;
    uint64_t seed;
    enum sim_loss loss;
};

static uint64_t draw(struct future *f, uint64_t limit)
{
    f->seed ^= f->seed << 13;
    f->seed ^= f->seed >> 7;
    f->seed ^= f->seed << 17;
    return f->seed % limit;
}

static void pending_add(struct pending *p, const struct sim_event *e)
{
    if (p->count == p->capacity) {
        p->capacity = p->capacity * 2 + 16;
        p->events = realloc(p->events, p->capacity * sizeof *p->events);
        assert(p->events);
    }
    p->events[p->count++] = e;
}

static void apply(struct sim_content *c, const struct sim_event *e)
{
    if (e->kind == SIM_DID_WRITE)
        sim_content_write(c, e->offset, e->data, e->length);
    else if (e->kind == SIM_DID_PUNCH)
        sim_content_punch(c, e->offset, e->length);
    else
        sim_content_resize(c, e->length);
}

static void sync_file(struct sim_content *c, struct pending *p)
{
    for (size_t i = 0; i < p->count; i++)
        apply(c, p->events[i]);
    p->count = 0;
}

/* The sectors that a change may alter: a truncation those behind the new end. */
static void sectors_of(const struct sim_event *e, uint64_t largest, uint64_t *ret_first,
                       uint64_t *ret_end)
{
    bool shrinks = e->kind == SIM_DID_TRUNCATE;
    uint64_t from = shrinks ? e->length : e->offset;
    uint64_t end = shrinks ? largest : e->offset + e->length;

    if (end > largest)
        end = largest;
    *ret_first = from / SIM_SECTOR;
    *ret_end = end > from ? (end + SIM_SECTOR - 1) / SIM_SECTOR : *ret_first;
}

/* How large the file was, at most. */
static uint64_t largest_size(const struct sim_content *c, const struct pending *p)
{
    uint64_t largest = c->size;

    for (size_t i = 0; i < p->count; i++) {
        const struct sim_event *e = p->events[i];
        uint64_t size = e->kind == SIM_DID_WRITE      ? e->offset + e->length
                        : e->kind == SIM_DID_TRUNCATE ? e->length
                                                      : 0;
        largest = size > largest ? size : largest;
    }
    return largest;
}

/* One change, to those sectors that were written back after it. */
static void apply_where_kept(struct sim_content *c, const struct sim_event *e, uint32_t index,
                             const uint32_t *kept, uint64_t largest)
{
    uint64_t first, end;

    sectors_of(e, largest, &first, &end);
    for (uint64_t s = first; s < end; s++) {
        uint64_t from = s * SIM_SECTOR, to = from + SIM_SECTOR;
        uint64_t begin = e->kind == SIM_DID_TRUNCATE ? e->length : e->offset;
        uint64_t stop = e->kind == SIM_DID_TRUNCATE ? largest : e->offset + e->length;
        if (kept[s] <= index)
            continue;
        if (from < begin)
            from = begin;
        if (to > stop)
            to = stop;
        if (e->kind == SIM_DID_WRITE)
            sim_content_write(c, from, (const char *)e->data + (from - e->offset), to - from);
        else
            sim_content_punch(c, from, to - from);
    }
}

/* The size after the first `count` changes. */
static uint64_t size_after(uint64_t size, const struct pending *p, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sim_event *e = p->events[i];
        if (e->kind == SIM_DID_TRUNCATE)
            size = e->length;
        else if (e->kind == SIM_DID_WRITE && e->offset + e->length > size)
            size = e->offset + e->length;
    }
    return size;
}

/* Each sector as of some moment: whole changes were written back, or single sectors of them. */
static void lose_sectors(struct future *f, struct sim_content *c, struct pending *p, bool torn)
{
    uint64_t largest = largest_size(c, p), first, end, size = c->size;
    uint64_t sectors = largest / SIM_SECTOR + 1;
    uint32_t *kept = calloc(sectors, sizeof *kept); /* changes up to this one, counted from 1 */

    assert(kept);
    for (uint32_t i = 0; i < p->count; i++) {
        if (!torn && draw(f, 2))
            continue;
        sectors_of(p->events[i], largest, &first, &end);
        for (uint64_t s = first; s < end; s++)
            if (!torn || draw(f, 2))
                kept[s] = i + 1;
    }
    for (uint32_t i = 0; i < p->count; i++)
        apply_where_kept(c, p->events[i], i, kept, largest);
    size = size_after(size, p, draw(f, 2) ? p->count : draw(f, p->count + 1));
    sim_content_resize(c, size);
    free(kept);
}

static void lose_some(struct future *f, struct sim_content *c, struct pending *p)
{
    if (f->loss == SIM_LOSE_ALL)
        p->count = 0;
    if (!p->count)
        return;
    switch (draw(f, 6)) {
    case 0:
        break;
    case 1:
        sync_file(c, p);
        break;
    case 2:
        p->count = draw(f, p->count + 1);
        sync_file(c, p);
        break;
    case 3:
        lose_sectors(f, c, p, false);
        break;
    default:
        lose_sectors(f, c, p, true);
        break;
    }
    p->count = 0;
}

static bool lies_in(const char *name, const char *dir)
{
    size_t length = strlen(dir);

    return strncmp(name, dir, length) == 0 && name[length] == '/' &&
           !strchr(name + length + 1, '/');
}

/* The changes of one directory's names, and what goes together with them, are on the disk. */
static void sync_names(struct future *f, const char *dir)
{
    struct pending *p = &f->names;
    size_t left = 0;

    for (size_t i = 0; i < p->count;) {
        size_t end = i;
        bool mine = false;
        for (; end < p->count && p->events[end]->group == p->events[i]->group; end++)
            mine |= lies_in(p->events[end]->data, dir);
        for (; i < end; i++) {
            if (mine)
                sim_tree_set(&f->tree, p->events[i]->data, p->events[i]->file);
            else
                p->events[left++] = p->events[i];
        }
    }
    p->count = left;
}

/* A prefix of them, in whole groups. */
static void lose_names(struct future *f)
{
    struct pending *p = &f->names;
    size_t kept = draw(f, 3) ? draw(f, p->count + 1) : draw(f, 2) * p->count;

    if (f->loss == SIM_LOSE_ALL)
        kept = 0;
    while (kept && kept < p->count && p->events[kept - 1]->group == p->events[kept]->group)
        kept++;
    for (size_t i = 0; i < kept; i++)
        sim_tree_set(&f->tree, p->events[i]->data, p->events[i]->file);
}

static void play(struct future *f, const struct sim_event *e)
{
    switch (e->kind) {
    case SIM_DID_SYNC:
        sync_file(&f->tree.files[e->file], &f->files[e->file]);
        break;
    case SIM_DID_NOT_SYNC:
        if (f->loss != SIM_LOSE_NOTHING) /* else it is in the page cache until it is evicted */
            lose_some(f, &f->tree.files[e->file], &f->files[e->file]);
        break;
    case SIM_DID_NAME:
        pending_add(&f->names, e);
        break;
    case SIM_DID_SYNC_DIR:
        sync_names(f, e->data);
        break;
    case SIM_DID_WRITE:
    case SIM_DID_PUNCH:
    case SIM_DID_TRUNCATE:
        pending_add(&f->files[e->file], e);
        break;
    }
}

/* Contents that no name leads to are of no use to anybody. */
static void drop_nameless(struct sim_tree *t)
{
    bool *named = calloc(t->file_count + 1, sizeof *named);

    assert(named);
    for (size_t i = 0; i < t->name_count; i++)
        named[t->names[i].file] = true;
    for (size_t i = 0; i < t->file_count; i++)
        if (!named[i])
            sim_content_done(&t->files[i]);
    free(named);
}

struct sim_tree sim_history_world(const struct sim_history *h, uint64_t number, uint64_t seed,
                                  enum sim_loss loss)
{
    struct future f = { .tree = sim_tree_copy(&h->before), .seed = seed * 2 + 1, .loss = loss };
    size_t files = h->before.file_count;

    for (size_t i = 0; i < h->count; i++)
        if (h->events[i].file != SIM_NO_FILE && h->events[i].file >= files)
            files = h->events[i].file + 1;
    while (f.tree.file_count < files)
        sim_tree_add(&f.tree);
    f.files = calloc(files + 1, sizeof *f.files);
    assert(f.files);

    for (int i = 0; i < 8; i++)
        draw(&f, 2); /* seeds that are near each other part */
    for (size_t i = 0; i < h->count && h->events[i].number < number; i++)
        play(&f, &h->events[i]);
    for (size_t i = 0; i < files; i++) {
        if (loss == SIM_LOSE_NOTHING)
            sync_file(&f.tree.files[i], &f.files[i]);
        else
            lose_some(&f, &f.tree.files[i], &f.files[i]);
        free(f.files[i].events);
    }
    if (loss == SIM_LOSE_NOTHING)
        for (size_t i = 0; i < f.names.count; i++)
            sim_tree_set(&f.tree, f.names.events[i]->data, f.names.events[i]->file);
    else
        lose_names(&f);
    free(f.names.events);
    free(f.files);
    drop_nameless(&f.tree);
    return f.tree;
}
