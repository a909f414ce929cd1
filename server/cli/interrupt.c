/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt - signals as a descriptor.  It knows nothing of what is interrupted. */
#include "server/cli/interrupt.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "server/base/clock.h"

#define ONE_ACT_NS (500 * NS_PER_MS)

/* A signal that was ignored when we started stays so (nohup, background jobs of scripts). */
static void signals(sigset_t *set)
{
    static const int wanted[] = { SIGINT, SIGTERM, SIGHUP };

    sigemptyset(set);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct sigaction now;
        if (sigaction(wanted[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(set, wanted[i]);
    }
}

void interrupt_begin(struct interrupt *i)
{
    sigset_t set;

    signals(&set);
    *i = (struct interrupt){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) };
    if (i->fd >= 0)
        sigprocmask(SIG_BLOCK, &set, NULL);
}

bool interrupt_take(struct interrupt *i)
{
    struct signalfd_siginfo info;
    bool counts = false;

    while (i->fd >= 0 && read(i->fd, &info, sizeof info) == sizeof info) {
        int64_t now = clock_mono_ns();
        if (i->last_ns && now - i->last_ns < ONE_ACT_NS)
            continue;
        i->last_ns = now;
        counts = true;
    }
    return counts;
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
