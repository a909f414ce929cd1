/* SPDX-License-Identifier: Apache-2.0 */
/* The contract between server and agent: what goes out comes in the same, what is wrong is refused
 * with the name of the key. */
#include "server/contract/contract.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define UUID    "00112233-4455-6677-8899-aabbccddeeff"
#define MAC     "52:54:00:12:34:56"
#define SESSION "00112233445566778899aabbccddeeff"

#define DISK                                                                                       \
    "{\"volume\":\"v\",\"vdev\":\"xvda\",\"address\":\"10.0.0.1\",\"port\":10809,"                 \
    "\"export_name\":\"v.00\",\"size_bytes\":1048576,\"generation\":1,\"epoch\":2}"
#define DOMAIN_WITH(name, disks)                                                                   \
    "{\"name\":\"" name "\",\"uuid\":\"" UUID "\",\"memory_mib\":256,\"vcpus\":1,\"mac\":\"" MAC   \
    "\",\"running\":true,\"stop_seconds\":60,\"incarnation\":7,\"disks\":[" disks "]}"
#define SPEC_WITH(domains) "{\"revision\":3,\"approved\":true,\"domains\":[" domains "]}"

static void spec_goes_round(void **state)
{
    struct contract_domain d = {
        .name = "d1",
        .uuid = UUID,
        .memory_mib = 512,
        .vcpus = 2,
        .mac = MAC,
        .running = true,
        .paused = true,
        .stop_seconds = 30,
        .incarnation = INT64_MAX,
        .disk_count = 1,
        .disks = { { .volume = "v1",
                     .vdev = "xvdb",
                     .address = "fd77::1",
                     .port = 10809,
                     .export_name = "v1.0123",
                     .size_bytes = 1 << 30,
                     .generation = 4,
                     .epoch = 5 } },
    };
    struct contract_spec out = {
        .revision = 9, .approved = true, .domains = &d, .domain_count = 1
    };
    struct contract_spec in = { 0 };
    struct err e = { 0 };
    char *text = contract_spec_text(&out);

    (void)state;
    assert_non_null(text);
    assert_int_equal(contract_spec_parse(text, strlen(text), &in, &e), 0);
    assert_int_equal(in.revision, 9);
    assert_true(in.approved);
    assert_int_equal(in.domain_count, 1);
    assert_string_equal(in.domains[0].uuid, UUID);
    assert_true(in.domains[0].paused);
    assert_int_equal(in.domains[0].disks[0].generation, 4);
    char *again = contract_spec_text(&in);

    assert_string_equal(again, text);
    contract_spec_done(&in);
    contract_spec_done(&in); /* twice is legal */
    free(again);
    free(text);
}

/* An older server does not send it. */
static void paused_may_be_absent(void **state)
{
    static const char text[] = SPEC_WITH(DOMAIN_WITH("d1", DISK));
    struct contract_spec s = { 0 };

    (void)state;
    assert_int_equal(contract_spec_parse(text, strlen(text), &s, NULL), 0);
    assert_false(s.domains[0].paused);
    contract_spec_done(&s);
}

static void report_goes_round(void **state)
{
    struct contract_domain_report d[2] = {
        { .name = "a", .state = CONTRACT_RUNNING, .incarnation = 3, .domid = 7 },
        { .name = "b", .state = CONTRACT_FAILED, .detail = "no memory, tried again in 5 s" },
    };
    struct contract_report out = { .revision = 4, .domains = d, .domain_count = 2 };
    struct contract_report in = { 0 };
    char *text = contract_report_text(&out);

    (void)state;
    assert_int_equal(contract_report_parse(text, strlen(text), &in, NULL), 0);
    assert_int_equal(in.revision, 4);
    assert_int_equal(in.domain_count, 2);
    assert_int_equal(in.domains[0].domid, 7);
    assert_int_equal(in.domains[1].state, CONTRACT_FAILED);
    char *again = contract_report_text(&in);

    assert_string_equal(again, text);
    contract_report_done(&in);
    free(again);
    free(text);
}

static void register_and_answer_go_round(void **state)
{
    struct contract_register out = { .macs = { MAC, "00:00:00:00:00:01" },
                                     .mac_count = 2,
                                     .uuid = "",
                                     .cpu = "QEMU \"Virtual\" CPU",
                                     .cpus = 4,
                                     .memory_mib = 2048,
                                     .hvm = true,
                                     .agent_version = "0.1" };
    struct contract_registered answer = { .session = SESSION, .host = "pc1", .approved = true };
    struct contract_register in;
    struct contract_registered got;
    char *text = contract_register_text(&out);

    (void)state;
    assert_int_equal(contract_register_parse(text, strlen(text), &in, NULL), 0);
    assert_int_equal(in.mac_count, 2);
    char *again = contract_register_text(&in);

    assert_string_equal(again, text);
    free(again);
    free(text);
    text = contract_registered_text(&answer);
    assert_int_equal(contract_registered_parse(text, strlen(text), &got, NULL), 0);
    assert_string_equal(got.session, SESSION);
    assert_string_equal(got.host, "pc1");
    assert_true(got.approved);
    free(text);
}

static void text_that_is_no_utf8_still_goes_out(void **state)
{
    struct contract_domain_report d = { .name = "a", .detail = "caf\xc3 \x01 ok" };
    struct contract_report out = { .domains = &d, .domain_count = 1 };
    struct contract_report in = { 0 };
    char *text = contract_report_text(&out);

    (void)state;
    assert_non_null(text);
    assert_int_equal(contract_report_parse(text, strlen(text), &in, NULL), 0);
    assert_string_equal(in.domains[0].detail, "caf? ? ok");
    contract_report_done(&in);
    free(text);
}

static void unknown_keys_are_ignored(void **state)
{
    static const char text[] = "{\"revision\":3,\"approved\":false,\"domains\":[],\"new\":{}}";
    struct contract_spec s = { 0 };

    (void)state;
    assert_int_equal(contract_spec_parse(text, sizeof text - 1, &s, NULL), 0);
    assert_int_equal(s.domain_count, 0);
    assert_false(s.approved);
    contract_spec_done(&s);
}

static const struct {
    const char *text;
    int rc;
    const char *says;
} bad_specs[] = {
    { "", -EPROTO, "not JSON" },
    { "[]", -EPROTO, "not a JSON object" },
    { "{\"approved\":true,\"domains\":[]}", -EPROTO, "revision" },
    { "{\"revision\":-1,\"approved\":true,\"domains\":[]}", -EPROTO, "revision" },
    { "{\"revision\":1.5,\"approved\":true,\"domains\":[]}", -EPROTO, "revision" },
    { "{\"revision\":1,\"revision\":2,\"approved\":true,\"domains\":[]}", -EPROTO, "duplicate" },
    { "{\"revision\":1,\"approved\":1,\"domains\":[]}", -EPROTO, "approved" },
    { "{\"revision\":1,\"approved\":true,\"domains\":{}}", -EPROTO, "domains" },
    { SPEC_WITH("7"), -EPROTO, "domains[0]" },
    { SPEC_WITH(DOMAIN_WITH("../a", "")), -EPROTO, "domains[0]: name" },
    { SPEC_WITH(DOMAIN_WITH("a\\u0000b", "")), -EPROTO, "not JSON" },
    { SPEC_WITH(DOMAIN_WITH("a", "") "," DOMAIN_WITH("a", "")), -EPROTO, "same name" },
    { SPEC_WITH(DOMAIN_WITH("a", "") "," DOMAIN_WITH("b", "")), -EPROTO, "same uuid" },
    { SPEC_WITH(DOMAIN_WITH("a", DISK "," DISK)), -EPROTO, "disks[1]: same vdev" },
    { SPEC_WITH(DOMAIN_WITH("a", DISK "," DISK "," DISK "," DISK "," DISK)), -EFBIG, "at most 4" },
    { SPEC_WITH(DOMAIN_WITH("a", "null")), -EPROTO, "domains[0]: disks[0]: must be an object" },
};

static void bad_specs_are_refused_with_the_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_specs / sizeof bad_specs[0]; i++) {
        struct contract_spec s = { 0 };
        struct err e = { 0 };
        int rc = contract_spec_parse(bad_specs[i].text, strlen(bad_specs[i].text), &s, &e);

        if (rc != bad_specs[i].rc || !strstr(e.msg, bad_specs[i].says))
            fail_msg("spec %zu: rc %d, '%s', wanted '%s'", i, rc, e.msg, bad_specs[i].says);
        assert_null(s.domains);
    }
}

/* One good disk, one key of it replaced at a time. */
static const struct {
    const char *from, *to, *says;
} bad_disks[] = {
    { "\"vdev\":\"xvda\"", "\"vdev\":\"sda\"", "vdev" },
    { "\"vdev\":\"xvda\"", "\"vdev\":\"xvda/../\"", "vdev" },
    { "10.0.0.1", "server", "address" },
    { "10809", "0", "port" },
    { "10809", "65536", "port" },
    { "v.00", "", "export_name" },
    { "v.00", "v\\n", "export_name: has control characters" },
    { "1048576", "1048577", "size_bytes" },
    { "1048576", "0", "size_bytes" },
    { "1048576", "9223372036854775807", "size_bytes" },
    { "\"epoch\":2", "\"epoch\":18446744073709551615", "not JSON" },
};

static void bad_disks_are_refused_with_the_key(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_disks / sizeof bad_disks[0]; i++) {
        static const char good[] = SPEC_WITH(DOMAIN_WITH("a", DISK));
        const char *at = strstr(good, bad_disks[i].from);
        struct contract_spec s = { 0 };
        struct err e = { 0 };
        char text[1024];

        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, bad_disks[i].to,
                 at + strlen(bad_disks[i].from));
        int rc = contract_spec_parse(text, strlen(text), &s, &e);

        if (rc != -EPROTO || !strstr(e.msg, bad_disks[i].says))
            fail_msg("disk %zu: rc %d, '%s', wanted '%s'", i, rc, e.msg, bad_disks[i].says);
    }
}

static void a_text_above_the_limit_is_refused(void **state)
{
    static char text[CONTRACT_TEXT_MAX + 1];
    struct contract_spec s;
    struct err e = { 0 };

    (void)state;
    memset(text, ' ', sizeof text);
    assert_int_equal(contract_spec_parse(text, sizeof text, &s, &e), -EFBIG);
    assert_non_null(strstr(e.msg, "at most 262144"));
}

static const struct {
    const char *from, *to, *says;
} bad_registers[] = {
    { "\"" MAC "\"", "", "macs: empty" },
    { MAC, "52:54:00:12:34:5G", "macs[0]" },
    { MAC, "52:54:00:12:34:56:78", "macs[0]" },
    { UUID, "0011", "uuid" },
    { "\"cpus\":2", "\"cpus\":0", "cpus" },
    { "\"hvm\":true", "\"hvm\":\"yes\"", "hvm" },
    { "\"cpu\":\"x\"", "\"cpu\":\"\\u001b[2J\"", "cpu: has control" },
};

static void bad_registrations_are_refused_with_the_key(void **state)
{
    static const char good[] = "{\"macs\":[\"" MAC "\"],\"uuid\":\"" UUID
                               "\",\"cpu\":\"x\",\"cpus\":2,\"memory_mib\":1024,"
                               "\"hvm\":true,\"agent_version\":\"0\"}";
    struct contract_register r;

    (void)state;
    assert_int_equal(contract_register_parse(good, sizeof good - 1, &r, NULL), 0);
    for (size_t i = 0; i < sizeof bad_registers / sizeof bad_registers[0]; i++) {
        const char *at = strstr(good, bad_registers[i].from);
        struct err e = { 0 };
        char text[512];

        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, bad_registers[i].to,
                 at + strlen(bad_registers[i].from));
        int rc = contract_register_parse(text, strlen(text), &r, &e);

        if (rc != -EPROTO || !strstr(e.msg, bad_registers[i].says))
            fail_msg("register %zu: rc %d, '%s'", i, rc, e.msg);
    }
}

static void a_session_must_be_hex(void **state)
{
    static const char text[] = "{\"session\":\"zz112233445566778899aabbccddeeff\","
                               "\"host\":\"pc1\",\"approved\":true}";
    struct contract_registered r;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(contract_registered_parse(text, sizeof text - 1, &r, &e), -EPROTO);
    assert_non_null(strstr(e.msg, "session"));
}

static void a_report_with_an_unknown_state_is_refused(void **state)
{
    static const char text[] = "{\"revision\":1,\"domains\":[{\"name\":\"a\",\"state\":\"flying\","
                               "\"incarnation\":0,\"domid\":0,\"detail\":\"\"}]}";
    struct contract_report r = { 0 };
    struct err e = { 0 };

    (void)state;
    assert_int_equal(contract_report_parse(text, sizeof text - 1, &r, &e), -EPROTO);
    assert_string_equal(e.msg, "domains[0]: state: unknown state 'flying'");
}

static void every_state_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CONTRACT_STATE_COUNT; i++)
        assert_string_not_equal(contract_state_name((enum contract_state)i), "unknown");
    assert_string_equal(contract_state_name(CONTRACT_STATE_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spec_goes_round),
        cmocka_unit_test(paused_may_be_absent),
        cmocka_unit_test(report_goes_round),
        cmocka_unit_test(register_and_answer_go_round),
        cmocka_unit_test(text_that_is_no_utf8_still_goes_out),
        cmocka_unit_test(unknown_keys_are_ignored),
        cmocka_unit_test(bad_specs_are_refused_with_the_key),
        cmocka_unit_test(bad_disks_are_refused_with_the_key),
        cmocka_unit_test(a_text_above_the_limit_is_refused),
        cmocka_unit_test(bad_registrations_are_refused_with_the_key),
        cmocka_unit_test(a_session_must_be_hex),
        cmocka_unit_test(a_report_with_an_unknown_state_is_refused),
        cmocka_unit_test(every_state_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
