/* SPDX-License-Identifier: Apache-2.0 */
/* layer_check - is a layer what it says it is; and what a chain shows, front to back.
 * Owns nothing; must never know devices.  Threads: jobs; it blocks. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/store/layer_read.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"

#define READ_BLOCKS (LAYER_READ_MAX / DISK_BLOCK)

struct check {
    struct store *store;
    struct layer_reader reader;
    bool deep;
    bool (*cancelled)(void *ctx);
    void *ctx;
    char *buf;
    struct layer_report report;
};

static int check_blocks(struct check *c, uint64_t block, uint64_t count, struct err *e)
{
    while (count) {
        uint64_t some = count < READ_BLOCKS ? count : READ_BLOCKS;
        if (c->cancelled && c->cancelled(c->ctx))
            return err_set(e, -ECANCELED, "cancelled");
        int rc = layer_reader_read(c->store, &c->reader, c->buf, block, some, e);
        if (rc < 0)
            return rc;
        c->report.checked_bytes += some * DISK_BLOCK;
        block += some;
        count -= some;
    }
    return 0;
}

/* Without reading it: is there a hole?  Only layers with checksums are looked at: of others blocks
 * may be holes, when a trim was not flushed before the power went.  And what file systems say of
 * holes is no promise, so the blocks themselves have the last word. */
static int check_holes(struct check *c, uint64_t block, uint64_t count, struct err *e)
{
    uint64_t end = (block + count) * DISK_BLOCK;

    if (!c->reader.info.has_crcs)
        return 0;
    off_t hole = lseek(c->reader.fds.data, (off_t)(block * DISK_BLOCK), SEEK_HOLE);
    if (hole < 0 || (uint64_t)hole >= end)
        return 0;
    uint64_t first = (uint64_t)hole / DISK_BLOCK;
    return check_blocks(c, first, block + count - first, e);
}

static int check_runs(struct check *c, struct err *e)
{
    const struct map *map = &c->reader.map;
    uint64_t block = 0;
    int rc = 0;

    while (block < map->blocks && rc == 0) {
        enum disk_block_state state;
        uint64_t run = map_run(map, block, map->blocks - block, &state);
        if (state == DISK_ZERO)
            c->report.zero_blocks += run;
        if (state == DISK_DATA) {
            c->report.data_blocks += run;
            rc = c->deep ? check_blocks(c, block, run, e) : check_holes(c, block, run, e);
        }
        block += run;
    }
    return rc;
}

/* A top without map and MAKE record was never written to, unless there is data.  Looked at twice,
 * since somebody may open it, write and close it meanwhile. */
static int open_reader(struct store *s, struct layer_id id, bool direct, struct layer_reader *ret,
                       struct err *e)
{
    struct err why = { 0 };
    int rc = layer_reader_open(s, id, direct, ret, e);

    if (rc != -ENOENT)
        return rc;
    if (store_settle(s, id, &why) == 0 && lay_check_unmade(&s->dir, id, &why) == 0)
        return rc;
    rc = layer_reader_open(s, id, direct, ret, e);
    return rc == -ENOENT ? err_set(e, -EIO, "%s", why.msg) : rc;
}

int layer_check(struct store *s, struct layer_id id, bool deep, bool (*cancelled)(void *ctx),
                void *ctx, struct layer_report *ret, struct err *e)
{
    struct check c = { .store = s, .deep = deep, .cancelled = cancelled, .ctx = ctx };
    int rc;

    rc = open_reader(s, id, deep, &c.reader, e);
    if (rc < 0)
        return rc;
    c.report.size_bytes = c.reader.info.size_bytes;
    c.buf = aligned_alloc(DISK_BLOCK, LAYER_READ_MAX);
    rc = c.buf ? check_runs(&c, e) : err_set(e, -ENOMEM, "out of memory");
    free(c.buf);
    layer_reader_done(s, &c.reader);
    if (rc == 0)
        *ret = c.report;
    return rc;
}

int layer_look(struct store *s, struct layer_id id, struct err *e)
{
    struct layer_reader reader;
    uint64_t bytes;
    int rc = layer_usage(s, id, &bytes, e);

    if (rc < 0 || bytes > 0 || lay_check_unmade(&s->dir, id, NULL) == 0)
        return rc;
    rc = open_reader(s, id, false, &reader, e); /* data, and perhaps all of it is trimmed */
    if (rc == 0)
        layer_reader_done(s, &reader);
    return rc == -EBUSY || rc == -ENOENT ? 0 : rc;
}

/* ---- what a chain shows -----------------------------------------------------------------------*/

struct show {
    struct store *store;
    struct stack *stack;
    unsigned open;
    struct {
        const struct layer *layer;
        struct layer_fds fds;
    } files[LAYER_CHAIN_MAX];
};

/* The files of this layer of the stack. */
static int files_of(struct show *w, const struct layer *l, const struct layer_fds **ret,
                    struct err *e)
{
    for (unsigned i = 0; i < w->open; i++)
        if (w->files[i].layer == l) {
            *ret = &w->files[i].fds;
            return 0;
        }
    int rc = lay_open_sealed(&w->store->dir, l->id, l->crcs.pages, &w->files[w->open].fds, e);
    if (rc < 0)
        return rc;
    w->files[w->open].layer = l;
    *ret = &w->files[w->open++].fds;
    return 0;
}

/* Whole blocks into buf. */
static int show_blocks(struct show *w, char *buf, uint64_t block, uint64_t count, struct err *e)
{
    while (count) {
        const struct layer_fds *fds;
        struct layer *l;
        uint64_t run = stack_resolve(w->stack, block, count, &l);
        int rc = 0;

        if (!l)
            memset(buf, 0, run * DISK_BLOCK);
        else
            rc = files_of(w, l, &fds, e);
        if (l && rc == 0)
            rc = layer_read_blocks(w->store, l->id, fds, &l->crcs, buf, block, run, e);
        if (rc < 0)
            return rc;
        block += run;
        count -= run;
        buf += run * DISK_BLOCK;
    }
    return 0;
}

static int show_all(struct show *w, uint64_t size_bytes,
                    int (*each)(void *ctx, const void *data, uint64_t length), void *ctx,
                    struct err *e)
{
    AUTO(auto_free) char *buf = malloc(LAYER_READ_MAX);
    int rc = 0;

    if (!buf)
        return err_set(e, -ENOMEM, "out of memory");
    for (uint64_t at = 0; at < size_bytes && rc == 0; at += LAYER_READ_MAX) {
        uint64_t length = size_bytes - at < LAYER_READ_MAX ? size_bytes - at : LAYER_READ_MAX;
        rc = show_blocks(w, buf, at / DISK_BLOCK, disk_blocks(length), e);
        if (rc < 0)
            return rc;
        rc = each(ctx, buf, length);
        if (rc < 0)
            err_set(e, rc, "%s", strerror(-rc));
    }
    return rc;
}

int layer_chain_read(struct store *s, const struct layer_chain *layers, uint64_t size_bytes,
                     int (*each)(void *ctx, const void *data, uint64_t length), void *ctx,
                     struct err *e)
{
    struct show w = { .store = s };
    int rc;

    rc = store_stack_get(s, layers, &w.stack, e);
    if (rc < 0)
        return rc;
    rc = show_all(&w, size_bytes, each, ctx, e);
    for (unsigned i = 0; i < w.open; i++)
        lay_close_fds(s->ops, &w.files[i].fds);
    store_stack_put(s, w.stack);
    return rc;
}
