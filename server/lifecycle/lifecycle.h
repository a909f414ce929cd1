/* SPDX-License-Identifier: Apache-2.0 */
/* lifecycle - what is done to volumes, images and snapshots as wholes: made, cloned, snapshot,
 * rolled back, reset, promoted, resized, removed, merged.
 *
 * One function a verb: all its steps in order, each undone when a later one fails.  The order is
 * always: hold (store) -> one catalog transaction with its event -> let go (store, exports).  What
 * the catalog says is durable before anybody is served by it.  It knows neither HTTP nor hosts nor
 * jobs; who holds what is asked and told through the hooks.
 * Threads: the one of the catalog (control), but for what says "any thread". */
#ifndef GRIDBOX_LIFECYCLE_LIFECYCLE_H
#define GRIDBOX_LIFECYCLE_LIFECYCLE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/catalog/snapshots.h"
#include "server/catalog/volumes.h"
#include "server/store/store.h"

struct catalog;
struct export_grant;
struct export_table;
struct store;

#define LIFECYCLE_VOLUMES_MOST 4096                   /* of one call */
#define LIFECYCLE_SIZE_MOST    ((16ull << 40) - 4096) /* bytes of a volume: ext4's largest file */
#define LIFECYCLE_QUOTA_LEAST  (1ull << 20)
#define LIFECYCLE_HOLD_MS      5000 /* writes are held no longer than this for a snapshot, … */
#define LIFECYCLE_HOLD_EACH_MS 5    /* … and than this more for each of its volumes */

/* Every hook may be NULL. */
struct lifecycle_hooks {
    /* In the transaction of a reset or rollback: the volume has another content; v holds its new
     * top, generation and epoch, and in v->attachment the one that is over.  Who is to go on with
     * the new content is given a new attachment here (cat_volume_attach(), which fills *v): it is
     * granted after the transaction. */
    int (*moved)(void *ctx, struct cat_volume *v, struct err *e);
    /* An event was added: whoever waits for events is to look, once the transaction is over. */
    void (*event)(void *ctx);
    /* There are dead layers or pairs of layers to merge: call lifecycle_sweep_* and
     * lifecycle_merge_* some time. */
    void (*work)(void *ctx);
    void *ctx;
};

struct lifecycle {
    struct catalog *catalog;
    struct store *store;
    struct export_table *exports; /* NULL: nothing is exported */
    struct lifecycle_hooks hooks;
    unsigned hold_ms;     /* 0 = as above */
    uint64_t quota_least; /* 0 = LIFECYCLE_QUOTA_LEAST */
};

/* ---- volumes of one call ------------------------------------------------------------------------
 */
struct lifecycle_set {
    struct cat_volume *v; /* heap; as the catalog had them, then as the verb left them */
    unsigned count;
};
void lifecycle_set_done(struct lifecycle_set *set); /* idempotent */

/* In the order given.  -ENOENT, -EINVAL (a name twice, none, or too many). */
int lifecycle_set_named(struct lifecycle *l, const char *const *names, unsigned count,
                        struct lifecycle_set *ret, struct err *e);
/* All there are, in the order of creation; also none. */
int lifecycle_set_all(struct lifecycle *l, struct lifecycle_set *ret, struct err *e);
/* Those that the snapshot holds. */
int lifecycle_set_of_snapshot(struct lifecycle *l, const struct cat_snapshot *s,
                              struct lifecycle_set *ret, struct err *e);

/* ---- making and removing ------------------------------------------------------------------------
 * names: checked by the caller, 1 to LIFECYCLE_VOLUMES_MOST; all or none.  -EEXIST. */
int lifecycle_create(struct lifecycle *l, const struct cat_image *image, const char *const *names,
                     unsigned count, struct err *e);

/* New volumes with the content that `v` shows now (its top is sealed, and both stand on it), its
 * size, quota and image.  Errors also as of lifecycle_snapshot. */
int lifecycle_clone(struct lifecycle *l, struct cat_volume *v, const char *const *names,
                    unsigned count, struct err *e);
/* The same with the content that it had at the snapshot.  Touches the catalog alone. */
int lifecycle_clone_snapshot(struct lifecycle *l, const struct cat_volume *v,
                             const struct cat_snapshot *s, const char *const *names, unsigned count,
                             struct err *e);

/* -EBUSY in words: attached, a domain's disk, or in snapshots; with_snapshots: it is taken out of
 * those (one that is empty then is removed).  Ends its grant. */
int lifecycle_remove(struct lifecycle *l, const struct cat_volume *v, bool with_snapshots,
                     struct err *e);
/* -EBUSY in words if snapshots hold it. */
int lifecycle_check_snapshots(struct lifecycle *l, const struct cat_volume *v, struct err *e);

/* ---- snapshots ----------------------------------------------------------------------------------
 * One instant over all volumes of the set; connections stay, reads never wait.
 *   -EEXIST     the name is taken
 *   -EMLINK     one of them stands on LAYER_CHAIN_MAX layers: remove snapshots
 *   -ETIMEDOUT  the store could not hold still in time
 *   -EIO -EBUSY as store_seal_begin; nothing has changed */
int lifecycle_snapshot(struct lifecycle *l, const char *name, struct lifecycle_set *set,
                       struct cat_snapshot *ret, struct err *e);

/* All volumes of the set show again what they showed at the snapshot, in one transaction:
 * generation and epoch + 1, what was written since is dropped, attachments are over (hooks.moved
 * may renew them).  The size never shrinks.  -ENOENT: a volume is not in the snapshot. */
int lifecycle_rollback(struct lifecycle *l, const struct cat_snapshot *s, struct lifecycle_set *set,
                       struct err *e);

/* The same, to the image that each was made from. */
int lifecycle_reset(struct lifecycle *l, struct lifecycle_set *set, struct err *e);

/* Removes the name; layers that nothing needs become dead ones. */
int lifecycle_snapshot_remove(struct lifecycle *l, const struct cat_snapshot *s, struct err *e);

/* ---- one volume ---------------------------------------------------------------------------------
 * What it shows now becomes the next version of an image, without copying: unverified until
 * lifecycle_verify_* has hashed it.  i->name and i->source are the caller's; the rest is filled. */
int lifecycle_promote(struct lifecycle *l, struct cat_volume *v, struct cat_image *i,
                      struct err *e);

/* Bytes: a multiple of 512, at least the present size.  -EBUSY while it is attached. */
int lifecycle_resize(struct lifecycle *l, struct cat_volume *v, uint64_t size_bytes, struct err *e);

/* Data that its top may hold, from now on; 0: no limit. */
int lifecycle_quota(struct lifecycle *l, struct cat_volume *v, uint64_t quota_bytes, struct err *e);

/* An image that nothing uses is removed; -EBUSY in words. */
int lifecycle_image_remove(struct lifecycle *l, const struct cat_image *i, struct err *e);

/* ---- grants -------------------------------------------------------------------------------------
 * What an export needs to know of a volume's or image's attachment. */
int lifecycle_volume_grant(struct lifecycle *l, const struct cat_volume *v,
                           struct export_grant *ret, struct err *e);
int lifecycle_image_grant(struct lifecycle *l, const struct cat_image *i,
                          const struct cat_attachment *a, struct export_grant *ret, struct err *e);
/* Opens the export of v->attachment (which must fit), in the place of a present one. */
int lifecycle_grant_volume(struct lifecycle *l, const struct cat_volume *v, struct err *e);
int lifecycle_grant_image(struct lifecycle *l, const struct cat_image *i,
                          const struct cat_attachment *a, struct err *e);
/* "the command line", or the host's name. */
const char *lifecycle_holder(const struct cat_attachment *a);

/* ---- the start ----------------------------------------------------------------------------------
 * After store_open and cat_open, before anything is exported: volumes whose last writes may be lost
 * and volumes that had failed begin a new epoch, in one transaction; the store is told
 * (store_recovered); leftovers are swept (store_sweep).  *ret_volumes (may be NULL): how many began
 * one. */
int lifecycle_recover(struct lifecycle *l, unsigned *ret_volumes, struct err *e);

/* Opens the exports of all attachments that still fit; the others are made known as over, so that
 * their holders are told why. */
int lifecycle_regrant(struct lifecycle *l, struct err *e);

/* ---- dead layers --------------------------------------------------------------------------------
 * Their files are deleted a slice at a time: pick on the control thread, delete on any thread,
 * forget on the control thread, until pick finds none. */
#define LIFECYCLE_SLICE 64
struct lifecycle_dead {
    unsigned count;
    bool removed[LIFECYCLE_SLICE];
    struct layer_id id[LIFECYCLE_SLICE];
};
/* In: the slice before (count 0: none).  Out: the next one; count 0: that was the last. */
int lifecycle_dead_pick(struct lifecycle *l, struct lifecycle_dead *ret, struct err *e);
/* Any thread.  What cannot be removed is logged and stays dead, for the next start. */
void lifecycle_dead_delete(struct store *s, struct lifecycle_dead *d);
int lifecycle_dead_forget(struct lifecycle *l, const struct lifecycle_dead *d, struct err *e);
/* All of it, here and now. */
void lifecycle_sweep(struct lifecycle *l);

/* ---- merging ------------------------------------------------------------------------------------
 * A sealed layer that no snapshot and no image names, and on which exactly one sealed layer stands,
 * is of no use by itself: both become one.  Between the steps anything may happen: _finish looks
 * whether the pair is still as it was.  A power cut leaves the old chain or the new one. */
struct lifecycle_merge {
    struct layer_id lower, upper, merged;
};
/* 1: found one; 0: there is none.  after (may be NULL): look behind this pair only.  The id of the
 * merged layer is chosen and written down: _finish or _drop must follow (else the next start does
 * what _drop does). */
int lifecycle_merge_next(struct lifecycle *l, const struct lifecycle_merge *after,
                         struct lifecycle_merge *ret, struct err *e);
/* Any thread; blocks.  Errors of store_merge, after which only _drop makes sense. */
int lifecycle_merge_write(struct store *s, struct lifecycle_merge *m, bool (*cancelled)(void *ctx),
                          void *ctx, struct err *e);
/* After a successful _write: everything that stood on the two stands on the merged one; the two are
 * dead.  -ESTALE: the pair is no longer what it was.  On failure it has done what _drop does. */
int lifecycle_merge_finish(struct lifecycle *l, const struct lifecycle_merge *m, struct err *e);
/* Nothing came of it; the merged layer, if it is there, is dead. */
void lifecycle_merge_drop(struct lifecycle *l, const struct lifecycle_merge *m);
/* All of it, here and now, until no pair is left. */
int lifecycle_merge_all(struct lifecycle *l, struct err *e);

/* ---- verifying images ---------------------------------------------------------------------------
 */
struct lifecycle_verify {
    int64_t image_id;
    struct layer_chain layers;
    uint64_t size_bytes;
    char want[65];       /* SHA-256 as the catalog has it; "": none yet */
    uint8_t sha256[32];  /* filled by _read */
    uint64_t data_bytes; /* likewise: blocks that are not zeros */
};
int lifecycle_verify_begin(struct lifecycle *l, const struct cat_image *i,
                           struct lifecycle_verify *ret, struct err *e);
/* Any thread; blocks: reads all of it, past the page cache, and checks its layers.
 *   progress  called now and then with the bytes done; true ends it (-ECANCELED); may be NULL
 * -EIO: in words what is damaged. */
int lifecycle_verify_read(struct store *s, struct lifecycle_verify *v,
                          bool (*progress)(void *ctx, uint64_t done_bytes), void *ctx,
                          struct err *e);
/* read: what _read returned, and *e what it said.  Notes the image as verified, or as damaged
 * (-EIO), with an event.  -ESTALE: it was removed meanwhile; -EAGAIN: its layers were merged:
 * begin again. */
int lifecycle_verify_end(struct lifecycle *l, const struct lifecycle_verify *v, int read,
                         struct err *e);

#endif
