/* SPDX-License-Identifier: Apache-2.0 */
/* image - a read-only device of sealed layers.
 * Owns its chain; must never know volumes. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "server/block/blkdev.h"
#include "server/store/chain.h"
#include "server/store/layer.h"
#include "server/store/stack.h"
#include "server/store/store_state.h"

struct image {
    struct blkdev dev;
    struct store *store;
    struct chain chain;
};

static struct image *image_of(struct blkdev *d)
{
    return (struct image *)((char *)d - offsetof(struct image, dev));
}

static void read_done(void *ctx, struct blk_req *r)
{
    (void)ctx;
    r->done(r);
}

static void image_submit(struct blkdev *d, struct blk_req *r)
{
    struct image *i = image_of(d);

    switch (r->op) {
    case BLK_READ:
        chain_read(i->store, &i->chain, CHAIN_ALL, r, read_done, NULL);
        break;
    case BLK_CACHE:
        chain_cache(i->store, &i->chain, r, read_done, NULL);
        break;
    case BLK_STATUS:
        chain_status(&i->chain, r);
        r->done(r);
        break;
    case BLK_FLUSH:
        r->done(r);
        break;
    case BLK_WRITE:
    case BLK_TRIM:
    case BLK_ZERO:
    case BLK_OP_COUNT:
        r->error = -EPERM;
        r->done(r);
        break;
    }
}

static bool image_lend(struct blkdev *d, uint64_t offset, uint64_t length, struct blk_loan *ret)
{
    struct image *i = image_of(d);

    return chain_lend(i->store, &i->chain, offset, length, ret);
}

static void image_give_back(struct blkdev *d, struct blk_loan *loan)
{
    chain_give_back(image_of(d)->store, loan);
}

int image_open(struct store *s, const struct layer_chain *layers, uint64_t size_bytes,
               struct blkdev **ret, struct err *e)
{
    static const struct blk_ops ops = { .submit = image_submit,
                                        .lend = image_lend,
                                        .give_back = image_give_back };
    struct image *i = calloc(1, sizeof *i);
    struct stack *below;
    char text[9];
    int rc;

    if (!i)
        return err_set(e, -ENOMEM, "out of memory");
    i->store = s;
    rc = store_stack_get(s, layers, &below, e);
    if (rc == 0)
        chain_open(s, &i->chain, below);
    if (rc == 0 && stack_size_bytes(below) > size_bytes) /* smaller: it grew, and was not written */
        rc = err_set(e, -EIO, "layer %s: it has %llu bytes, not %llu",
                     lay_id_short(layers->id[0], text), (unsigned long long)stack_size_bytes(below),
                     (unsigned long long)size_bytes);
    if (rc < 0) {
        image_close(&i->dev);
        return rc;
    }
    i->dev = (struct blkdev){ .ops = &ops, .size_bytes = size_bytes, .read_only = true };
    *ret = &i->dev;
    return 0;
}

void image_close(struct blkdev *d)
{
    struct image *i = image_of(d);

    chain_close(i->store, &i->chain);
    free(i);
}
