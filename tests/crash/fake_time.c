/* SPDX-License-Identifier: Apache-2.0 */
/* fake_time - clocks that stand still. */
#include "tests/crash/fake_time.h"

#include <time.h>

#include "tests/unit/store/fake_random.h"

#define NS_PER_S 1000000000ll
#define WALL_S   1795000000ll /* some day in 2026 */

static int64_t now_ns = NS_PER_S;

void fake_time_reset(uint64_t seed)
{
    now_ns = NS_PER_S;
    fake_random(seed);
}

void fake_time_advance(int64_t ns)
{
    now_ns += ns;
}

/* ---- in the place of the C library's ----------------------------------------------------------*/

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    ret->tv_sec = now_ns / NS_PER_S + (clock == CLOCK_REALTIME ? WALL_S : 0);
    ret->tv_nsec = now_ns % NS_PER_S;
    return 0;
}

time_t time(time_t *ret)
{
    time_t t = WALL_S + now_ns / NS_PER_S;

    if (ret)
        *ret = t;
    return t;
}

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    (void)left;
    now_ns += wanted->tv_sec * NS_PER_S + wanted->tv_nsec;
    return 0;
}
