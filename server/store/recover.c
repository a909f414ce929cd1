/* SPDX-License-Identifier: Apache-2.0 */
/* recover - what a start finds in the directory of layers: tops that lost power while they were
 * written, and files that nobody knows. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/io/file_ops.h"
#include "server/store/batch.h"
#include "server/store/replay.h"
#include "server/store/store_state.h"

#define MARKS_PER_BATCH 512u

/* ---- the directory ----------------------------------------------------------------------------*/

struct found {
    struct layer_id id;
    bool has_map, has_data;
};

struct listing {
    struct found *all;
    size_t count, capacity;
};

static void listing_done(struct listing *l)
{
    free(l->all);
}

/* HEX32.map or HEX32.data; nothing else is ours. */
static bool parse_name(const char *name, struct found *ret)
{
    char hex[LAYER_ID_TEXT];
    const char *suffix = name + LAYER_ID_TEXT - 1;

    if (strlen(name) < LAYER_ID_TEXT - 1)
        return false;
    memcpy(hex, name, sizeof hex - 1);
    hex[sizeof hex - 1] = '\0';
    *ret = (struct found){ .has_map = strcmp(suffix, ".map") == 0,
                           .has_data = strcmp(suffix, ".data") == 0 };
    return (ret->has_map || ret->has_data) && hex_decode(hex, ret->id.b, sizeof ret->id.b) == 0;
}

static int listing_add(struct listing *l, struct found f)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 64;
        struct found *all = realloc(l->all, capacity * sizeof *all);
        if (!all)
            return -ENOMEM;
        l->all = all;
        l->capacity = capacity;
    }
    l->all[l->count++] = f;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct found *)a)->id.b, ((const struct found *)b)->id.b, LAYER_ID_BYTES);
}

/* All layers, each once. */
static int list_layers(const struct store *s, struct listing *l, struct err *e)
{
    int fd = openat(s->state_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(auto_closedir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    struct found f;

    if (!dir)
        return err_errno(e, "%s/layers", s->path);
    while ((entry = readdir(dir)))
        if (parse_name(entry->d_name, &f) && listing_add(l, f) < 0)
            return err_set(e, -ENOMEM, "out of memory");
    if (!l->count)
        return 0;

    qsort(l->all, l->count, sizeof *l->all, by_id);
    size_t kept = 0;
    for (size_t i = 1; i < l->count; i++) {
        if (lay_id_equal(l->all[i].id, l->all[kept].id)) {
            l->all[kept].has_map |= l->all[i].has_map;
            l->all[kept].has_data |= l->all[i].has_data;
        } else {
            l->all[++kept] = l->all[i];
        }
    }
    l->count = kept + 1;
    return 0;
}

/* ---- volumes that were open -------------------------------------------------------------------*/

/* A top that was marked open; or one whose journal is gone, for then nobody knows. */
static bool lost_power(const struct store *s, struct layer_id id, struct layer_info *ret_info)
{
    struct err e = { 0 };
    int rc = lay_read_map(&s->dir, id, ret_info, NULL, &e);

    if (rc < 0) {
        log_error("store recover: %s", e.msg); /* its volume will say so when it is opened */
        return false;
    }
    return ret_info->kind == DISK_TOP &&
           (ret_info->mark == DISK_OPEN || !lay_id_equal(ret_info->store, s->dir.store));
}

int store_recover(struct store *s, int (*open_found)(void *ctx, struct layer_id id), void *ctx,
                  struct err *e)
{
    AUTO(listing_done) struct listing l = { 0 };
    struct layer_info info;
    int rc;

    rc = list_layers(s, &l, e);
    for (size_t i = 0; i < l.count && rc == 0; i++)
        if (l.all[i].has_map && lost_power(s, l.all[i].id, &info)) {
            rc = open_found(ctx, l.all[i].id);
            if (rc < 0)
                err_set(e, rc, "store recover: %s", strerror(-rc));
        }
    return rc;
}

/* One batch, on this thread: nothing else appends yet. */
static int append_now(struct store *s, const struct buf *records, struct err *e)
{
    AUTO(auto_free) struct disk_batch *batch = calloc(1, DISK_BATCH_MAX);
    struct journal_place place;
    int rc;

    if (!batch || records->failed)
        return err_set(e, -ENOMEM, "out of memory");
    memcpy(batch + 1, records->data, records->length);
    rc = jnl_place(&s->journal, (uint32_t)records->length, &place);
    if (rc < 0 || place.marker || place.checkpoint >= 0)
        return err_set(e, -ENOSPC, "the journal is too small for so many volumes");
    rc = jnl_append(&s->journal, &place, batch, (uint32_t)records->length);
    if (rc < 0)
        return err_set(e, rc, "journal: %s", strerror(-rc));
    jnl_placed(&s->journal, &place, batch, (uint32_t)records->length);
    return 0;
}

int store_recovered(struct store *s, struct err *e)
{
    AUTO(listing_done) struct listing l = { 0 };
    AUTO(buf_done) struct buf records = { 0 };
    struct layer_info info;
    int rc;

    buf_init(&records, DISK_BATCH_MAX);
    rc = list_layers(s, &l, e);
    for (size_t i = 0; i < l.count && rc == 0; i++) {
        if (l.all[i].has_map && lost_power(s, l.all[i].id, &info))
            batch_add_mark(&records, info.id, DISK_CLEAN, info.generation, info.epoch);
        if (records.length >= MARKS_PER_BATCH * sizeof(struct disk_record_mark)) {
            rc = append_now(s, &records, e);
            records.length = 0;
        }
    }
    if (rc == 0 && records.length)
        rc = append_now(s, &records, e);
    return rc < 0 ? err_wrap(e, rc, "store recover") : 0;
}

/* ---- files that nobody knows ------------------------------------------------------------------*/

/* Nothing was ever written to it.  A data file without a map is younger than its first write. */
static bool is_empty(const struct store *s, const struct found *f)
{
    struct layer_info info;
    struct map map;
    char name[LAYER_NAME_BYTES];
    struct stat st;

    if (!f->has_map) {
        lay_file_name(f->id, ".data", name);
        return fstatat(s->dir.fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_blocks == 0;
    }
    if (!f->has_data)
        return true;
    if (lay_read_map(&s->dir, f->id, &info, &map, NULL) < 0)
        return false;
    bool used = false;
    for (uint32_t page = 0; page < map.page_count && !used; page++)
        used = map_page_used(&map, page);
    map_done(&map);
    return !used;
}

static int move_away(struct store *s, struct layer_id id, struct err *e)
{
    static const char *const suffixes[] = { ".data", ".map" };

    for (size_t i = 0; i < 2; i++) {
        char name[LAYER_NAME_BYTES], from[64], to[64];
        lay_file_name(id, suffixes[i], name);
        snprintf(from, sizeof from, "layers/%s", name);
        snprintf(to, sizeof to, "lost+found/%s", name);
        int rc = s->ops->rename_at(s->ops->ctx, s->state_fd, from, to);
        if (rc < 0 && rc != -ENOENT)
            return err_set(e, rc, "move %s to lost+found: %s", from, strerror(-rc));
        if (rc == 0)
            log_warn("store sweep: %s belongs to nothing: moved to %s/%s", from, s->path, to);
    }
    return 0;
}

int store_sweep(struct store *s, bool (*keep)(void *ctx, struct layer_id id), void *ctx,
                struct err *e)
{
    AUTO(listing_done) struct listing l = { 0 };
    unsigned moved = 0;
    int rc;

    rc = list_layers(s, &l, e);
    for (size_t i = 0; i < l.count && rc == 0; i++) {
        if (keep(ctx, l.all[i].id))
            continue;
        if (is_empty(s, &l.all[i])) {
            rc = lay_delete_files(&s->dir, l.all[i].id, e);
        } else {
            rc = move_away(s, l.all[i].id, e);
            moved++;
        }
    }
    if (rc == 0 && moved) {
        int fd = openat(s->state_fd, "lost+found", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        rc = fd < 0 ? -errno : s->ops->sync_dir(s->ops->ctx, fd); /* there before it is gone here */
        if (rc == 0)
            rc = s->ops->sync_dir(s->ops->ctx, s->dir.fd);
        if (fd >= 0)
            close(fd);
        if (rc < 0)
            err_set(e, rc, "sync lost+found: %s", strerror(-rc));
    }
    return rc < 0 ? err_wrap(e, rc, "store sweep") : 0;
}
