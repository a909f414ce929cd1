/* SPDX-License-Identifier: Apache-2.0 */
/* layer - the two files of one layer: made, opened, locked, replaced, deleted.
 *
 * Owns descriptors and the map in memory.  Must never know volumes, requests or the journal.
 * Threads: everything here blocks: control or pool threads.  A sealed layer that is open is read by
 * any thread; the map of a top belongs to its volume's shard. */
#ifndef GRIDBOX_STORE_LAYER_H
#define GRIDBOX_STORE_LAYER_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/store/block_crc.h"
#include "server/store/map.h"
#include "server/store/map_file.h"
#include "server/store/store.h"

struct file_ops;

/* The directory that holds the layers. */
struct layer_dir {
    const struct file_ops *ops;
    int fd;                /* STATE/layers, owned by the store */
    struct layer_id store; /* of the journal; goes into every map file */
};

/* The open files of a sealed layer; -1: none. */
struct layer_fds {
    int data;
    int crcs; /* its map file, to look checksums up (block_crc.h), if it has them */
};
#define LAYER_NO_FDS ((struct layer_fds){ -1, -1 })

struct layer {
    struct layer_info info;
    struct map map; /* of a sealed layer only `blocks` and `data_blocks`: stacks have indexes */
    struct crc_places crcs; /* of a sealed layer; pages 0: it has no checksums */
    int data_fd; /* of a top: -1 = no files yet (it was never written); of a sealed layer: the
                  * shard's, -1 = closed at present */
    int crcs_fd; /* of a sealed layer with checksums: open whenever data_fd is */

    _Atomic unsigned refs; /* volume (its top), stacks, reads in flight */

    /* The shard's; of a sealed layer. */
    unsigned fd_users;    /* jobs that use data_fd */
    bool fd_counted;      /* data_fd counts against the store's limit */
    bool damaged;         /* a block of it was found to be wrong: all reads compare from now on */
    struct crc_seen seen; /* blocks that were compared with their checksums */
    char *mapped;         /* its data file (loan.c); NULL: not yet */
    uint64_t mapped_bytes;
    uint64_t fd_used; /* store.fd_clock when it was read last */

    /* The store's list of open layers (open_layers.h); its lock guards these. */
    struct layer_id id;
    bool is_top;    /* belongs to one volume; else several stacks share it */
    bool loaded;    /* info and map are there; a top is on the list before they are */
    bool unsettled; /* answered writes of a process that was killed cannot be brought to disk */
    bool not_back;  /* nor what was flushed of them put back, until there is room */
    bool listed;
    struct layer *next;
};

#define LAYER_NAME_BYTES 48 /* of a file name: 32 hex digits, a suffix, NUL */

/* "HEX" + suffix. */
void lay_file_name(struct layer_id id, const char *suffix, char ret[static LAYER_NAME_BYTES]);
bool lay_id_equal(struct layer_id a, struct layer_id b);
/* For messages: the first 8 hex digits. */
const char *lay_id_short(struct layer_id id, char ret[static 9]);

/* Reads a layer's map file; ret_map may be NULL (the header alone).
 * -ENOENT when it has none, -EIO also when it is marked lost, else as map_file_read. */
int lay_read_map(const struct layer_dir *d, struct layer_id id, struct layer_info *ret_info,
                 struct map *ret_map, struct err *e);

/* Writes a whole new map file in place of the one there may be: safe against power loss at any
 * point, and durable when the directory is synced.  crcs: NULL for a layer without. */
int lay_write_map(const struct layer_dir *d, const struct layer_info *info, const struct map *map,
                  const struct block_crcs *crcs, struct err *e);

/* The same in two steps, so that one commit of the file system's own journal serves many: what is
 * begun is on its way to the disk under the name .map.new, and *ret_fd is the caller's until
 * lay_end_map, which always takes it, has synced and renamed it, or lay_drop_map has removed it. */
int lay_begin_map(const struct layer_dir *d, const struct layer_info *info, const struct map *map,
                  const struct block_crcs *crcs, int *ret_fd, struct err *e);
int lay_end_map(const struct layer_dir *d, struct layer_id id, int fd, struct err *e);
void lay_drop_map(const struct layer_dir *d, struct layer_id id, int fd);

/* From now on nobody takes the layer for whole, whatever the journal says: its map file cannot be
 * read any more, durably.  The caller holds the store's files_lock. */
int lay_mark_lost(const struct layer_dir *d, struct layer_id id, struct err *e);

/* Opens the data file of a layer whose map was read.  writable: read-write and under flock, which
 * is waited for up to 10 s (-EBUSY): then no request of an earlier server is left in the kernel. */
int lay_open_data(const struct layer_dir *d, struct layer_id id, bool writable, int *ret_fd,
                  struct err *e);

/* What may be there again later: room, memory, descriptors. */
static inline bool lay_is_shortage(int rc)
{
    return rc == -ENOSPC || rc == -EDQUOT || rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE;
}

/* Is its data file there?  1, 0, or -errno. */
int lay_has_data(const struct layer_dir *d, struct layer_id id);

/* The data file of a top may be shorter than its disk after a loss of power before its first
 * commit: sets that right.  -ENOENT: it has none. */
int lay_set_size(const struct layer_dir *d, const struct layer_info *info);

/* After an error of a sync: what the page cache has of the file, though it counts as written, may
 * not be on the disk.  From now on it shows what is. */
void lay_drop_cached(const struct layer_dir *d, int fd);

/* The files of a sealed layer, for reading; with_crcs: its checksums, too. */
int lay_open_sealed(const struct layer_dir *d, struct layer_id id, bool with_crcs,
                    struct layer_fds *ret, struct err *e);
void lay_close_fds(const struct file_ops *ops, struct layer_fds *fds); /* idempotent */

/* Makes the data file of a new top: of the right size, locked; not durable.  On failure nothing is
 * left.  An empty leftover is taken; -EIO: it is not empty, so its map is missing. */
int lay_make_data(const struct layer_dir *d, const struct layer_info *info, int *ret_fd,
                  struct err *e);

/* The layer has neither map file nor MAKE record: -EIO when it has data all the same. */
int lay_check_unmade(const struct layer_dir *d, struct layer_id id, struct err *e);

/* Deletes both files; those that are not there are fine.  lay_unlink_files: not durable before the
 * next sync of the directory. */
int lay_unlink_files(const struct layer_dir *d, struct layer_id id, struct err *e);
int lay_delete_files(const struct layer_dir *d, struct layer_id id, struct err *e);

/* Over short writes; 0 or -errno. */
int lay_write_all(const struct file_ops *ops, int fd, const void *data, size_t length,
                  uint64_t offset);
/* Over short reads; what lies behind the end of the file reads as zeros.  0 or -errno. */
int lay_read_all(const struct file_ops *ops, int fd, void *buf, size_t length, uint64_t offset);

#endif
