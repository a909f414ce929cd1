/* SPDX-License-Identifier: Apache-2.0 */
/* layer_writer - a layer that is written once, for those of this room who write other layers than
 * imports do (store.h has the rest). */
#ifndef GRIDBOX_STORE_LAYER_WRITER_H
#define GRIDBOX_STORE_LAYER_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "server/store/block_crc.h"
#include "server/store/layer.h"

struct layer_writer {
    struct store *store;
    struct layer_info info; /* may be completed before the seal */
    struct map map;
    struct block_crcs crcs;
    int fd;
    bool on_others; /* it hides what lies below: blocks of zeros are `zero`, not `inherit` */
    bool sealed;
};

/* These blocks read as zeros, whatever lies below.  Nothing was written to them.  0 or -ENOMEM. */
int layer_writer_zero(struct layer_writer *w, uint64_t block, uint64_t count, struct err *e);

#endif
