/* SPDX-License-Identifier: Apache-2.0 */
/* fake_random - chance that follows a seed, in the place of the kernel's, so that the ids of layers
 * and with them a whole run can be repeated. */
#ifndef GRIDBOX_TESTS_STORE_FAKE_RANDOM_H
#define GRIDBOX_TESTS_STORE_FAKE_RANDOM_H

#include <stdint.h>

void fake_random(uint64_t seed);

#endif
