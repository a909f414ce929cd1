/* SPDX-License-Identifier: Apache-2.0 */
/* session_test - whole conversations in every split: what is wanted, and the bytes themselves. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "server/nbd/session.h"
#include "tests/unit/nbd/wire_build.h"

#define NAME "lab1.0123456789abcdef0123456789abcdef"
#define SIZE (64u << 20)

static const size_t chunks[] = { 1, 7, 28, 29, 65536 };
#define CHUNKS (sizeof chunks / sizeof chunks[0])

/* What happened, as text: one word for each want, with what matters of it. */
struct story {
    char text[8192];
    size_t length;
    uint8_t payload[100000]; /* of the last WRITE */
    bool in_place;           /* receive payloads where they belong */
    bool tls;                /* is offered */
};

static void tell(struct story *st, const char *what)
{
    st->length += (size_t)snprintf(st->text + st->length, sizeof st->text - st->length, "%s%s",
                                   st->length ? " " : "", what);
}

static void tell_output(struct story *st, const struct nbds_session *s)
{
    struct nbdw_option_reply r;
    char word[64];
    size_t length;
    const uint8_t *bytes = nbds_output(s, &length);

    if (length < sizeof r) {
        snprintf(word, sizeof word, "send:%zu", length);
        tell(st, word);
        return;
    }
    for (size_t at = 0; at + sizeof r <= length; at += sizeof r + get_be32(r.length)) {
        memcpy(&r, bytes + at, sizeof r);
        if (get_be64(r.magic) != NBDW_REPLY_MAGIC) { /* the answer to EXPORT_NAME */
            snprintf(word, sizeof word, "send:%zu", length);
            tell(st, word);
            return;
        }
        snprintf(word, sizeof word, "reply:%u:%x", get_be32(r.option), get_be32(r.type));
        tell(st, word);
    }
}

static void tell_request(struct story *st, const struct nbds_request *r)
{
    char word[128];

    snprintf(word, sizeof word, "%s:%u:%llx:%llu+%u:%u", r->run ? "run" : "answer", r->type,
             (unsigned long long)r->cookie, (unsigned long long)r->offset, r->length, r->error);
    tell(st, word);
}

/* Does what the session wants.  False: it is over. */
static bool serve(struct nbds_session *s, int want, struct story *st)
{
    switch (want) {
    case NBDS_WANT_INPUT:
        return true;
    case NBDS_WANT_SEND:
        tell_output(st, s);
        nbds_sent(s);
        return true;
    case NBDS_WANT_TLS:
        tell(st, "tls");
        nbds_secured(s);
        return true;
    case NBDS_WANT_LOOKUP:
    case NBDS_WANT_OPEN:
        tell(st, want == NBDS_WANT_OPEN ? "open" : "lookup");
        if (strcmp(nbds_export_name(s), NAME) == 0)
            nbds_found(s, SIZE, true);
        else
            nbds_refuse(s, -ENOENT, "no such export");
        return true;
    case NBDS_WANT_BUFFER:
        assert_true(nbds_request(s)->length <= sizeof st->payload);
        memset(st->payload, 0, sizeof st->payload);
        nbds_payload(s, st->payload);
        return true;
    case NBDS_WANT_BACKEND:
        tell_request(st, nbds_request(s));
        nbds_take(s);
        return true;
    case NBDS_WANT_CLOSE:
        tell(st, "close");
        return false;
    default:
        assert_int_equal(want, -EPROTO);
        tell(st, "bad");
        return false;
    }
}

static int feed(struct nbds_session *s, const uint8_t *bytes, size_t length, size_t *used,
                struct story *st)
{
    size_t room_length;
    uint8_t *room = nbds_payload_room(s, &room_length);

    if (!st->in_place || !room || length == 0)
        return nbds_feed(s, bytes, length, used);
    size_t n = length < room_length ? length : room_length;
    memcpy(room, bytes, n);
    return nbds_feed(s, room, n, used);
}

/* Plays *w to a new session in pieces of `chunk` bytes. */
static void play(const struct wire *w, size_t chunk, struct story *st)
{
    struct nbds_session *s = nbds_new();
    size_t at = 0, end = 0, used;
    bool open = true;

    st->length = 0;
    if (st->tls)
        nbds_offer_tls(s, false);
    while (open) {
        int want = feed(s, w->bytes + at, end - at, &used, st);
        at += used;
        open = serve(s, want, st);
        if (want == NBDS_WANT_INPUT) {
            assert_int_equal(at, end);
            if (end == w->length)
                break;
            end = w->length - end < chunk ? w->length : end + chunk;
        }
    }
    nbds_free(s);
}

static void expect_story(const struct wire *w, const char *want)
{
    struct story *st = calloc(1, sizeof *st);

    for (size_t i = 0; i < CHUNKS; i++) {
        play(w, chunks[i], st);
        assert_string_equal(st->text, want);
    }
    free(st);
}

static void expect_story_with_tls(const struct wire *w, const char *want)
{
    struct story *st = calloc(1, sizeof *st);

    st->tls = true;
    for (size_t i = 0; i < CHUNKS; i++) {
        play(w, chunks[i], st);
        assert_string_equal(st->text, want);
    }
    free(st);
}

static struct wire *greet(uint32_t client_flags)
{
    struct wire *w = calloc(1, sizeof *w);

    wire_be32(w, client_flags);
    return w;
}

static struct wire *ready_for_requests(void)
{
    struct wire *w = greet(3);

    wire_option(w, NBDW_OPT_STRUCTURED_REPLY, "", 0);
    wire_go(w, NBDW_OPT_GO, NAME, NULL, 0);
    return w;
}

#define GREETING "send:18"
#define READY    GREETING " reply:8:1 open reply:7:3 reply:7:3 reply:7:1"

/* The rig passes the bytes on as they are: what matters is what the session makes of them. */
static void tls_begins_and_what_was_agreed_is_forgotten(void **state)
{
    struct wire *w = greet(3);

    (void)state;
    wire_option(w, NBDW_OPT_STRUCTURED_REPLY, "", 0);
    wire_option(w, NBDW_OPT_STARTTLS, "", 0);
    wire_context(w, NBDW_OPT_SET_META_CONTEXT, NAME, "base:allocation"); /* wants structured */
    wire_go(w, NBDW_OPT_GO, NAME, NULL, 0);
    expect_story_with_tls(w, GREETING " reply:8:1 reply:5:1 tls reply:10:80000003 open reply:7:3"
                                      " reply:7:3 reply:7:1");
    free(w);
}

static void a_whole_handshake_leads_to_requests(void **state)
{
    struct wire *w = greet(3);

    (void)state;
    wire_option(w, NBDW_OPT_STARTTLS, "", 0);
    wire_option(w, NBDW_OPT_STRUCTURED_REPLY, "", 0);
    wire_context(w, NBDW_OPT_SET_META_CONTEXT, NAME, "base:allocation");
    wire_option(w, NBDW_OPT_LIST, "", 0);
    wire_go(w, NBDW_OPT_INFO, "nobody", NULL, 0);
    wire_go(w, NBDW_OPT_INFO, NAME, NULL, 0);
    wire_go(w, NBDW_OPT_GO, "nobody", NULL, 0);
    wire_go(w, NBDW_OPT_GO, NAME, NULL, 0);
    wire_request(w, NBDW_CMD_READ, 0, 7, 512, 1024);
    expect_story(w, GREETING " reply:5:80000001 reply:8:1 reply:10:4 reply:10:1 reply:3:1 "
                             "lookup reply:6:80000006 lookup reply:6:3 reply:6:3 reply:6:1 "
                             "open reply:7:80000006 open reply:7:3 reply:7:3 reply:7:1 "
                             "run:0:7:512+1024:0");
    free(w);
}

static void export_name_opens_or_hangs_up(void **state)
{
    (void)state;
    struct wire *w = greet(3);
    wire_option(w, NBDW_OPT_EXPORT_NAME, NAME, strlen(NAME));
    wire_request(w, NBDW_CMD_FLUSH, 0, 1, 0, 0);
    expect_story(w, GREETING " open send:10 run:3:1:0+0:0");
    free(w);
    w = greet(3);
    wire_option(w, NBDW_OPT_EXPORT_NAME, "nobody", 6);
    expect_story(w, GREETING " open close");
    free(w);
}

static void unknown_client_flags_are_the_end(void **state)
{
    static const uint32_t flags[] = { 4, 0x80000000u, 0x25609513u };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct wire *w = greet(flags[i]);
        wire_option(w, NBDW_OPT_LIST, "", 0);
        expect_story(w, GREETING " bad");
        free(w);
    }
}

static void garbage_for_an_option_is_the_end(void **state)
{
    struct wire *w = greet(1);

    (void)state;
    wire_add(w, "GET / HTTP/1.1\r\n\r\n", 18);
    expect_story(w, GREETING " bad");
    free(w);
}

static void a_long_option_is_skipped_and_the_next_one_answered(void **state)
{
    static const uint8_t zeroes[100000];
    struct wire *w = greet(1);

    (void)state;
    wire_option(w, NBDW_OPT_INFO, zeroes, sizeof zeroes);
    wire_option(w, 99, zeroes, sizeof zeroes / 2);
    wire_option(w, NBDW_OPT_LIST, "", 0);
    expect_story(w, GREETING " reply:6:80000009 reply:99:80000009 reply:3:1");
    free(w);
}

static void an_endless_option_is_the_end(void **state)
{
    struct wire *w = greet(1);

    (void)state;
    wire_be64(w, NBDW_OPTION_MAGIC);
    wire_be32(w, NBDW_OPT_LIST);
    wire_be32(w, 0xffffffffu);
    expect_story(w, GREETING " bad");
    free(w);
}

static void abort_is_answered_then_closed(void **state)
{
    struct wire *w = greet(1);

    (void)state;
    wire_option(w, NBDW_OPT_ABORT, "", 0);
    wire_option(w, NBDW_OPT_LIST, "", 0);
    expect_story(w, GREETING " reply:2:1 close");
    free(w);
}

static void requests_come_out_one_by_one_with_their_errors(void **state)
{
    struct wire *w = ready_for_requests();

    (void)state;
    wire_request(w, NBDW_CMD_READ, 0, 1, 0, 4096);
    wire_request(w, NBDW_CMD_READ, 0, 2, SIZE, 4096);
    wire_request(w, NBDW_CMD_TRIM, 0, 3, 0, SIZE);
    wire_request(w, 200, 0, 4, 0, 0);
    wire_request(w, NBDW_CMD_READ, 0, 5, 0, 33u << 20);
    wire_request(w, NBDW_CMD_DISC, 0, 6, 0, 0);
    wire_request(w, NBDW_CMD_READ, 0, 7, 0, 4096);
    expect_story(w, READY " run:0:1:0+4096:0 answer:0:2:67108864+4096:22 run:4:3:0+67108864:0 "
                          "answer:200:4:0+0:22 answer:0:5:0+34603008:75 close");
    free(w);
}

static void a_bad_request_magic_is_the_end(void **state)
{
    struct wire *w = ready_for_requests();

    (void)state;
    wire_request(w, NBDW_CMD_READ, 0, 1, 0, 4096);
    wire_be64(w, 0x0102030405060708);
    wire_be64(w, 0);
    wire_be64(w, 0);
    wire_be64(w, 0);
    expect_story(w, READY " run:0:1:0+4096:0 bad");
    free(w);
}

static void the_payload_of_a_write_arrives_byte_by_byte(void **state)
{
    struct wire *w = ready_for_requests();
    static uint8_t data[77 * 512];
    struct story *st = calloc(1, sizeof *st);

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 2654435761u >> 11);
    wire_request(w, NBDW_CMD_WRITE, NBDW_CMD_FLAG_FUA, 9, 512, sizeof data);
    wire_add(w, data, sizeof data);
    wire_request(w, NBDW_CMD_FLUSH, 0, 10, 0, 0);
    for (size_t i = 0; i < 2 * CHUNKS; i++) {
        st->in_place = i >= CHUNKS;
        play(w, chunks[i % CHUNKS], st);
        assert_string_equal(st->text, READY " run:1:9:512+39424:0 run:3:a:0+0:0");
        assert_memory_equal(st->payload, data, sizeof data);
    }
    free(st);
    free(w);
}

/* Its payload must be passed over, or the next request would be misread. */
static void the_payload_of_a_refused_write_is_passed_over(void **state)
{
    struct wire *w = ready_for_requests();
    static const uint8_t data[5000];

    (void)state;
    wire_request(w, NBDW_CMD_WRITE, 0, 1, SIZE, 4096);
    wire_add(w, data, 4096);
    wire_request(w, NBDW_CMD_WRITE, 0, 2, 0, 5000);
    wire_add(w, data, 5000);
    wire_request(w, NBDW_CMD_WRITE, 0, 3, 0, 0);
    wire_request(w, NBDW_CMD_READ, 0, 4, 0, 512);
    expect_story(w, READY " answer:1:1:67108864+4096:28 answer:1:2:0+5000:22 answer:1:3:0+0:0 "
                          "run:0:4:0+512:0");
    free(w);
}

static void a_write_of_more_than_32_mib_is_answered_then_closed(void **state)
{
    struct wire *w = ready_for_requests();

    (void)state;
    wire_request(w, NBDW_CMD_WRITE, 0, 1, 0, (32u << 20) + 512);
    wire_request(w, NBDW_CMD_READ, 0, 2, 0, 512);
    expect_story(w, READY " answer:1:1:0+33554944:22 close");
    free(w);
}

static void a_want_stays_until_it_is_answered(void **state)
{
    struct nbds_session *s = nbds_new();
    size_t used = 99;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(nbds_feed(s, "abcd", 4, &used), NBDS_WANT_SEND);
        assert_int_equal(used, 0);
    }
    nbds_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_handshake_leads_to_requests),
        cmocka_unit_test(tls_begins_and_what_was_agreed_is_forgotten),
        cmocka_unit_test(export_name_opens_or_hangs_up),
        cmocka_unit_test(unknown_client_flags_are_the_end),
        cmocka_unit_test(garbage_for_an_option_is_the_end),
        cmocka_unit_test(a_long_option_is_skipped_and_the_next_one_answered),
        cmocka_unit_test(an_endless_option_is_the_end),
        cmocka_unit_test(abort_is_answered_then_closed),
        cmocka_unit_test(requests_come_out_one_by_one_with_their_errors),
        cmocka_unit_test(a_bad_request_magic_is_the_end),
        cmocka_unit_test(the_payload_of_a_write_arrives_byte_by_byte),
        cmocka_unit_test(the_payload_of_a_refused_write_is_passed_over),
        cmocka_unit_test(a_write_of_more_than_32_mib_is_answered_then_closed),
        cmocka_unit_test(a_want_stays_until_it_is_answered),
    };
    return cmocka_run_group_tests_name("nbd session", tests, NULL, NULL);
}
