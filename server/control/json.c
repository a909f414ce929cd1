/* SPDX-License-Identifier: Apache-2.0 */
/* json - checked access to the members of an object. */
#include "server/control/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "server/base/name.h"

#define DEPTH_MAX 16

/* jansson's own limit is 2,048 levels; ours is checked before it builds anything. */
static bool too_deep(const char *text, size_t length)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < length; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '[') && ++depth > DEPTH_MAX)
            return true;
        else if (!quoted && (text[i] == '}' || text[i] == ']') && depth)
            depth--;
    }
    return false;
}

int json_object_parse(const char *text, size_t length, json_t **ret, struct err *e)
{
    json_error_t why;

    if (length == 0) {
        *ret = json_object();
        return *ret ? 0 : err_set(e, -ENOMEM, "body: out of memory");
    }
    if (too_deep(text, length))
        return err_set(e, -EINVAL, "body: nested deeper than %d", DEPTH_MAX);
    json_t *o = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    if (!o) {
        err_set(e, -EINVAL, "body: not JSON: %s, line %d column %d", why.text, why.line,
                why.column);
        if (e)
            json_text_clean(e->msg);
        return -EINVAL;
    }
    if (!json_is_object(o)) {
        json_decref(o);
        return err_set(e, -EINVAL, "body: must be a JSON object");
    }
    *ret = o;
    return 0;
}

int json_get_text(const json_t *o, const char *key, bool required, size_t most, const char **ret,
                  struct err *e)
{
    const json_t *v = json_object_get(o, key);

    if (!v && !required) {
        *ret = NULL;
        return 0;
    }
    if (!v)
        return err_set(e, -EINVAL, "%s: is missing", key);
    if (!json_is_string(v))
        return err_set(e, -EINVAL, "%s: must be a text", key);
    if (json_string_length(v) > most)
        return err_set(e, -EINVAL, "%s: has %zu bytes, at most %zu are allowed", key,
                       json_string_length(v), most);
    if (strlen(json_string_value(v)) != json_string_length(v))
        return err_set(e, -EINVAL, "%s: must not hold a NUL character", key);
    *ret = json_string_value(v);
    return 0;
}

int json_get_name(const json_t *o, const char *key, const char *kind, const char **ret,
                  struct err *e)
{
    int rc = json_get_text(o, key, true, 1024, ret, e);

    return rc < 0 ? rc : name_check(kind, *ret, e);
}

int json_get_u64(const json_t *o, const char *key, uint64_t least, uint64_t most, uint64_t absent,
                 uint64_t *ret, struct err *e)
{
    const json_t *v = json_object_get(o, key);

    if (!v) {
        *ret = absent;
        return 0;
    }
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        (uint64_t)json_integer_value(v) < least || (uint64_t)json_integer_value(v) > most)
        return err_set(e, -EINVAL, "%s: must be a whole number from %" PRIu64 " to %" PRIu64, key,
                       least, most);
    *ret = (uint64_t)json_integer_value(v);
    return 0;
}

int json_get_bool(const json_t *o, const char *key, bool absent, bool *ret, struct err *e)
{
    const json_t *v = json_object_get(o, key);

    if (v && !json_is_boolean(v))
        return err_set(e, -EINVAL, "%s: must be true or false", key);
    *ret = v ? json_is_true(v) : absent;
    return 0;
}

static bool listed(const char *const *keys, const char *key)
{
    for (; *keys; keys++)
        if (strcmp(*keys, key) == 0)
            return true;
    return false;
}

int json_only(const json_t *o, const char *const *keys, struct err *e)
{
    char list[200] = "";
    size_t at = 0;

    for (const char *const *k = keys; *k && at < sizeof list; k++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", k == keys ? "" : ", ", *k);
    for (void *i = json_object_iter((json_t *)(uintptr_t)o); i;
         i = json_object_iter_next((json_t *)(uintptr_t)o, i)) {
        const char *key = json_object_iter_key(i);
        if (listed(keys, key))
            continue;
        err_set(e, -EINVAL, "%.40s: is not known here: %s%s", key,
                *keys ? "this call takes " : "this call takes nothing", list);
        if (e)
            json_text_clean(e->msg);
        return -EINVAL;
    }
    return 0;
}

/* Length of the valid UTF-8 sequence at p, 0 if there is none. */
static size_t utf8_length(const unsigned char *p)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;

    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

void json_text_clean(char *text)
{
    unsigned char *p = (unsigned char *)text;

    while (*p) {
        size_t n = utf8_length(p);
        if (n == 0 || *p < 0x20 || *p == 0x7f) {
            *p++ = '?';
            continue;
        }
        p += n;
    }
}
