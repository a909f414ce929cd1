/* SPDX-License-Identifier: Apache-2.0 */
/* Which call to the server comes next, after every kind of answer, with a clock of our own. */
#include "tests/unit/unit.h"

#include "hostside/uplink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"

#define T0         (1000 * NS_PER_S)
#define SESSION    "00112233445566778899aabbccddeeff"
#define REGISTERED "{\"session\":\"" SESSION "\",\"host\":\"pc1\",\"approved\":true}"
#define SPEC       "{\"revision\":7,\"approved\":true,\"domains\":[]}"

static enum uplink_news answer(struct uplink *u, enum uplink_call call, int status,
                               const char *body, int64_t now_ns, struct err *e)
{
    struct uplink_answer a = { .status = status, .body = body, .length = strlen(body) };
    struct contract_spec spec = { 0 };
    enum uplink_news news = uplink_answer(u, call, &a, now_ns, &spec, e);

    contract_spec_done(&spec);
    return news;
}

static enum uplink_call next(struct uplink *u, int64_t now_ns)
{
    int64_t wake;

    return uplink_next(u, now_ns, &wake);
}

static void a_new_host_registers_then_asks_for_its_spec(void **state)
{
    struct uplink u;
    struct err e = { 0 };
    char path[80];

    (void)state;
    uplink_init(&u, "boot-token", "");
    assert_int_equal(next(&u, T0), UPLINK_REGISTER);
    assert_string_equal(uplink_bearer(&u, UPLINK_REGISTER), "boot-token");
    assert_int_equal(next(&u, T0), UPLINK_NONE); /* under way */
    assert_int_equal(answer(&u, UPLINK_REGISTER, 200, REGISTERED, T0, &e), UPLINK_REGISTERED);
    assert_string_equal(u.host, "pc1");
    assert_int_equal(next(&u, T0), UPLINK_SPEC);
    assert_string_equal(uplink_bearer(&u, UPLINK_SPEC), SESSION);
    uplink_path(&u, UPLINK_SPEC, path, sizeof path);
    assert_string_equal(path, "/v1/agent/spec?revision=0&wait=50");
    assert_int_equal(answer(&u, UPLINK_SPEC, 200, SPEC, T0, &e), UPLINK_NEW_SPEC);
    assert_int_equal(next(&u, T0), UPLINK_SPEC); /* at once again: it waits at the server */
    uplink_path(&u, UPLINK_SPEC, path, sizeof path);
    assert_string_equal(path, "/v1/agent/spec?revision=7&wait=50");
    assert_int_equal(answer(&u, UPLINK_SPEC, 304, "", T0, &e), UPLINK_NO_NEWS);
    assert_int_equal(next(&u, T0), UPLINK_SPEC);
    assert_int_equal(e.code, 0);
    uplink_done(&u);
}

static void a_kept_session_needs_no_token(void **state)
{
    struct uplink u;

    (void)state;
    uplink_init(&u, "", SESSION);
    assert_int_equal(next(&u, T0), UPLINK_SPEC);
    uplink_done(&u);
}

static void without_token_and_session_nothing_is_asked(void **state)
{
    struct uplink u;

    (void)state;
    uplink_init(&u, "", "");
    assert_int_equal(next(&u, T0), UPLINK_NONE);
    uplink_done(&u);
}

static void a_server_that_is_away_is_asked_less_and_less(void **state)
{
    static const unsigned at_most_s[] = { 2, 3, 5, 10, 20, 38, 38 };
    struct uplink u;
    int64_t now = T0;

    (void)state;
    uplink_init(&u, "", SESSION);
    for (size_t i = 0; i < sizeof at_most_s / sizeof at_most_s[0]; i++) {
        struct err e = { 0 };
        int64_t wake;

        assert_int_equal(next(&u, now), UPLINK_SPEC);
        answer(&u, UPLINK_SPEC, -ECONNREFUSED, "nobody there", now, &e);
        assert_string_equal(e.msg, "spec: nobody there");
        assert_int_equal(uplink_next(&u, now, &wake), UPLINK_NONE);
        assert_true(u.ask_ns > now);
        assert_true(u.ask_ns - now <= at_most_s[i] * NS_PER_S);
        now = u.ask_ns;
    }
    assert_int_equal(next(&u, now), UPLINK_SPEC);
    answer(&u, UPLINK_SPEC, 304, "", now, NULL); /* and it is there again */
    assert_int_equal(next(&u, now), UPLINK_SPEC);
    uplink_done(&u);
}

/* What the next one has to say is not told by a number: which disks wait, for one. */
static void a_server_that_was_away_is_asked_for_all(void **state)
{
    struct uplink u;
    struct contract_spec spec = { 0 };
    struct uplink_answer a = { .status = 200, .body = SPEC, .length = strlen(SPEC) };
    char path[100];

    (void)state;
    uplink_init(&u, "", SESSION);
    next(&u, T0);
    assert_int_equal(uplink_answer(&u, UPLINK_SPEC, &a, T0, &spec, NULL), UPLINK_NEW_SPEC);
    contract_spec_done(&spec);
    next(&u, T0);
    answer(&u, UPLINK_SPEC, -ECONNRESET, "gone", T0, NULL);
    assert_int_equal(next(&u, u.ask_ns), UPLINK_SPEC);
    uplink_path(&u, UPLINK_SPEC, path, sizeof path);
    assert_string_equal(path, "/v1/agent/spec?revision=0&wait=50");
    uplink_done(&u);
}

static void a_refused_session_registers_again_at_once(void **state)
{
    struct uplink u;

    (void)state;
    uplink_init(&u, "boot-token", SESSION);
    assert_int_equal(next(&u, T0), UPLINK_SPEC);
    answer(&u, UPLINK_SPEC, 401, "", T0, NULL);
    assert_int_equal(next(&u, T0), UPLINK_REGISTER);
    assert_int_equal(answer(&u, UPLINK_REGISTER, 200, REGISTERED, T0, NULL), UPLINK_REGISTERED);
    assert_int_equal(next(&u, T0), UPLINK_SPEC);
    uplink_done(&u);
}

static void a_refused_token_is_tried_once_a_minute_and_the_session_too(void **state)
{
    struct uplink u;
    int64_t now = T0;

    (void)state;
    uplink_init(&u, "boot-token", SESSION);
    next(&u, now);
    answer(&u, UPLINK_SPEC, 401, "", now, NULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(next(&u, now), UPLINK_REGISTER);
        answer(&u, UPLINK_REGISTER, 401, "", now, NULL);
        assert_int_equal(next(&u, now + 44 * NS_PER_S), UPLINK_NONE);
        now += 76 * NS_PER_S;
        assert_int_equal(next(&u, now), UPLINK_SPEC);
        answer(&u, UPLINK_SPEC, 401, "", now, NULL);
        assert_int_equal(next(&u, now + 44 * NS_PER_S), UPLINK_NONE);
        now += 76 * NS_PER_S;
    }
    uplink_done(&u);
}

static void nonsense_from_the_server_is_a_failure_like_any_other(void **state)
{
    struct uplink u;
    struct err e = { 0 };

    (void)state;
    uplink_init(&u, "", SESSION);
    next(&u, T0);
    assert_int_equal(answer(&u, UPLINK_SPEC, 200, "<html>", T0, &e), UPLINK_NO_NEWS);
    assert_non_null(strstr(e.msg, "not JSON"));
    assert_true(u.ask_ns > T0);
    next(&u, u.ask_ns);
    answer(&u, UPLINK_SPEC, 503, "{\"detail\":\"later\"}", u.ask_ns, &e);
    assert_non_null(strstr(e.msg, "answers 503"));
    assert_non_null(strstr(e.msg, "later"));
    uplink_done(&u);
}

static void a_report_is_sent_when_it_changes_and_now_and_then(void **state)
{
    struct uplink u;

    (void)state;
    uplink_init(&u, "", SESSION);
    next(&u, T0); /* the spec is being asked for all the time */
    assert_int_equal(next(&u, T0), UPLINK_NONE);
    uplink_set_report(&u, strdup("one"), T0);
    assert_int_equal(next(&u, T0), UPLINK_REPORT);
    uplink_set_report(&u, strdup("two"), T0); /* while the first is under way */
    assert_int_equal(next(&u, T0), UPLINK_NONE);
    answer(&u, UPLINK_REPORT, 204, "", T0, NULL);
    assert_int_equal(next(&u, T0), UPLINK_REPORT);
    answer(&u, UPLINK_REPORT, 204, "", T0, NULL);
    uplink_set_report(&u, strdup("two"), T0 + 1); /* no news */
    assert_int_equal(next(&u, T0 + 1), UPLINK_NONE);
    assert_int_equal(next(&u, T0 + UPLINK_REPORT_EVERY * NS_PER_S), UPLINK_REPORT);
    uplink_done(&u);
}

static void a_report_that_failed_is_sent_later_and_the_newest_one_then(void **state)
{
    struct uplink u;

    (void)state;
    uplink_init(&u, "", SESSION);
    next(&u, T0);
    uplink_set_report(&u, strdup("one"), T0);
    assert_int_equal(next(&u, T0), UPLINK_REPORT);
    answer(&u, UPLINK_REPORT, -ETIMEDOUT, "", T0, NULL);
    uplink_set_report(&u, strdup("two"), T0);
    assert_int_equal(next(&u, T0), UPLINK_NONE); /* news do not shorten the delay */
    assert_int_equal(next(&u, u.report_ns), UPLINK_REPORT);
    assert_string_equal(u.report, "two");
    uplink_done(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_host_registers_then_asks_for_its_spec),
        cmocka_unit_test(a_kept_session_needs_no_token),
        cmocka_unit_test(without_token_and_session_nothing_is_asked),
        cmocka_unit_test(a_server_that_is_away_is_asked_less_and_less),
        cmocka_unit_test(a_server_that_was_away_is_asked_for_all),
        cmocka_unit_test(a_refused_session_registers_again_at_once),
        cmocka_unit_test(a_refused_token_is_tried_once_a_minute_and_the_session_too),
        cmocka_unit_test(nonsense_from_the_server_is_a_failure_like_any_other),
        cmocka_unit_test(a_report_is_sent_when_it_changes_and_now_and_then),
        cmocka_unit_test(a_report_that_failed_is_sent_later_and_the_newest_one_then),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
