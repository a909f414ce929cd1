/* SPDX-License-Identifier: Apache-2.0 */
/* address - reads unix:PATH and http://HOST:PORT.  It knows nothing of HTTP or sockets. */
#include "server/cli/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_unix(const char *path, struct cli_address *a, struct err *e)
{
    if (path[0] == '\0')
        return err_set(e, -EINVAL, "server address '%s': the path after unix: is missing", a->text);
    if (strlen(path) >= sizeof a->unix_path)
        return err_set(e, -EINVAL,
                       "server address: a socket's path has at most %zu bytes, this one %zu",
                       sizeof a->unix_path - 1, strlen(path));
    a->is_unix = true;
    memcpy(a->unix_path, path, strlen(path) + 1);
    snprintf(a->base, sizeof a->base, "http://localhost");
    return 0;
}

/* HOST is a name, an IPv4 address or an IPv6 address in brackets. */
static bool host_valid(const char *host, size_t length)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

    if (length > 2 && host[0] == '[' && host[length - 1] == ']')
        return strspn(host + 1, "0123456789abcdefABCDEF:.") == length - 2;
    size_t span = 0;
    while (span < length && (strchr(letters, host[span]) || strchr(".-_", host[span])))
        span++;
    return length > 0 && span == length;
}

static int parse_http(const char *rest, struct cli_address *a, struct err *e)
{
    size_t length = strlen(rest);

    if (length > 0 && rest[length - 1] == '/')
        length--;
    size_t colon = length;
    while (colon > 0 && rest[colon - 1] != ':')
        colon--;
    size_t digits = length - colon;
    long port = digits >= 1 && digits <= 5 && strspn(rest + colon, "0123456789") >= digits
                    ? strtol(rest + colon, NULL, 10)
                    : 0;
    if (colon < 2 || !host_valid(rest, colon - 1) || port < 1 || port > 65535)
        return err_set(e, -EINVAL, "server address '%s': use http://HOST:PORT", a->text);
    a->is_unix = false;
    snprintf(a->base, sizeof a->base, "http://%.*s", (int)length, rest);
    return 0;
}

int address_parse(const char *text, struct cli_address *ret, struct err *e)
{
    struct cli_address a = { 0 };
    int rc;

    if (strlen(text) >= sizeof a.text - sizeof "http://")
        return err_set(e, -EINVAL, "server address: over 290 bytes long");
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return err_set(e, -EINVAL, "server address: there is a control character in it");
    memcpy(a.text, text, strlen(text) + 1);

    if (strncmp(text, "unix:", 5) == 0)
        rc = parse_unix(text + 5, &a, e);
    else if (strncmp(text, "http://", 7) == 0)
        rc = parse_http(text + 7, &a, e);
    else
        rc = err_set(e, -EINVAL, "server address '%s': use unix:PATH or http://HOST:PORT", text);
    if (rc == 0)
        *ret = a;
    return rc;
}
