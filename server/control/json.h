/* SPDX-License-Identifier: Apache-2.0 */
/* json - reading the JSON objects that calls bring, with words for what is wrong. */
#ifndef GRIDBOX_CONTROL_JSON_H
#define GRIDBOX_CONTROL_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

/* Text to object.  No text at all is the empty object.  -EINVAL: not JSON (with the place), not an
 * object, a key twice, or nested too deep. */
int json_object_parse(const char *text, size_t length, json_t **ret, struct err *e);

/* A member; NULL *ret if it is not there and `required` is false.  Borrowed.  -EINVAL names the
 * key. Texts have no NUL inside and at most `most` bytes. */
int json_get_text(const json_t *o, const char *key, bool required, size_t most, const char **ret,
                  struct err *e);
/* One that must be there and be a good name of that kind ("snapshot"). */
int json_get_name(const json_t *o, const char *key, const char *kind, const char **ret,
                  struct err *e);
int json_get_u64(const json_t *o, const char *key, uint64_t least, uint64_t most, uint64_t absent,
                 uint64_t *ret, struct err *e);
int json_get_bool(const json_t *o, const char *key, bool absent, bool *ret, struct err *e);

/* Refuses a member that is not in the list (NULL behind the last), so that a mistyped key is not
 * silently without effect.  -EINVAL. */
int json_only(const json_t *o, const char *const *keys, struct err *e);

/* Makes a text valid UTF-8 without control characters, in place: what is not becomes '?'. */
void json_text_clean(char *text);

#endif
