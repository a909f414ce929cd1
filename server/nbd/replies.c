/* SPDX-License-Identifier: Apache-2.0 */
/* replies - three shapes: simple, structured with data, structured error.
 *
 * A reply without payload is simple even when structured ones were agreed on ("MAY be used as a
 * reply to any request other than NBD_CMD_READ"): it is shorter. */
#include "server/nbd/replies.h"

#include <assert.h>
#include <string.h>

#include "server/nbd/errors.h"

static size_t simple(const struct nbds_request *r, uint32_t error, uint8_t *head)
{
    struct nbdw_simple_reply s = { .magic = put_be32(NBDW_SIMPLE_MAGIC),
                                   .error = put_be32(error),
                                   .cookie = put_be64(r->cookie) };

    memcpy(head, &s, sizeof s);
    return sizeof s;
}

static size_t chunk(const struct nbds_request *r, uint16_t type, uint64_t payload, uint8_t *head)
{
    struct nbdw_chunk c = { .magic = put_be32(NBDW_CHUNK_MAGIC),
                            .flags = put_be16(NBDW_CHUNK_DONE),
                            .type = put_be16(type),
                            .cookie = put_be64(r->cookie),
                            .length = put_be32((uint32_t)payload) };

    memcpy(head, &c, sizeof c);
    return sizeof c;
}

static size_t structured_error(const struct nbds_request *r, uint32_t error, const char *why,
                               uint8_t *head)
{
    size_t room = NBDR_HEAD_MAX - sizeof(struct nbdw_chunk) - sizeof(struct nbdw_error);
    size_t length = strnlen(why ? why : nbd_error_text(error), room);
    struct nbdw_error body = { .error = put_be32(error),
                               .message_length = put_be16((uint16_t)length) };
    size_t at = chunk(r, (uint16_t)NBDW_CHUNK_ERROR, sizeof body + length, head);

    memcpy(head + at, &body, sizeof body);
    at += sizeof body;
    memcpy(head + at, why ? why : nbd_error_text(error), length);
    return at + length;
}

size_t nbdr_head(const struct nbds_terms *terms, const struct nbds_request *r, uint32_t error,
                 const char *why, uint32_t payload_length, uint8_t ret_head[static NBDR_HEAD_MAX])
{
    bool has_payload = r->type == NBDW_CMD_READ || r->type == NBDW_CMD_BLOCK_STATUS;

    if (!terms->structured || (!has_payload && !error))
        return simple(r, error, ret_head);
    if (error)
        return structured_error(r, error, why, ret_head);
    if (payload_length == 0) /* a READ of nothing: a data chunk must describe at least one byte */
        return chunk(r, NBDW_CHUNK_NONE, 0, ret_head);
    if (r->type == NBDW_CMD_READ) {
        struct nbdw_offset_data body = { .offset = put_be64(r->offset) };
        size_t at =
            chunk(r, NBDW_CHUNK_OFFSET_DATA, (uint64_t)payload_length + sizeof body, ret_head);
        memcpy(ret_head + at, &body, sizeof body);
        return at + sizeof body;
    }
    struct nbdw_block_status body = { .context = put_be32(NBDR_CONTEXT_ID) };
    size_t at = chunk(r, NBDW_CHUNK_BLOCK_STATUS, (uint64_t)payload_length + sizeof body, ret_head);
    memcpy(ret_head + at, &body, sizeof body);
    return at + sizeof body;
}

uint32_t nbdr_extents(struct blk_extent *extents, unsigned count, uint32_t length_bytes)
{
    uint8_t *out = (uint8_t *)extents; /* 8 bytes overtake 16 never: done front to back */
    uint32_t left = length_bytes, bytes = 0;

    static_assert(sizeof(struct nbdw_extent) <= sizeof(struct blk_extent), "in place");
    for (unsigned i = 0; i < count && left > 0; i++) {
        struct blk_extent e = extents[i];
        uint32_t length = e.length < left ? (uint32_t)e.length : left;
        struct nbdw_extent wire = { .length = put_be32(length), .flags = put_be32(e.state) };
        memcpy(out + bytes, &wire, sizeof wire);
        bytes += (uint32_t)sizeof wire;
        left -= length;
    }
    return bytes;
}
