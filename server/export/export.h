/* SPDX-License-Identifier: Apache-2.0 */
/* export - attachments: which token opens which device, for how long, and who is cut off.
 *
 * An attachment is the right to open one export.  No attachment, no bytes.  The table belongs to
 * one shard; the control thread changes it by the calls marked "control", which wait for the shard.
 * Writable exports have one connection at a time: a new one ends the old one first
 * (socket shut, queued requests dropped, running ones awaited) before it is told that it is in. */
#ifndef GRIDBOX_EXPORT_EXPORT_H
#define GRIDBOX_EXPORT_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/store/store.h"

struct blkdev;
struct export_backend;
struct export_table;
struct shard;

#define EXPORT_TOKEN_BYTES 16
#define EXPORT_NAME_SIZE   128 /* "NAME.TOKEN" or "NAME@VERSION.TOKEN" and NUL */

struct export_grant {
    char name[80];                     /* volume name, or image name@version */
    uint8_t token[EXPORT_TOKEN_BYTES]; /* 32 hex digits in the export name */
    char holder[64];                   /* host name, or "command line" */
    uint64_t generation, epoch;        /* volumes; what this attachment is bound to */
    bool writable;                     /* false: an image; any number of connections */
    struct layer_chain layers;         /* sealed: the image's, or below the volume's top */
    uint64_t size_bytes;               /* an image's size */
    struct volume_spec volume;         /* if writable: its top and size; `below` is not used */
};

/* Devices are opened at the first connection of a grant, on a thread of the table's own, and kept
 * until the grant ends; those of images are shared by all grants of their layer. */
int export_table_new(struct shard *shard, struct store *store, struct export_table **ret,
                     struct err *e);
/* The same over another source of devices (export/backend.h), which must outlive the table. */
int export_table_new_over(struct shard *shard, const struct export_backend *backend,
                          struct export_table **ret, struct err *e);
/* control; cuts all connections, closes all devices (commits), frees.  NULL is legal. */
void export_table_free(struct export_table *t);

/* control: from now on the token opens the export.  For a volume it replaces a present grant: that
 * is fenced first (connection cut, running requests awaited).  -EEXIST: the token is taken. */
int export_grant(struct export_table *t, const struct export_grant *g, struct err *e);

/* control: the grant of this volume (or all grants of this image version) ends: connections are cut
 * and drained, the device is closed (committed, marked clean); with a disk that hangs that is
 * waited for for 5 s only, and a later grant's device is not opened before it is over.  why is what
 * a later GO with the old token is told, for example "the volume was reset: epoch 4 is over"; at
 * most 200 bytes.  Nothing there is fine. */
void export_revoke(struct export_table *t, const char *name, const char *why);

/* control: like export_revoke for many volumes at once: one trip to the shard.  discard: their
 * tops are never read again (volume_discard). */
void export_revoke_all(struct export_table *t, const char *const *names, unsigned count,
                       const char *why, bool discard);

/* control: what the device of this volume's or image version's grant will be opened with from now
 * on, after its top was sealed or layers were merged (an open device has been told by the store).
 * top: of a volume alone.  No grant is fine. */
void export_respec(struct export_table *t, const char *name, struct layer_id top,
                   const struct layer_chain *layers);

/* control: volume_set_quota of the volume's device and grant.  No grant is fine. */
void export_set_quota(struct export_table *t, const char *name, uint64_t quota_bytes);

/* Called on the shard; may post to the control thread.  Each may be NULL. */
struct export_events {
    /* The volume has failed, parks, or goes on. */
    void (*failed)(void *ctx, const char *name, const char *why);
    void (*parked)(void *ctx, const char *name, bool parked, const char *why);
    /* A request is older than EXPORT_STALL_NS (and its volume is not parked); or that is over, and
     * the longest of them took stalled_ns. */
    void (*stalled)(void *ctx, const char *name, bool stalled, int64_t stalled_ns);
    /* A connection has ended one before it of the same attachment; or (fenced) the attachment that
     * had one is over. */
    void (*replaced)(void *ctx, const char *name, bool fenced, const char *why);
    void *ctx;
};
#define EXPORT_STALL_NS 5000000000ll

/* control: from now on; volumes that have failed before are told of at once.  NULL: none is told
 * any more. */
void export_set_events(struct export_table *t, const struct export_events *events);

struct export_info {
    bool granted, connected;
    bool failed; /* the volume has failed; so until it is granted with a higher epoch */
    bool parked; /* its writes wait for room */
    uint64_t read_bytes, written_bytes; /* since the grant */
    int64_t connected_since_ns;         /* clock_mono_ns */
};
/* control: what is known of a volume's grant. */
void export_query(struct export_table *t, const char *name, struct export_info *ret);

/* ---- on the shard, for protocol services -------------------------------------------------------
 */
struct export_session; /* one open connection to one export */

struct export_peer {
    /* Cut: shut the socket down, drop what is unread and queued, submit nothing more; when the last
     * running request is done, call export_closed().  On the shard; may call export_closed() at
     * once. */
    void (*cut)(struct export_peer *p);
};

/* Looks the name up and opens the device.  ready() is called once, on the shard, after this has
 * returned: with a session and device (error 0), or with NULL and a refusal in words:
 *   -ENOENT     no such export, or a wrong token: "no such export" (never which of the two)
 *   -ESTALE     the attachment is over: in words why
 *   -ESHUTDOWN  it cannot be opened now: in words why
 * An existing connection of a writable export is cut and drained before ready(); of several that
 * wait for that, the newest wins.  p must live until ready(), and then until export_closed(). */
typedef void (*export_ready_fn)(struct export_peer *p, struct export_session *session,
                                struct blkdev *device, int error, const char *why);
void export_open(struct export_table *t, const char *export_name, struct export_peer *p,
                 export_ready_fn ready);

/* Size and flags for INFO, which must not end a connection: 0, -ENOENT or -ESTALE as above. */
int export_peek(struct export_table *t, const char *export_name, uint64_t *ret_size_bytes,
                bool *ret_writable, struct err *e);

/* The peer's last request is done and it sends no more. */
void export_closed(struct export_session *session);

#endif
