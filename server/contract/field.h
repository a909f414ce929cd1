/* SPDX-License-Identifier: Apache-2.0 */
/* field - one key of a JSON object, read into a C variable with its limits checked.
 *
 * For the files of this folder.  Each returns 0, or -EPROTO with "KEY: what is wrong" (missing,
 * wrong type, out of range), or -EFBIG for an array above its limit; *ret is then untouched. */
#ifndef GRIDBOX_CONTRACT_FIELD_H
#define GRIDBOX_CONTRACT_FIELD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

/* The text as an object with unique keys; the caller calls json_decref (or uses field_unref). */
int field_object(const char *json, size_t length, json_t **ret, struct err *e);

/* Text without control characters, of at most size - 1 bytes. */
int field_text(const json_t *object, const char *key, char *ret, size_t size, struct err *e);

/* A name as in server/base/name.h; ret has room for NAME_SIZE bytes. */
int field_name(const json_t *object, const char *key, char *ret, struct err *e);

int field_u64(const json_t *object, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
              struct err *e);
int field_u32(const json_t *object, const char *key, uint32_t min, uint32_t max, uint32_t *ret,
              struct err *e);
int field_bool(const json_t *object, const char *key, bool *ret, struct err *e);
/* False if it is not there: a key that an older peer does not send. */
int field_flag(const json_t *object, const char *key, bool *ret, struct err *e);

/* Borrowed from the object. */
int field_array(const json_t *object, const char *key, size_t max, json_t **ret, struct err *e);

/* "52:54:00:12:34:56" in lower case. */
bool field_is_mac(const char *text);
/* 8-4-4-4-12 lower-case hex digits. */
bool field_is_uuid(const char *text);

/* A JSON string of any bytes: control characters and what is not UTF-8 become '?'. */
json_t *field_new_text(const char *text);
/* NULL above INT64_MAX, which JSON integers here cannot hold. */
json_t *field_new_u64(uint64_t value);

/* Adds a value and takes the reference, also when it fails (value may be NULL): 0 or -ENOMEM. */
int field_put(json_t *object, const char *key, json_t *value);

/* Heap text of an object, or NULL; drops the reference to the object (which may be NULL). */
char *field_dump(json_t *object);

/* The AUTO function of a json_t pointer. */
void field_unref(json_t **value);

#endif
