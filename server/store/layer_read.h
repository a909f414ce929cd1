/* SPDX-License-Identifier: Apache-2.0 */
/* layer_read - a sealed layer, read by a job: whole blocks, compared with their checksums.
 *
 * Has descriptors of its own, so that a long job and the reads of devices leave each other alone.
 * Must never know stacks or devices.  Threads: any but the shard's; all of it blocks; a reader
 * belongs to one. */
#ifndef GRIDBOX_STORE_LAYER_READ_H
#define GRIDBOX_STORE_LAYER_READ_H

#include <stdbool.h>

#include "server/base/err.h"
#include "server/store/layer.h"
#include "server/store/store.h"

#define LAYER_READ_MAX (1u << 20) /* bytes that a job reads at once */

struct layer_reader {
    struct layer_info info;
    struct map map; /* as it is durable */
    struct crc_places crcs;
    struct layer_fds fds;
    bool direct; /* reads go past the page cache */
};

/* direct: past the page cache where the file system can; buffers are aligned to 4 KiB then.
 * -EBUSY when it is a volume's top and open, -ENOENT when it has no files, -EIO … when they
 * contradict each other. */
int layer_reader_open(struct store *s, struct layer_id id, bool direct, struct layer_reader *ret,
                      struct err *e);
void layer_reader_done(struct store *s, struct layer_reader *r);

/* Up to LAYER_READ_MAX of blocks that are DATA.  -EIO with words: one of them cannot be read or is
 * not what was written. */
int layer_reader_read(struct store *s, struct layer_reader *r, void *buf, uint64_t block,
                      uint64_t count, struct err *e);

/* The same with files that somebody else has opened. */
int layer_read_blocks(struct store *s, struct layer_id id, const struct layer_fds *fds,
                      const struct crc_places *crcs, void *buf, uint64_t block, uint64_t count,
                      struct err *e);

#endif
