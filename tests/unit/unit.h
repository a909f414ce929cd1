/* SPDX-License-Identifier: Apache-2.0 */
/* unit - cmocka, after the headers that it wants before it (the empty line keeps the order). */
#ifndef GRIDBOX_TESTS_UNIT_H
#define GRIDBOX_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
