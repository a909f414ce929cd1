/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* sources: server/nbd/session.c server/nbd/options.c server/nbd/requests.c server/nbd/replies.c server/nbd/errors.c */
/* clang-format on */
/* nbd_session_fuzz - a whole conversation.  The first byte chooses whether a handshake has already
 * led to requests; then the input also chooses the split.  Every request is answered, so that
 * replies and extents are built too. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/nbd/errors.h"
#include "server/nbd/replies.h"
#include "server/nbd/session.h"
#include "tests/unit/nbd/wire_build.h"

#define EXPORT_BYTES (1ull << 40)

static uint8_t *payload; /* of exactly the size asked for, so that the sanitizer sees its end */

static void answer(const struct nbds_terms *terms, const struct nbds_request *r)
{
    struct blk_extent extents[3] = { { .length = 512 },
                                     { .length = 1ull << 33, .state = BLK_EXT_HOLE },
                                     { .length = 512, .state = BLK_EXT_ZERO } };
    uint8_t head[NBDR_HEAD_MAX];
    uint32_t bytes = r->length;

    assert(r->run || r->error || r->length == 0);
    if (r->run && r->op != BLK_FLUSH)
        assert(r->length > 0 && r->offset % 512 == 0 && r->length % 512 == 0 &&
               r->offset <= terms->size_bytes && r->length <= terms->size_bytes - r->offset);
    if (r->run && r->op == BLK_STATUS) {
        bytes = nbdr_extents(extents, r->op_flags & BLK_ONE ? 1 : 3, r->length);
        assert(bytes >= 8 && bytes <= 24);
    }
    assert(nbdr_head(terms, r, r->error, r->why, bytes, head) <= sizeof head);
    assert(nbdr_head(terms, r, nbd_error(-EIO), NULL, 0, head) <= sizeof head);
}

/* Does what is wanted.  False: it is over. */
static int serve(struct nbds_session *s, int want, uint8_t choice)
{
    size_t length;

    switch (want) {
    case NBDS_WANT_INPUT:
        return 1;
    case NBDS_WANT_SEND:
        assert(nbds_output(s, &length) && length > 0 && length <= 640);
        nbds_sent(s);
        return 1;
    case NBDS_WANT_TLS: /* here the bytes go on as they are */
        nbds_secured(s);
        return 1;
    case NBDS_WANT_LOOKUP:
    case NBDS_WANT_OPEN:
        assert(strlen(nbds_export_name(s)) < 128);
        if (choice % 4 == 0) /* the next byte chooses, at the end of what is there: writable */
            nbds_refuse(s, -ENOENT, "no such export");
        else
            nbds_found(s, EXPORT_BYTES, choice % 4 != 1);
        return 1;
    case NBDS_WANT_BUFFER:
        assert(nbds_request(s)->length > 0 && nbds_request(s)->length <= BLK_MAX_IO);
        free(payload);
        payload = malloc(nbds_request(s)->length);
        nbds_payload(s, payload);
        return 1;
    case NBDS_WANT_BACKEND:
        answer(nbds_terms(s), nbds_request(s));
        nbds_take(s);
        return 1;
    default:
        assert(want == NBDS_WANT_CLOSE || want == -EPROTO);
        assert(nbds_why(s));
        return 0;
    }
}

/* Plays `size` bytes; the split comes from the bytes themselves. */
static int play(struct nbds_session *s, const uint8_t *data, size_t size, int split)
{
    size_t end = 0, at = 0, used = 0;

    for (;;) {
        int want = nbds_feed(s, data + at, end - at, &used);
        assert(used <= end - at);
        at += used;
        if (!serve(s, want, at < size ? data[at] : 2))
            return 0;
        if (want != NBDS_WANT_INPUT)
            continue;
        assert(at == end);
        if (end == size)
            return 1;
        size_t step = split ? 1 + data[end] % 64u : size;
        end = step > size - end ? size : end + step;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wire w;
    struct nbds_session *s;

    if (size == 0 || !(s = nbds_new()))
        return 0;
    w.length = 0;
    if (data[0] & 16)
        nbds_offer_tls(s, data[0] & 32);
    if (data[0] & 1) {
        wire_be32(&w, 3);
        if (data[0] & 2)
            wire_option(&w, NBDW_OPT_STRUCTURED_REPLY, "", 0);
        if (data[0] & 4)
            wire_context(&w, NBDW_OPT_SET_META_CONTEXT, "a", "base:allocation");
        wire_option(&w, NBDW_OPT_EXPORT_NAME, "a", 1);
    }
    if (w.length == 0 || play(s, w.bytes, w.length, 0))
        play(s, data + 1, size - 1, data[0] & 8);
    nbds_free(s);
    free(payload);
    payload = NULL;
    return 0;
}
