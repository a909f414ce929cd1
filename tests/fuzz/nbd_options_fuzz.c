/* SPDX-License-Identifier: Apache-2.0 */
/* sources: server/nbd/options.c */
/* nbd_options_fuzz - the data of options, one after the other, on one state.  Each begins with a
 * byte for the option's number and two for its length. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/nbd/options.h"

static void check(const struct nbdo_output *out)
{
    struct nbdw_option_reply r;
    size_t at = 0;

    while (at < out->length) {
        assert(out->length - at >= sizeof r);
        memcpy(&r, out->bytes + at, sizeof r);
        assert(get_be64(r.magic) == NBDW_REPLY_MAGIC);
        at += sizeof r + get_be32(r.length);
    }
    assert(at == out->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct nbdo o = { .structured = size % 2, .tls = (enum nbdo_tls)(size / 2 % 3) };
    struct nbdo_output out;
    struct nbds_terms terms;

    while (size >= 3) {
        uint32_t option = data[0];
        size_t length = (size_t)(data[1] << 8 | data[2]) % (NBDO_OPTION_MAX + 1);
        data += 3;
        size -= 3;
        if (length > size)
            length = size;
        uint8_t *exact = malloc(length + 1); /* so that the sanitizer sees a read beyond it */
        memcpy(exact, data, length);
        out.length = 0;
        enum nbdo_next next = nbdo_handle(&o, option, exact, length, &out);
        free(exact);
        if (next == NBDO_TLS)
            nbdo_secure(&o);
        if (next == NBDO_LOOKUP || next == NBDO_OPEN) {
            assert(out.length == 0 && strlen(o.name) < NBDO_NAME_SIZE);
            if (length % 2)
                nbdo_found(&o, 1 << 20, length % 3, &terms, &out);
            else if (option != NBDW_OPT_EXPORT_NAME)
                nbdo_refuse(&o, -ENOENT, "no such export", &out);
        }
        if (option != NBDW_OPT_EXPORT_NAME)
            check(&out);
        data += length;
        size -= length;
    }
    return 0;
}
