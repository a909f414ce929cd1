/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt - signals as a descriptor.  It knows nothing of what is interrupted. */
#include "server/cli/interrupt.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}

void interrupt_begin(struct interrupt *i)
{
    sigset_t set;

    signals(&set);
    *i = (struct interrupt){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) };
    if (i->fd >= 0)
        sigprocmask(SIG_BLOCK, &set, NULL);
}

bool interrupt_seen(struct interrupt *i)
{
    struct signalfd_siginfo info;

    if (i->fd >= 0 && read(i->fd, &info, sizeof info) == sizeof info) {
        i->seen = true;
        interrupt_end(i);
    }
    return i->seen;
}

void interrupt_end(struct interrupt *i)
{
    sigset_t set;

    if (i->fd < 0)
        return;
    signals(&set);
    close(i->fd);
    i->fd = -1;
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}
