/* SPDX-License-Identifier: Apache-2.0 */
/* hide_test - no password and no token is left, and everything else is. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "server/control/hide.h"

static void test_hide(void **state)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        { "", "" },
        { "/srv/disk.raw", "/srv/disk.raw" },
        { "/srv/what?.raw", "/srv/what?.raw" },
        { "http://h/disk.raw", "http://h/disk.raw" },
        { "http://u:p@h:80/d.raw?key=s#f", "http://h:80/d.raw" },
        { "http://u:p@x@h/d", "http://h/d" },
        { "http://h/a@b", "http://h/a@b" },
        { "nbd://h:10809/v@1.0123456789abcdef0123456789ABCDEF", "nbd://h:10809/v@1." },
        { "nbd://h/v.0123456789abcdef0123456789abcdef: refused", "nbd://h/v.: refused" },
        { "v.0123456789abcdef0123456789abcdef0", "v.0123456789abcdef0123456789abcdef0" },
        { "get https://u@h/d?x=1: 404, then http://h/e?y: 500",
          "get https://h/d: 404, then http://h/e: 500" },
        { "nbd+unix:///?socket=/tmp/s: no", "nbd+unix:///: no" },
        { "://", "://" },
        { "://@", "://" },
        { "://?", "://" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        snprintf(text, sizeof text, "%s", cases[i].from);
        hide_secrets(text);
        assert_string_equal(text, cases[i].to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hide),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
