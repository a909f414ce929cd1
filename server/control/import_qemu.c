/* SPDX-License-Identifier: Apache-2.0 */
/* import_qemu - starts and ends a locked-in qemu-nbd.  It must never know what is in the file. */
#include "server/control/import_qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/name.h"
#include "server/control/import_jail.h"

#define LISTEN_FD  3 /* by sd_listen_fds(3), which qemu-nbd knows */
#define FEED_FD    4
#define SPOKEN_MAX 2000u

struct qemu {
    pid_t pid;
    int stderr_fd; /* what it says; never blocks, at neither end */
};

static int find_program(char ret_path[static 64], struct err *e)
{
    static const char *const dirs[] = { "/usr/bin", "/usr/local/bin" };

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        snprintf(ret_path, 64, "%s/qemu-nbd", dirs[i]);
        if (access(ret_path, X_OK) == 0)
            return 0;
    }
    return err_set(e, -ENOENT,
                   "reading this format needs qemu-nbd, which is not installed here: apt-get "
                   "install qemu-utils");
}

/* A listening socket and one that is connected to it.  Its name is gone when this returns, and so
 * nobody else can connect.  The directory is named by descriptor: its path may be too long. */
static int make_sockets(const char *scratch_dir, int *ret_listen, int *ret_fd, struct err *e)
{
    AUTO(auto_close) int dir = open(scratch_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    AUTO(auto_close) int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    AUTO(auto_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    uint8_t id[8];
    char name[2 * sizeof id + 1];

    if (dir < 0)
        return err_errno(e, "%s", scratch_dir);
    if (listener < 0 || fd < 0)
        return err_errno(e, "make a socket");
    random_bytes(id, sizeof id);
    hex_encode(id, sizeof id, name);
    snprintf(sa.sun_path, sizeof sa.sun_path, "/proc/self/fd/%d/%s", dir, name);
    if (bind(listener, (struct sockaddr *)&sa, sizeof sa) < 0)
        return err_errno(e, "make a socket in %s", scratch_dir);
    int rc = 0;
    if (listen(listener, 1) < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
        rc = err_errno(e, "connect to a socket in %s", scratch_dir);
    unlinkat(dir, name, 0);
    if (rc < 0)
        return rc;
    *ret_listen = take_fd(&listener);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* "LISTEN_PID=NUMBER" without libc's formatting, which is not async-signal-safe. */
static void write_pid(char *ret_text, pid_t pid)
{
    char digits[16];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + pid % 10);
    while ((pid /= 10) > 0);
    while (n > 0)
        *ret_text++ = digits[--n];
    *ret_text = '\0';
}

struct start {
    const char *program;
    char *const *argv;
    int listener, feed_fd, stderr_fd, null_fd;
    pid_t parent;
};

/* In the new process. */
static void become(const struct start *s) __attribute__((noreturn));
static void become(const struct start *s)
{
    static const char failed[] = "qemu-nbd: cannot be locked in\n";
    char listen_pid[32] = "LISTEN_PID=", listen_fds[] = "LISTEN_FDS=1", locale[] = "LC_ALL=C";
    char *env[] = { listen_pid, listen_fds, locale, NULL };
    /* First out of the way of the low numbers, then onto them. */
    int listener = fcntl(s->listener, F_DUPFD, 10), feed = fcntl(s->feed_fd, F_DUPFD, 10);
    int words = fcntl(s->stderr_fd, F_DUPFD, 10), nothing = fcntl(s->null_fd, F_DUPFD, 10);

    write_pid(listen_pid + strlen(listen_pid), getpid());
    if (dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0 || dup2(words, 2) < 0 ||
        dup2(listener, LISTEN_FD) < 0 || dup2(feed, FEED_FD) < 0 ||
        close_range(FEED_FD + 1, ~0u, 0) < 0 || jail_enter(s->parent) < 0) {
        if (write(2, failed, sizeof failed - 1) < 0)
            _exit(126);
        _exit(126);
    }
    execve(s->program, s->argv, env);
    _exit(127);
}

int qemu_start(const char *scratch_dir, const char *driver, int feed_fd, struct qemu **ret,
               int *ret_fd, struct err *e)
{
    char program[64], disk[160];
    char arg0[] = "qemu-nbd", read_only[] = "--read-only", shared[] = "--shared=1";
    char *argv[] = { arg0, read_only, shared, disk, NULL };
    AUTO(auto_close) int listener = -1, fd = -1, words = -1, words_in = -1;
    AUTO(auto_close) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int pipe_fds[2], rc;

    rc = find_program(program, e);
    if (rc == 0)
        rc = make_sockets(scratch_dir, &listener, &fd, e);
    if (rc < 0)
        return rc;
    if (null_fd < 0 || pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_errno(e, "make a pipe");
    words = pipe_fds[0];
    words_in = pipe_fds[1];
    /* Format and place of the bytes are said; "backing": null forbids any other file. */
    snprintf(disk, sizeof disk,
             "json:{\"driver\":\"%s\",\"backing\":null,\"file\":{\"driver\":\"nbd\",\"server\":"
             "{\"type\":\"fd\",\"str\":\"%d\"}}}",
             driver, FEED_FD);
    struct qemu *q = calloc(1, sizeof *q);
    if (!q)
        return err_set(e, -ENOMEM, "out of memory");
    struct start start = { program, argv, listener, feed_fd, words_in, null_fd, getpid() };
    q->pid = fork();
    if (q->pid == 0)
        become(&start);
    if (q->pid < 0) {
        free(q);
        return err_errno(e, "start qemu-nbd");
    }
    q->stderr_fd = take_fd(&words);
    *ret = q;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* The first line, without what is ours in it: "qemu-nbd: Failed to … 'json:{…}': WHY". */
static void tidy(const char *spoken, char *ret_why, size_t size)
{
    const char *end = strchrnul(spoken, '\n'), *why = strstr(spoken, "}': ");
    size_t n = 0;

    if (why && why < end)
        why += 4;
    else
        why = strncmp(spoken, "qemu-nbd: ", 10) == 0 ? spoken + 10 : spoken;
    for (; why < end && n + 1 < size; why++)
        ret_why[n++] = *why >= ' ' && *why < 0x7f ? *why : '?';
    ret_why[n] = '\0';
}

void qemu_stop(struct qemu *q, char *ret_why, size_t size)
{
    char spoken[SPOKEN_MAX + 1];
    ssize_t n;

    if (!q)
        return;
    kill(q->pid, SIGKILL);
    while (waitpid(q->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (ret_why) {
        n = read(q->stderr_fd, spoken, SPOKEN_MAX);
        spoken[n > 0 ? n : 0] = '\0';
        tidy(spoken, ret_why, size);
    }
    close(q->stderr_fd);
    free(q);
}
