/* SPDX-License-Identifier: Apache-2.0 */
/* text - what people read.  It knows nothing of commands, servers or terminals. */
#include "server/cli/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

const char *text_bytes(uint64_t bytes, char ret[static TEXT_SIZE])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    size_t unit = 0;
    uint64_t whole = bytes, rest = 0;

    while (whole >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    uint64_t tenths = rest * 10 / 1024; /* rounded down: never more than there is */
    if (whole < 100 && tenths)
        snprintf(ret, TEXT_SIZE, "%u.%u %s", (unsigned)whole, (unsigned)tenths, units[unit]);
    else
        snprintf(ret, TEXT_SIZE, "%u %s", (unsigned)whole, units[unit]);
    return ret;
}

int text_read_bytes(const char *text, uint64_t *ret)
{
    static const char units[] = "BKMGTP";
    uint64_t bytes = 0;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(bytes, 10u, &bytes) ||
            __builtin_add_overflow(bytes, (uint64_t)(*text - '0'), &bytes))
            return -EINVAL;
    if (text[0] == ' ' && text[1])
        text++;
    const char *unit = *text ? strchr(units, toupper((unsigned char)*text)) : units;
    if (!unit)
        return -EINVAL;
    if (*text && unit != units && strcasecmp(text + 1, "iB") == 0)
        text += 2;
    if (*text && text[1])
        return -EINVAL;
    for (const char *u = units; u < unit; u++)
        if (__builtin_mul_overflow(bytes, 1024u, &bytes))
            return -EINVAL;
    *ret = bytes;
    return 0;
}

const char *text_duration(int64_t seconds, char ret[static TEXT_SIZE])
{
    long long s = seconds > 0 ? seconds : 0;

    if (s < 60)
        snprintf(ret, TEXT_SIZE, "%lld s", s);
    else if (s < 3600)
        snprintf(ret, TEXT_SIZE, "%lld min %lld s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(ret, TEXT_SIZE, "%lld h %lld min", s / 3600, s / 60 % 60);
    else
        snprintf(ret, TEXT_SIZE, "%lld d %lld h", s / 86400, s / 3600 % 24);
    return ret;
}

const char *text_time(int64_t wall_s, char ret[static TEXT_SIZE])
{
    time_t t = (time_t)wall_s;
    struct tm tm;

    if (wall_s <= 0 || !localtime_r(&t, &tm) ||
        strftime(ret, TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        snprintf(ret, TEXT_SIZE, "-");
    return ret;
}

/* Bytes of the UTF-8 sequence that starts with c, as far as c tells. */
static size_t sequence_length(unsigned char c)
{
    if (c >= 0xf0)
        return 4;
    if (c >= 0xe0)
        return 3;
    return c >= 0xc0 ? 2 : 1;
}

const char *text_safe(const char *text, char *ret, size_t size)
{
    size_t at = 0;

    while (*text) {
        size_t length = strnlen(text, sequence_length((unsigned char)*text));
        if (at + length >= size)
            break;
        /* U+0080 to U+009F are control characters too: 0xc2 0x80 to 0xc2 0x9f. */
        if ((unsigned char)text[0] < 0x20 || text[0] == 0x7f ||
            ((unsigned char)text[0] == 0xc2 && (unsigned char)text[1] < 0xa0)) {
            ret[at++] = '?';
        } else {
            memcpy(ret + at, text, length);
            at += length;
        }
        text += length;
    }
    ret[at] = '\0';
    return ret;
}

size_t text_width(const char *text)
{
    size_t width = 0;

    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

int text_url_append(char *ret, size_t size, const char *segment)
{
    static const char hex[] = "0123456789ABCDEF";
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~@:";
    size_t at = strlen(ret);

    for (; *segment; segment++) {
        unsigned char c = (unsigned char)*segment;
        if (at + 4 > size)
            return -ENAMETOOLONG;
        if (strchr(plain, c)) {
            ret[at++] = (char)c;
        } else {
            ret[at++] = '%';
            ret[at++] = hex[c >> 4];
            ret[at++] = hex[c & 15];
        }
        ret[at] = '\0';
    }
    return 0;
}
