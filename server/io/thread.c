/* SPDX-License-Identifier: Apache-2.0 */
/* thread - how every thread of the server is started. */
#include "server/io/thread.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

int thread_start(const char *name, void *(*fn)(void *arg), void *arg, pthread_t *ret, struct err *e)
{
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_set(e, -rc, "start thread '%s': %s", name, strerror(rc));

    char cut[16];
    snprintf(cut, sizeof cut, "%.15s", name);
    pthread_setname_np(thread, cut);
    *ret = thread;
    return 0;
}
