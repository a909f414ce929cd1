/* SPDX-License-Identifier: Apache-2.0 */
/* import_jail - between fork and exec.  System calls alone: another thread of ours may have held
 * any lock when we were forked.  What the kernel lacks is left out, but for giving up root. */
#include "server/control/import_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/landlock.h>

#define NOBODY 65534u

#define MEMORY_BYTES (2ull << 30) /* address space; qcow2 keeps tables of 32 MiB, and threads */
#define CPU_SECONDS  3600u        /* a compressed terabyte needs half of it */
#define FILES        64u

static void limit(__rlimit_resource_t what, rlim_t value)
{
    struct rlimit l = { value, value };

    setrlimit(what, &l);
}

/* Of the file system it may read what programs are made of; sockets it has already. */
static void lock_files(void)
{
    static const char *const dirs[] = { "/usr", "/lib", "/lib64", "/etc/ld.so.cache" };
    const struct landlock_ruleset_attr all = {
        .handled_access_fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1, /* version 1's */
    };
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);

    if (rules < 0)
        return;
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        struct landlock_path_beneath_attr beneath = {
            .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE,
            .parent_fd = open(dirs[i], O_PATH | O_CLOEXEC),
        };

        if (beneath.parent_fd < 0)
            continue;
        if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0) {
            close(rules); /* better unlocked than without its libraries */
            return;
        }
        close(beneath.parent_fd);
    }
    syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}

/* The system calls themselves: libc's functions change the ids of all threads, under a lock. */
static int give_up_root(void)
{
    if (geteuid() != 0)
        return 0;
    if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) < 0 ||
        syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) < 0)
        return -errno;
    return 0;
}

int jail_enter(int parent_pid)
{
    sigset_t none;
    int rc;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    limit(RLIMIT_AS, MEMORY_BYTES);
    limit(RLIMIT_CPU, CPU_SECONDS);
    limit(RLIMIT_FSIZE, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, FILES);
    setpriority(PRIO_PROCESS, 0, 10);
    unshare(CLONE_NEWNET | CLONE_NEWIPC); /* root alone may; the rest holds without it */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    lock_files();
    rc = give_up_root();
    if (rc < 0)
        return rc;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* after the ids: their change clears it */
    return getppid() == parent_pid ? 0 : -ESRCH;
}
