/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: reading one JSON key with its limits, writing values that are always valid JSON.
 * Must never know: which keys there are. */
#include "server/contract/field.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/name.h"
#include "server/contract/contract.h"

int field_object(const char *json, size_t length, json_t **ret, struct err *e)
{
    json_error_t je;
    json_t *object;

    if (length > CONTRACT_TEXT_MAX)
        return err_set(e, -EFBIG, "the text has %zu bytes, at most %u are allowed", length,
                       CONTRACT_TEXT_MAX);
    object = json_loadb(json, length, JSON_REJECT_DUPLICATES, &je);
    if (!object && json_error_code(&je) == json_error_out_of_memory)
        return err_set(e, -ENOMEM, "out of memory");
    if (!object)
        return err_set(e, -EPROTO, "not JSON: line %d column %d: %.100s", je.line, je.column,
                       je.text);
    if (!json_is_object(object)) {
        json_decref(object);
        return err_set(e, -EPROTO, "not a JSON object");
    }
    *ret = object;
    return 0;
}

/* jansson has seen to it that strings are UTF-8 without NUL. */
static bool has_control(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return true;
    return false;
}

int field_text(const json_t *object, const char *key, char *ret, size_t size, struct err *e)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);

    if (!text)
        return err_set(e, -EPROTO, "%s: %s, must be text", key, value ? "wrong type" : "missing");
    if (strlen(text) >= size)
        return err_set(e, -EPROTO, "%s: longer than %zu bytes", key, size - 1);
    if (has_control(text))
        return err_set(e, -EPROTO, "%s: has control characters", key);
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

int field_name(const json_t *object, const char *key, char *ret, struct err *e)
{
    char text[NAME_SIZE];
    int rc = field_text(object, key, text, sizeof text, e);

    if (rc < 0)
        return rc;
    rc = name_check(key, text, e);
    if (rc < 0)
        return err_wrap(e, -EPROTO, "%s", key);
    memcpy(ret, text, strlen(text) + 1);
    return 0;
}

int field_u64(const json_t *object, const char *key, uint64_t min, uint64_t max, uint64_t *ret,
              struct err *e)
{
    const json_t *value = json_object_get(object, key);
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value) || number < 0 || (uint64_t)number < min || (uint64_t)number > max)
        return err_set(e, -EPROTO, "%s: %s, must be a number from %llu to %llu", key,
                       value ? "wrong" : "missing", (unsigned long long)min,
                       (unsigned long long)max);
    *ret = (uint64_t)number;
    return 0;
}

int field_u32(const json_t *object, const char *key, uint32_t min, uint32_t max, uint32_t *ret,
              struct err *e)
{
    uint64_t wide;
    int rc = field_u64(object, key, min, max, &wide, e);

    if (rc == 0)
        *ret = (uint32_t)wide;
    return rc;
}

int field_bool(const json_t *object, const char *key, bool *ret, struct err *e)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_boolean(value))
        return err_set(e, -EPROTO, "%s: %s, must be true or false", key,
                       value ? "wrong type" : "missing");
    *ret = json_is_true(value);
    return 0;
}

int field_flag(const json_t *object, const char *key, bool *ret, struct err *e)
{
    if (json_object_get(object, key))
        return field_bool(object, key, ret, e);
    *ret = false;
    return 0;
}

int field_array(const json_t *object, const char *key, size_t max, json_t **ret, struct err *e)
{
    json_t *value = json_object_get(object, key);

    if (!json_is_array(value))
        return err_set(e, -EPROTO, "%s: %s, must be a list", key, value ? "wrong type" : "missing");
    if (json_array_size(value) > max)
        return err_set(e, -EFBIG, "%s: has %zu members, at most %zu are allowed", key,
                       json_array_size(value), max);
    *ret = value;
    return 0;
}

/* pattern: 'x' stands for a lower-case hex digit, anything else for itself. */
static bool matches(const char *text, const char *pattern)
{
    size_t length = strlen(pattern);

    if (strlen(text) != length)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');

        if (pattern[i] == 'x' ? !hex : text[i] != pattern[i])
            return false;
    }
    return true;
}

bool field_is_mac(const char *text)
{
    return matches(text, "xx:xx:xx:xx:xx:xx");
}

bool field_is_uuid(const char *text)
{
    return matches(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

/* A text of plain ASCII with '?' for everything else: the way out when it is not UTF-8. */
static json_t *ascii_text(const char *text)
{
    char *copy = strdup(text);
    json_t *value;

    if (!copy)
        return NULL;
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    value = json_string(copy);
    free(copy);
    return value;
}

json_t *field_new_text(const char *text)
{
    json_t *value = has_control(text) ? NULL : json_string(text);

    return value ? value : ascii_text(text);
}

json_t *field_new_u64(uint64_t value)
{
    return value > INT64_MAX ? NULL : json_integer((json_int_t)value);
}

int field_put(json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) < 0 ? -ENOMEM : 0;
}

char *field_dump(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

    json_decref(object);
    return text;
}

void field_unref(json_t **value)
{
    json_decref(*value);
}
