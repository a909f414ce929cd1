/* SPDX-License-Identifier: Apache-2.0 */
/* hide - takes secrets out of texts. */
#include "server/control/hide.h"

#include <stdbool.h>
#include <string.h>

#define TOKEN_DIGITS 32
#define HEX          "0123456789abcdefABCDEF"
#define URL_END      " \t\"'<>" /* in a text that says more than the URL */

static void cut(char *from, const char *to)
{
    memmove(from, to, strlen(to) + 1);
}

/* url: behind "://".  A ':' or ',' at the end of a query belongs to the text around it. */
static void hide_in_url(char *url)
{
    char *at = url + strcspn(url, "/?#@" URL_END);
    char *query;

    if (*at == '@') {
        /* A password may hold an '@' as well: the last one counts. */
        char *end = url + strcspn(url, "/?#" URL_END);
        for (char *p = at; p < end; p++)
            if (*p == '@')
                at = p;
        cut(url, at + 1);
    }
    query = url + strcspn(url, "?#" URL_END);
    if (*query != '?' && *query != '#')
        return;
    char *end = query + strcspn(query, URL_END);
    while (end > query && (end[-1] == ':' || end[-1] == ','))
        end--;
    cut(query, end);
}

void hide_secrets(char *text)
{
    for (char *p = text; (p = strstr(p, "://"));) {
        p += 3;
        hide_in_url(p);
    }
    for (char *p = text; (p = strchr(p, '.'));) {
        p++;
        if (strspn(p, HEX) == TOKEN_DIGITS)
            cut(p, p + TOKEN_DIGITS);
    }
}
