/* SPDX-License-Identifier: Apache-2.0 */
/* route_test - patterns against paths. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/control/route.h"

static const struct http_route first[] = {
    { "GET", "/v1/volumes", HTTP_ADMIN, NULL, false },
    { "POST", "/v1/volumes", HTTP_ADMIN, NULL, false },
    { "GET", "/v1/volumes/{}", HTTP_ADMIN, NULL, false },
};
static const struct http_route second[] = {
    { "DELETE", "/v1/volumes/{}/attachment", HTTP_ADMIN, NULL, false },
    { "GET", "/{}/{}", HTTP_PUBLIC, NULL, false },
};

static const struct {
    const char *name, *method, *path;
    int rc;
    const struct http_route *route;
    const char *arg0, *arg1;
} cases[] = {
    { "plain", "GET", "/v1/volumes", 0, &first[0], "", "" },
    { "by method", "POST", "/v1/volumes", 0, &first[1], "", "" },
    { "HEAD is GET", "HEAD", "/v1/volumes", 0, &first[0], "", "" },
    { "other method", "PUT", "/v1/volumes", -EPERM, NULL, "", "" },
    { "argument", "GET", "/v1/volumes/a@1", 0, &first[2], "a@1", "" },
    { "argument in the middle", "DELETE", "/v1/volumes/x/attachment", 0, &second[0], "x", "" },
    { "two arguments", "GET", "/a/b", 0, &second[1], "a", "b" },
    { "empty argument", "GET", "/v1/volumes/", -ENOENT, NULL, "", "" },
    { "slash behind", "DELETE", "/v1/volumes/x/attachment/", -ENOENT, NULL, "", "" },
    { "too short", "GET", "/v1", -ENOENT, NULL, "", "" },
    { "nothing", "GET", "", -ENOENT, NULL, "", "" },
    { "longer word", "GET", "/v1/volumesx", 0, &second[1], "v1", "volumesx" },
};

static void test_find(void **state)
{
    static const struct router router = { { first, second }, { 3, 2 }, 2 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct http_route *route = NULL;
        const char *args[HTTP_ARGS_MAX] = { "", "", "", "" };
        char path[64];

        snprintf(path, sizeof path, "%s", cases[i].path);
        int rc = route_find(&router, cases[i].method, path, &route, args);
        if (rc != cases[i].rc || route != cases[i].route)
            print_message("# %s\n", cases[i].name);
        assert_int_equal(rc, cases[i].rc);
        assert_ptr_equal(route, cases[i].route);
        assert_string_equal(args[0], cases[i].arg0);
        assert_string_equal(args[1], cases[i].arg1);
        if (rc < 0) /* what is not found is left as it was */
            assert_string_equal(path, cases[i].path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
