/* SPDX-License-Identifier: Apache-2.0 */
/* thread - starts a named thread that takes no signals; they are main's business. */
#ifndef GRIDBOX_IO_THREAD_H
#define GRIDBOX_IO_THREAD_H

#include <pthread.h>

#include "server/base/err.h"

/* name: shown by ps and gdb, cut to 15 bytes.  -EAGAIN when there is no room for one more. */
int thread_start(const char *name, void *(*fn)(void *arg), void *arg, pthread_t *ret,
                 struct err *e);

#endif
