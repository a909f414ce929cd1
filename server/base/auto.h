/* SPDX-License-Identifier: Apache-2.0 */
/* auto - memory, descriptors and files that clean themselves up when they go out of scope. */
#ifndef GRIDBOX_BASE_AUTO_H
#define GRIDBOX_BASE_AUTO_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTO(fn) __attribute__((cleanup(fn)))

/* Moves a pointer out of an AUTO variable: the variable becomes NULL. */
#define TAKE(p)                                                                                    \
    ({                                                                                             \
        __typeof__(p) _taken = (p);                                                                \
        (p) = NULL;                                                                                \
        _taken;                                                                                    \
    })

static inline void auto_free(void *p)
{
    free(*(void **)p);
}

static inline void auto_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void auto_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}

static inline void auto_closedir(DIR **d)
{
    if (*d)
        closedir(*d);
}

/* Moves a descriptor out of an AUTO(auto_close) variable: the variable becomes -1. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#endif
