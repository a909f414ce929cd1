/* SPDX-License-Identifier: Apache-2.0 */
/* child - owns one supervised process and the back-off between its lives.
 *
 * It never knows what the process does.  A pidfd stands for the process everywhere, so that no
 * signal can reach a stranger who got the same number. */
#include "server/base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/base/log.h"

#define STOP_MS        3000 /* between SIGTERM and SIGKILL */
#define KILL_MS        5000 /* for the kernel to end a process after SIGKILL */
#define DELAY_FIRST_NS (1 * NS_PER_S)
#define DELAY_MOST_NS  (30 * NS_PER_S)
#define LONG_LIFE_NS   (60 * NS_PER_S) /* after which the delay starts at its first value again */
#define ARGS_MAX       64
#define CMDLINE_MAX    65536

struct child {
    char *name;
    char **argv;
    char *pid_file, *leftover_arg; /* may be NULL */
    pid_t pid;                     /* 0 = not running */
    int pidfd;                     /* -1 = not running */
    int64_t started_ns;            /* of the present or last life */
    int64_t restart_at_ns;         /* when not running */
    int64_t delay_ns;              /* before the next restart */
};

/* ---- starting -------------------------------------------------------------------------------- */

static void fail_child(int report_fd)
{
    int error = errno;

    if (write(report_fd, &error, sizeof error) < 0)
        _exit(126);
    _exit(127);
}

/* In the new process: only calls that are safe after fork in a program with threads. */
static void become(char *const *argv, pid_t parent, int report_fd)
{
    sigset_t none;

    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL); /* fails for SIGKILL and SIGSTOP, as it should */
    sigprocmask(SIG_SETMASK, &none, NULL);

    if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
        fail_child(report_fd);
    if (getppid() != parent)
        _exit(0); /* the parent died before PDEATHSIG was set */

    setsid(); /* Ctrl-C is for the server, which then stops its child in order */
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nowhere < 0 || dup2(nowhere, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        fail_child(report_fd);
    execvp(argv[0], argv);
    fail_child(report_fd);
}

/* What execvp said: 0 when it succeeded (the pipe closed without a word). */
static int read_report(int fd)
{
    int error = 0;
    ssize_t got;

    do
        got = read(fd, &error, sizeof error);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof error ? -error : 0;
}

static int spawn(struct child *c, struct err *e)
{
    int report[2];

    if (pipe2(report, O_CLOEXEC) < 0)
        return err_errno(e, "start %s: pipe", c->name);
    AUTO(auto_close) int from = report[0];
    AUTO(auto_close) int to = report[1];

    pid_t self = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return err_errno(e, "start %s: fork", c->name);
    if (pid == 0)
        become(c->argv, self, to);

    close(take_fd(&to));
    int rc = read_report(from);
    if (rc < 0) {
        waitpid(pid, NULL, 0);
        return err_set(e, rc, "start %s: %s: %s", c->name, c->argv[0], strerror(-rc));
    }

    int pidfd = pidfd_open(pid, 0); /* close-on-exec by itself */
    if (pidfd < 0) {
        rc = err_errno(e, "start %s: pidfd_open", c->name);
        kill(pid, SIGKILL); /* still our unreaped child: the number is its own */
        waitpid(pid, NULL, 0);
        return rc;
    }
    c->pid = pid;
    c->pidfd = pidfd;
    c->started_ns = clock_mono_ns();
    return 0;
}

/* ---- a leftover of an earlier life ----------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* The process that pidfd holds has number pid: is it the program that we would start? */
static bool is_ours(const struct child *c, pid_t pid)
{
    char link[64], exe[PATH_MAX];

    snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t length = readlink(link, exe, sizeof exe - 1);
    if (length <= 0)
        return false;
    exe[length] = '\0';

    char *gone = strstr(exe, " (deleted)"); /* the package was upgraded meanwhile */
    if (gone && !gone[strlen(" (deleted)")])
        *gone = '\0';
    if (strcmp(base_name(exe), base_name(c->argv[0])) != 0)
        return false;

    AUTO(auto_free) char *cmdline = NULL;
    size_t bytes;
    snprintf(link, sizeof link, "/proc/%d/cmdline", (int)pid);
    if (file_read(link, CMDLINE_MAX, &cmdline, &bytes, NULL) < 0)
        return false;
    for (size_t at = 0; at < bytes; at += strlen(cmdline + at) + 1)
        if (strcmp(cmdline + at, c->leftover_arg) == 0)
            return true;
    return false;
}

/* True when the process has ended within the time. */
static bool ended_within(int pidfd, int ms)
{
    struct pollfd p = { .fd = pidfd, .events = POLLIN };
    int64_t deadline = clock_mono_ns() + ms * NS_PER_MS;

    for (;;) {
        int64_t left = (deadline - clock_mono_ns()) / NS_PER_MS;
        int got = poll(&p, 1, left > 0 ? (int)left : 0);
        if (got > 0)
            return true;
        if (got == 0 || errno != EINTR)
            return false;
    }
}

static bool end_process(int pidfd)
{
    pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
    if (ended_within(pidfd, STOP_MS))
        return true;
    pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    return ended_within(pidfd, KILL_MS);
}

static int read_pid(const char *path)
{
    AUTO(auto_free) char *text = NULL;
    char *end;

    if (file_read(path, 64, &text, NULL, NULL) < 0)
        return 0;
    long pid = strtol(text, &end, 10);
    while (*end == '\n' || *end == ' ')
        end++;
    return *end || pid <= 1 || pid > INT_MAX ? 0 : (int)pid;
}

static int end_leftover(const struct child *c, struct err *e)
{
    int pid = c->pid_file && c->leftover_arg ? read_pid(c->pid_file) : 0;
    if (!pid)
        return 0;

    /* First the handle, then the look: what is looked at is then what gets the signal. */
    AUTO(auto_close) int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0 || !is_ours(c, pid))
        return 0;
    log_info("child %s: ending the one that an earlier server left: pid=%d", c->name, pid);
    if (!end_process(pidfd))
        return err_set(e, -EBUSY, "%s: process %d of an earlier server does not end", c->name, pid);
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void child_free(struct child *c)
{
    if (!c)
        return;
    for (char **a = c->argv; a && *a; a++)
        free(*a);
    free(c->argv);
    free(c->name);
    free(c->pid_file);
    free(c->leftover_arg);
    if (c->pidfd >= 0)
        close(c->pidfd);
    free(c);
}

static void auto_child(struct child **c)
{
    child_free(*c);
}

/* An absent string stays absent. */
static bool copy_string(const char *from, char **to)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static struct child *child_new(const struct child_spec *spec)
{
    AUTO(auto_child) struct child *c = calloc(1, sizeof *c);
    size_t count = 0;

    if (!c)
        return NULL;
    c->pidfd = -1;
    c->delay_ns = DELAY_FIRST_NS;
    if (!copy_string(spec->name, &c->name) || !copy_string(spec->pid_file, &c->pid_file) ||
        !copy_string(spec->leftover_arg, &c->leftover_arg))
        return NULL;
    c->argv = calloc(ARGS_MAX + 1, sizeof *c->argv);
    for (; c->argv && spec->argv[count] && count < ARGS_MAX; count++)
        if (!copy_string(spec->argv[count], &c->argv[count]))
            return NULL;
    return c->argv ? TAKE(c) : NULL;
}

int child_start(const struct child_spec *spec, struct child **ret, struct err *e)
{
    AUTO(auto_child) struct child *c = child_new(spec);
    if (!c)
        return err_set(e, -ENOMEM, "start %s: out of memory", spec->name);

    int rc = end_leftover(c, e);
    if (rc == 0 && c->pid_file && unlink(c->pid_file) < 0 && errno != ENOENT)
        rc = err_errno(e, "start %s: remove %s", c->name, c->pid_file);
    if (rc == 0)
        rc = spawn(c, e);
    if (rc < 0)
        return rc;
    *ret = TAKE(c);
    return 0;
}

int child_pidfd(const struct child *c)
{
    return c->pidfd;
}

bool child_running(const struct child *c)
{
    return c->pidfd >= 0;
}

static void forget_process(struct child *c)
{
    close(c->pidfd);
    c->pidfd = -1;
    c->pid = 0;
}

/* The process has ended: says how, and sets the time of the next life. */
static void reap(struct child *c, int64_t now)
{
    int status = 0;

    waitpid(c->pid, &status, 0);
    forget_process(c);
    if (now - c->started_ns >= LONG_LIFE_NS)
        c->delay_ns = DELAY_FIRST_NS;
    c->restart_at_ns = now + c->delay_ns;
    log_warn("child %s: ended by %s %d: starting it again in %lld s", c->name,
             WIFSIGNALED(status) ? "signal" : "exit status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
             (long long)(c->delay_ns / NS_PER_S));
    c->delay_ns = c->delay_ns * 2 < DELAY_MOST_NS ? c->delay_ns * 2 : DELAY_MOST_NS;
}

void child_tick(struct child *c)
{
    int64_t now = clock_mono_ns();

    if (c->pidfd >= 0 && ended_within(c->pidfd, 0))
        reap(c, now);
    if (c->pidfd >= 0 || now < c->restart_at_ns)
        return;

    struct err e = { 0 };
    if (spawn(c, &e) < 0) {
        log_warn("child %s: not started: %s", c->name, e.msg);
        c->restart_at_ns = now + c->delay_ns;
        c->delay_ns = c->delay_ns * 2 < DELAY_MOST_NS ? c->delay_ns * 2 : DELAY_MOST_NS;
    }
}

void child_stop(struct child *c)
{
    if (!c)
        return;
    if (c->pidfd >= 0) {
        if (!end_process(c->pidfd))
            log_warn("child %s: process %d does not end", c->name, (int)c->pid);
        waitpid(c->pid, NULL, WNOHANG);
    }
    if (c->pid_file)
        unlink(c->pid_file);
    child_free(c);
}
