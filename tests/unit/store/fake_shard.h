/* SPDX-License-Identifier: Apache-2.0 */
/* fake_shard - shard and pools on the test's own thread: nothing runs until the test says so, and
 * which of several jobs runs next is drawn from a seed.  It stands in for io/shard.c and io/pool.c
 * at link time, so a test sees every interleaving of jobs and messages that threads could make.
 * Control-thread calls work too: shard_call() runs its function at once, and shard_gate_wait() runs
 * what is queued until the gate opens (a deadline has passed when nothing is left to run). */
#ifndef GRIDBOX_TESTS_STORE_FAKE_SHARD_H
#define GRIDBOX_TESTS_STORE_FAKE_SHARD_H

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct shard;

struct shard *fake_shard(void);
struct pool *fake_read_pool(void);
struct pool *fake_slow_pool(void);
struct pool *fake_journal_pool(void);

/* Empties all queues (what was in them is forgotten) and sets the seed; 0: always the oldest. */
void fake_reset(uint64_t seed);

/* Runs one job or message; false: there was none. */
bool fake_step(void);

/* Runs until nothing is left to run. */
void fake_run(void);

/* While held, jobs of this pool do not run. */
void fake_hold(struct pool *p, bool held);
unsigned fake_jobs(const struct pool *p);

/* Fires every timer that is set, as if its time had come. */
void fake_fire_timers(void);

#endif
