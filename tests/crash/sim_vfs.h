/* SPDX-License-Identifier: Apache-2.0 */
/* sim_vfs - SQLite's files through a table of file operations, so that one simulated disk holds the
 * layers, the journal and the catalog, and one power cut hits all of them.
 *
 * It promises SQLite what the one of Unix promises (sectors that a write leaves alone stay as they
 * are), and syncs a directory where that one does.  Time stands still and chance follows a seed.
 * There is no shared memory: WAL works in locking mode EXCLUSIVE alone. */
#ifndef GRIDBOX_TESTS_CRASH_SIM_VFS_H
#define GRIDBOX_TESTS_CRASH_SIM_VFS_H

#include <stdint.h>

struct file_ops;

/* Makes it SQLite's default; ops must live as long as databases are open.  Calling it again changes
 * ops and seed. */
void sim_vfs_use(const struct file_ops *ops, uint64_t seed);

/* Called before each write and sync: what other threads do meanwhile.  NULL: nothing. */
void sim_vfs_meanwhile(void (*fn)(void *ctx), void *ctx);

/* The next sync of a write-ahead log, which is that of a COMMIT, is answered with an error; what it
 * was to bring to disk is there (durable), or may be. */
enum sim_vfs_lie { SIM_VFS_HONEST, SIM_VFS_SYNCED, SIM_VFS_NOT_SYNCED };
void sim_vfs_fail_commit(enum sim_vfs_lie lie);

#endif
