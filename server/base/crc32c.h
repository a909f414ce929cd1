/* SPDX-License-Identifier: Apache-2.0 */
/* crc32c - the Castagnoli CRC (RFC 3720 appendix B.4 has the test vectors), as in iSCSI, ext4 and
 * here in every structure on disk.  Uses the SSE 4.2 instruction where the CPU has it. */
#ifndef GRIDBOX_BASE_CRC32C_H
#define GRIDBOX_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc is 0 at first, or the result for the bytes before these. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t length);

/* The same by table, whatever the CPU has: there for the test that compares the two. */
uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t length);

#endif
