/* SPDX-License-Identifier: Apache-2.0 */
/* import_shown - a source as people, logs and the catalog may see it: nothing secret in it. */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "server/control/import.h"

#define TOKEN_DIGITS 32u

static bool is_token(const char *text)
{
    for (size_t i = 0; i < TOKEN_DIGITS; i++)
        if (!isxdigit((unsigned char)text[i]))
            return false;
    return !isxdigit((unsigned char)text[TOKEN_DIGITS]);
}

static void cut(char *at, size_t length)
{
    memmove(at, at + length, strlen(at + length) + 1);
}

/* ".0123…cdef" in the name of an export. */
static void cut_tokens(char *text)
{
    for (char *dot = text; (dot = strchr(dot, '.'));) {
        if (is_token(dot + 1))
            cut(dot, 1 + TOKEN_DIGITS);
        else
            dot++;
    }
}

/* "USER:PASSWORD@" before the host. */
static void cut_user(char *authority)
{
    size_t length = strcspn(authority, "/?#");
    char *at = memrchr(authority, '@', length);

    if (at)
        cut(authority, (size_t)(at + 1 - authority));
}

void import_shown(const char *where, char ret_text[static IMPORT_SHOWN_SIZE])
{
    char text[4096];
    size_t n = 0;

    for (; where[n] && n + 1 < sizeof text; n++)
        text[n] = iscntrl((unsigned char)where[n]) ? '?' : where[n];
    text[n] = '\0';
    char *scheme = strstr(text, "://");
    if (scheme && text[0] != '/') {
        cut_user(scheme + 3);
        cut_tokens(scheme + 3);
        if (strncasecmp(text, "http", 4) == 0) /* signatures; of nbd+unix it is the socket */
            scheme[3 + strcspn(scheme + 3, "?#")] = '\0';
    }
    text[IMPORT_SHOWN_SIZE - 1] = '\0';
    memcpy(ret_text, text, strlen(text) + 1);
}
