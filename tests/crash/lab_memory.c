/* SPDX-License-Identifier: Apache-2.0 */
/* lab_memory - what the memory file of a store held before each operation on the disk: it outlives
 * the process, not the machine. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/lab.h"
#include "tests/unit/unit.h"

#define PAGE      4096u
#define PAGES_MAX 512u /* that hold data at once */

struct page {
    uint64_t index;
    uint8_t bytes[PAGE];
};

/* The file before one operation; it shares pages with the moments around it. */
struct moment {
    uint64_t number;
    bool there;
    char name[64];
    mode_t mode;
    uint64_t size;
    unsigned count;
    struct page **pages;
};

struct lab_memory {
    struct moment *moments;
    size_t count, capacity;
    struct page **owned; /* each once */
    size_t owned_count, owned_capacity;
};

static struct page *keep_page(struct lab_memory *m, const struct page *p)
{
    if (m->owned_count == m->owned_capacity) {
        m->owned_capacity = m->owned_capacity * 2 + 64;
        m->owned = realloc(m->owned, m->owned_capacity * sizeof *m->owned);
        assert_non_null(m->owned);
    }
    struct page *copy = malloc(sizeof *copy);
    assert_non_null(copy);
    *copy = *p;
    m->owned[m->owned_count++] = copy;
    return copy;
}

/* The page with this index at the moment before, if it is the same. */
static struct page *same_page(const struct moment *before, const struct page *p)
{
    for (unsigned i = 0; before && i < before->count; i++)
        if (before->pages[i]->index == p->index)
            return memcmp(before->pages[i]->bytes, p->bytes, PAGE) == 0 ? before->pages[i] : NULL;
    return NULL;
}

static void read_pages(struct lab_memory *m, int fd, const struct moment *before,
                       struct moment *ret)
{
    static struct page *found[PAGES_MAX];
    struct page now;

    for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;) {
        off_t end = lseek(fd, at, SEEK_HOLE);
        for (at -= at % PAGE; at < end; at += PAGE) {
            now.index = (uint64_t)at / PAGE;
            assert_int_equal(pread(fd, now.bytes, PAGE, at), PAGE);
            struct page *old = same_page(before, &now);
            assert_true(ret->count < PAGES_MAX);
            found[ret->count++] = old ? old : keep_page(m, &now);
        }
    }
    ret->pages = calloc(ret->count + 1, sizeof *ret->pages);
    assert_non_null(ret->pages);
    memcpy(ret->pages, found, ret->count * sizeof *found);
}

static void note_moment(void *ctx, uint64_t number)
{
    struct lab *l = ctx;
    struct lab_memory *m = l->memory;
    struct moment now = { .number = number };
    struct dirent *entry;
    DIR *dir = opendir(l->live_dir);

    if (m->count == m->capacity) {
        m->capacity = m->capacity * 2 + 64;
        m->moments = realloc(m->moments, m->capacity * sizeof *m->moments);
        assert_non_null(m->moments);
    }
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            struct stat st;
            int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
            assert_true(fd >= 0 && fstat(fd, &st) == 0 && !now.there);
            now.there = true;
            now.size = (uint64_t)st.st_size;
            now.mode = st.st_mode & 0777;
            snprintf(now.name, sizeof now.name, "%.60s", entry->d_name);
            read_pages(m, fd, m->count ? &m->moments[m->count - 1] : NULL, &now);
            close(fd);
        }
    if (dir)
        closedir(dir);
    m->moments[m->count++] = now;
}

void lab_memory_watch(struct lab *l)
{
    lab_memory_forget(l);
    l->memory = calloc(1, sizeof *l->memory);
    assert_non_null(l->memory);
    sim_on_op(l->sim, note_moment, l);
}

struct lab_memory *lab_memory_take(struct lab *l)
{
    struct lab_memory *m = l->memory;

    if (m)
        note_moment(l, sim_count(l->sim));
    sim_on_op(l->sim, NULL, NULL);
    l->memory = NULL;
    return m;
}

void lab_memory_free(struct lab_memory *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++)
        free(m->moments[i].pages);
    for (size_t i = 0; i < m->owned_count; i++)
        free(m->owned[i]);
    free(m->moments);
    free(m->owned);
    free(m);
}

void lab_memory_forget(struct lab *l)
{
    lab_memory_free(lab_memory_take(l));
}

static void clear_dir(const char *path)
{
    struct dirent *entry;
    DIR *dir = opendir(path);

    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        closedir(dir);
}

void lab_memory_put(struct lab *l, struct lab_memory *m, uint64_t number, bool kept)
{
    const struct moment *then = NULL;
    char path[320];

    clear_dir(l->live_dir);
    for (size_t i = 0; kept && i < m->count; i++)
        if (m->moments[i].number == number)
            then = &m->moments[i];
    if (!then || !then->there)
        return;
    snprintf(path, sizeof path, "%s/%s", l->live_dir, then->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, then->mode);
    assert_true(fd >= 0 && ftruncate(fd, (off_t)then->size) == 0);
    for (unsigned i = 0; i < then->count; i++)
        assert_int_equal(
            pwrite(fd, then->pages[i]->bytes, PAGE, (off_t)(then->pages[i]->index * PAGE)), PAGE);
    close(fd);
}
