/* SPDX-License-Identifier: Apache-2.0 */
/* raw - a client of the rig that sends bytes, for tests of what libnbd would never send.  Each read
 * and write has 10 s; what fails fails the test. */
#ifndef GRIDBOX_TESTS_NBD_RAW_H
#define GRIDBOX_TESTS_NBD_RAW_H

#include <stddef.h>
#include <stdint.h>

#include "tests/unit/nbd/rig.h"
#include "tests/unit/nbd/wire_build.h"

int raw_dial(const struct rig *r);
/* A connection that has opened disk n by EXPORT_NAME, without structured replies.  w is left empty.
 */
int raw_opened(const struct rig *r, unsigned n, uint8_t token_byte, struct wire *w);

void raw_get(int fd, void *buf, size_t length);
void raw_put(int fd, const struct wire *w);

/* The head of a simple reply. */
void raw_expect_reply(int fd, uint64_t cookie, uint32_t error);
/* The connection still works: one read. */
void raw_expect_alive(int fd, struct wire *w);
/* Waits for the end of the connection, throwing away what still comes, and closes it. */
void raw_expect_end(int fd);

#endif
