/* SPDX-License-Identifier: Apache-2.0 */
/* bufpool - the I/O buffers of one shard: taken without malloc in the steady state, given back the
 * moment the last byte has left.
 *
 * Sizes are powers of two from 4 KiB to 32 MiB.  There is a limit on what is out at a time, so that
 * nobody outside can make the server use all memory; what is given back is kept for the next one,
 * up to a smaller limit.
 * Threads: the shard's. */
#ifndef GRIDBOX_IO_BUFPOOL_H
#define GRIDBOX_IO_BUFPOOL_H

#include <stdbool.h>
#include <stddef.h>

#define BUFPOOL_SMALLEST (4u << 10)
#define BUFPOOL_LARGEST  (32u << 20)
#define BUFPOOL_CLASSES  14

struct bufpool {
    size_t limit_bytes, out_bytes; /* out: rounded up to the sizes above */
    size_t keep_bytes, kept_bytes;
    void *free[BUFPOOL_CLASSES]; /* lists through their first word */
};

void bufpool_init(struct bufpool *p, size_t limit_bytes, size_t keep_bytes);
void bufpool_done(struct bufpool *p); /* all must have been given back; idempotent */

/* A page-aligned buffer of at least `bytes` (1 .. BUFPOOL_LARGEST).
 *   urgent  may pass the limit: for what must go on so that others can give back
 * NULL at the limit, or without memory. */
void *bufpool_take(struct bufpool *p, size_t bytes, bool urgent);

/* bytes: as it was taken. */
void bufpool_give(struct bufpool *p, void *buf, size_t bytes);

/* Gives free buffers back to the system, the largest first, until at most keep_bytes are kept. */
void bufpool_trim(struct bufpool *p, size_t keep_bytes);

#endif
