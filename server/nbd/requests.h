/* SPDX-License-Identifier: Apache-2.0 */
/* requests - is this request allowed, and what is it to the block device.  Pure: no state, no I/O.
 */
#ifndef GRIDBOX_NBD_REQUESTS_H
#define GRIDBOX_NBD_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/block/blkdev.h"
#include "server/nbd/wire.h"

/* What the handshake agreed on. */
struct nbds_terms {
    uint64_t size_bytes;
    uint16_t flags;  /* NBDW_TX_* as sent */
    bool structured; /* replies may be structured */
    bool status;     /* base:allocation was selected for this export */
};

struct nbds_request {
    uint64_t cookie; /* as it came; only echoed */
    uint64_t offset; /* bytes */
    uint32_t length; /* bytes; of payload too, if it is a WRITE */
    uint16_t type;   /* NBDW_CMD_*, or a number that is none */
    enum blk_op op;
    uint32_t op_flags; /* BLK_* */
    bool run;        /* false: give `error` (perhaps 0) as the answer at once, without the device */
    uint32_t error;  /* NBDW_E* */
    const char *why; /* if error: static text */
};

/* Fills *ret from a request whose magic is right.  Never fails: what is wrong is in ret->error. */
void nbdr_check(const struct nbdw_request *wire, const struct nbds_terms *terms,
                struct nbds_request *ret);

#endif
