/* SPDX-License-Identifier: Apache-2.0 */
/* name - names, image references, hex, random bytes. */
#include "server/base/name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
}

bool name_valid(const char *text)
{
    size_t length = strnlen(text, NAME_SIZE);

    if (length == 0 || length > NAME_MAX_LENGTH || text[0] == '.' || text[0] == '-')
        return false;
    for (size_t i = 0; i < length; i++)
        if (!name_char(text[i]))
            return false;
    return true;
}

int name_check(const char *kind, const char *text, struct err *e)
{
    if (name_valid(text))
        return 0;

    char shown[41];
    snprintf(shown, sizeof shown, "%s", text);
    for (char *p = shown; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
            *p = '?';
    return err_set(e, -EINVAL,
                   "%s name '%s'%s is not valid: use 1 to %d of a-z, 0-9, '.' and '-', the first a "
                   "letter or digit",
                   kind, shown, strnlen(text, sizeof shown) >= sizeof shown ? "…" : "",
                   NAME_MAX_LENGTH);
}

int name_split_image(const char *text, char ret_name[static NAME_SIZE], uint32_t *ret_version,
                     struct err *e)
{
    const char *at = strchr(text, '@');
    size_t length = at ? (size_t)(at - text) : strlen(text);
    uint32_t version = 0;
    char name[NAME_SIZE];

    if (length > NAME_MAX_LENGTH)
        return name_check("image", text, e);
    memcpy(name, text, length);
    name[length] = '\0';
    int rc = name_check("image", name, e);
    if (rc < 0)
        return rc;

    for (const char *p = at ? at + 1 : ""; *p; p++) {
        if (*p < '0' || *p > '9' || version > (INT32_MAX - 9) / 10)
            return err_set(e, -EINVAL, "image '%s': the version after '@' must be a number from 1",
                           name);
        version = version * 10 + (uint32_t)(*p - '0');
    }
    if (at && version == 0)
        return err_set(e, -EINVAL, "image '%s': the version after '@' must be a number from 1",
                       name);

    memcpy(ret_name, name, length + 1);
    *ret_version = version;
    return 0;
}

void hex_encode(const void *bytes, size_t length, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;

    for (size_t i = 0; i < length; i++) {
        ret_text[2 * i] = digits[p[i] >> 4];
        ret_text[2 * i + 1] = digits[p[i] & 15];
    }
    ret_text[2 * length] = '\0';
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_decode(const char *text, void *ret_bytes, size_t length)
{
    uint8_t *p = ret_bytes;

    if (strnlen(text, 2 * length + 1) != 2 * length)
        return -EINVAL;
    for (size_t i = 0; i < 2 * length; i++)
        if (digit(text[i]) < 0)
            return -EINVAL;
    for (size_t i = 0; i < length; i++)
        p[i] = (uint8_t)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    return 0;
}

void random_bytes(void *ret_bytes, size_t length)
{
    uint8_t *p = ret_bytes;

    while (length) {
        ssize_t got = getrandom(p, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort();
        p += got;
        length -= (size_t)got;
    }
}

bool secret_equal(const void *a, const void *b, size_t length)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;

    for (size_t i = 0; i < length; i++)
        differ = (uint8_t)(differ | (x[i] ^ y[i]));
    return differ == 0;
}
