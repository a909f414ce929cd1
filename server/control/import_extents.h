/* SPDX-License-Identifier: Apache-2.0 */
/* import_extents - what a server has said about where a disk is zeros, from the front on.
 *
 * A bounded list; when it is full, what comes is taken for data, which is slower and never wrong.
 * No I/O. */
#ifndef GRIDBOX_CONTROL_IMPORT_EXTENTS_H
#define GRIDBOX_CONTROL_IMPORT_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

#define EXTENTS_MAX 1024u

struct extent_run {
    uint64_t end; /* where it ends; it starts where the one before ends */
    bool zero;
};

struct extents {
    uint64_t start, end; /* the range that is known */
    unsigned count;
    struct extent_run runs[EXTENTS_MAX];
};

/* Appends `length` bytes to what is known; end + length must not overflow. */
void extents_add(struct extents *x, uint64_t length, bool zero);

/* Forgets what lies before `at`, which must be known or the end of what is. */
void extents_drop(struct extents *x, uint64_t at);

/* Of the known range [at, at + length): the part from its first byte of data to its last.
 * False if there is none. */
bool extents_data(const struct extents *x, uint64_t at, uint64_t length, uint64_t *ret_first,
                  uint64_t *ret_end);

#endif
