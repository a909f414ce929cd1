/* SPDX-License-Identifier: Apache-2.0 */
/* be - integers of a fixed byte order, for structures on the wire (be) and on disk (le).
 *
 * They are byte arrays: alignment 1, and not assignable from an int by mistake. */
#ifndef GRIDBOX_BASE_BE_H
#define GRIDBOX_BASE_BE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

struct be16 {
    uint8_t b[2];
};
struct be32 {
    uint8_t b[4];
};
struct be64 {
    uint8_t b[8];
};
struct le16 {
    uint8_t b[2];
};
struct le32 {
    uint8_t b[4];
};
struct le64 {
    uint8_t b[8];
};

#define BE_DEFINE(kind, bits, to_host, from_host)                                                  \
    static inline uint##bits##_t get_##kind##bits(struct kind##bits v)                             \
    {                                                                                              \
        uint##bits##_t x;                                                                          \
        memcpy(&x, v.b, sizeof x);                                                                 \
        return to_host(x);                                                                         \
    }                                                                                              \
    static inline struct kind##bits put_##kind##bits(uint##bits##_t x)                             \
    {                                                                                              \
        struct kind##bits v;                                                                       \
        x = from_host(x);                                                                          \
        memcpy(v.b, &x, sizeof x);                                                                 \
        return v;                                                                                  \
    }

BE_DEFINE(be, 16, be16toh, htobe16) /* get_be16(), put_be16() and so on */
BE_DEFINE(be, 32, be32toh, htobe32)
BE_DEFINE(be, 64, be64toh, htobe64)
BE_DEFINE(le, 16, le16toh, htole16)
BE_DEFINE(le, 32, le32toh, htole32)
BE_DEFINE(le, 64, le64toh, htole64)

#undef BE_DEFINE

#endif
