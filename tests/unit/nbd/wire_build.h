/* SPDX-License-Identifier: Apache-2.0 */
/* wire_build - builds what an NBD client sends, for tests. */
#ifndef GRIDBOX_TESTS_WIRE_BUILD_H
#define GRIDBOX_TESTS_WIRE_BUILD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "server/nbd/wire.h"

struct wire {
    uint8_t bytes[200000];
    size_t length;
};

static inline void wire_add(struct wire *w, const void *bytes, size_t length)
{
    memcpy(w->bytes + w->length, bytes, length);
    w->length += length;
}

static inline void wire_be16(struct wire *w, uint16_t x)
{
    struct be16 v = put_be16(x);
    wire_add(w, &v, sizeof v);
}

static inline void wire_be32(struct wire *w, uint32_t x)
{
    struct be32 v = put_be32(x);
    wire_add(w, &v, sizeof v);
}

static inline void wire_be64(struct wire *w, uint64_t x)
{
    struct be64 v = put_be64(x);
    wire_add(w, &v, sizeof v);
}

static inline void wire_option(struct wire *w, uint32_t option, const void *data, size_t length)
{
    wire_be64(w, NBDW_OPTION_MAGIC);
    wire_be32(w, option);
    wire_be32(w, (uint32_t)length);
    wire_add(w, data, length);
}

/* INFO or GO for `name`, with `count` information requests. */
static inline void wire_go(struct wire *w, uint32_t option, const char *name, const uint16_t *infos,
                           uint16_t count)
{
    wire_be64(w, NBDW_OPTION_MAGIC);
    wire_be32(w, option);
    wire_be32(w, (uint32_t)(4 + strlen(name) + 2 + 2 * (size_t)count));
    wire_be32(w, (uint32_t)strlen(name));
    wire_add(w, name, strlen(name));
    wire_be16(w, count);
    for (uint16_t i = 0; i < count; i++)
        wire_be16(w, infos[i]);
}

/* LIST or SET_META_CONTEXT for `name` with one query, or none if it is NULL. */
static inline void wire_context(struct wire *w, uint32_t option, const char *name,
                                const char *query)
{
    wire_be64(w, NBDW_OPTION_MAGIC);
    wire_be32(w, option);
    wire_be32(w, (uint32_t)(4 + strlen(name) + 4 + (query ? 4 + strlen(query) : 0)));
    wire_be32(w, (uint32_t)strlen(name));
    wire_add(w, name, strlen(name));
    wire_be32(w, query ? 1 : 0);
    if (query) {
        wire_be32(w, (uint32_t)strlen(query));
        wire_add(w, query, strlen(query));
    }
}

static inline void wire_request(struct wire *w, uint16_t type, uint16_t flags, uint64_t cookie,
                                uint64_t offset, uint32_t length)
{
    wire_be32(w, NBDW_REQUEST_MAGIC);
    wire_be16(w, flags);
    wire_be16(w, type);
    wire_be64(w, cookie);
    wire_be64(w, offset);
    wire_be32(w, length);
}

#endif
