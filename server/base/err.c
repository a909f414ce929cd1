/* SPDX-License-Identifier: Apache-2.0 */
/* err - building the one message of a failure. */
#include "server/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (!e)
        return code;

    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    e->code = code;
    return code;
}

/* "head: tail", cut to what fits; tail may lie in e->msg. */
static void join(struct err *e, const char *head, const char *tail)
{
    char whole[sizeof e->msg];
    size_t at = (size_t)snprintf(whole, sizeof whole, "%s", head);

    if (at < sizeof whole)
        snprintf(whole + at, sizeof whole - at, ": %s", tail);
    memcpy(e->msg, whole, sizeof whole);
}

int err_wrap(struct err *e, int code, const char *fmt, ...)
{
    if (!e)
        return code;

    char head[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    join(e, head, e->code ? e->msg : strerror(-code));
    e->code = code;
    return code;
}

int err_errno(struct err *e, const char *fmt, ...)
{
    int code = -errno;

    if (!e)
        return code;

    char head[sizeof e->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    join(e, head, strerror(-code));
    e->code = code;
    return code;
}
