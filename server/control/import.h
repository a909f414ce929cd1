/* SPDX-License-Identifier: Apache-2.0 */
/* import - reads a disk from where it lies and writes it as a sealed image layer.
 *
 * Blocking, on a job's own thread; knows nothing of HTTP, catalog or jobs.  Whatever ends it early
 * (an error, cancel, a full disk) leaves nothing: no layer, no process, no file. */
#ifndef GRIDBOX_CONTROL_IMPORT_H
#define GRIDBOX_CONTROL_IMPORT_H

#include <stdint.h>

#include "server/base/err.h"
#include "server/control/progress.h"
#include "server/store/store.h"

enum import_kind {
    IMPORT_FILE, /* a local file; its format is told by its magic: raw, qcow2, vmdk, vdi, vhdx */
    IMPORT_URL,  /* http:// or https://, the same formats; a broken transfer is resumed */
    IMPORT_NBD,  /* nbd:// or nbds:// */
};

struct import_source {
    enum import_kind kind;
    const char *where;       /* path, URL or URI */
    int fd;                  /* IMPORT_FILE: the open file (borrowed); -1 otherwise */
    uint64_t limit_bytes;    /* largest virtual size */
    const char *scratch_dir; /* STATE/tmp: files that live no longer than the import */
    struct layer_id layer;   /* to be written; no layer has ever had this id */
};

struct import_result {
    struct layer_id layer; /* sealed and durable; the caller's to name or to layer_remove() */
    uint64_t size_bytes;   /* virtual; a multiple of 512 (padded with zeros) */
    uint64_t data_bytes;   /* stored */
    uint8_t sha256[32];    /* of the whole disk of size_bytes */
    char format[8];        /* "raw", "qcow2", … */
};

/* 0, or with nothing left behind (messages begin with the source, without what is secret in it):
 *   -ECANCELED  progress->cancel was set
 *   -EINVAL     the source is not what it should be: in words, with what to do
 *   -EFBIG      over the limit;  -ENOSPC  the store is full
 *   another -errno of reading or writing */
int import_run(struct store *store, const struct import_source *source,
               struct job_progress *progress, struct import_result *ret, struct err *e);

#endif
