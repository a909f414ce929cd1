/* SPDX-License-Identifier: Apache-2.0 */
/* What a locked-in process can no longer do. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/landlock.h>

#include "server/control/import_jail.h"

/* Runs a question in a locked-in process; its answer. */
static int locked_in(int (*question)(void))
{
    pid_t parent = getpid(), pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(jail_enter(parent) < 0 ? 99 : question());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int is_root(void)
{
    return getuid() == 0 || geteuid() == 0 || getgid() == 0 || getgroups(0, NULL) > 0;
}

static int may_gain(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1;
}

static int reaches_the_network(void)
{
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_port = htons(9),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);

    return connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0;
}

static int opens_passwd(void)
{
    return open("/etc/passwd", O_RDONLY) >= 0;
}

static int opens_its_libraries(void)
{
    return open("/usr/bin/env", O_RDONLY) >= 0;
}

static int has_limits(void)
{
    struct rlimit memory, size;

    getrlimit(RLIMIT_AS, &memory);
    getrlimit(RLIMIT_FSIZE, &size);
    return memory.rlim_max <= 2ull << 30 && size.rlim_max == 0;
}

static void it_is_not_root_and_stays_so(void **state)
{
    (void)state;
    if (getuid() == 0)
        assert_int_equal(locked_in(is_root), 0);
    assert_int_equal(locked_in(may_gain), 0);
    assert_int_equal(locked_in(has_limits), 1);
}

static void it_has_no_network(void **state)
{
    (void)state;
    if (getuid() == 0)
        assert_int_equal(locked_in(reaches_the_network), 0);
}

static void it_opens_nothing_but_programs(void **state)
{
    bool landlock =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1;

    (void)state;
    if (landlock)
        assert_int_equal(locked_in(opens_passwd), 0);
    assert_int_equal(locked_in(opens_its_libraries), 1);
}

static int never_asked(void)
{
    return 98;
}

static void it_does_not_outlive_its_parent(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0) /* somebody else's child, as after the parent's end */
        _exit(jail_enter(getpid()) == -ESRCH ? 0 : never_asked());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_not_root_and_stays_so),
        cmocka_unit_test(it_has_no_network),
        cmocka_unit_test(it_opens_nothing_but_programs),
        cmocka_unit_test(it_does_not_outlive_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
