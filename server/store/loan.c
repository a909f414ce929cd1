/* SPDX-License-Identifier: Apache-2.0 */
/* loan - sealed layers mapped into memory, so that what the page cache holds of them goes into the
 * socket without being copied to a buffer first.
 *
 * Owns the mappings.  What is lent is in memory at that moment, and does not change.  If the kernel
 * drops it before it has left (memory is short, or the client does not read), the send that needs
 * it waits for the disk: rare, and once.  If it cannot be read back, the send fails and the client
 * asks anew, by way of the read pool.  Must never know volumes or images. */
#include <assert.h>
#include <stddef.h>

#include "server/base/checked.h"
#include "server/block/blkdev.h"
#include "server/io/file_ops.h"
#include "server/store/chain.h"
#include "server/store/layer.h"
#include "server/store/open_layers.h"
#include "server/store/store_state.h"

#define MAPPED_MAX (1ull << 40) /* a larger layer is read: the address space has its end, too */

static const char zeros[64u << 10];

/* Its data file in memory; NULL: not now. */
static const char *mapped(struct store *s, struct layer *l)
{
    if (l->mapped)
        return l->mapped;
    if (l->data_fd < 0 || l->info.size_bytes > MAPPED_MAX || !s->ops->map)
        return NULL;
    l->mapped_bytes = round_up(l->info.size_bytes, DISK_BLOCK);
    l->mapped = s->ops->map(s->ops->ctx, l->data_fd, l->mapped_bytes);
    return l->mapped;
}

void loan_unmap(struct store *s, struct layer *l)
{
    if (l->mapped)
        s->ops->unmap(s->ops->ctx, l->mapped, l->mapped_bytes);
    l->mapped = NULL;
}

/* What has checksums is lent when it was compared with them. */
static bool may_be_lent(const struct layer *l, uint64_t offset, uint64_t run)
{
    uint64_t first = offset / BLK_BLOCK, last = (offset + run - 1) / BLK_BLOCK;

    return !l->damaged && (!l->crcs.pages || crc_seen_all(&l->seen, first, last - first + 1));
}

/* The next part, of a run that one layer (NULL: none) owns.  Bytes lent; 0: they cannot be. */
static uint64_t lend_part(struct store *s, const struct chain *c, struct layer *l, uint64_t offset,
                          uint64_t run, struct blk_loan *ret)
{
    const char *bytes = zeros;

    if (ret->count == BLK_LOAN_PARTS || (l && l == c->top))
        return 0;
    if (!l) {
        run = run < sizeof zeros ? run : sizeof zeros;
    } else {
        bytes = may_be_lent(l, offset, run) ? mapped(s, l) : NULL;
        if (!bytes || !s->ops->in_memory(s->ops->ctx, bytes + offset, run))
            return 0;
        bytes += offset;
        store_layer_ref(l);
    }
    ret->part[ret->count] = (struct iovec){ (char *)(uintptr_t)bytes, run };
    ret->lender[ret->count++] = l;
    return run;
}

bool chain_lend(struct store *s, const struct chain *c, uint64_t offset, uint64_t length,
                struct blk_loan *ret)
{
    uint64_t end = offset + length;

    ret->count = 0;
    while (offset < end) {
        struct layer *l;
        uint64_t block = offset / BLK_BLOCK, blocks = (end - 1) / BLK_BLOCK - block + 1;
        uint64_t run_end =
            (block + chain_resolve(c, CHAIN_ALL, block, blocks, &l)) * (uint64_t)BLK_BLOCK;
        uint64_t lent = lend_part(s, c, l, offset, (run_end < end ? run_end : end) - offset, ret);
        if (lent == 0) {
            chain_give_back(s, ret);
            return false;
        }
        offset += lent;
    }
    return true;
}

void chain_give_back(struct store *s, struct blk_loan *loan)
{
    for (unsigned i = 0; i < loan->count; i++)
        if (loan->lender[i])
            store_layer_put(s, loan->lender[i]);
    loan->count = 0;
}
