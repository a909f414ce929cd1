/* SPDX-License-Identifier: Apache-2.0 */
/* gridboxd - the server: options, signals, exit status.  What it is made of: server.c. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "server/base/log.h"
#include "server/main/options.h"
#include "server/main/server.h"

#define EXIT_WRONG_USE 2

/* Each NBD connection and each open layer is a descriptor. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn("main: the limit of open files stays at its soft value");
}

/* Before there is a second thread: all of them leave these signals to the control thread's
 * signalfd, and a peer that goes away is an error of write(2), not the end. */
static void set_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

/* What the operator must change on the command line, in the configuration or by stopping another
 * program is wrong use. */
static int exit_status(int code)
{
    static const int wrong_use[] = { -EINVAL, -EBUSY,   -EADDRINUSE, -EADDRNOTAVAIL, -ENAMETOOLONG,
                                     -ENODEV, -ENOTSUP, -ENOENT,     -ENOTDIR };

    for (size_t i = 0; i < sizeof wrong_use / sizeof *wrong_use; i++)
        if (code == wrong_use[i])
            return EXIT_WRONG_USE;
    return EXIT_FAILURE;
}

static int serve(const struct options *o)
{
    struct server *s;
    struct err e = { 0 };
    int rc = server_start(o, &s, &e);

    if (rc < 0) {
        log_error("main: %s", e.msg);
        return exit_status(rc);
    }
    server_run(s);
    server_stop(s);
    log_info("main: stopped");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    int status = EXIT_SUCCESS;

    if (options_read(argc, argv, &o, &e) < 0) {
        fprintf(stderr, "gridboxd: %s\n", e.msg);
        return EXIT_WRONG_USE;
    }
    if (o.help) {
        options_help(stdout);
    } else if (o.version) {
        printf("gridboxd %s\n", GRIDBOX_VERSION);
    } else {
        umask(0077);
        log_set_level(o.log_level);
        raise_descriptors();
        set_signals();
        status = serve(&o);
    }
    options_done(&o);
    return status;
}
