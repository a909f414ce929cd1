/* SPDX-License-Identifier: Apache-2.0 */
/* top - from two answers of GET /v1/stats to rates: what each export did between them.
 *
 * No terminal, no clock, no server. */
#ifndef GRIDBOX_CLI_TOP_H
#define GRIDBOX_CLI_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "server/base/err.h"

/* What rows are sorted by: the names of --sort, in this order. */
enum top_key {
    TOP_IOPS,
    TOP_READ,
    TOP_WRITE,
    TOP_LATENCY,
    TOP_DIRTY,
    TOP_STALL,
    TOP_VOLUME,
    TOP_HOST,
};
extern const char *const top_keys[]; /* ends with NULL */

/* Reads a name of top_keys; -EINVAL with all of them. */
int top_key_parse(const char *text, enum top_key *ret, struct err *e);

struct top_row {
    const char *name, *holder;     /* borrowed from the newer answer */
    uint64_t ops, read, write;     /* operations and bytes in a second */
    uint64_t mean_us, p99_us;      /* of reads and writes; 0 = there were none; p99 rounded up to a
                                    * power of two */
    uint64_t dirty_bytes, busy_ms; /* busy: age of the oldest request that is not answered */
    bool connected, parked, failed;
};

struct top {
    struct top_row *rows; /* sorted */
    size_t count;
    struct top_row total; /* sums; its latency is that of all requests together */
    uint64_t interval_ms;
    uint64_t free_bytes, size_bytes; /* of the store */
};

#define TOP_STALL_MS 1000u /* a request of this age is a stall */

/* before may be NULL, and may be of a server that has been restarted since: then there are no
 * rates. now must outlive *ret.  0 or -ENOMEM. */
int top_new(const json_t *before, const json_t *now, enum top_key key, struct top *ret,
            struct err *e);
void top_done(struct top *t); /* idempotent; also the AUTO function */

/* One line about all, then a table, cut to so many columns and lines (0 = as many as it takes).  0
 * or -ENOMEM. */
struct top_size {
    unsigned columns, lines;
};
int top_print(const struct top *t, struct top_size size, FILE *out);

/* The same for programs: a new object, or NULL when out of memory. */
json_t *top_json(const struct top *t);

#endif
