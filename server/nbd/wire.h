/* SPDX-License-Identifier: Apache-2.0 */
/* wire - every structure and number of the NBD protocol that we use, as they are on the wire.
 *
 * Source: NetworkBlockDevice/nbd doc/proto.md ("proto.md"); the section is named at each item.
 * Byte arrays only: receive buffers are never cast to these, they are copied. */
#ifndef GRIDBOX_NBD_WIRE_H
#define GRIDBOX_NBD_WIRE_H

#include <assert.h>
#include <stddef.h>

#include "server/base/be.h"

/* ---- handshake --------------------------------------------------------------------------------*/

#define NBDW_MAGIC        0x4e42444d41474943u /* "NBDMAGIC" */
#define NBDW_OPTION_MAGIC 0x49484156454f5054u /* "IHAVEOPT" */
#define NBDW_REPLY_MAGIC  0x0003e889045565a9u

/* "Handshake flags" and "Client flags" */
#define NBDW_FLAG_FIXED_NEWSTYLE 0x0001u
#define NBDW_FLAG_NO_ZEROES      0x0002u

/* Server -> client, first of all.  "Newstyle negotiation". */
struct nbdw_greeting {
    struct be64 magic;        /* NBDW_MAGIC */
    struct be64 option_magic; /* NBDW_OPTION_MAGIC */
    struct be16 flags;        /* NBDW_FLAG_* */
};
static_assert(sizeof(struct nbdw_greeting) == 18, "proto.md: 18 bytes");

/* Client -> server: its flags, then options.  "Newstyle negotiation". */
struct nbdw_client_flags {
    struct be32 flags; /* NBDW_FLAG_* */
};
static_assert(sizeof(struct nbdw_client_flags) == 4, "proto.md: 4 bytes");

struct nbdw_option {
    struct be64 magic;  /* NBDW_OPTION_MAGIC */
    struct be32 option; /* NBDW_OPT_* */
    struct be32 length; /* bytes of data that follow */
};
static_assert(sizeof(struct nbdw_option) == 16, "proto.md: 16 bytes");
static_assert(offsetof(struct nbdw_option, option) == 8, "proto.md: after the magic");

/* Server -> client.  "Fixed newstyle negotiation". */
struct nbdw_option_reply {
    struct be64 magic;  /* NBDW_REPLY_MAGIC */
    struct be32 option; /* the one that is answered */
    struct be32 type;   /* NBDW_REP_* */
    struct be32 length; /* bytes of data that follow */
};
static_assert(sizeof(struct nbdw_option_reply) == 20, "proto.md: 20 bytes");
static_assert(offsetof(struct nbdw_option_reply, type) == 12, "proto.md: after the option");

/* Server -> client, the answer to EXPORT_NAME.  "Newstyle negotiation". */
struct nbdw_export_name_reply {
    struct be64 size_bytes;
    struct be16 flags;   /* NBDW_TX_* */
    uint8_t zeroes[124]; /* not sent if the client said NBDW_FLAG_NO_ZEROES */
};
static_assert(sizeof(struct nbdw_export_name_reply) == 134, "proto.md: 134 bytes");

/* "Option types" */
enum {
    NBDW_OPT_EXPORT_NAME = 1,
    NBDW_OPT_ABORT = 2,
    NBDW_OPT_LIST = 3,
    NBDW_OPT_STARTTLS = 5,
    NBDW_OPT_INFO = 6,
    NBDW_OPT_GO = 7,
    NBDW_OPT_STRUCTURED_REPLY = 8,
    NBDW_OPT_LIST_META_CONTEXT = 9,
    NBDW_OPT_SET_META_CONTEXT = 10,
};

/* "Option reply types" */
#define NBDW_REP_ACK          1u
#define NBDW_REP_INFO         3u
#define NBDW_REP_META_CONTEXT 4u
#define NBDW_REP_ERR_UNSUP    0x80000001u
#define NBDW_REP_ERR_POLICY   0x80000002u
#define NBDW_REP_ERR_INVALID  0x80000003u
#define NBDW_REP_ERR_TLS_REQD 0x80000005u
#define NBDW_REP_ERR_UNKNOWN  0x80000006u
#define NBDW_REP_ERR_SHUTDOWN 0x80000007u
#define NBDW_REP_ERR_TOO_BIG  0x80000009u

/* "NBD_REP_INFO" */
enum {
    NBDW_INFO_EXPORT = 0,
    NBDW_INFO_NAME = 1,
    NBDW_INFO_BLOCK_SIZE = 3,
};

struct nbdw_info_export {
    struct be16 type; /* NBDW_INFO_EXPORT */
    struct be64 size_bytes;
    struct be16 flags; /* NBDW_TX_* */
};
static_assert(sizeof(struct nbdw_info_export) == 12, "proto.md: 12 bytes");

struct nbdw_info_block_size {
    struct be16 type; /* NBDW_INFO_BLOCK_SIZE */
    struct be32 minimum, preferred, maximum;
};
static_assert(sizeof(struct nbdw_info_block_size) == 14, "proto.md: 14 bytes");

/* "Transmission flags" */
#define NBDW_TX_HAS_FLAGS         0x0001u
#define NBDW_TX_READ_ONLY         0x0002u
#define NBDW_TX_SEND_FLUSH        0x0004u
#define NBDW_TX_SEND_FUA          0x0008u
#define NBDW_TX_SEND_TRIM         0x0020u
#define NBDW_TX_SEND_WRITE_ZEROES 0x0040u
#define NBDW_TX_SEND_DF           0x0080u
#define NBDW_TX_CAN_MULTI_CONN    0x0100u
#define NBDW_TX_SEND_CACHE        0x0400u

/* ---- transmission -----------------------------------------------------------------------------*/

#define NBDW_REQUEST_MAGIC 0x25609513u
#define NBDW_SIMPLE_MAGIC  0x67446698u
#define NBDW_CHUNK_MAGIC   0x668e33efu

/* Client -> server.  "Request message".  Followed by `length` bytes when type is NBDW_CMD_WRITE. */
struct nbdw_request {
    struct be32 magic;  /* NBDW_REQUEST_MAGIC */
    struct be16 flags;  /* NBDW_CMD_FLAG_* */
    struct be16 type;   /* NBDW_CMD_* */
    struct be64 cookie; /* echoed in the reply, never interpreted */
    struct be64 offset; /* bytes from the start of the export */
    struct be32 length; /* bytes */
};
static_assert(sizeof(struct nbdw_request) == 28, "proto.md: 28 bytes");
static_assert(offsetof(struct nbdw_request, cookie) == 8, "proto.md: after the type");

/* "Request types" */
enum {
    NBDW_CMD_READ = 0,
    NBDW_CMD_WRITE = 1,
    NBDW_CMD_DISC = 2,
    NBDW_CMD_FLUSH = 3,
    NBDW_CMD_TRIM = 4,
    NBDW_CMD_CACHE = 5,
    NBDW_CMD_WRITE_ZEROES = 6,
    NBDW_CMD_BLOCK_STATUS = 7,
};

/* "Command flags" */
#define NBDW_CMD_FLAG_FUA     0x0001u
#define NBDW_CMD_FLAG_NO_HOLE 0x0002u
#define NBDW_CMD_FLAG_DF      0x0004u
#define NBDW_CMD_FLAG_REQ_ONE 0x0008u

/* Server -> client.  "Simple reply message". */
struct nbdw_simple_reply {
    struct be32 magic; /* NBDW_SIMPLE_MAGIC */
    struct be32 error; /* NBDW_E* or 0 */
    struct be64 cookie;
};
static_assert(sizeof(struct nbdw_simple_reply) == 16, "proto.md: 16 bytes");

/* Server -> client.  "Structured reply chunk message". */
struct nbdw_chunk {
    struct be32 magic; /* NBDW_CHUNK_MAGIC */
    struct be16 flags; /* NBDW_CHUNK_DONE */
    struct be16 type;  /* NBDW_CHUNK_* */
    struct be64 cookie;
    struct be32 length; /* bytes of payload that follow */
};
static_assert(sizeof(struct nbdw_chunk) == 20, "proto.md: 20 bytes");
static_assert(offsetof(struct nbdw_chunk, cookie) == 8, "proto.md: after the type");

#define NBDW_CHUNK_DONE 0x0001u /* "Structured reply flags" */

/* "Structured reply types" */
#define NBDW_CHUNK_NONE         0u
#define NBDW_CHUNK_OFFSET_DATA  1u
#define NBDW_CHUNK_BLOCK_STATUS 5u
#define NBDW_CHUNK_ERROR        0x8001u

struct nbdw_offset_data {
    struct be64 offset; /* then the data */
};
static_assert(sizeof(struct nbdw_offset_data) == 8, "proto.md: 8 bytes");

struct nbdw_error {
    struct be32 error;          /* NBDW_E* */
    struct be16 message_length; /* then the message */
};
static_assert(sizeof(struct nbdw_error) == 6, "proto.md: 6 bytes");

struct nbdw_block_status {
    struct be32 context; /* then extents */
};
static_assert(sizeof(struct nbdw_block_status) == 4, "proto.md: 4 bytes");

struct nbdw_extent {
    struct be32 length; /* bytes, never 0 */
    struct be32 flags;  /* base:allocation: 1 = hole, 2 = zero */
};
static_assert(sizeof(struct nbdw_extent) == 8, "proto.md: 8 bytes");

/* "Error values" */
#define NBDW_EPERM     1u
#define NBDW_EIO       5u
#define NBDW_EINVAL    22u
#define NBDW_ENOSPC    28u
#define NBDW_EOVERFLOW 75u
#define NBDW_ESHUTDOWN 108u

#endif
