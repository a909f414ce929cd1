/* SPDX-License-Identifier: Apache-2.0 */
#include "server/base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 10000

extern char **environ;

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.40s/child.XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void path_in_dir(const char *name, char ret_path[static 128])
{
    snprintf(ret_path, 128, "%s/%s", dir, name);
}

/* True when fd became readable before the deadline. */
static bool readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, DEADLINE_MS) == 1;
}

/* posix_spawn returns a moment before the new command line can be read. */
static void wait_for_cmdline(pid_t pid)
{
    char path[64];
    int64_t deadline_ns = clock_mono_ns() + DEADLINE_MS * NS_PER_MS;
    bool there = false;

    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    while (!there && clock_mono_ns() < deadline_ns) {
        FILE *f = fopen(path, "r");
        there = f && fgetc(f) != EOF;
        if (f)
            fclose(f);
    }
    assert_true(there);
}

static void write_pid(const char *path, pid_t pid)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fprintf(f, "%d\n", (int)pid);
    fclose(f);
}

static pid_t start_stranger(const char *seconds, const char *pid_path)
{
    char word[16];
    snprintf(word, sizeof word, "%s", seconds);
    char sleep_word[] = "sleep";
    char *argv[] = { sleep_word, word, NULL };
    pid_t pid = 0;

    assert_int_equal(posix_spawnp(&pid, "sleep", NULL, NULL, argv, environ), 0);
    wait_for_cmdline(pid);
    write_pid(pid_path, pid);
    return pid;
}

static struct child *start(char *const *argv, const char *pid_file, const char *leftover_arg)
{
    struct child_spec spec = {
        .name = "test", .argv = argv, .pid_file = pid_file, .leftover_arg = leftover_arg
    };
    struct child *c = NULL;
    struct err e = { 0 };

    assert_int_equal(child_start(&spec, &c, &e), 0);
    assert_non_null(c);
    return c;
}

static char word_sleep[] = "sleep", word_long[] = "98761";
static char *const long_sleep[] = { word_sleep, word_long, NULL };

static void a_started_child_runs_until_it_is_stopped(void **state)
{
    (void)state;
    struct child *c = start(long_sleep, NULL, NULL);

    assert_true(child_running(c));
    int seen = dup(child_pidfd(c));
    struct pollfd p = { .fd = seen, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    child_stop(c);
    assert_int_equal(poll(&p, 1, 0), 1);
    close(seen);
}

static void a_missing_program_is_named(void **state)
{
    (void)state;
    char none[] = "no-such-program-here";
    char *argv[] = { none, NULL };
    struct child_spec spec = { .name = "dhcp", .argv = argv };
    struct child *c = NULL;
    struct err e = { 0 };

    assert_int_equal(child_start(&spec, &c, &e), -ENOENT);
    assert_null(c);
    assert_string_equal(e.msg, "start dhcp: no-such-program-here: No such file or directory");
}

static void a_child_that_ends_is_started_again_after_its_delay(void **state)
{
    (void)state;
    char fifo[128], script[200], line[16];
    path_in_dir("fifo", fifo);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int fd = open(fifo, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    snprintf(script, sizeof script, "echo life > '%s'; exec sleep 98762", fifo);
    char sh[] = "sh", dash_c[] = "-c";
    char *argv[] = { sh, dash_c, script, NULL };

    struct child *c = start(argv, NULL, NULL);
    assert_true(readable(fd));
    assert_int_equal(read(fd, line, sizeof line), 5);

    int64_t killed_ns = clock_mono_ns();
    pidfd_send_signal(child_pidfd(c), SIGKILL, NULL, 0);
    assert_true(readable(child_pidfd(c)));
    child_tick(c);
    assert_false(child_running(c));
    assert_int_equal(child_pidfd(c), -1);

    struct pollfd p = { .fd = fd, .events = POLLIN };
    while (poll(&p, 1, 20) == 0 && clock_mono_ns() < killed_ns + DEADLINE_MS * NS_PER_MS)
        child_tick(c);
    assert_int_equal(read(fd, line, sizeof line), 5);
    assert_true(clock_mono_ns() - killed_ns >= NS_PER_S);
    assert_true(child_running(c));
    child_stop(c);
    close(fd);
    unlink(fifo);
}

static void a_leftover_with_our_argument_is_ended_first(void **state)
{
    (void)state;
    char pid_path[128];
    int status = 0;
    path_in_dir("pid", pid_path);
    pid_t left = start_stranger("98761", pid_path);

    /* It is this process's child, so it must be reaped before the kernel calls it gone. */
    struct child *c = start(long_sleep, pid_path, "98761");
    assert_int_equal(waitpid(left, &status, 0), left);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(access(pid_path, F_OK), -1);
    child_stop(c);
}

static void a_stranger_in_the_pid_file_is_left_alone(void **state)
{
    (void)state;
    static const char *const args[] = { "98763", "9876" }; /* another one; a part of ours */
    char pid_path[128];
    path_in_dir("pid", pid_path);
    pid_t stranger = start_stranger("98761", pid_path);

    for (size_t i = 0; i < 2; i++) {
        write_pid(pid_path, stranger);
        child_stop(start(long_sleep, pid_path, args[i]));
        assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0);
    }
    write_pid(pid_path, stranger);
    char sh[] = "sh", dash_c[] = "-c", script[] = "exec sleep 98761";
    char *argv[] = { sh, dash_c, script, NULL };
    child_stop(start(argv, pid_path, "98761")); /* our argument, another program */
    assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0);

    kill(stranger, SIGKILL);
    waitpid(stranger, NULL, 0);
    assert_int_equal(access(pid_path, F_OK), -1);
}

static void a_pid_file_of_rubbish_is_ignored(void **state)
{
    (void)state;
    static const char *const texts[] = { "", "1", "0", "-1", "abc", "12x", "99999999999999999999" };
    char pid_path[128];
    path_in_dir("pid", pid_path);

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *f = fopen(pid_path, "w");
        assert_non_null(f);
        fputs(texts[i], f);
        fclose(f);
        child_stop(start(long_sleep, pid_path, "98761"));
    }
}

static void a_child_that_ignores_sigterm_is_killed(void **state)
{
    (void)state;
    char fifo[128], script[200], line[16];
    path_in_dir("fifo", fifo);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int fd = open(fifo, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    snprintf(script, sizeof script, "trap '' TERM; echo life > '%s'; exec sleep 98764", fifo);
    char sh[] = "sh", dash_c[] = "-c";
    char *argv[] = { sh, dash_c, script, NULL };

    struct child *c = start(argv, NULL, NULL);
    assert_true(readable(fd));
    assert_int_equal(read(fd, line, sizeof line), 5);
    int seen = dup(child_pidfd(c));
    child_stop(c);
    struct pollfd p = { .fd = seen, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 1);
    close(seen);
    close(fd);
    unlink(fifo);
}

/* A process of its own that starts a child, tells its number and dies. */
static void die_as_a_parent(int tell, int go)
{
    struct child_spec spec = { .name = "orphan", .argv = long_sleep };
    struct child *c = NULL;
    char byte;

    if (child_start(&spec, &c, NULL) < 0 || child_pidfd(c) < 0)
        _exit(1);
    char link[64], text[256];
    snprintf(link, sizeof link, "/proc/self/fdinfo/%d", child_pidfd(c));
    FILE *f = fopen(link, "r");
    int pid = 0;
    while (f && fgets(text, sizeof text, f))
        if (sscanf(text, "Pid: %d", &pid) == 1)
            break;
    if (write(tell, &pid, sizeof pid) < 0 || read(go, &byte, 1) < 0)
        _exit(1);
    _exit(0);
}

static void a_child_ends_with_its_parent(void **state)
{
    (void)state;
    int tell[2], go[2], pid = 0;
    assert_int_equal(pipe2(tell, O_CLOEXEC), 0);
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);

    pid_t parent = fork();
    assert_true(parent >= 0);
    if (parent == 0)
        die_as_a_parent(tell[1], go[0]);
    assert_int_equal(read(tell[0], &pid, sizeof pid), (int)sizeof pid);
    int pidfd = pidfd_open(pid, 0);
    assert_true(pidfd >= 0);
    assert_int_equal(write(go[1], "x", 1), 1);
    waitpid(parent, NULL, 0);
    assert_true(readable(pidfd));

    close(pidfd);
    for (int i = 0; i < 2; i++) {
        close(tell[i]);
        close(go[i]);
    }
}

static void stopping_nothing_is_legal(void **state)
{
    (void)state;
    child_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_started_child_runs_until_it_is_stopped),
        cmocka_unit_test(a_missing_program_is_named),
        cmocka_unit_test(a_child_that_ends_is_started_again_after_its_delay),
        cmocka_unit_test(a_leftover_with_our_argument_is_ended_first),
        cmocka_unit_test(a_stranger_in_the_pid_file_is_left_alone),
        cmocka_unit_test(a_pid_file_of_rubbish_is_ignored),
        cmocka_unit_test(a_child_that_ignores_sigterm_is_killed),
        cmocka_unit_test(a_child_ends_with_its_parent),
        cmocka_unit_test(stopping_nothing_is_legal),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
