/* SPDX-License-Identifier: Apache-2.0 */
/* sim_dir - a directory of small text files, one per simulated thing.
 *
 * Each is replaced by a rename, so that a killed process leaves an old or a new one; it outlives
 * the process as a kernel device or a domain would.  Not synced: it need not outlive a power cut.
 */
#ifndef GRIDBOX_HOSTSIDE_SIM_DIR_H
#define GRIDBOX_HOSTSIDE_SIM_DIR_H

#include <stddef.h>

#include "server/base/err.h"

#define SIM_TEXT_MAX 1024u
#define SIM_PATH_MAX 512u

struct sim_dir {
    char path[SIM_PATH_MAX];
};

/* Makes DIR and DIR/NAME if they are not there. */
int sim_dir_open(const char *dir, const char *name, struct sim_dir *ret, struct err *e);

int sim_dir_write(const struct sim_dir *d, const char *file, const char *text, struct err *e);

/* ret_text gets the file's text; -ENOENT without words if it is not there. */
int sim_dir_read(const struct sim_dir *d, const char *file, char ret_text[static SIM_TEXT_MAX],
                 struct err *e);

void sim_dir_remove(const struct sim_dir *d, const char *file);

/* Calls each() for every file, in no order; stops at a negative answer and returns it. */
int sim_dir_each(const struct sim_dir *d,
                 int (*each)(void *arg, const char *file, const char *text), void *arg,
                 struct err *e);

#endif
