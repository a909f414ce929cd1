/* SPDX-License-Identifier: Apache-2.0 */
/* import_rig - a store in a temporary directory, files to import, and a look at what came of them.
 */
#ifndef GRIDBOX_TESTS_CONTROL_IMPORT_RIG_H
#define GRIDBOX_TESTS_CONTROL_IMPORT_RIG_H

#include <stdint.h>

#include "server/control/import.h"
#include "tests/unit/unit.h"

#define RIG_LIMIT (1ull << 40)

struct pool;
struct shard;

struct import_rig {
    char dir[128], scratch[140], live[140];
    struct store *store;
    struct shard *shard;
    struct pool *pool;
    struct job_progress progress;
    struct import_result result;
    struct err err;
};

void irig_open(struct import_rig *g);
void irig_close(struct import_rig *g); /* fails the test if an import left something */

/* Makes DIR/NAME of these bytes and, after a hole, `size` in all.  Returns a descriptor. */
int irig_file(struct import_rig *g, const char *name, const void *bytes, size_t length,
              uint64_t size);

/* import_run of an open file, or by URL or URI. */
int irig_import_file(struct import_rig *g, const char *name, int fd, uint64_t limit_bytes);
int irig_import(struct import_rig *g, enum import_kind kind, const char *where);

/* The layer of the last import holds exactly these bytes, then zeros up to size_bytes; its SHA-256
 * and size are right.  Removes the layer. */
void irig_expect_disk(struct import_rig *g, const void *bytes, size_t length, uint64_t size_bytes);

/* The last import failed so, its message has these words, and nothing is left. */
void irig_expect_refused(struct import_rig *g, int rc, int want, const char *words);

/* Runs a command line with sh in DIR; fails the test when that fails. */
void irig_sh(struct import_rig *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
