/* SPDX-License-Identifier: Apache-2.0 */
/* options_test - what each option is answered with, byte by byte. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "server/nbd/options.h"
#include "tests/unit/nbd/wire_build.h"

#define NAME "lab1.0123456789abcdef0123456789abcdef"

/* One reply taken from *at. */
struct reply {
    uint32_t option, type, length;
    const uint8_t *data;
};

static struct reply next_reply(const struct nbdo_output *out, size_t *at)
{
    struct nbdw_option_reply r;

    assert_true(out->length - *at >= sizeof r);
    memcpy(&r, out->bytes + *at, sizeof r);
    *at += sizeof r;
    assert_true(get_be64(r.magic) == NBDW_REPLY_MAGIC);
    struct reply got = { get_be32(r.option), get_be32(r.type), get_be32(r.length),
                         out->bytes + *at };
    assert_true(out->length - *at >= got.length);
    *at += got.length;
    return got;
}

static void expect_single(const struct nbdo_output *out, uint32_t option, uint32_t type)
{
    size_t at = 0;
    struct reply r = next_reply(out, &at);

    assert_int_equal(r.option, option);
    assert_int_equal(r.type, type);
    assert_int_equal(at, out->length);
    if (type & 0x80000000u)
        assert_true(r.length > 0); /* in words */
}

/* The data of the option that *w holds. */
static enum nbdo_next handle(struct nbdo *o, const struct wire *w, struct nbdo_output *out)
{
    struct nbdw_option head;

    memcpy(&head, w->bytes, sizeof head);
    out->length = 0;
    return nbdo_handle(o, get_be32(head.option), w->bytes + sizeof head, get_be32(head.length),
                       out);
}

static const struct {
    const char *name;
    uint32_t option;
    const char *data;
    size_t length;
    bool structured;
    uint32_t want;
} singles[] = {
    { "list", NBDW_OPT_LIST, "", 0, false, NBDW_REP_ACK },
    { "list with data", NBDW_OPT_LIST, "x", 1, false, NBDW_REP_ERR_INVALID },
    { "starttls", NBDW_OPT_STARTTLS, "", 0, false, NBDW_REP_ERR_UNSUP },
    { "peek export", 4, "", 0, false, NBDW_REP_ERR_UNSUP },
    { "extended headers", 11, "", 0, false, NBDW_REP_ERR_UNSUP },
    { "number 0", 0, "abc", 3, false, NBDW_REP_ERR_UNSUP },
    { "largest number", 0xffffffffu, "", 0, false, NBDW_REP_ERR_UNSUP },
    { "structured", NBDW_OPT_STRUCTURED_REPLY, "", 0, false, NBDW_REP_ACK },
    { "structured twice", NBDW_OPT_STRUCTURED_REPLY, "", 0, true, NBDW_REP_ACK },
    { "structured with data", NBDW_OPT_STRUCTURED_REPLY, "x", 1, false, NBDW_REP_ERR_INVALID },
    { "go: empty", NBDW_OPT_GO, "", 0, false, NBDW_REP_ERR_INVALID },
    { "go: name too long", NBDW_OPT_GO, "\0\0\0\2a\0\0", 7, false, NBDW_REP_ERR_INVALID },
    { "go: huge name", NBDW_OPT_GO, "\xff\xff\xff\xff\0\0", 6, false, NBDW_REP_ERR_INVALID },
    { "go: no count", NBDW_OPT_GO, "\0\0\0\1a", 5, false, NBDW_REP_ERR_INVALID },
    { "go: too few infos", NBDW_OPT_GO, "\0\0\0\1a\0\2\0\1", 9, false, NBDW_REP_ERR_INVALID },
    { "go: more data", NBDW_OPT_GO, "\0\0\0\1a\0\0x", 8, false, NBDW_REP_ERR_INVALID },
    { "info: more data", NBDW_OPT_INFO, "\0\0\0\1a\0\0x", 8, false, NBDW_REP_ERR_INVALID },
    { "set context, not structured", NBDW_OPT_SET_META_CONTEXT, "\0\0\0\1a\0\0\0\0", 9, false,
      NBDW_REP_ERR_INVALID },
    { "set context: no query", NBDW_OPT_SET_META_CONTEXT, "\0\0\0\1a\0\0\0\0", 9, true,
      NBDW_REP_ACK },
    { "set context: short query", NBDW_OPT_SET_META_CONTEXT, "\0\0\0\1a\0\0\0\1\0\0\0\2b", 14, true,
      NBDW_REP_ERR_INVALID },
    { "list context: many queries", NBDW_OPT_LIST_META_CONTEXT, "\0\0\0\1a\xff\xff\xff\xff", 9,
      true, NBDW_REP_ERR_INVALID },
};

static void options_get_one_final_reply(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof singles / sizeof singles[0]; i++) {
        struct nbdo o = { .structured = singles[i].structured };
        struct nbdo_output out = { 0 };
        print_message("# %s\n", singles[i].name);
        assert_int_equal(nbdo_handle(&o, singles[i].option, (const uint8_t *)singles[i].data,
                                     singles[i].length, &out),
                         NBDO_ANSWERED);
        expect_single(&out, singles[i].option, singles[i].want);
    }
}

static enum nbdo_next ask(struct nbdo *o, uint32_t option, const char *data,
                          struct nbdo_output *out)
{
    out->length = 0;
    return nbdo_handle(o, option, (const uint8_t *)data, strlen(data), out);
}

static void starttls_is_acknowledged_once(void **state)
{
    struct nbdo o = { .tls = NBDO_TLS_ALLOWED, .structured = true, .context = true };
    struct nbdo_output out = { 0 };

    (void)state;
    assert_int_equal(ask(&o, NBDW_OPT_STARTTLS, "x", &out), NBDO_ANSWERED);
    expect_single(&out, NBDW_OPT_STARTTLS, NBDW_REP_ERR_INVALID);
    assert_int_equal(ask(&o, NBDW_OPT_STARTTLS, "", &out), NBDO_TLS);
    expect_single(&out, NBDW_OPT_STARTTLS, NBDW_REP_ACK);
    nbdo_secure(&o);
    assert_false(o.structured || o.context);
    assert_int_equal(ask(&o, NBDW_OPT_STARTTLS, "", &out), NBDO_ANSWERED);
    expect_single(&out, NBDW_OPT_STARTTLS, NBDW_REP_ERR_INVALID);
}

static void nothing_is_heard_before_required_tls(void **state)
{
    struct nbdo o = { .tls = NBDO_TLS_REQUIRED };
    struct nbdo_output out = { 0 };

    (void)state;
    for (uint32_t option = 2; option < 20; option++) {
        if (option == NBDW_OPT_ABORT || option == NBDW_OPT_STARTTLS)
            continue;
        assert_int_equal(ask(&o, option, "", &out), NBDO_ANSWERED);
        expect_single(&out, option, NBDW_REP_ERR_TLS_REQD);
    }
    assert_int_equal(ask(&o, NBDW_OPT_EXPORT_NAME, NAME, &out), NBDO_HANG_UP);
    assert_int_equal(ask(&o, NBDW_OPT_ABORT, "", &out), NBDO_ABORT);
    assert_int_equal(ask(&o, NBDW_OPT_STARTTLS, "", &out), NBDO_TLS);
    nbdo_secure(&o);
    assert_int_equal(ask(&o, NBDW_OPT_LIST, "", &out), NBDO_ANSWERED);
    expect_single(&out, NBDW_OPT_LIST, NBDW_REP_ACK);
    assert_int_equal(ask(&o, NBDW_OPT_EXPORT_NAME, NAME, &out), NBDO_OPEN);
}

static void abort_is_acknowledged_and_its_data_ignored(void **state)
{
    struct nbdo o = { 0 };
    struct nbdo_output out = { 0 };

    (void)state;
    assert_int_equal(nbdo_handle(&o, NBDW_OPT_ABORT, (const uint8_t *)"bye", 3, &out), NBDO_ABORT);
    expect_single(&out, NBDW_OPT_ABORT, NBDW_REP_ACK);
}

static void expect_export(const struct reply *r, uint64_t size, uint16_t flags)
{
    struct nbdw_info_export info;

    assert_int_equal(r->type, NBDW_REP_INFO);
    assert_int_equal(r->length, sizeof info);
    memcpy(&info, r->data, sizeof info);
    assert_int_equal(get_be16(info.type), NBDW_INFO_EXPORT);
    assert_true(get_be64(info.size_bytes) == size);
    assert_int_equal(get_be16(info.flags), flags);
}

static void expect_sizes(const struct reply *r)
{
    struct nbdw_info_block_size info;

    assert_int_equal(r->type, NBDW_REP_INFO);
    assert_int_equal(r->length, sizeof info);
    memcpy(&info, r->data, sizeof info);
    assert_int_equal(get_be16(info.type), NBDW_INFO_BLOCK_SIZE);
    assert_int_equal(get_be32(info.minimum), 512);
    assert_int_equal(get_be32(info.preferred), 4096);
    assert_int_equal(get_be32(info.maximum), 32u << 20);
}

static void go_tells_size_flags_block_sizes_and_the_name_if_asked(void **state)
{
    static const uint16_t infos[] = { NBDW_INFO_NAME, NBDW_INFO_BLOCK_SIZE, 2, 77 };
    struct wire *w = calloc(1, sizeof *w);
    struct nbdo o = { .structured = true };
    struct nbdo_output out;
    struct nbds_terms terms;
    size_t at = 0;

    (void)state;
    wire_go(w, NBDW_OPT_GO, NAME, infos, 4);
    assert_int_equal(handle(&o, w, &out), NBDO_OPEN);
    assert_string_equal(o.name, NAME);
    nbdo_found(&o, 1u << 30, true, &terms, &out);

    struct reply r = next_reply(&out, &at);
    expect_export(&r, 1u << 30,
                  NBDW_TX_HAS_FLAGS | NBDW_TX_SEND_FLUSH | NBDW_TX_SEND_FUA | NBDW_TX_SEND_TRIM |
                      NBDW_TX_SEND_WRITE_ZEROES | NBDW_TX_SEND_DF | NBDW_TX_SEND_CACHE);
    r = next_reply(&out, &at);
    expect_sizes(&r);
    r = next_reply(&out, &at);
    assert_int_equal(r.length, 2 + strlen(NAME));
    assert_memory_equal(r.data + 2, NAME, strlen(NAME));
    r = next_reply(&out, &at);
    assert_int_equal(r.type, NBDW_REP_ACK);
    assert_int_equal(at, out.length);
    assert_true(terms.size_bytes == 1u << 30 && terms.structured && !terms.status);
    free(w);
}

static void an_image_is_read_only_and_may_be_shared(void **state)
{
    struct wire *w = calloc(1, sizeof *w);
    struct nbdo o = { 0 };
    struct nbdo_output out;
    struct nbds_terms terms;
    size_t at = 0;

    (void)state;
    wire_go(w, NBDW_OPT_INFO, NAME, NULL, 0);
    assert_int_equal(handle(&o, w, &out), NBDO_LOOKUP);
    nbdo_found(&o, 4096, false, &terms, &out);
    struct reply r = next_reply(&out, &at);
    expect_export(&r, 4096,
                  NBDW_TX_HAS_FLAGS | NBDW_TX_READ_ONLY | NBDW_TX_CAN_MULTI_CONN |
                      NBDW_TX_SEND_CACHE);
    free(w);
}

static void a_refusal_says_why_and_keeps_final_and_temporary_apart(void **state)
{
    static const struct {
        int error;
        uint32_t type;
    } cases[] = { { -ENOENT, NBDW_REP_ERR_UNKNOWN },
                  { -ESTALE, NBDW_REP_ERR_POLICY },
                  { -ESHUTDOWN, NBDW_REP_ERR_SHUTDOWN },
                  { -EIO, NBDW_REP_ERR_SHUTDOWN } };
    struct wire *w = calloc(1, sizeof *w);

    (void)state;
    wire_go(w, NBDW_OPT_GO, NAME, NULL, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nbdo o = { 0 };
        struct nbdo_output out;
        size_t at = 0;
        handle(&o, w, &out);
        nbdo_refuse(&o, cases[i].error, "the volume was reset: epoch 4 is over", &out);
        struct reply r = next_reply(&out, &at);
        assert_int_equal(r.type, cases[i].type);
        assert_memory_equal(r.data, "the volume was reset: epoch 4 is over", r.length);
    }
    free(w);
}

static void a_very_long_refusal_is_cut(void **state)
{
    struct nbdo o = { .option = NBDW_OPT_GO };
    struct nbdo_output out = { 0 };
    char why[1000];

    (void)state;
    memset(why, 'x', sizeof why - 1);
    why[sizeof why - 1] = '\0';
    nbdo_refuse(&o, -ENOENT, why, &out);
    assert_int_equal(out.length, sizeof(struct nbdw_option_reply) + NBDO_REFUSAL_BYTES);
}

static void names_that_cannot_be_ours_become_empty(void **state)
{
    struct wire *w = calloc(1, sizeof *w);
    struct nbdo o = { 0 };
    struct nbdo_output out = { 0 };
    char name[4097];

    (void)state;
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    wire_go(w, NBDW_OPT_GO, name, NULL, 0);
    assert_int_equal(handle(&o, w, &out), NBDO_OPEN);
    assert_string_equal(o.name, "");
    assert_int_equal(nbdo_handle(&o, NBDW_OPT_EXPORT_NAME, (const uint8_t *)"a\0b", 3, &out),
                     NBDO_OPEN);
    assert_string_equal(o.name, "");
    free(w);
}

static void export_name_is_answered_with_or_without_zeroes(void **state)
{
    for (int no_zeroes = 0; no_zeroes < 2; no_zeroes++) {
        struct nbdo o = { .no_zeroes = no_zeroes };
        struct nbdo_output out = { 0 };
        struct nbds_terms terms;
        struct nbdw_export_name_reply r = { 0 };
        (void)state;
        assert_int_equal(
            nbdo_handle(&o, NBDW_OPT_EXPORT_NAME, (const uint8_t *)NAME, strlen(NAME), &out),
            NBDO_OPEN);
        nbdo_found(&o, 12345 * 512, true, &terms, &out);
        assert_int_equal(out.length, no_zeroes ? 10 : 134);
        memcpy(&r, out.bytes, out.length);
        assert_true(get_be64(r.size_bytes) == 12345 * 512);
        assert_int_equal(get_be16(r.flags), terms.flags);
        for (size_t i = 0; i < sizeof r.zeroes; i++)
            assert_int_equal(r.zeroes[i], 0);
    }
}

static const struct {
    uint32_t option;
    const char *query; /* NULL = none */
    bool found;
} queries[] = {
    { NBDW_OPT_LIST_META_CONTEXT, NULL, true },
    { NBDW_OPT_LIST_META_CONTEXT, "base:", true },
    { NBDW_OPT_LIST_META_CONTEXT, "base:allocation", true },
    { NBDW_OPT_LIST_META_CONTEXT, "base:other", false },
    { NBDW_OPT_LIST_META_CONTEXT, "qemu:dirty-bitmap:x", false },
    { NBDW_OPT_SET_META_CONTEXT, NULL, false },
    { NBDW_OPT_SET_META_CONTEXT, "base:", false },
    { NBDW_OPT_SET_META_CONTEXT, "base:allocation", true },
    { NBDW_OPT_SET_META_CONTEXT, "base:allocation2", false },
    { NBDW_OPT_SET_META_CONTEXT, "", false },
};

static void contexts_are_listed_and_selected(void **state)
{
    struct wire *w = calloc(1, sizeof *w);

    (void)state;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct nbdo o = { .structured = true, .context = true, .context_export = NAME };
        struct nbdo_output out;
        bool set = queries[i].option == NBDW_OPT_SET_META_CONTEXT;
        size_t at = 0;
        w->length = 0;
        wire_context(w, queries[i].option, NAME, queries[i].query);
        assert_int_equal(handle(&o, w, &out), NBDO_ANSWERED);
        if (queries[i].found) {
            struct reply r = next_reply(&out, &at);
            assert_int_equal(r.type, NBDW_REP_META_CONTEXT);
            assert_int_equal(r.length, 4 + strlen("base:allocation"));
            assert_int_equal(r.data[3], set ? 1 : 0);
            assert_memory_equal(r.data + 4, "base:allocation", strlen("base:allocation"));
        }
        assert_int_equal(next_reply(&out, &at).type, NBDW_REP_ACK);
        assert_int_equal(at, out.length);
        assert_int_equal(o.context, set ? queries[i].found : true); /* SET replaces */
    }
    free(w);
}

static void a_context_counts_only_for_its_export(void **state)
{
    for (int same = 0; same < 2; same++) {
        struct wire *w = calloc(1, sizeof *w);
        struct nbdo o = { .structured = true };
        struct nbdo_output out;
        struct nbds_terms terms;
        (void)state;
        wire_context(w, NBDW_OPT_SET_META_CONTEXT, same ? NAME : "other." NAME, "base:allocation");
        handle(&o, w, &out);
        w->length = 0;
        wire_go(w, NBDW_OPT_GO, NAME, NULL, 0);
        handle(&o, w, &out);
        nbdo_found(&o, 4096, true, &terms, &out);
        assert_int_equal(terms.status, same);
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_get_one_final_reply),
        cmocka_unit_test(starttls_is_acknowledged_once),
        cmocka_unit_test(nothing_is_heard_before_required_tls),
        cmocka_unit_test(abort_is_acknowledged_and_its_data_ignored),
        cmocka_unit_test(go_tells_size_flags_block_sizes_and_the_name_if_asked),
        cmocka_unit_test(an_image_is_read_only_and_may_be_shared),
        cmocka_unit_test(a_refusal_says_why_and_keeps_final_and_temporary_apart),
        cmocka_unit_test(a_very_long_refusal_is_cut),
        cmocka_unit_test(names_that_cannot_be_ours_become_empty),
        cmocka_unit_test(export_name_is_answered_with_or_without_zeroes),
        cmocka_unit_test(contexts_are_listed_and_selected),
        cmocka_unit_test(a_context_counts_only_for_its_export),
    };
    return cmocka_run_group_tests_name("nbd options", tests, NULL, NULL);
}
