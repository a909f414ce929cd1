/* SPDX-License-Identifier: Apache-2.0 */
/* control - what the handlers of the API work on: everything that the control thread owns.
 *
 * main/ makes the parts and wires them; control_new() adds what is control's own (jobs, uploads)
 * and the routes.
 * Threads: control. */
#ifndef GRIDBOX_CONTROL_CONTROL_H
#define GRIDBOX_CONTROL_CONTROL_H

#include <jansson.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/catalog/volumes.h"
#include "server/control/loop.h"
#include "server/export/export.h"
#include "server/lifecycle/lifecycle.h"

struct care;
struct catalog;
struct control_lab;
struct http;
struct http_request;
struct jobs;
struct notices;
struct store;
struct uploads;

#define CONTROL_NBD_MAX 16

struct control {
    struct loop *loop;
    struct catalog *catalog;
    struct store *store;
    struct export_table *exports;
    struct http *http;
    struct control_lab *lab; /* lab.h */
    struct jobs *jobs;
    struct uploads *uploads;
    struct notices *notices; /* watch.c */
    struct care *care;       /* care.h */
    struct lifecycle life;   /* of control_life() */

    const char *state_dir;
    const char *scratch_dir;  /* STATE/tmp */
    bool nbd_secure;          /* NBD wants TLS: so do its URIs */
    const char *advertise;    /* numeric address for URIs; NULL = the listening one */
    const char *boot_address; /* of the boot interface; NULL = none */
    uint64_t image_limit_bytes;
    int64_t started_ns;
    char nbd[CONTROL_NBD_MAX][80]; /* "ADDR:PORT" that NBD listens on; "" behind the last */
};

/* Adds jobs, uploads and the routes of this room to *c, whose other members main has set.  lab is
 * main's as well.  On failure nothing is left to undo but control_done(). */
int control_init(struct control *c, struct err *e);

/* Cancels the jobs and waits for them.  Idempotent. */
void control_done(struct control *c);

/* From now on what becomes of the volumes is noted, until control_watch_end() (idempotent). */
int control_watch(struct control *c, struct err *e);
void control_watch_end(struct control *c);

/* Has this volume failed?  If nobody has noted it yet, it is noted now. */
int control_note_failure(struct control *c, const struct cat_volume *v, bool *ret_failed,
                         struct err *e);

/* An event, in the transaction of what it tells of; who waits for events hears of it. */
int control_event(struct control *c, struct err *e, const char *kind, const char *object,
                  const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The export of a volume's attachment is open from now on; it replaces a present one.  The
 * attachment must fit the volume (cat_volume_attached). */
int control_grant_volume(struct control *c, const struct cat_volume *v, struct err *e);

/* The same for an image's. */
int control_grant_image(struct control *c, const struct cat_image *i,
                        const struct cat_attachment *a, struct err *e);

/* At the start: opens the exports of all attachments that still fit; the others are made known as
 * over, so that their holders are told why. */
int control_regrant(struct control *c, struct err *e);

/* At the start, before control_regrant: epochs of volumes that were being written when the server
 * was killed or the power failed, and of volumes that had failed; leftover layers. */
int control_recover(struct control *c, struct err *e);

/* What the verbs of lifecycle.h work on; with the members of *c as they are now. */
struct lifecycle *control_life(struct control *c);

/* Host of NBD URIs and of host's disks, without brackets; and the port of the first address. */
const char *control_nbd_host(const struct control *c, char ret[static 64]);
uint16_t control_nbd_port(const struct control *c);

/* "nbd://HOST:PORT/NAME.TOKEN": a secret. */
void control_uri(const struct control *c, const char *name,
                 const uint8_t token[static EXPORT_TOKEN_BYTES], char *ret, size_t size);

/* "the command line", or the host's name. */
const char *control_holder(const struct cat_attachment *a);

/* JSON of API objects, for the handlers. */
json_t *control_image_json(const struct cat_image *i);
json_t *control_volume_json(struct control *c, const struct cat_volume *v);

/* The volumes that a body names: a list `volumes`, or `all` (those that the snapshot holds, if
 * there is one).  -EINVAL, -ENOENT in words. */
int control_read_set(struct control *c, const json_t *body, const struct cat_snapshot *of,
                     struct lifecycle_set *ret, struct err *e);

/* Routes of one file each. */
int control_status_routes(struct http *h, struct err *e);
int control_event_routes(struct http *h, struct err *e);
int control_metrics_routes(struct http *h, struct err *e);
int control_image_routes(struct http *h, struct err *e);
int control_volume_routes(struct http *h, struct err *e);
int control_attachment_routes(struct http *h, struct err *e);
int control_job_routes(struct http *h, struct err *e);
int control_upload_routes(struct http *h, struct err *e);
int control_snapshot_routes(struct http *h, struct err *e);
int control_restart_routes(struct http *h, struct err *e);
int control_store_routes(struct http *h, struct err *e);

#endif
