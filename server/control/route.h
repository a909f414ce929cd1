/* SPDX-License-Identifier: Apache-2.0 */
/* route - which handler answers a method and a path.  No I/O. */
#ifndef GRIDBOX_CONTROL_ROUTE_H
#define GRIDBOX_CONTROL_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "server/control/http.h"

#define ROUTE_TABLES_MAX 32

struct router {
    const struct http_route *table[ROUTE_TABLES_MAX];
    size_t count[ROUTE_TABLES_MAX];
    unsigned tables;
};

/* Finds the route of a path, which is cut into its segments in place: ret_args point into it and
 * live as long as it.
 *   method   "HEAD" finds "GET"
 * 0, or -ENOENT (no such path), or -EPERM (the path is there, with other methods). */
int route_find(const struct router *router, const char *method, char *path,
               const struct http_route **ret, const char *ret_args[static HTTP_ARGS_MAX]);

/* True if the path fits; then ret_args are NUL-terminated inside `path`, which is changed. */
bool route_match(const char *pattern, char *path, const char *ret_args[static HTTP_ARGS_MAX]);

#endif
