/* SPDX-License-Identifier: Apache-2.0 */
/* import_sink - where every import ends: the bytes of a disk, from front to back, go into a new
 * layer and into its SHA-256; progress is shown and cancel obeyed on the way.
 *
 * Threads: the thread of the import alone. */
#ifndef GRIDBOX_CONTROL_IMPORT_SINK_H
#define GRIDBOX_CONTROL_IMPORT_SINK_H

#include <stdint.h>

#include "server/base/err.h"
#include "server/control/import.h"

/* What a source hands over at once; a multiple of the store's blocks. */
#define SINK_CHUNK_BYTES (2u << 20)

struct sink;

/* Begins a layer for a disk of disk_bytes, padded to whole sectors of 512.
 *   what    the disk in an error message: "the file", "the disk in the qcow2 file"
 *   source  whose limit_bytes and layer count
 *   -EINVAL for an empty disk, -EFBIG over the limit; else as layer_create_as */
int sink_open(struct store *store, const char *what, uint64_t disk_bytes,
              const struct import_source *source, struct job_progress *progress, struct sink **ret,
              struct err *e);

/* -EINVAL or -EFBIG, in words, for a disk of this size. */
int sink_check_size(const char *what, uint64_t disk_bytes, uint64_t limit_bytes, struct err *e);

/* The padded size: what sink_data and sink_zeros must bring in all. */
uint64_t sink_size(const struct sink *s);
uint64_t sink_at(const struct sink *s); /* bytes brought so far */

/* The next `length` bytes: a multiple of 4 KiB, but for the end of the disk.
 *   -ECANCELED, or as layer_write */
int sink_data(struct sink *s, const void *data, uint64_t length, struct err *e);
int sink_zeros(struct sink *s, uint64_t length, struct err *e);

/* Seals the layer and fills *ret but for its format.  All bytes must have come. */
int sink_finish(struct sink *s, struct import_result *ret, struct err *e);

/* Without sink_finish nothing stays of the layer.  NULL is legal. */
void sink_free(struct sink *s);

/* -ECANCELED, in words, when the import has been cancelled; else 0. */
int import_cancelled(const struct job_progress *p, struct err *e);

#endif
