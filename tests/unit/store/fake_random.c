/* SPDX-License-Identifier: Apache-2.0 */
/* fake_random - chance that follows a seed, in the place of the C library's. */
#include "tests/unit/store/fake_random.h"

#include <sys/random.h>

static uint64_t state = 1;

void fake_random(uint64_t seed)
{
    state = seed;
}

ssize_t getrandom(void *ret, size_t length, unsigned flags)
{
    unsigned char *bytes = ret;

    (void)flags;
    for (size_t i = 0; i < length; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        bytes[i] = (unsigned char)(state >> 56);
    }
    return (ssize_t)length;
}
