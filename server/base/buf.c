/* SPDX-License-Identifier: Apache-2.0 */
/* buf - a growing run of bytes with a written limit. */
#include "server/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t limit_bytes)
{
    *b = (struct buf){ .limit = limit_bytes };
}

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ .limit = b->limit };
}

/* Room for `more` bytes and a NUL.  Returns false, and marks b failed, if there is none. */
static bool grow(struct buf *b, size_t more)
{
    if (b->failed || more > b->limit || b->length > b->limit - more) {
        b->failed = true;
        return false;
    }
    if (b->length + more < b->capacity)
        return true;

    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity <= b->length + more)
        capacity *= 2;
    char *data = realloc(b->data, capacity);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void buf_add(struct buf *b, const void *bytes, size_t length)
{
    if (length == 0 || !grow(b, length))
        return;
    memcpy(b->data + b->length, bytes, length);
    b->length += length;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (need < 0 || !grow(b, (size_t)need)) {
        b->failed = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(b->data + b->length, (size_t)need + 1, fmt, ap);
    va_end(ap);
    b->length += (size_t)need;
}

void buf_drop(struct buf *b, size_t length)
{
    if (length > b->length)
        length = b->length;
    b->length -= length;
    if (b->length)
        memmove(b->data, b->data + length, b->length);
}

const char *buf_text(struct buf *b)
{
    if (!grow(b, 0))
        return NULL;
    b->data[b->length] = '\0';
    return b->data;
}
