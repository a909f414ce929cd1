/* SPDX-License-Identifier: Apache-2.0 */
/* work - what clients and an operator do to a lab, drawn from a seed, and the model that knows what
 * may come of it. */
#ifndef GRIDBOX_TESTS_CRASH_WORK_H
#define GRIDBOX_TESTS_CRASH_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "server/io/shard.h"
#include "tests/crash/lab.h"
#include "tests/crash/model.h"

#define WORK_VERBS 9

struct work {
    struct lab *lab;
    struct model *model;
    uint64_t seed;
    uint32_t stamp;
    unsigned budget; /* requests that may still be submitted */
    bool ticking;
    struct shard_msg tick;
    unsigned counter_at; /* whose turn it is to hold the counter */
    bool counter_runs;
    unsigned snapshots, clones, merges;
    unsigned verbs[WORK_VERBS]; /* how often each was done */
    /* What the operator is doing now, for messages. */
    const char *doing;
    bool killed; /* the process before this one was: what was open is open still */
    unsigned merge_begin, merge_end; /* the last merge */
};

uint64_t work_draw(struct work *w, uint64_t limit);
unsigned work_now(struct work *w);

/* An image, volumes on it, clients at each. */
void work_set_up(struct work *w, unsigned volumes);
/* The model begins with what the lab shows now; clients come back. */
void work_adopt(struct work *w);
/* Requests and `verbs` verbs in between. */
void work_run(struct work *w, unsigned verbs, unsigned requests);
/* All that is sealed is read; what it shows is known from then on. */
void work_audit(struct work *w);
/* The server ends in order. */
void work_stop(struct work *w);

/* ---- work_requests.c --------------------------------------------------------------------------
 * While jobs run, up to `requests` requests are submitted among them. */
void work_requests(struct work *w, unsigned requests);
/* For the catalog: the shard and its pools go on while control waits for the disk. */
void work_meanwhile(void *ctx);
/* Some jobs run, or all; all: nothing is left. */
void work_let_run(struct work *w, bool all);

/* ---- work_verbs.c ----------------------------------------------------------------------------*/
void work_verb(struct work *w);
const char *work_verb_name(unsigned verb);
unsigned work_line(struct work *w, int volume, int sealed);
unsigned work_volume(struct work *w, const char *name);
struct cat_volume work_row(struct work *w, unsigned volume);
void work_attach(struct work *w, unsigned volume);
/* What the catalog calls so now; -ENOENT: nothing. */
int work_read_sealed(struct lab *l, const struct model *m, const struct model_sealed *s,
                     uint8_t *ret, struct err *e);
void work_cover(struct work *w, unsigned line, unsigned begin, unsigned end, unsigned verb);

#endif
