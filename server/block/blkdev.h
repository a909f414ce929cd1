/* SPDX-License-Identifier: Apache-2.0 */
/* blkdev - what a block device offers to the protocols (NBD, later iSCSI).
 *
 * The one seam of the data path: protocol code turns bytes into requests and knows nothing of
 * layers; volume code carries requests out and knows nothing of sockets.
 * Threads: a device and all its requests belong to one shard; no locking inside. */
#ifndef GRIDBOX_BLOCK_BLKDEV_H
#define GRIDBOX_BLOCK_BLKDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLK_SECTOR 512u  /* offset and length of every request are multiples of this */
#define BLK_BLOCK  4096u /* what is stored as a whole; requests of whole blocks are cheapest */
#define BLK_MAX_IO (32u << 20) /* bytes that one READ or WRITE may carry */

enum blk_op {
    BLK_READ,   /* fills buf */
    BLK_WRITE,  /* takes buf */
    BLK_FLUSH,  /* every write answered before this was submitted is durable; no range */
    BLK_TRIM,   /* the range may read as zeros from now on; partial blocks are left as they are */
    BLK_ZERO,   /* the range reads as zeros from now on */
    BLK_CACHE,  /* a hint: the range will be read soon */
    BLK_STATUS, /* fills extents */
    BLK_OP_COUNT
};

enum blk_flag {
    BLK_FUA = 1,     /* WRITE, ZERO, TRIM: durable before done() */
    BLK_NO_HOLE = 2, /* ZERO: keep the space allocated */
    BLK_ONE = 4,     /* STATUS: one extent is enough */
};

enum blk_extent_state { /* the bits of NBD's base:allocation */
                        BLK_EXT_DATA = 0,
                        BLK_EXT_HOLE = 1,
                        BLK_EXT_ZERO = 2,
};

struct blk_extent {
    uint64_t length; /* bytes */
    uint32_t state;  /* BLK_EXT_* */
};

/* One request.  The submitter owns it and its buffers and keeps both alive until done(). */
struct blk_req {
    enum blk_op op;
    uint32_t flags;             /* BLK_FUA, BLK_NO_HOLE, BLK_ONE; others are ignored */
    uint64_t offset;            /* bytes; inside the device together with length */
    uint64_t length;            /* bytes; 0 only for FLUSH; at most BLK_MAX_IO for READ and WRITE */
    void *buf;                  /* READ, WRITE: `length` bytes */
    struct blk_extent *extents; /* STATUS: room for extent_count; the device lowers that to what it
                                 * filled (>= 1); they may end before the range does, never after */
    unsigned extent_count;

    int error; /* set before done(): 0 or
                *   -EPERM     the device is read-only
                *   -EIO       a file failed; the device may be `failed` from now on
                *   -ENOSPC    no room, and the request was not parked
                *   -ESHUTDOWN the device was fenced or closed before the request ran */
    /* Called exactly once, on the shard's thread, perhaps before blk_submit() has returned; it may
     * submit more and may free the request. */
    void (*done)(struct blk_req *r);
    void *owner; /* the submitter's, untouched by the device */

    /* The device's own from blk_submit() to done(). */
    struct blk_req *next;
    void *device_private;
};

struct blkdev;

#define BLK_LOAN_PARTS 8u

/* Bytes of a device that lie in memory and never change, lent instead of being copied. */
struct blk_loan {
    struct iovec part[BLK_LOAN_PARTS]; /* to be read only, and by the kernel only: an access can
                                        * fail as one to a file can */
    unsigned count;
    void *lender[BLK_LOAN_PARTS]; /* the device's own */
};

struct blk_ops {
    void (*submit)(struct blkdev *d, struct blk_req *r); /* required */
    void (*drop)(struct blkdev *d);                      /* optional: see blk_drop() */
    /* Optional, both or none: see blk_lend() and blk_give_back(). */
    bool (*lend)(struct blkdev *d, uint64_t offset, uint64_t length, struct blk_loan *ret);
    void (*give_back)(struct blkdev *d, struct blk_loan *loan);
};

struct blkdev {
    const struct blk_ops *ops;
    uint64_t size_bytes; /* a multiple of BLK_SECTOR */
    bool read_only;
};

/* Checks the range (an offence gives -EINVAL, and -EPERM for a mutator of a read-only device,
 * without troubling the device), then hands the request over. */
void blk_submit(struct blkdev *d, struct blk_req *r);

/* In place of a READ: the bytes of the range, in at most BLK_LOAN_PARTS parts, where they lie.
 * False: not these, or not now; they must be read.  What was lent is given back before the device
 * is closed. */
bool blk_lend(struct blkdev *d, uint64_t offset, uint64_t length, struct blk_loan *ret);
void blk_give_back(struct blkdev *d, struct blk_loan *loan);

/* Whoever submitted is gone: requests that have not begun (they wait for room, or are held back)
 * end now, with -ESHUTDOWN, before this returns.  Those that run are over when they are over. */
void blk_drop(struct blkdev *d);

static inline bool blk_op_mutates(enum blk_op op)
{
    return op == BLK_WRITE || op == BLK_TRIM || op == BLK_ZERO;
}

#endif
