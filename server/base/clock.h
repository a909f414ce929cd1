/* SPDX-License-Identifier: Apache-2.0 */
/* clock - the two clocks.  Durations and deadlines use the monotonic one; only what people read
 * uses wall time.  Both return nanoseconds and never fail.  Any thread. */
#ifndef GRIDBOX_BASE_CLOCK_H
#define GRIDBOX_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_S  1000000000ll
#define NS_PER_MS 1000000ll

static inline int64_t clock_mono_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static inline int64_t clock_wall_s(void)
{
    return (int64_t)time(NULL);
}

/* RFC 3339 in UTC, "2026-11-23T14:05:53Z", of seconds since 1970. */
static inline const char *clock_rfc3339(int64_t wall_s, char ret_text[static 32])
{
    time_t t = (time_t)wall_s;
    struct tm tm;

    if (!gmtime_r(&t, &tm) || !strftime(ret_text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
        ret_text[0] = '\0';
    return ret_text;
}

#endif
