/* SPDX-License-Identifier: Apache-2.0 */
/* session - the state machine of one connection: it collects headers, options and payloads from
 * whatever split they arrive in, and says what is wanted next.  What options mean is in options.c,
 * what requests mean in requests.c; it must never know of sockets or devices. */
#include "server/nbd/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/nbd/options.h"

/* Data of an option that is too long to look at is skipped up to here; beyond it we hang up. */
#define OPTION_SKIP_MAX (1u << 20)

enum state {
    ST_SEND,    /* output is waiting to be sent; then `after` */
    ST_FLAGS,   /* collecting the client's flags */
    ST_OPTION,  /* collecting an option's header */
    ST_DATA,    /* collecting an option's data */
    ST_SKIP,    /* throwing an option's data away */
    ST_TLS,     /* TLS must begin */
    ST_LOOKUP,  /* INFO waits for found or refuse */
    ST_OPEN,    /* GO or EXPORT_NAME waits for found or refuse */
    ST_REQUEST, /* collecting a request's header */
    ST_BUFFER,  /* a WRITE waits for a place for its payload */
    ST_PAYLOAD, /* collecting the payload of a WRITE, or throwing it away */
    ST_BACKEND, /* a request waits to be taken; then `after` */
    ST_CLOSING, /* nothing more is read */
    ST_COUNT
};

#define BIT(s) (1u << (s))
static const unsigned legal_next[ST_COUNT] = {
    [ST_SEND] = BIT(ST_FLAGS) | BIT(ST_OPTION) | BIT(ST_TLS) | BIT(ST_REQUEST) | BIT(ST_CLOSING),
    [ST_FLAGS] = BIT(ST_OPTION) | BIT(ST_CLOSING),
    [ST_OPTION] = BIT(ST_DATA) | BIT(ST_SKIP) | BIT(ST_CLOSING),
    [ST_DATA] = BIT(ST_SEND) | BIT(ST_LOOKUP) | BIT(ST_OPEN) | BIT(ST_CLOSING),
    [ST_SKIP] = BIT(ST_SEND),
    [ST_TLS] = BIT(ST_OPTION),
    [ST_LOOKUP] = BIT(ST_SEND),
    [ST_OPEN] = BIT(ST_SEND) | BIT(ST_CLOSING),
    [ST_REQUEST] = BIT(ST_BUFFER) | BIT(ST_PAYLOAD) | BIT(ST_BACKEND) | BIT(ST_CLOSING),
    [ST_BUFFER] = BIT(ST_PAYLOAD),
    [ST_PAYLOAD] = BIT(ST_BACKEND),
    [ST_BACKEND] = BIT(ST_REQUEST) | BIT(ST_CLOSING),
    [ST_CLOSING] = 0,
};

/* Needed until requests come, then freed: an idle connection should cost little. */
struct handshake {
    struct nbdo options;
    struct nbdo_output output;
    uint8_t data[NBDO_OPTION_MAX];
};

struct nbds_session {
    enum state state, after;
    size_t have; /* bytes collected in this state */
    struct handshake *hand;
    uint32_t option_length; /* bytes */

    union {
        struct nbdw_client_flags flags;
        struct nbdw_option option;
        struct nbdw_request request;
    } head;

    struct nbds_terms terms;
    struct nbds_request request;
    uint8_t *payload; /* the caller's; NULL = throw away */

    int failed; /* -EPROTO */
    const char *why;
};

/* The one place where the state changes. */
static void move(struct nbds_session *s, enum state to)
{
    assert(legal_next[s->state] & BIT(to));
    s->state = to;
    s->have = 0;
}

static void close_because(struct nbds_session *s, const char *why)
{
    s->why = why;
    move(s, ST_CLOSING);
}

static void fail(struct nbds_session *s, const char *why)
{
    s->failed = -EPROTO;
    close_because(s, why);
}

/* The option is answered in hand->output. */
static void answer(struct nbds_session *s, enum state after)
{
    s->after = after;
    move(s, ST_SEND);
}

/* ---- collecting ------------------------------------------------------------------------------ */

struct sink {
    uint8_t *at; /* NULL = throw away */
    size_t need;
};

static struct sink sink_of(struct nbds_session *s)
{
    switch (s->state) {
    case ST_FLAGS:
        return (struct sink){ (uint8_t *)&s->head, sizeof s->head.flags };
    case ST_OPTION:
        return (struct sink){ (uint8_t *)&s->head, sizeof s->head.option };
    case ST_DATA:
        return (struct sink){ s->hand->data, s->option_length };
    case ST_SKIP:
        return (struct sink){ NULL, s->option_length };
    case ST_REQUEST:
        return (struct sink){ (uint8_t *)&s->head, sizeof s->head.request };
    case ST_PAYLOAD:
        return (struct sink){ s->payload, s->request.length };
    case ST_SEND:
    case ST_TLS:
    case ST_LOOKUP:
    case ST_OPEN:
    case ST_BUFFER:
    case ST_BACKEND:
    case ST_CLOSING:
    case ST_COUNT:
        break;
    }
    return (struct sink){ NULL, 0 };
}

/* True when all that the state needs is there. */
static bool collect(struct nbds_session *s, const uint8_t *buf, size_t len, size_t *used)
{
    struct sink sink = sink_of(s);
    size_t n = sink.need - s->have;

    if (n > len)
        n = len;
    if (n > 0 && sink.at && sink.at + s->have != buf)
        memcpy(sink.at + s->have, buf, n);
    s->have += n;
    *used = n;
    return s->have == sink.need;
}

/* ---- one function for each state that was collected ------------------------------------------ */

/* proto.md "Client flags": unknown ones end the connection. */
static void on_flags(struct nbds_session *s)
{
    uint32_t flags = get_be32(s->head.flags.flags);

    if (flags & ~(NBDW_FLAG_FIXED_NEWSTYLE | NBDW_FLAG_NO_ZEROES)) {
        fail(s, "unknown client flags");
        return;
    }
    s->hand->options.no_zeroes = flags & NBDW_FLAG_NO_ZEROES;
    move(s, ST_OPTION);
}

static void on_option(struct nbds_session *s)
{
    s->option_length = get_be32(s->head.option.length);
    if (get_be64(s->head.option.magic) != NBDW_OPTION_MAGIC)
        fail(s, "an option does not begin with its magic number");
    else if (s->option_length > OPTION_SKIP_MAX)
        fail(s, "an option of more than 1 MiB");
    else if (s->option_length <= NBDO_OPTION_MAX)
        move(s, ST_DATA);
    else if (get_be32(s->head.option.option) == NBDW_OPT_EXPORT_NAME)
        fail(s, "an export name of more than 8,192 bytes"); /* no error can be answered */
    else
        move(s, ST_SKIP);
}

static void on_data(struct nbds_session *s)
{
    struct handshake *h = s->hand;

    h->output.length = 0;
    switch (nbdo_handle(&h->options, get_be32(s->head.option.option), h->data, s->option_length,
                        &h->output)) {
    case NBDO_ANSWERED:
        answer(s, ST_OPTION);
        break;
    case NBDO_LOOKUP:
        move(s, ST_LOOKUP);
        break;
    case NBDO_OPEN:
        move(s, ST_OPEN);
        break;
    case NBDO_ABORT:
        s->why = "the client ended the handshake";
        answer(s, ST_CLOSING);
        break;
    case NBDO_TLS:
        answer(s, ST_TLS);
        break;
    case NBDO_HANG_UP:
        close_because(s, "it wants no TLS, which this server requires");
        break;
    }
}

static void on_skipped(struct nbds_session *s)
{
    s->hand->output.length = 0;
    nbdo_too_big(get_be32(s->head.option.option), &s->hand->output);
    answer(s, ST_OPTION);
}

/* proto.md "Request message". */
static void on_request(struct nbds_session *s)
{
    uint16_t type = get_be16(s->head.request.type);

    if (get_be32(s->head.request.magic) != NBDW_REQUEST_MAGIC) {
        fail(s, "a request does not begin with its magic number");
        return;
    }
    if (type == NBDW_CMD_DISC) {
        close_because(s, "the client disconnected");
        return;
    }
    nbdr_check(&s->head.request, &s->terms, &s->request);
    s->after = ST_REQUEST;
    s->payload = NULL;
    if (type != NBDW_CMD_WRITE) {
        move(s, ST_BACKEND);
    } else if (s->request.length > BLK_MAX_IO) {
        s->why = "a write of more than 32 MiB";
        s->after = ST_CLOSING; /* its payload is not read */
        move(s, ST_BACKEND);
    } else {
        move(s, s->request.run ? ST_BUFFER : ST_PAYLOAD);
    }
}

static void on_collected(struct nbds_session *s)
{
    static void (*const on[ST_COUNT])(struct nbds_session *) = {
        [ST_FLAGS] = on_flags,  [ST_OPTION] = on_option,   [ST_DATA] = on_data,
        [ST_SKIP] = on_skipped, [ST_REQUEST] = on_request,
    };

    if (s->state == ST_PAYLOAD)
        move(s, ST_BACKEND);
    else
        on[s->state](s);
}

int nbds_feed(struct nbds_session *s, const void *buf, size_t len, size_t *ret_used)
{
    static const int want[ST_COUNT] = {
        [ST_SEND] = NBDS_WANT_SEND,     [ST_TLS] = NBDS_WANT_TLS,
        [ST_LOOKUP] = NBDS_WANT_LOOKUP, [ST_OPEN] = NBDS_WANT_OPEN,
        [ST_BUFFER] = NBDS_WANT_BUFFER, [ST_BACKEND] = NBDS_WANT_BACKEND,
        [ST_CLOSING] = NBDS_WANT_CLOSE,
    };
    size_t at = 0, used;

    while (want[s->state] == NBDS_WANT_INPUT) {
        if (!collect(s, (const uint8_t *)buf + at, len - at, &used)) {
            *ret_used = len;
            return NBDS_WANT_INPUT;
        }
        at += used;
        on_collected(s);
    }
    *ret_used = at;
    return s->failed ? s->failed : want[s->state];
}

/* ---- answers to wants ------------------------------------------------------------------------ */

const void *nbds_output(const struct nbds_session *s, size_t *ret_length)
{
    assert(s->state == ST_SEND);
    *ret_length = s->hand->output.length;
    return s->hand->output.bytes;
}

void nbds_sent(struct nbds_session *s)
{
    assert(s->state == ST_SEND);
    move(s, s->after);
    if (s->state == ST_REQUEST) {
        free(s->hand);
        s->hand = NULL;
    }
}

void nbds_offer_tls(struct nbds_session *s, bool required)
{
    s->hand->options.tls = required ? NBDO_TLS_REQUIRED : NBDO_TLS_ALLOWED;
}

void nbds_secured(struct nbds_session *s)
{
    assert(s->state == ST_TLS);
    nbdo_secure(&s->hand->options);
    move(s, ST_OPTION);
}

const char *nbds_export_name(const struct nbds_session *s)
{
    assert(s->state == ST_LOOKUP || s->state == ST_OPEN);
    return s->hand->options.name;
}

void nbds_found(struct nbds_session *s, uint64_t size_bytes, bool writable)
{
    assert(s->state == ST_LOOKUP || s->state == ST_OPEN);
    nbdo_found(&s->hand->options, size_bytes, writable, &s->terms, &s->hand->output);
    answer(s, s->state == ST_OPEN ? ST_REQUEST : ST_OPTION);
}

void nbds_refuse(struct nbds_session *s, int error, const char *why)
{
    assert(s->state == ST_LOOKUP || s->state == ST_OPEN);
    if (s->hand->options.option == NBDW_OPT_EXPORT_NAME) {
        close_because(s, "EXPORT_NAME cannot be refused but by hanging up");
        return;
    }
    nbdo_refuse(&s->hand->options, error, why, &s->hand->output);
    answer(s, ST_OPTION);
}

const struct nbds_request *nbds_request(const struct nbds_session *s)
{
    assert(s->state == ST_BUFFER || s->state == ST_BACKEND);
    return &s->request;
}

void nbds_payload(struct nbds_session *s, void *buf)
{
    assert(s->state == ST_BUFFER);
    s->payload = buf;
    move(s, ST_PAYLOAD);
}

void nbds_take(struct nbds_session *s)
{
    assert(s->state == ST_BACKEND);
    move(s, s->after);
}

void *nbds_payload_room(const struct nbds_session *s, size_t *ret_length)
{
    if (s->state != ST_PAYLOAD || !s->payload)
        return NULL;
    *ret_length = s->request.length - s->have;
    return s->payload + s->have;
}

const struct nbds_terms *nbds_terms(const struct nbds_session *s)
{
    return &s->terms;
}

const char *nbds_why(const struct nbds_session *s)
{
    return s->why ? s->why : "nothing is wrong";
}

/* ---- life ------------------------------------------------------------------------------------ */

struct nbds_session *nbds_new(void)
{
    struct nbds_session *s = calloc(1, sizeof *s);
    struct handshake *h = calloc(1, sizeof *h);

    if (!s || !h) {
        free(s);
        free(h);
        return NULL;
    }
    s->hand = h;
    nbdo_greet(&h->output);
    s->state = ST_SEND;
    s->after = ST_FLAGS;
    return s;
}

void nbds_free(struct nbds_session *s)
{
    if (!s)
        return;
    free(s->hand);
    free(s);
}
