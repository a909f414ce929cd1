/* SPDX-License-Identifier: Apache-2.0 */
/* file_ops - every file operation that durability depends on, behind one table, so that a test can
 * make any of them fail, be slow or be lost (power cut).  The store calls nothing else on its
 * files. All return 0 (or a count) or -errno; EINTR is retried inside. */
#ifndef GRIDBOX_IO_FILE_OPS_H
#define GRIDBOX_IO_FILE_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct file_ops {
    int (*open_at)(void *ctx, int dir_fd, const char *name, int flags,
                   mode_t mode); /* + O_CLOEXEC */
    void (*close)(void *ctx, int fd);
    ssize_t (*read_at)(void *ctx, int fd, void *buf, size_t length, uint64_t offset);
    /* As read_at, from the page cache alone: -EAGAIN when it would block, short when only the first
     * part is cached, -EOPNOTSUPP where the file system cannot tell. */
    ssize_t (*read_cached)(void *ctx, int fd, void *buf, size_t length, uint64_t offset);
    ssize_t (*write_at)(void *ctx, int fd, const void *buf, size_t length, uint64_t offset);
    /* Writes back what is dirty in this part (length 0: up to the end) and waits for it; that alone
     * makes nothing durable.  An error is one of sync_data, which will not tell it again. */
    int (*write_back)(void *ctx, int fd, uint64_t offset, uint64_t length);
    int (*sync_data)(void *ctx, int fd);                               /* fdatasync */
    int (*sync_dir)(void *ctx, int dir_fd);                            /* fsync of a directory */
    int (*punch)(void *ctx, int fd, uint64_t offset, uint64_t length); /* keeps the size */
    int (*truncate)(void *ctx, int fd, uint64_t size);
    int (*rename_at)(void *ctx, int dir_fd, const char *from, const char *to);
    int (*unlink_at)(void *ctx, int dir_fd, const char *name);
    int (*lock)(void *ctx, int fd, int operation); /* flock */
    int (*size)(void *ctx, int fd, uint64_t *ret_bytes);
    int (*will_read)(void *ctx, int fd, uint64_t offset, uint64_t length); /* a hint; may block */
    /* Optional, a hint: what the page cache has of it, and is not dirty, is read from the disk when
     * it is needed next. */
    void (*drop_cached)(void *ctx, int fd);
    /* Optional: the first part of the file, at *from or behind, that has no room on the disk: 1,
     * and it is [*from, *ret_to); 0: there is none.  -EOPNOTSUPP where the file system cannot tell.
     */
    int (*find_hole)(void *ctx, int fd, uint64_t *from, uint64_t *ret_to);
    /* Optional, all or none: the first `length` bytes of a file in memory, for reading.  NULL when
     * that is not possible. */
    char *(*map)(void *ctx, int fd, uint64_t length);
    void (*unmap)(void *ctx, char *mapped, uint64_t length);
    /* Are all of these bytes of a mapping in the page cache? */
    bool (*in_memory)(void *ctx, const char *at, uint64_t length);
    void *ctx; /* given to each of them */
};

/* The kernel's. */
extern const struct file_ops file_ops_real;

#endif
