/* SPDX-License-Identifier: Apache-2.0 */
/* bufpool - free lists by power of two.  Large buffers are mapped, so that giving them back really
 * gives the memory back. */
#include "server/io/bufpool.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MAP_FROM (256u << 10) /* bytes; smaller ones come from malloc */

static unsigned class_of(size_t bytes)
{
    assert(bytes > 0 && bytes <= BUFPOOL_LARGEST);
    if (bytes <= BUFPOOL_SMALLEST)
        return 0;
    /* 4 KiB is 2^12; the class is the number of doublings. */
    return (unsigned)(64 - __builtin_clzll(bytes - 1)) - 12;
}

static size_t bytes_of(unsigned class)
{
    return (size_t)BUFPOOL_SMALLEST << class;
}

static void *get_memory(size_t bytes)
{
    if (bytes < MAP_FROM)
        return aligned_alloc(BUFPOOL_SMALLEST, bytes);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void put_memory(void *buf, size_t bytes)
{
    if (bytes < MAP_FROM)
        free(buf);
    else
        munmap(buf, bytes);
}

void bufpool_init(struct bufpool *p, size_t limit_bytes, size_t keep_bytes)
{
    static_assert((size_t)BUFPOOL_SMALLEST << (BUFPOOL_CLASSES - 1) == BUFPOOL_LARGEST, "classes");
    *p = (struct bufpool){ .limit_bytes = limit_bytes, .keep_bytes = keep_bytes };
}

void bufpool_trim(struct bufpool *p, size_t keep_bytes)
{
    for (unsigned class = BUFPOOL_CLASSES; class -- > 0;)
        while (p->free[class] && p->kept_bytes > keep_bytes) {
            void *buf = p->free[class];
            p->free[class] = *(void **)buf;
            p->kept_bytes -= bytes_of(class);
            put_memory(buf, bytes_of(class));
        }
}

void bufpool_done(struct bufpool *p)
{
    assert(p->out_bytes == 0);
    bufpool_trim(p, 0);
}

void *bufpool_take(struct bufpool *p, size_t bytes, bool urgent)
{
    unsigned class = class_of(bytes);
    size_t size = bytes_of(class);
    void *buf = p->free[class];

    if (!urgent && p->out_bytes + size > p->limit_bytes)
        return NULL;
    if (buf) {
        p->free[class] = *(void **)buf;
        p->kept_bytes -= size;
    } else {
        buf = get_memory(size);
        if (!buf)
            return NULL;
    }
    p->out_bytes += size;
    return buf;
}

void bufpool_give(struct bufpool *p, void *buf, size_t bytes)
{
    unsigned class = class_of(bytes);
    size_t size = bytes_of(class);

    p->out_bytes -= size;
    if (p->kept_bytes + size > p->keep_bytes) {
        put_memory(buf, size);
        return;
    }
    *(void **)buf = p->free[class];
    p->free[class] = buf;
    p->kept_bytes += size;
}
