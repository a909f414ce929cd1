/* SPDX-License-Identifier: Apache-2.0 */
/* journal - the file with what changed in maps since their files were written: appending. */
#include "server/store/journal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/io/file_ops.h"
#include "server/store/layer.h"

uint64_t jnl_batch_max(const struct journal *j)
{
    /* The last block of a half is kept for the marker. */
    uint64_t room = j->half_bytes - DISK_BLOCK;

    return room < DISK_BATCH_MAX ? room : DISK_BATCH_MAX;
}

static uint64_t half_offset(const struct journal *j, unsigned half)
{
    return DISK_BLOCK + half * j->half_bytes;
}

static void half_reset(struct journal_half *h)
{
    id_set_done(&h->layers);
    *h = (struct journal_half){ 0 };
}

/* Begins the other half; the present one is full of batches that are not in map files yet. */
static int switch_halves(struct journal *j)
{
    unsigned full = j->active;

    pthread_mutex_lock(&j->lock);
    j->half[full].busy = true;
    j->active = 1 - full;
    half_reset(&j->half[j->active]);
    j->reused++;
    pthread_mutex_unlock(&j->lock);
    return (int)full;
}

/* Before the other half is written over, this one must say durably that what was there is in map
 * files: if the first batch over there is torn, nothing else would tell. */
static bool needs_marker(const struct journal_half *h)
{
    return h->first_seq && h->max_applied + 1 < h->first_seq;
}

int jnl_place(struct journal *j, uint32_t length, struct journal_place *ret)
{
    struct journal_half *h = &j->half[j->active];
    struct journal_place place = { .checkpoint = -1 };

    assert(sizeof(struct disk_batch) + length <= jnl_batch_max(j));
    if (h->used_bytes + batch_room(length) > j->half_bytes - DISK_BLOCK) {
        if (j->half[1 - j->active].busy)
            return -EAGAIN;
        place.marker = needs_marker(h);
        if (!place.marker) {
            place.checkpoint = switch_halves(j);
            h = &j->half[j->active];
        }
    }
    place.offset = half_offset(j, j->active) + h->used_bytes;
    place.seq = j->next_seq;
    place.applied = j->applied;
    *ret = place;
    return 0;
}

int jnl_append(const struct journal *j, const struct journal_place *place, struct disk_batch *batch,
               uint32_t length)
{
    int rc;

    batch_seal(batch, length, place->seq, place->applied, j->store);
    rc = lay_write_all(j->ops, j->fd, batch, batch_room(length), place->offset);
    return rc < 0 ? rc : j->ops->sync_data(j->ops->ctx, j->fd);
}

static int note_layer(void *ctx, const struct disk_record *record)
{
    id_set_add(ctx, batch_layer(record));
    return 0;
}

void jnl_placed(struct journal *j, const struct journal_place *place,
                const struct disk_batch *batch, uint32_t length)
{
    struct journal_half *h = &j->half[j->active];

    pthread_mutex_lock(&j->lock);
    h->used_bytes += batch_room(length);
    if (!h->first_seq)
        h->first_seq = place->seq;
    h->last_seq = place->seq;
    h->max_applied = place->applied;
    (void)batch_each(batch + 1, length, note_layer, &h->layers, NULL);
    pthread_mutex_unlock(&j->lock);
    j->next_seq = place->seq + 1;
}

void jnl_checkpointed(struct journal *j, unsigned half)
{
    struct journal_half *h = &j->half[half];

    assert(half != j->active);
    if (h->last_seq > j->applied)
        j->applied = h->last_seq;
    pthread_mutex_lock(&j->lock);
    h->busy = false;
    id_set_done(&h->layers);
    pthread_mutex_unlock(&j->lock);
}

int jnl_restart(struct journal *j, struct err *e)
{
    struct journal_half *h = &j->half[j->active];
    int rc;

    if (!h->first_seq)
        return 0;
    if (needs_marker(h)) {
        AUTO(auto_free) struct disk_batch *marker = calloc(1, DISK_BLOCK);
        struct journal_place place = {
            .offset = half_offset(j, j->active) + h->used_bytes,
            .seq = j->next_seq,
            .applied = h->last_seq,
        };
        if (!marker)
            return err_set(e, -ENOMEM, "journal: out of memory");
        assert(h->used_bytes + DISK_BLOCK <= j->half_bytes); /* its block was kept free */
        rc = jnl_append(j, &place, marker, 0);
        if (rc < 0)
            return err_set(e, rc, "journal: %s", strerror(-rc));
        jnl_placed(j, &place, marker, 0);
    }
    j->applied = h->last_seq;
    switch_halves(j);
    j->half[1 - j->active].busy = false;
    id_set_done(&j->half[1 - j->active].layers);
    return 0;
}

int jnl_settle(struct journal *j, struct err *e)
{
    int rc = j->ops->sync_data(j->ops->ctx, j->fd);

    return rc < 0 ? err_set(e, rc, "journal: sync: %s", strerror(-rc)) : 0;
}

void jnl_resume(struct journal *j)
{
    struct journal_half *full = &j->half[1 - j->active];

    for (unsigned half = 0; half < 2; half++)
        if (j->half[half].max_applied > j->applied)
            j->applied = j->half[half].max_applied;
    full->busy = full->first_seq && full->last_seq > j->applied;
}

int jnl_full_half(const struct journal *j)
{
    return j->half[1 - j->active].busy ? (int)(1 - j->active) : -1;
}

/* ---- views ------------------------------------------------------------------------------------*/

static void view_add(const struct journal *j, unsigned half, struct journal_view *view)
{
    const struct journal_half *h = &j->half[half];

    if (h->used_bytes) {
        view->part[view->parts].half = half;
        view->part[view->parts].bytes = h->used_bytes;
        view->part[view->parts++].first_seq = h->first_seq;
    }
}

void jnl_view(struct journal *j, struct journal_view *ret)
{
    pthread_mutex_lock(&j->lock);
    *ret = (struct journal_view){ .reused = j->reused };
    view_add(j, 1 - j->active, ret);
    view_add(j, j->active, ret);
    pthread_mutex_unlock(&j->lock);
}

void jnl_view_half(struct journal *j, unsigned half, struct journal_view *ret)
{
    pthread_mutex_lock(&j->lock);
    *ret = (struct journal_view){ .reused = j->reused };
    view_add(j, half, ret);
    pthread_mutex_unlock(&j->lock);
}

bool jnl_view_gone(struct journal *j, const struct journal_view *view)
{
    pthread_mutex_lock(&j->lock);
    bool gone = j->reused != view->reused;
    pthread_mutex_unlock(&j->lock);
    return gone;
}

bool jnl_mentions(struct journal *j, struct layer_id id)
{
    bool found = false;

    pthread_mutex_lock(&j->lock);
    for (unsigned i = 0; i < 2; i++)
        found = found || j->half[i].layers.incomplete || id_set_has(&j->half[i].layers, id);
    pthread_mutex_unlock(&j->lock);
    return found;
}
