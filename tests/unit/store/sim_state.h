/* SPDX-License-Identifier: Apache-2.0 */
/* sim_state - what sim_ops.c (operations) and sim_power.c (what is there after a crash) share.
 * Nobody else needs to know it. */
#ifndef GRIDBOX_TESTS_STORE_SIM_STATE_H
#define GRIDBOX_TESTS_STORE_SIM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/io/file_ops.h"
#include "tests/unit/store/sim_disk.h"
#include "tests/unit/store/sim_ops.h"

#define SIM_FDS 1024

struct sim {
    struct file_ops ops;
    uint64_t seed, count, counts[SIM_OP_COUNT];
    uint64_t fail_at, fail_times;
    int fail_error;
    struct {
        unsigned times;
        int error;
    } next[SIM_OP_COUNT];
    unsigned full_skip, full_times;
    bool short_writes, cut, was_full, all_cached, lose_all;
    uint64_t cut_at;
    struct sim_history history; /* since the last restore */
    uint64_t history_first;
    struct sim_tree now; /* what lies in the directory */
    unsigned groups;
    void (*on_op)(void *ctx, uint64_t number);
    void *on_op_ctx;
    void (*before_read)(void *ctx);
    void *before_read_ctx;
    struct {
        bool open, has_room;
        unsigned file;
    } fds[SIM_FDS];
};

/* Chance, which follows from the seed. */
static inline uint64_t sim_draw(struct sim *s, uint64_t limit)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return s->seed % limit;
}

#endif
