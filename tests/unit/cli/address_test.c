/* SPDX-License-Identifier: Apache-2.0 */
/* Where the server is: what is an address and what is none. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "server/cli/address.h"

static void the_default_is_a_unix_socket(void **state)
{
    struct cli_address a;

    (void)state;
    assert_int_equal(address_parse(ADDRESS_DEFAULT, &a, NULL), 0);
    assert_true(a.is_unix);
    assert_string_equal(a.unix_path, "/var/lib/gridbox/control.sock");
}

static void http_addresses(void **state)
{
    static const struct {
        const char *text, *base;
    } cases[] = {
        { "http://10.0.0.1:8420", "http://10.0.0.1:8420" },
        { "http://server.lab:1/", "http://server.lab:1" },
        { "http://[fe80::1]:65535", "http://[fe80::1]:65535" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cli_address a;
        assert_int_equal(address_parse(cases[i].text, &a, NULL), 0);
        assert_false(a.is_unix);
        assert_string_equal(a.base, cases[i].base);
        assert_string_equal(a.text, cases[i].text);
    }
}

static void what_is_no_address(void **state)
{
    static const char *const bad[] = {
        "",
        "unix:",
        "/run/socket",
        "http://",
        "http://host",
        "http://host:",
        "http://host:0",
        "http://host:65536",
        "http://host:123456",
        "http://host:12x",
        "http://:80",
        "http://a b:80",
        "http://user@host:80",
        "http://host:80/path",
        "http://host?:80",
        "http://[::1:80",
        "http://[x]:80",
        "https://host:80",
        "ftp://host:80",
        "http://ho\nst:80",
        "unix:/a\x01",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cli_address a = { .text = "untouched" };
        struct err e = { 0 };
        if (address_parse(bad[i], &a, &e) != -EINVAL)
            fail_msg("'%s' must be refused", bad[i]);
        assert_true(strlen(e.msg) > 0);
        assert_string_equal(a.text, "untouched");
    }
}

static void a_socket_path_may_have_107_bytes(void **state)
{
    char text[5 + 108 + 1] = "unix:";
    struct cli_address a;
    struct err e = { 0 };

    (void)state;
    memset(text + 5, 'x', 107);
    assert_int_equal(address_parse(text, &a, &e), 0);
    assert_int_equal(strlen(a.unix_path), 107);
    text[5 + 107] = 'x';
    assert_int_equal(address_parse(text, &a, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "107"));
}

static void a_very_long_address_is_refused(void **state)
{
    char text[2000];
    struct cli_address a;

    (void)state;
    memset(text, 'a', sizeof text);
    memcpy(text, "http://", 7);
    text[sizeof text - 1] = '\0';
    assert_int_equal(address_parse(text, &a, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_is_a_unix_socket),
        cmocka_unit_test(http_addresses),
        cmocka_unit_test(what_is_no_address),
        cmocka_unit_test(a_socket_path_may_have_107_bytes),
        cmocka_unit_test(a_very_long_address_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
