/* SPDX-License-Identifier: Apache-2.0 */
/* fake_time - clocks that stand still, in the place of the C library's, so that a run can be
 * repeated exactly. */
#ifndef GRIDBOX_TESTS_CRASH_FAKE_TIME_H
#define GRIDBOX_TESTS_CRASH_FAKE_TIME_H

#include <stdint.h>

/* Sets both clocks back to their beginning, and chance to this seed. */
void fake_time_reset(uint64_t seed);
void fake_time_advance(int64_t ns);

#endif
