/* SPDX-License-Identifier: Apache-2.0 */
/* notify_test - what a service manager hears. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/main/notify.h"

/* name[0] NUL: abstract. */
static int listen_on(const char *name, size_t length)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    memcpy(a.sun_path, name, length);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
                     0);
    return fd;
}

static void expect(int fd, const char *text)
{
    char got[64] = "";

    assert_int_equal(recv(fd, got, sizeof got - 1, 0), strlen(text));
    assert_string_equal(got, text);
}

static void test_path(void **state)
{
    char dir[] = "/tmp/notify_test.XXXXXX", path[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    int fd = listen_on(path, strlen(path));
    setenv("NOTIFY_SOCKET", path, 1);
    notify("READY=1");
    notify("STOPPING=1");
    expect(fd, "READY=1");
    expect(fd, "STOPPING=1");
    close(fd);
    unlink(path);
    notify("READY=1"); /* nobody there: no harm */
    rmdir(dir);
}

static void test_abstract(void **state)
{
    char name[64];
    int length = snprintf(name, sizeof name, "@gridbox-notify-test-%d", (int)getpid());

    (void)state;
    setenv("NOTIFY_SOCKET", name, 1);
    name[0] = '\0';
    int fd = listen_on(name, (size_t)length);
    notify("READY=1");
    expect(fd, "READY=1");
    close(fd);
}

static void test_none(void **state)
{
    static const char *const values[] = { "", "relative", "vsock:1:2" };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        setenv("NOTIFY_SOCKET", values[i], 1);
        notify("READY=1");
    }
    unsetenv("NOTIFY_SOCKET");
    notify("READY=1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_abstract),
        cmocka_unit_test(test_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
