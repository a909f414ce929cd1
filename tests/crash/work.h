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

#define WORK_VERBS 13

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
    bool will_fail;  /* a COMMIT of the next verb that has one is answered with an error */
    bool has_failed; /* that was so: the catalog refuses all changes */
    bool verified;   /* a large image was; that takes long */
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

/* ---- reading ----------------------------------------------------------------------------------
 * What the model knows of a disk of this size; what the disk does not have is zeros in ret, which
 * has MODEL_BYTES. */
struct lab_parts work_parts(uint64_t size_bytes, uint8_t *ret);

/* ---- work_verbs.c ----------------------------------------------------------------------------*/
void work_verb(struct work *w);
const char *work_verb_name(unsigned verb);
unsigned work_line(struct work *w, int volume, int sealed);
unsigned work_volume(struct work *w, const char *name);
struct cat_volume work_row(struct work *w, unsigned volume);
/* What the catalog calls so now; -ENOENT: nothing. */
int work_read_sealed(struct lab *l, const struct model *m, const struct model_sealed *s,
                     uint8_t *ret, struct err *e);
/* Likewise, of a volume in a snapshot. */
struct cat_snapshot_volume;
int work_read_held(struct lab *l, const struct cat_snapshot_volume *held, uint8_t *ret,
                   struct err *e);
void work_cover(struct work *w, unsigned line, unsigned begin, unsigned end, unsigned verb);
unsigned work_line_now(const struct model_volume *v);
bool work_is_there(struct work *w, unsigned volume);
unsigned work_some_volume(struct work *w);
/* The end of a verb: all that carries its number. */
void work_conclude(struct work *w, unsigned verb, int rc);
/* Fails the test if rc is an error, unless the catalog was made to fail: then false. */
bool work_must(struct work *w, int rc, const struct err *e);
/* The next COMMIT is that of the verb under way. */
void work_commit_next(struct work *w);

/* ---- work_attach.c ----------------------------------------------------------------------------*/
void work_attach(struct work *w, unsigned volume);
void work_detach(struct work *w, unsigned volume);
/* It has no attachment any more, not even one that is over. */
struct cat_volume work_let_go(struct work *w, unsigned volume);
/* A client that was cut, or is cut now, comes back; a volume is detached for some time. */
void work_attach_or_detach(struct work *w);
/* Most of those who have no client get one. */
void work_attach_all(struct work *w);
/* The server waits for a disk that hangs until it waits no longer. */
void work_detach_hanging(struct work *w);

/* ---- work_settings.c: verbs that change no content --------------------------------------------*/
void work_resize(struct work *w);
void work_quota(struct work *w);
void work_verify(struct work *w);
/* No top holds more than its quota lets it. */
void work_check_quotas(struct work *w);

#endif
