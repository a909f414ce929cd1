/* SPDX-License-Identifier: Apache-2.0 */
/* control_test - which address and name a URI has. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "server/control/control.h"

static void test_uri(void **state)
{
    static const struct {
        const char *nbd, *advertise, *boot, *uri;
    } cases[] = {
        { "127.0.0.1:10809", NULL, NULL, "nbd://127.0.0.1:10809/v.000102" },
        { "127.0.0.1:10809", NULL, "10.0.0.1", "nbd://127.0.0.1:10809/v.000102" },
        { "0.0.0.0:99", NULL, "10.0.0.1", "nbd://10.0.0.1:99/v.000102" },
        { "0.0.0.0:99", NULL, NULL, "nbd://127.0.0.1:99/v.000102" },
        { "[::1]:10809", NULL, NULL, "nbd://[::1]:10809/v.000102" },
        { "[::]:10809", NULL, NULL, "nbd://[::1]:10809/v.000102" },
        { "[::]:10809", "192.168.1.9", "10.0.0.1", "nbd://192.168.1.9:10809/v.000102" },
        { "127.0.0.1:1", "fd00::1", NULL, "nbd://[fd00::1]:1/v.000102" },
    };
    uint8_t token[EXPORT_TOKEN_BYTES];

    (void)state;
    for (uint8_t i = 0; i < sizeof token; i++)
        token[i] = i;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct control c = { .advertise = cases[i].advertise, .boot_address = cases[i].boot };
        char uri[256];
        snprintf(c.nbd[0], sizeof c.nbd[0], "%s", cases[i].nbd);
        control_uri(&c, "v", token, uri, sizeof uri);
        assert_int_equal(strncmp(uri, cases[i].uri, strlen(cases[i].uri)), 0);
        assert_int_equal(strlen(strrchr(uri, '.') + 1), 32);
    }
}

static void test_holder(void **state)
{
    struct cat_attachment a = { .id = 1, .host = "pc1" };

    (void)state;
    assert_string_equal(control_holder(&a), "the command line");
    a.host_id = 3;
    assert_string_equal(control_holder(&a), "pc1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uri),
        cmocka_unit_test(test_holder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
