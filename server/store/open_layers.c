/* SPDX-License-Identifier: Apache-2.0 */
/* open_layers - the layers of the store that are open. */
#include "server/store/open_layers.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/io/file_ops.h"
#include "server/store/chain.h"
#include "server/store/replay.h"
#include "server/store/store_state.h"
#include "server/store/volume_seal.h"

#define FDS_LEAST 64u

/* ---- the list ---------------------------------------------------------------------------------*/

static struct layer **bucket(struct store *s, struct layer_id id)
{
    return &s->layers[id.b[0] % STORE_BUCKETS];
}

struct layer *store_layer_find(const struct store *s, struct layer_id id)
{
    for (struct layer *l = s->layers[id.b[0] % STORE_BUCKETS]; l; l = l->next)
        if (lay_id_equal(l->id, id))
            return l;
    return NULL;
}

static void list(struct store *s, struct layer *l)
{
    struct layer **at = bucket(s, l->id);

    l->next = *at;
    l->listed = true;
    *at = l;
}

static void unlist(struct store *s, struct layer *l)
{
    struct layer **at = bucket(s, l->id);

    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
}

/* What is open of it is closed. */
static void close_files(struct store *s, struct layer *l)
{
    struct layer_fds fds = { l->data_fd, l->crcs.pages ? l->crcs_fd : -1 };

    lay_close_fds(s->ops, &fds);
    if (l->fd_counted)
        atomic_fetch_sub(&s->fds, 1);
    l->fd_counted = false;
    l->data_fd = l->crcs_fd = -1;
}

static void keep_files(struct store *s, struct layer *l, struct layer_fds fds)
{
    l->data_fd = fds.data;
    l->crcs_fd = fds.crcs;
    l->fd_counted = true;
    atomic_fetch_add(&s->fds, 1);
}

static void free_layer(struct store *s, struct layer *l)
{
    close_files(s, l);
    crc_seen_done(&l->seen, &l->crcs);
    crc_places_done(&l->crcs);
    loan_unmap(s, l);
    map_done(&l->map);
    free(l);
}

void store_layer_ref(struct layer *l)
{
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
}

void store_layer_put(struct store *s, struct layer *l)
{
    if (store_count_less(&l->refs))
        return;
    pthread_mutex_lock(&s->lock);
    bool last = atomic_fetch_sub(&l->refs, 1) == 1;
    if (last && l->listed) {
        unlist(s, l);
        if (l->loaded)
            usage_put(&s->usage, l->id, atomic_load(&l->map.data_blocks), true);
    }
    if (last && s->layer_gone) {
        shard_gate_open(s->layer_gone);
        s->layer_gone = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    if (last)
        free_layer(s, l);
}

/* ---- sealed layers ----------------------------------------------------------------------------*/

/* The data file is as long as its disk. */
static int check_size(struct store *s, const struct layer *l, int fd, struct err *e)
{
    uint64_t bytes, want = round_up(l->info.size_bytes, DISK_BLOCK);
    int rc = s->ops->size(s->ops->ctx, fd, &bytes);

    if (rc < 0)
        return err_set(e, rc, "its data file: %s", strerror(-rc));
    if (bytes != want)
        return err_set(e, -EIO, "its data file has %llu bytes, not %llu", (unsigned long long)bytes,
                       (unsigned long long)want);
    return 0;
}

/* Looks at its files, and keeps them open if there is room. */
static int open_sealed(struct store *s, struct layer *l, struct err *e)
{
    struct layer_fds fds;
    int rc;

    rc = lay_open_sealed(&s->dir, l->id, l->crcs.pages, &fds, e);
    if (rc < 0)
        return rc;
    rc = check_size(s, l, fds.data, e);
    if (rc == 0 && atomic_load(&s->fds) < s->fd_limit)
        keep_files(s, l, fds);
    else
        lay_close_fds(s->ops, &fds);
    return rc;
}

/* An open layer with one more user; NULL and rc = 0 if it is not open. */
static struct layer *share_open(struct store *s, struct layer_id id, int *ret_rc, struct err *e)
{
    struct layer *l = store_layer_find(s, id);

    *ret_rc = 0;
    if (l && l->is_top) {
        *ret_rc = err_set(e, -EBUSY, "it is being written to");
        return NULL;
    }
    if (l)
        store_layer_ref(l);
    return l;
}

/* The layer is on the list afterwards, once; another thread may have been quicker. */
static int share_or_list(struct store *s, struct layer **fresh, struct layer **ret, struct err *e)
{
    int rc;

    pthread_mutex_lock(&s->lock);
    struct layer *l = share_open(s, (*fresh)->id, &rc, e);
    if (!l && rc == 0) {
        l = TAKE(*fresh);
        list(s, l);
    }
    pthread_mutex_unlock(&s->lock);
    *ret = l;
    return rc;
}

static int load(struct store *s, struct layer_id id, const struct layer_info *info,
                const struct map *map, struct layer **ret, struct err *e)
{
    struct layer *fresh = calloc(1, sizeof *fresh);
    int rc;

    if (!fresh)
        return err_set(e, -ENOMEM, "out of memory");
    fresh->id = id;
    fresh->info = *info;
    fresh->data_fd = fresh->crcs_fd = -1;
    fresh->loaded = true;
    atomic_init(&fresh->refs, 1);
    map_init(&fresh->map, map->blocks); /* of the map only this much is kept */
    atomic_init(&fresh->map.data_blocks, map->data_blocks);
    rc = info->has_crcs ? crc_places_make(&fresh->crcs, map) : 0;
    rc = rc < 0 ? err_set(e, rc, "out of memory") : open_sealed(s, fresh, e);
    if (rc == 0)
        rc = share_or_list(s, &fresh, ret, e);
    if (fresh)
        free_layer(s, fresh);
    return rc;
}

int store_layer_get(struct store *s, struct layer_id id, struct layer **ret, struct map *ret_map,
                    struct err *e)
{
    struct layer_info info;
    struct layer *l;
    char text[9];
    int rc;

    pthread_mutex_lock(&s->lock);
    l = share_open(s, id, &rc, e);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0) { /* without the lock: the shard may want it */
        /* It was a top when the process before this one was killed, if the catalog said then that a
         * commit had failed which is there after all. */
        rc = l ? 0 : store_settle(s, id, e);
        if (rc == 0)
            rc = replay_layer(&s->dir, &s->journal, id, &info, ret_map, e);
        if (rc == 0 && !l) {
            rc = load(s, id, &info, ret_map, &l, e);
            if (rc < 0)
                map_done(ret_map);
        } else if (rc < 0 && l) {
            store_layer_put(s, l);
        }
    }
    if (rc < 0)
        return err_wrap(e, rc, "layer %s", lay_id_short(id, text));
    *ret = l;
    return 0;
}

/* ---- tops -------------------------------------------------------------------------------------*/

int store_top_add(struct store *s, struct layer *top, struct layer_id id, struct err *e)
{
    int rc = 0;
    char text[9];

    pthread_mutex_lock(&s->lock);
    if (store_layer_find(s, id)) {
        rc = err_set(e, -EBUSY, "layer %s is open already", lay_id_short(id, text));
    } else if (store_is_sealing(s, id)) {
        rc = err_set(e, -EBUSY, "layer %s is being sealed", lay_id_short(id, text));
    } else {
        top->id = id;
        top->is_top = true;
        list(s, top);
        usage_drop(&s->usage, id);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void store_top_list(struct store *s, struct layer *top)
{
    pthread_mutex_lock(&s->lock);
    top->is_top = top->loaded = true;
    list(s, top);
    pthread_mutex_unlock(&s->lock);
}

void store_top_list_locked(struct store *s, struct layer *top)
{
    top->is_top = top->loaded = true;
    list(s, top);
}

void store_top_loaded(struct store *s, struct layer *top)
{
    pthread_mutex_lock(&s->lock);
    top->loaded = true;
    pthread_mutex_unlock(&s->lock);
}

/* ---- descriptors ------------------------------------------------------------------------------*/

void layer_fds_init(struct store *s, unsigned limit)
{
    struct rlimit all;

    if (!limit && getrlimit(RLIMIT_NOFILE, &all) == 0)
        limit = all.rlim_cur / 4 < UINT32_MAX ? (unsigned)(all.rlim_cur / 4) : UINT32_MAX;
    s->fd_limit = limit ? limit : FDS_LEAST;
    s->fd_clock = 1; /* that of a layer which was never read is 0 */
}

/* The sealed layer whose descriptor was not used for longest; NULL: all are in use. */
static struct layer *oldest(struct store *s)
{
    struct layer *found = NULL;

    for (unsigned i = 0; i < STORE_BUCKETS; i++)
        for (struct layer *l = s->layers[i]; l; l = l->next)
            if (!l->is_top && l->data_fd >= 0 && !l->fd_users &&
                (!found || l->fd_used < found->fd_used))
                found = l;
    return found;
}

/* The list is walked under the lock, for a layer may be freed on another thread meanwhile; only
 * this one opens and closes descriptors of those that are on it. */
static void close_beyond_limit(struct store *s)
{
    struct layer *l;

    if (atomic_load(&s->fds) <= s->fd_limit)
        return;
    pthread_mutex_lock(&s->lock);
    while (atomic_load(&s->fds) > s->fd_limit && (l = oldest(s)))
        close_files(s, l);
    pthread_mutex_unlock(&s->lock);
}

void layer_fd_hold(struct layer *l)
{
    l->fd_users++;
}

void layer_fd_release(struct store *s, struct layer *l, struct layer_fds opened)
{
    l->fd_users--;
    if (opened.data >= 0 && l->data_fd < 0) {
        keep_files(s, l, opened);
        layer_fd_touch(&s->fd_clock, l);
    } else {
        lay_close_fds(s->ops, &opened); /* another read had them opened, too */
    }
    close_beyond_limit(s);
}

void store_top_sealed(struct store *s, struct layer *l)
{
    pthread_mutex_lock(&s->lock);
    l->is_top = false;
    if (l->data_fd >= 0) {
        l->fd_counted = true;
        atomic_fetch_add(&s->fds, 1);
    }
    pthread_mutex_unlock(&s->lock);
    map_done(&l->map);
    layer_fd_touch(&s->fd_clock, l);
    close_beyond_limit(s);
}

void layer_is_damaged(struct store *s, struct layer *l, uint64_t block)
{
    struct err why = { 0 };
    char hex[LAYER_ID_TEXT];

    if (l->damaged)
        return;
    l->damaged = true;
    hex_encode(l->id.b, sizeof l->id.b, hex);
    err_set(&why, -EIO, "block %llu of layers/%s.data is not what was written",
            (unsigned long long)block, hex);
    log_error("store %s: %s", s->path, why.msg);
    if (s->events.damaged)
        s->events.damaged(s->events.ctx, l->id, why.msg);
}
