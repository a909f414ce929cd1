/* SPDX-License-Identifier: Apache-2.0 */
/* buf - a growing run of bytes with a written limit.
 *
 * Once something did not fit (limit or memory) the buffer is `failed`: nothing is added any more
 * and the caller checks once, at the end.  Text in it is not terminated unless buf_text is asked.
 * Threads: belongs to its owner. */
#ifndef GRIDBOX_BASE_BUF_H
#define GRIDBOX_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;      /* heap, or NULL */
    size_t length;   /* bytes in use */
    size_t capacity; /* bytes allocated */
    size_t limit;    /* bytes it may grow to */
    bool failed;
};

void buf_init(struct buf *b, size_t limit_bytes);
/* Idempotent; legal on { 0 }.  Also the AUTO function: then the buffer is declared `= { 0 }`, so
 * that a return before buf_init() frees nothing. */
void buf_done(struct buf *b);

void buf_add(struct buf *b, const void *bytes, size_t length);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first `length` bytes (at most all). */
void buf_drop(struct buf *b, size_t length);

/* The content with a NUL after it, borrowed until the next change; NULL if the buffer failed. */
const char *buf_text(struct buf *b);

#endif
