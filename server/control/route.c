/* SPDX-License-Identifier: Apache-2.0 */
/* route - matching paths against patterns. */
#include "server/control/route.h"

#include <errno.h>
#include <string.h>

/* Compares without changing anything; notes where each variable segment lies. */
static bool fits(const char *pattern, const char *path, size_t at[static HTTP_ARGS_MAX],
                 size_t length[static HTTP_ARGS_MAX])
{
    const char *p = path;
    unsigned n = 0;

    while (*pattern) {
        if (pattern[0] == '{' && pattern[1] == '}') {
            size_t segment = strcspn(p, "/");
            if (segment == 0 || n == HTTP_ARGS_MAX)
                return false;
            at[n] = (size_t)(p - path);
            length[n++] = segment;
            p += segment;
            pattern += 2;
        } else if (*pattern++ != *p++) {
            return false;
        }
    }
    return *p == '\0';
}

bool route_match(const char *pattern, char *path, const char *ret_args[static HTTP_ARGS_MAX])
{
    size_t at[HTTP_ARGS_MAX] = { 0 }, length[HTTP_ARGS_MAX] = { 0 };

    if (!fits(pattern, path, at, length))
        return false;
    for (unsigned i = 0; i < HTTP_ARGS_MAX; i++) {
        ret_args[i] = length[i] ? path + at[i] : "";
        if (length[i])
            path[at[i] + length[i]] = '\0';
    }
    return true;
}

int route_find(const struct router *router, const char *method, char *path,
               const struct http_route **ret, const char *ret_args[static HTTP_ARGS_MAX])
{
    size_t at[HTTP_ARGS_MAX], length[HTTP_ARGS_MAX];
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    int rc = -ENOENT;

    for (unsigned t = 0; t < router->tables; t++) {
        for (size_t i = 0; i < router->count[t]; i++) {
            const struct http_route *route = &router->table[t][i];
            if (!fits(route->pattern, path, at, length))
                continue;
            rc = -EPERM;
            if (strcmp(route->method, wanted) != 0)
                continue;
            route_match(route->pattern, path, ret_args);
            *ret = route;
            return 0;
        }
    }
    return rc;
}
