/* SPDX-License-Identifier: Apache-2.0 */
/* blkdev - the one gate in front of every device: what is refused here never reaches one.
 * Owns the rules of struct blk_req; must never know what a device does with a request. */
#include "server/block/blkdev.h"

#include <errno.h>
#include <stddef.h>

#include "server/base/checked.h"

static int check(const struct blkdev *d, const struct blk_req *r)
{
    if ((unsigned)r->op >= BLK_OP_COUNT)
        return -EINVAL;
    if (blk_op_mutates(r->op) && d->read_only)
        return -EPERM;
    if (r->op == BLK_FLUSH)
        return 0;
    if (r->length == 0 || r->offset % BLK_SECTOR || r->length % BLK_SECTOR)
        return -EINVAL;
    if (!range_inside(r->offset, r->length, d->size_bytes))
        return -EINVAL;
    if ((r->op == BLK_READ || r->op == BLK_WRITE) && (r->length > BLK_MAX_IO || !r->buf))
        return -EINVAL;
    if (r->op == BLK_STATUS && (r->extent_count == 0 || !r->extents))
        return -EINVAL;
    return 0;
}

void blk_submit(struct blkdev *d, struct blk_req *r)
{
    r->error = check(d, r);
    if (r->error < 0)
        r->done(r);
    else
        d->ops->submit(d, r);
}

bool blk_lend(struct blkdev *d, uint64_t offset, uint64_t length, struct blk_loan *ret)
{
    ret->count = 0;
    return d->ops->lend && length > 0 && offset % BLK_SECTOR == 0 && length % BLK_SECTOR == 0 &&
           range_inside(offset, length, d->size_bytes) && d->ops->lend(d, offset, length, ret);
}

void blk_give_back(struct blkdev *d, struct blk_loan *loan)
{
    if (loan->count > 0)
        d->ops->give_back(d, loan);
    loan->count = 0;
}

void blk_drop(struct blkdev *d)
{
    if (d->ops->drop)
        d->ops->drop(d);
}
