/* SPDX-License-Identifier: Apache-2.0 */
/* live - the memory file that keeps the maps of writable tops while the machine lives. */
#include "server/store/live.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/store/layer.h"
#include "server/store/live_file.h"
#include "server/store/live_place.h"

#define CHUNK_SLOTS 16u /* of memory that are asked for at once */
#define SPARE_SLOTS 64u /* of memory that are kept when nobody uses them */
#define NAME_BYTES  (2 * LAYER_ID_BYTES + 24)

struct live {
    struct map_home home;
    struct live_place place;
    char name[NAME_BYTES], path[PATH_MAX + NAME_BYTES];
    int fd;
    uint32_t slots;
    struct live_header *header; /* the mapping; header->entries is the high-water mark */
    struct live_entry *table;
    char *pages;

    pthread_mutex_t lock; /* guards all below, and the table */
    uint32_t used;
    uint32_t *spare; /* free entries below the high-water mark */
    uint32_t spare_count, spare_capacity;
    uint32_t spare_memory; /* of these, how many have memory */
    uint8_t *has_memory;   /* a bit for each slot */
    uint32_t memory_end;   /* slots below it were asked for in chunks */
    bool not_locked_told, full;
};

/* ---- memory -----------------------------------------------------------------------------------*/

static bool has_memory(const struct live *l, uint32_t slot)
{
    return l->has_memory[slot / 8] >> slot % 8 & 1;
}

static void set_memory(struct live *l, uint32_t slot, bool has)
{
    uint8_t bit = (uint8_t)(1u << slot % 8);

    l->has_memory[slot / 8] =
        (uint8_t)(has ? l->has_memory[slot / 8] | bit : l->has_memory[slot / 8] & ~bit);
}

static int write_zeros(int fd, uint64_t offset, uint64_t length)
{
    static const char zeros[DISK_BLOCK];

    for (; length; offset += sizeof zeros, length -= sizeof zeros)
        if (pwrite(fd, zeros, sizeof zeros, (off_t)offset) != sizeof zeros)
            return errno == EDQUOT ? -EDQUOT : -ENOSPC;
    return 0;
}

/* Memory for whole blocks of the file that were never touched, before they are. */
static int allocate(struct live *l, uint64_t offset, uint64_t length)
{
    int rc;

    do
        rc = fallocate(l->fd, 0, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
    while (rc == -EINTR);
    if (rc == -EOPNOTSUPP)
        rc = write_zeros(l->fd, offset, length);
    if (rc < 0)
        return rc == -EDQUOT ? -ENOSPC : rc;
    if (mlock((char *)l->header + offset, length) < 0 && !l->not_locked_told) {
        l->not_locked_told = true;
        log_warn("store live: %s/%s cannot be locked in memory (%s): when the machine swaps, "
                 "writes may wait for it",
                 l->place.path, l->name, strerror(errno));
    }
    return 0;
}

static uint64_t slot_offset(const struct live *l, uint32_t slot)
{
    return live_slots_offset(l->slots) + (uint64_t)slot * DISK_BLOCK;
}

static int need_memory(struct live *l, uint32_t slot)
{
    uint32_t count = l->slots - slot < CHUNK_SLOTS ? l->slots - slot : CHUNK_SLOTS;
    int rc;

    if (has_memory(l, slot))
        return 0;
    if (slot < l->memory_end || allocate(l, slot_offset(l, slot), count * DISK_BLOCK) < 0)
        count = 1;
    rc = count > 1 ? 0 : allocate(l, slot_offset(l, slot), DISK_BLOCK);
    for (uint32_t i = 0; i < count && rc == 0; i++)
        set_memory(l, slot + i, true);
    if (rc == 0 && slot + count > l->memory_end)
        l->memory_end = slot + count;
    return rc;
}

static void drop_memory(struct live *l, uint32_t slot)
{
    if (fallocate(l->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)slot_offset(l, slot),
                  DISK_BLOCK) == 0)
        set_memory(l, slot, false);
}

/* ---- entries ----------------------------------------------------------------------------------*/

static bool is_layer(const struct live_entry *entry, struct layer_id id)
{
    return memcmp(entry->layer.b, id.b, sizeof id.b) == 0;
}

static void set_state(struct live_entry *entry, enum live_entry_state state)
{
    __atomic_store_n(&entry->state, (uint32_t)state, __ATOMIC_RELEASE);
}

/* Room in `spare` for every entry there is, so that letting go never fails. */
static int grow_spare(struct live *l)
{
    if (l->spare_capacity > l->header->entries)
        return 0;
    uint32_t capacity = l->spare_capacity ? l->spare_capacity * 2 : 256;
    uint32_t *spare = realloc(l->spare, capacity * sizeof *spare);
    if (!spare)
        return -ENOSPC;
    l->spare = spare;
    l->spare_capacity = capacity;
    return 0;
}

/* A free entry, not entered yet. */
static int take_entry(struct live *l, uint32_t *ret)
{
    const uint32_t per_block = DISK_BLOCK / sizeof(struct live_entry);
    uint32_t fresh = l->header->entries;
    int rc = 0;

    if (l->spare_count) {
        *ret = l->spare[--l->spare_count];
        l->spare_memory -= has_memory(l, *ret);
        l->used++;
        return 0;
    }
    if (fresh == l->slots || grow_spare(l) < 0)
        return -ENOSPC;
    if (fresh % per_block == 0)
        rc = allocate(l, sizeof *l->header + (uint64_t)fresh * sizeof(struct live_entry),
                      DISK_BLOCK);
    if (rc < 0)
        return rc;
    __atomic_store_n(&l->header->entries, fresh + 1, __ATOMIC_RELEASE);
    l->used++;
    *ret = fresh;
    return 0;
}

static void give_entry(struct live *l, uint32_t slot)
{
    set_state(&l->table[slot], LIVE_FREE);
    if (!has_memory(l, slot) ||
        l->spare_memory >= SPARE_SLOTS) /* not: nobody looked, after a kill */
        drop_memory(l, slot);
    l->spare_memory += has_memory(l, slot);
    assert(l->spare_count < l->spare_capacity);
    l->spare[l->spare_count++] = slot;
    l->used--;
}

static int take_page(struct map_home *h, struct disk_id key, uint32_t page, const uint64_t *content,
                     uint64_t **ret)
{
    struct live *l = (struct live *)((char *)h - offsetof(struct live, home));
    uint32_t slot;
    int rc;

    pthread_mutex_lock(&l->lock);
    rc = take_entry(l, &slot);
    if (rc == 0 && need_memory(l, slot) < 0) {
        give_entry(l, slot);
        rc = -ENOSPC;
    }
    if (rc == 0) {
        char *at = l->pages + (uint64_t)slot * DISK_BLOCK;
        if (content)
            memcpy(at, content, DISK_BLOCK);
        else
            memset(at, 0, DISK_BLOCK);
        l->table[slot].layer = key;
        l->table[slot].page = page;
        set_state(&l->table[slot], LIVE_PAGE); /* the last step: now it says something */
        *ret = (uint64_t *)(void *)at;
    }
    l->full = rc < 0;
    pthread_mutex_unlock(&l->lock);
    return rc < 0 ? -ENOSPC : 0;
}

struct map_home *live_home(struct live *l)
{
    return &l->home;
}

static void let_go(struct live *l, struct layer_id layer, bool failure_too)
{
    bool failed = false;

    pthread_mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->header->entries; i++) {
        struct live_entry *entry = &l->table[i];
        if (entry->state == LIVE_FREE || !is_layer(entry, layer))
            continue;
        if (entry->state == LIVE_FAILED && !failed && !failure_too)
            failed = true; /* one of them stays */
        else
            give_entry(l, i);
    }
    pthread_mutex_unlock(&l->lock);
}

void live_release(struct live *l, struct layer_id layer)
{
    let_go(l, layer, false);
}

void live_forget(struct live *l, struct layer_id layer)
{
    let_go(l, layer, true);
}

void live_written(struct live *l, struct layer_id layer)
{
    bool noted = false;

    pthread_mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->header->entries; i++) {
        struct live_entry *entry = &l->table[i];
        if ((entry->state != LIVE_PAGE && entry->state != LIVE_WRITTEN) || !is_layer(entry, layer))
            continue;
        if (noted) {
            give_entry(l, i);
        } else {
            set_state(entry, LIVE_WRITTEN);
            noted = true;
        }
    }
    pthread_mutex_unlock(&l->lock);
}

void live_fail(struct live *l, struct layer_id layer)
{
    bool told = false;
    uint32_t slot;

    pthread_mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->header->entries; i++)
        if (l->table[i].state != LIVE_FREE && is_layer(&l->table[i], layer)) {
            set_state(&l->table[i], LIVE_FAILED);
            told = true;
        }
    if (!told && take_entry(l, &slot) == 0) {
        memcpy(l->table[slot].layer.b, layer.b, sizeof layer.b);
        set_state(&l->table[slot], LIVE_FAILED);
        told = true;
    }
    pthread_mutex_unlock(&l->lock);
    if (!told)
        live_void(l);
}

bool live_is_full(struct live *l)
{
    pthread_mutex_lock(&l->lock);
    bool full = l->full;
    pthread_mutex_unlock(&l->lock);
    return full;
}

uint32_t live_used(struct live *l)
{
    pthread_mutex_lock(&l->lock);
    uint32_t used = l->used;
    pthread_mutex_unlock(&l->lock);
    return used;
}

/* ---- what was adopted -------------------------------------------------------------------------*/

struct named {
    struct layer_id id;
    bool failed;
};

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct layer_id));
}

int live_each_layer(struct live *l, int (*each)(void *ctx, struct layer_id id, bool failed),
                    void *ctx)
{
    AUTO(auto_free) struct named *all = malloc(l->header->entries * sizeof *all + 1);
    size_t count = 0, i = 0;
    int rc = 0;

    if (!all)
        return -ENOMEM;
    for (uint32_t slot = 0; slot < l->header->entries; slot++)
        if (l->table[slot].state != LIVE_FREE) {
            memcpy(all[count].id.b, l->table[slot].layer.b, LAYER_ID_BYTES);
            all[count++].failed = l->table[slot].state == LIVE_FAILED;
        }
    if (count)
        qsort(all, count, sizeof *all, by_id);
    while (i < count && rc == 0) {
        struct named one = all[i];
        for (; i < count && lay_id_equal(all[i].id, one.id); i++)
            one.failed = one.failed || all[i].failed;
        rc = each(ctx, one.id, one.failed);
    }
    return rc;
}

int live_adopt(struct live *l, struct layer_id layer, struct map *map)
{
    struct disk_id key;
    int rc = 0;

    memcpy(key.b, layer.b, sizeof key.b);
    map_set_home(map, &l->home, key);
    pthread_mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->header->entries && rc == 0; i++) {
        const struct live_entry *entry = &l->table[i];
        if (entry->state != LIVE_PAGE || !is_layer(entry, layer))
            continue;
        rc = entry->page < map->page_count ? need_memory(l, i) : -EBADMSG;
        if (rc == 0)
            rc = map_page_adopt(map, entry->page,
                                (uint64_t *)(void *)(l->pages + (uint64_t)i * DISK_BLOCK));
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* ---- the file ---------------------------------------------------------------------------------*/

static int map_file(struct live *l, struct err *e)
{
    void *at = mmap(NULL, live_file_bytes(l->slots), PROT_READ | PROT_WRITE, MAP_SHARED, l->fd, 0);

    if (at == MAP_FAILED)
        return err_errno(e, "live maps: map %s/%s", l->place.path, l->name);
    snprintf(l->path, sizeof l->path, "%s/%s", l->place.path, l->name);
    l->header = at;
    l->table = (struct live_entry *)(void *)((char *)at + sizeof *l->header);
    l->pages = (char *)at + live_slots_offset(l->slots);
    l->home = (struct map_home){ .begin = l->pages,
                                 .end = l->pages + (uint64_t)l->slots * DISK_BLOCK,
                                 .take = take_page };
    return 0;
}

/* Reads without touching memory that may not be there.  NULL, or why it cannot be believed. */
static const char *look_at(struct live *l, const struct live_header *want)
{
    AUTO(auto_free) struct live_header *h = malloc(sizeof *h);
    struct stat st;

    if (!h)
        return "out of memory";
    if (fstat(l->fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (uint64_t)st.st_size != live_file_bytes(l->slots))
        return "its owner or its length is wrong";
    if (pread(l->fd, h, sizeof *h, 0) != sizeof *h)
        return "it cannot be read";
    const char *wrong = live_header_wrong(h, want);
    if (wrong || !h->entries)
        return wrong;

    size_t bytes = h->entries * sizeof(struct live_entry);
    AUTO(auto_free) struct live_entry *table = malloc(bytes);
    if (!table)
        return "out of memory";
    if (pread(l->fd, table, bytes, sizeof *h) != (ssize_t)bytes)
        return "it cannot be read";
    return live_table_wrong(table, h->entries);
}

/* Takes over the table of the process before this one. */
static int take_table(struct live *l)
{
    uint32_t entries = l->header->entries;

    for (uint32_t i = 0; i < entries; i++) {
        if (l->table[i].state != LIVE_FREE)
            l->used++;
    }
    while (l->spare_capacity <= entries)
        if (grow_spare(l) < 0)
            return -ENOMEM;
    for (uint32_t i = entries; i-- > 0;)
        if (l->table[i].state == LIVE_FREE)
            l->spare[l->spare_count++] = i;
    l->memory_end = entries;
    return 0;
}

/* Is there a file that counts?  0: yes, and it is mapped; 1: no; -errno. */
static int open_old(struct live *l, const struct live_header *want, struct err *e)
{
    l->fd = openat(l->place.dir_fd, l->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (l->fd < 0)
        return 1;
    const char *wrong = look_at(l, want);
    int rc = wrong ? 1 : map_file(l, e);
    if (wrong)
        log_warn("store live: %s/%s is not believed: %s", l->place.path, l->name, wrong);
    else if (rc == 0 &&
             (allocate(l, 0,
                       sizeof *l->header +
                           round_up(l->header->entries * sizeof *l->table, DISK_BLOCK)) < 0 ||
              take_table(l) < 0))
        rc = err_set(e, -ENOMEM, "live maps: out of memory");
    if (rc == 1) {
        close(l->fd);
        l->fd = -1;
    }
    return rc;
}

static int make_fresh(struct live *l, const struct live_header *want, struct err *e)
{
    if (unlinkat(l->place.dir_fd, l->name, 0) < 0 && errno != ENOENT)
        return err_errno(e, "live maps: remove %s/%s", l->place.path, l->name);
    l->fd = openat(l->place.dir_fd, l->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (l->fd < 0 || ftruncate(l->fd, (off_t)live_file_bytes(l->slots)) < 0)
        return err_errno(e, "live maps: make %s/%s", l->place.path, l->name);
    int rc = map_file(l, e);
    if (rc < 0)
        return rc;
    rc = allocate(l, 0, sizeof *l->header);
    if (rc < 0)
        return err_set(e, rc, "live maps: %s: %s", l->place.path, strerror(-rc));
    *l->header = *want;
    return 0;
}

static void close_file(struct live *l)
{
    if (l->header)
        munmap(l->header, live_file_bytes(l->slots));
    if (l->fd >= 0)
        close(l->fd);
    if (l->place.dir_fd >= 0)
        close(l->place.dir_fd);
    l->header = NULL;
    l->fd = l->place.dir_fd = -1;
}

/* Believed is only what lies where this process would put it. */
static int open_old_anywhere(struct live *l, const struct live_options *o,
                             const struct live_header *want, struct err *e)
{
    int rc = 1;

    for (unsigned n = 0; rc == 1; n++) {
        int there = live_place_open(o, n, &l->place, NULL);
        if (there == 1)
            return 1;
        if (there == 0)
            rc = open_old(l, want, e);
        if (rc == 1)
            close_file(l);
    }
    return rc;
}

static int make_somewhere(struct live *l, const struct live_options *o, struct live_header *want,
                          struct err *e)
{
    int rc = live_new_instance(o, &want->instance, e);

    if (rc < 0)
        return rc;
    for (unsigned n = 0;; n++) {
        struct err why = { 0 };
        int there = live_place_open(o, n, &l->place, &why);
        if (there == 1)
            return rc; /* what the last one said */
        rc = there < 0 ? there : make_fresh(l, want, &why);
        if (rc == 0)
            return 0;
        err_set(e, rc, "%s", why.msg);
        close_file(l);
    }
}

int live_open(const struct live_options *o, struct live **ret, bool *ret_adopted, struct err *e)
{
    AUTO(auto_free) struct live_header *want = malloc(sizeof *want);
    struct live *l = calloc(1, sizeof *l);
    uint32_t slots = o->slots ? o->slots : LIVE_SLOTS_DEFAULT;
    char hex[LAYER_ID_TEXT];
    int rc;

    if (!l || !want || !(l->has_memory = calloc(slots / 8 + 1, 1))) {
        free(l);
        return err_set(e, -ENOMEM, "live maps: out of memory");
    }
    l->slots = slots;
    l->fd = l->place.dir_fd = -1;
    pthread_mutex_init(&l->lock, NULL);

    rc = live_expect(o, slots, want, e);
    hex_encode(o->store.b, sizeof o->store.b, hex);
    snprintf(l->name, sizeof l->name, "%s-%llx.live", hex, (unsigned long long)want->mount.inode);
    if (rc == 0)
        rc = open_old_anywhere(l, o, want, e);
    *ret_adopted = rc == 0;
    if (rc == 1)
        rc = make_somewhere(l, o, want, e);
    if (rc < 0) {
        live_leave(l);
        return rc;
    }
    *ret = l;
    return 0;
}

void live_leave(struct live *l)
{
    if (!l)
        return;
    close_file(l);
    pthread_mutex_destroy(&l->lock);
    free(l->has_memory);
    free(l->spare);
    free(l);
}

void live_close(struct live *l)
{
    if (l && (l->header->state != LIVE_COUNTS || l->used == 0))
        unlinkat(l->place.dir_fd, l->name, 0);
    live_leave(l);
}

void live_count(struct live *l)
{
    uint32_t starting = LIVE_STARTING;

    __atomic_compare_exchange_n(&l->header->state, &starting, LIVE_COUNTS, false, __ATOMIC_RELEASE,
                                __ATOMIC_RELAXED);
}

void live_void(struct live *l)
{
    __atomic_store_n(&l->header->state, (uint32_t)LIVE_VOID, __ATOMIC_RELEASE);
}

const char *live_path(const struct live *l)
{
    return l->path;
}
