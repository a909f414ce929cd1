/* SPDX-License-Identifier: Apache-2.0 */
/* sim_ops - file operations that can fail, be short, and lose power.
 *
 * The files are real ones in a temporary directory, so everything that looks at them works; beside
 * them this keeps what would be on the disk (sim_disk.h).  Nothing is really synced, which makes it
 * quick.  There are two ways to lose power: sim_cut_at() and, when all that used the files is
 * closed, sim_restore(); or a whole piece of work is done in peace, sim_past_take() keeps what
 * happened, and sim_go_back() puts the disk where a cut before any of its operations could have
 * left it, as often as one likes.
 * One at a time: it belongs to the test's thread. */
#ifndef GRIDBOX_TESTS_STORE_SIM_OPS_H
#define GRIDBOX_TESTS_STORE_SIM_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/io/file_ops.h"

enum sim_op {
    SIM_OPEN, /* that makes a file */
    SIM_WRITE,
    SIM_SYNC,
    SIM_SYNC_DIR,
    SIM_PUNCH,
    SIM_TRUNCATE,
    SIM_RENAME,
    SIM_UNLINK,
    /* These change nothing and have no number; only sim_fail_next. */
    SIM_REOPEN, /* of a file that is there */
    SIM_READ,
    SIM_WRITE_BACK,
    SIM_OP_COUNT
};

struct sim;

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *s);
const struct file_ops *sim_ops(struct sim *s);

/* How many operations that change something were done. */
uint64_t sim_count(const struct sim *s);
uint64_t sim_count_of(const struct sim *s, enum sim_op op);

/* The operation with this number (sim_count) and `times - 1` more that follow fail with error. */
void sim_fail_at(struct sim *s, uint64_t number, uint64_t times, int error);
/* The disk is full for `times` operations that need room, after `skip` more of them: making files,
 * setting their size, and writing, but to the journal, which has its room. */
void sim_full(struct sim *s, unsigned skip, unsigned times);
/* Did an operation find it full since then? */
bool sim_was_full(const struct sim *s);
/* Called before each operation that is counted; NULL: no more. */
void sim_on_op(struct sim *s, void (*fn)(void *ctx, uint64_t number), void *ctx);
/* Called once, before the next read: somebody else is quicker.  It may use files itself. */
void sim_before_read(struct sim *s, void (*fn)(void *ctx), void *ctx);
/* The next `times` operations of this kind fail with error. */
void sim_fail_next(struct sim *s, enum sim_op op, unsigned times, int error);
/* Every write does only half of what it was asked for (but at least a byte). */
void sim_short_writes(struct sim *s, bool on);

/* No chance: every read is cached, and a cut loses all that was not synced. */
void sim_be_plain(struct sim *s);

/* The power goes with the operation of this number: it and all later ones fail with -EIO. */
void sim_cut_at(struct sim *s, uint64_t number);
bool sim_is_cut(const struct sim *s);
/* After everything that used the files is closed: puts what is on the disk into the directory, and
 * the power is back.  Without a cut before, it is cut now. */
void sim_restore(struct sim *s);
/* The other end of a cut: it was the process that died.  What was done before the cut is there, and
 * what was not synced can still be lost by a later cut. */
void sim_revive(struct sim *s);

/* ---- going back -------------------------------------------------------------------------------*/
struct sim_past;

/* Everything since the last restore (or since the beginning); from now on the disk as it is counts
 * as durable.  No file may be open. */
struct sim_past *sim_past_take(struct sim *s);
void sim_past_free(struct sim_past *p);
/* Its operations are those with first <= number < end. */
uint64_t sim_past_first(const struct sim_past *p);
uint64_t sim_past_end(const struct sim_past *p);

/* Does this operation make something durable? */
bool sim_past_syncs(const struct sim_past *p, uint64_t number);
/* Prints operations from <= number < to, for whoever looks into a failure. */
void sim_past_show(const struct sim_past *p, uint64_t from, uint64_t to);

enum sim_crash {
    SIM_POWER, /* any of what was not synced is lost */
    SIM_KILL,  /* the process died: every operation that was done stays done */
};

/* Puts into the directory what a crash just before operation `number` of that past left; which of
 * the possible disks it is follows from seed.  Returns a hash of all that is on it.  No file may be
 * open; what happened since the last restore is forgotten. */
uint64_t sim_go_back(struct sim *s, const struct sim_past *p, uint64_t number, enum sim_crash crash,
                     uint64_t seed);

/* Chance in the operations themselves begins anew. */
void sim_reseed(struct sim *s, uint64_t seed);

#endif
