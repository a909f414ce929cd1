/* SPDX-License-Identifier: Apache-2.0 */
/* options - one function for each option; what they agree on is kept in struct nbdo. */
#include "server/nbd/options.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/nbd/replies.h"

#define BASE_ALLOCATION "base:allocation"
#define BASE_WILDCARD   "base:"

/* ---- output ---------------------------------------------------------------------------------- */

static void put(struct nbdo_output *out, const void *bytes, size_t length)
{
    assert(length <= sizeof out->bytes - out->length); /* answers are short: our own arithmetic */
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

static void put_reply(struct nbdo_output *out, uint32_t option, uint32_t type, size_t length)
{
    struct nbdw_option_reply r = { .magic = put_be64(NBDW_REPLY_MAGIC),
                                   .option = put_be32(option),
                                   .type = put_be32(type),
                                   .length = put_be32((uint32_t)length) };

    put(out, &r, sizeof r);
}

static void put_error(struct nbdo_output *out, uint32_t option, uint32_t type, const char *text)
{
    size_t length = strlen(text);

    if (length > NBDO_REFUSAL_BYTES)
        length = NBDO_REFUSAL_BYTES;

    put_reply(out, option, type, length);
    put(out, text, length);
}

static enum nbdo_next ack(struct nbdo *o, struct nbdo_output *out)
{
    put_reply(out, o->option, NBDW_REP_ACK, 0);
    return NBDO_ANSWERED;
}

static enum nbdo_next invalid(struct nbdo *o, const char *why, struct nbdo_output *out)
{
    put_error(out, o->option, NBDW_REP_ERR_INVALID, why);
    return NBDO_ANSWERED;
}

void nbdo_greet(struct nbdo_output *out)
{
    struct nbdw_greeting g = { .magic = put_be64(NBDW_MAGIC),
                               .option_magic = put_be64(NBDW_OPTION_MAGIC),
                               .flags = put_be16(NBDW_FLAG_FIXED_NEWSTYLE | NBDW_FLAG_NO_ZEROES) };

    put(out, &g, sizeof g);
}

/* ---- input ----------------------------------------------------------------------------------- */

/* What is left of an option's data; a read beyond it makes it `bad`. */
struct cursor {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct cursor *c, size_t length)
{
    const uint8_t *at = c->at;

    if (c->bad || length > c->left) {
        c->bad = true;
        return NULL;
    }
    c->at += length;
    c->left -= length;
    return at;
}

static uint32_t take_be32(struct cursor *c)
{
    struct be32 v = { 0 };
    const uint8_t *at = take(c, sizeof v);

    if (at)
        memcpy(&v, at, sizeof v);
    return get_be32(v);
}

static uint16_t take_be16(struct cursor *c)
{
    struct be16 v = { 0 };
    const uint8_t *at = take(c, sizeof v);

    if (at)
        memcpy(&v, at, sizeof v);
    return get_be16(v);
}

/* Empty if it is too long, or holds a NUL: no export has such a name. */
static void set_name(char name[static NBDO_NAME_SIZE], const uint8_t *text, size_t length)
{
    name[0] = '\0';
    if (length < NBDO_NAME_SIZE && !memchr(text, '\0', length)) {
        memcpy(name, text, length);
        name[length] = '\0';
    }
}

/* ---- the options ----------------------------------------------------------------------------- */

static enum nbdo_next on_export_name(struct nbdo *o, struct cursor *c, struct nbdo_output *out)
{
    (void)out;
    set_name(o->name, c->at, c->left);
    return NBDO_OPEN;
}

static enum nbdo_next on_abort(struct nbdo *o, struct cursor *c, struct nbdo_output *out)
{
    (void)c;
    ack(o, out);
    return NBDO_ABORT;
}

/* Names are secrets here: the list is empty, whoever asks. */
static enum nbdo_next on_list(struct nbdo *o, struct cursor *c, struct nbdo_output *out)
{
    return c->left > 0 ? invalid(o, "LIST takes no data", out) : ack(o, out);
}

static enum nbdo_next on_structured_reply(struct nbdo *o, struct cursor *c, struct nbdo_output *out)
{
    if (c->left > 0)
        return invalid(o, "STRUCTURED_REPLY takes no data", out);
    o->structured = true;
    return ack(o, out);
}

static enum nbdo_next on_info_or_go(struct nbdo *o, struct cursor *c, struct nbdo_output *out)
{
    uint32_t name_length = take_be32(c);
    const uint8_t *name = take(c, name_length);
    unsigned infos = take_be16(c);

    o->name_wanted = false;
    for (unsigned i = 0; i < infos && !c->bad; i++)
        if (take_be16(c) == NBDW_INFO_NAME)
            o->name_wanted = true;
    if (c->bad || c->left > 0)
        return invalid(o, "the lengths in the option contradict each other", out);
    set_name(o->name, name, name_length);
    return o->option == NBDW_OPT_GO ? NBDO_OPEN : NBDO_LOOKUP;
}

static bool query_is(const uint8_t *query, size_t length, const char *text)
{
    return length == strlen(text) && memcmp(query, text, length) == 0;
}

static void put_context(struct nbdo *o, uint32_t id, struct nbdo_output *out)
{
    struct be32 wire_id = put_be32(id);

    put_reply(out, o->option, NBDW_REP_META_CONTEXT, sizeof wire_id + strlen(BASE_ALLOCATION));
    put(out, &wire_id, sizeof wire_id);
    put(out, BASE_ALLOCATION, strlen(BASE_ALLOCATION));
}

/* "Metadata querying".  Queries of other namespaces are passed over, as they must be. */
static enum nbdo_next on_meta_context(struct nbdo *o, struct cursor *c, struct nbdo_output *out)
{
    bool set = o->option == NBDW_OPT_SET_META_CONTEXT, found;
    uint32_t name_length = take_be32(c);
    const uint8_t *name = take(c, name_length);
    uint32_t queries = take_be32(c);

    if (set)
        o->context = false;
    if (!o->structured)
        return invalid(o, "negotiate structured replies first", out);
    found = queries == 0 && !set;
    for (uint32_t i = 0; i < queries && !c->bad; i++) {
        uint32_t length = take_be32(c);
        const uint8_t *query = take(c, length);
        if (query && (query_is(query, length, BASE_ALLOCATION) ||
                      (!set && query_is(query, length, BASE_WILDCARD))))
            found = true;
    }
    if (c->bad || c->left > 0)
        return invalid(o, "the lengths in the option contradict each other", out);

    if (set && found) {
        o->context = true;
        set_name(o->context_export, name, name_length);
    }
    if (found)
        put_context(o, set ? NBDR_CONTEXT_ID : 0, out);
    return ack(o, out);
}

/* proto.md "NBD_OPT_STARTTLS". */
static enum nbdo_next on_starttls(struct nbdo *o, struct cursor *c, struct nbdo_output *out)
{
    if (o->tls == NBDO_TLS_OFF) {
        put_error(out, o->option, NBDW_REP_ERR_UNSUP, "this server does not offer TLS");
        return NBDO_ANSWERED;
    }
    if (c->left > 0)
        return invalid(o, "STARTTLS takes no data", out);
    if (o->secure)
        return invalid(o, "TLS is on already", out);
    ack(o, out);
    return NBDO_TLS;
}

void nbdo_secure(struct nbdo *o)
{
    o->secure = true;
    o->structured = o->context = false;
}

/* proto.md "TLS versions", FORCEDTLS: nothing else is heard before it. */
static bool needs_tls_first(const struct nbdo *o)
{
    return o->tls == NBDO_TLS_REQUIRED && !o->secure && o->option != NBDW_OPT_STARTTLS &&
           o->option != NBDW_OPT_ABORT;
}

typedef enum nbdo_next (*option_fn)(struct nbdo *o, struct cursor *c, struct nbdo_output *out);

static const option_fn options[] = {
    [NBDW_OPT_EXPORT_NAME] = on_export_name,
    [NBDW_OPT_ABORT] = on_abort,
    [NBDW_OPT_LIST] = on_list,
    [NBDW_OPT_STARTTLS] = on_starttls,
    [NBDW_OPT_INFO] = on_info_or_go,
    [NBDW_OPT_GO] = on_info_or_go,
    [NBDW_OPT_STRUCTURED_REPLY] = on_structured_reply,
    [NBDW_OPT_LIST_META_CONTEXT] = on_meta_context,
    [NBDW_OPT_SET_META_CONTEXT] = on_meta_context,
};

enum nbdo_next nbdo_handle(struct nbdo *o, uint32_t option, const uint8_t *data, size_t length,
                           struct nbdo_output *out)
{
    struct cursor c = { .at = data, .left = length };

    o->option = option;
    if (needs_tls_first(o)) {
        if (option == NBDW_OPT_EXPORT_NAME)
            return NBDO_HANG_UP;
        put_error(out, option, NBDW_REP_ERR_TLS_REQD, "this server wants TLS: STARTTLS first");
        return NBDO_ANSWERED;
    }
    if (option >= sizeof options / sizeof options[0] || !options[option]) {
        put_error(out, option, NBDW_REP_ERR_UNSUP, "unknown option");
        return NBDO_ANSWERED;
    }
    return options[option](o, &c, out);
}

void nbdo_too_big(uint32_t option, struct nbdo_output *out)
{
    put_error(out, option, NBDW_REP_ERR_TOO_BIG, "at most 8,192 bytes of data in one option");
}

/* ---- answers about an export ----------------------------------------------------------------- */

/* Images are immutable, so any number of connections may share one; volumes have one each. */
static uint16_t transmission_flags(const struct nbdo *o, bool writable)
{
    unsigned flags = NBDW_TX_HAS_FLAGS | NBDW_TX_SEND_CACHE;

    flags |= writable ? NBDW_TX_SEND_FLUSH | NBDW_TX_SEND_FUA | NBDW_TX_SEND_TRIM |
                            NBDW_TX_SEND_WRITE_ZEROES
                      : NBDW_TX_READ_ONLY | NBDW_TX_CAN_MULTI_CONN;
    if (o->structured)
        flags |= NBDW_TX_SEND_DF;
    return (uint16_t)flags;
}

static void put_export_name_reply(struct nbdo *o, const struct nbds_terms *t,
                                  struct nbdo_output *out)
{
    struct nbdw_export_name_reply r = { .size_bytes = put_be64(t->size_bytes),
                                        .flags = put_be16(t->flags) };

    put(out, &r, o->no_zeroes ? offsetof(struct nbdw_export_name_reply, zeroes) : sizeof r);
}

void nbdo_found(struct nbdo *o, uint64_t size_bytes, bool writable, struct nbds_terms *terms,
                struct nbdo_output *out)
{
    *terms = (struct nbds_terms){ .size_bytes = size_bytes,
                                  .flags = transmission_flags(o, writable),
                                  .structured = o->structured,
                                  .status = o->context && strcmp(o->context_export, o->name) == 0 };
    if (o->option == NBDW_OPT_EXPORT_NAME) {
        put_export_name_reply(o, terms, out);
        return;
    }

    struct nbdw_info_export export = { .type = put_be16(NBDW_INFO_EXPORT),
                                       .size_bytes = put_be64(size_bytes),
                                       .flags = put_be16(terms->flags) };
    put_reply(out, o->option, NBDW_REP_INFO, sizeof export);
    put(out, &export, sizeof export);

    /* Unasked too: our minimum is not the default of 1. */
    struct nbdw_info_block_size sizes = { .type = put_be16(NBDW_INFO_BLOCK_SIZE),
                                          .minimum = put_be32(BLK_SECTOR),
                                          .preferred = put_be32(NBDO_PREFERRED),
                                          .maximum = put_be32(BLK_MAX_IO) };
    put_reply(out, o->option, NBDW_REP_INFO, sizeof sizes);
    put(out, &sizes, sizeof sizes);

    if (o->name_wanted) {
        struct be16 type = put_be16(NBDW_INFO_NAME);
        put_reply(out, o->option, NBDW_REP_INFO, sizeof type + strlen(o->name));
        put(out, &type, sizeof type);
        put(out, o->name, strlen(o->name));
    }
    ack(o, out);
}

void nbdo_refuse(struct nbdo *o, int error, const char *why, struct nbdo_output *out)
{
    uint32_t type = NBDW_REP_ERR_SHUTDOWN;

    if (error == -ENOENT)
        type = NBDW_REP_ERR_UNKNOWN;
    else if (error == -ESTALE)
        type = NBDW_REP_ERR_POLICY;
    put_error(out, o->option, type, why);
}
