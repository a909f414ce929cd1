/* SPDX-License-Identifier: Apache-2.0 */
/* name - the names that people give to things, and hex.
 *
 * A name is [a-z0-9][a-z0-9.-]{0,62}: it is safe as a file name, host name and URL path segment.
 * An image reference is NAME or NAME@VERSION. */
#ifndef GRIDBOX_BASE_NAME_H
#define GRIDBOX_BASE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

#define NAME_MAX_LENGTH 63
#define NAME_SIZE       (NAME_MAX_LENGTH + 1)

bool name_valid(const char *text);

/* 0, or -EINVAL with "KIND name '…': what is wrong, what would be right".  The text is shown with
 * control characters replaced and cut to 40 bytes. */
int name_check(const char *kind, const char *text, struct err *e);

/* Splits NAME[@VERSION].  *ret_version is 0 when there is none (the newest is meant), else
 * 1..2^31-1.  0 or -EINVAL. */
int name_split_image(const char *text, char ret_name[static NAME_SIZE], uint32_t *ret_version,
                     struct err *e);

/* Lower-case hex; ret_text has room for 2 * length + 1 bytes. */
void hex_encode(const void *bytes, size_t length, char *ret_text);

/* Exactly 2 * length hex digits and a NUL, either case.  0 or -EINVAL. */
int hex_decode(const char *text, void *ret_bytes, size_t length);

/* Random bytes of the kernel; never fails (aborts if the kernel has none). */
void random_bytes(void *ret_bytes, size_t length);

/* Compares secrets in a time that does not depend on where they differ. */
bool secret_equal(const void *a, const void *b, size_t length);

#endif
