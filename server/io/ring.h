/* SPDX-License-Identifier: Apache-2.0 */
/* ring - what the other files of io/ may do with a shard's io_uring.  Not for anybody above io/.
 * Threads: the shard's. */
#ifndef GRIDBOX_IO_RING_H
#define GRIDBOX_IO_RING_H

#include <liburing.h>

struct shard;

/* One operation under way; the owner embeds it and keeps it until its last completion. */
struct ring_op {
    /* res and flags as in the completion: a count or -errno; IORING_CQE_F_*. */
    void (*fn)(struct ring_op *op, int res, uint32_t flags);
};

/* An empty submission for `op`, to be filled by io_uring_prep_* at once; it reaches the kernel at
 * the end of the batch.  io_uring_prep_* clears user_data: call ring_own() after it. */
struct io_uring_sqe *ring_sqe(struct shard *s);
static inline void ring_own(struct io_uring_sqe *sqe, struct ring_op *op)
{
    io_uring_sqe_set_data(sqe, op);
}

/* Asks the kernel to end `op` early (-ECANCELED, or its own result if it was quicker); its fn is
 * called in any case. */
void ring_cancel(struct shard *s, struct ring_op *op);

/* ---- receive buffers that all connections of the shard share ------------------------------------
 * An idle connection holds no buffer: the kernel takes one when bytes arrive.
 * A receive with IOSQE_BUFFER_SELECT and buf_group RING_BUFFERS completes with one of them, or with
 * -ENOBUFS when all are in use: ask again after the batch. */
#define RING_BUFFERS      1
#define RING_BUFFER_BYTES (64u << 10)

/* The buffer that a completion's flags name. */
void *ring_buffer(struct shard *s, uint32_t cqe_flags);
/* Gives it back; its bytes are gone. */
void ring_buffer_return(struct shard *s, uint32_t cqe_flags);

#endif
