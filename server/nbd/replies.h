/* SPDX-License-Identifier: Apache-2.0 */
/* replies - the bytes before (or instead of) the data of a reply.  Pure.
 * proto.md "Simple reply message", "Structured reply chunk message". */
#ifndef GRIDBOX_NBD_REPLIES_H
#define GRIDBOX_NBD_REPLIES_H

#include <stddef.h>
#include <stdint.h>

#include "server/nbd/requests.h"

#define NBDR_HEAD_MAX   96 /* bytes */
#define NBDR_CONTEXT_ID 1u /* base:allocation; as SET_META_CONTEXT answers */

/* Writes the head of the reply to *r.
 *   error           0 or NBDW_E*
 *   why             text for a structured error; NULL = the usual one
 *   payload_length  bytes that the caller sends after the head: a READ's data or a BLOCK_STATUS's
 *                   extents; ignored when error is set, for then nothing follows
 * Returns the bytes of the head, at most NBDR_HEAD_MAX. */
size_t nbdr_head(const struct nbds_terms *terms, const struct nbds_request *r, uint32_t error,
                 const char *why, uint32_t payload_length, uint8_t ret_head[static NBDR_HEAD_MAX]);

/* Turns `count` extents of the device into wire extents, in the same memory, cut so that their sum
 * does not pass length_bytes and each fits 32 bits.  Returns the bytes of payload (>= 8). */
uint32_t nbdr_extents(struct blk_extent *extents, unsigned count, uint32_t length_bytes);

#endif
