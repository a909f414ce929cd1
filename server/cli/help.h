/* SPDX-License-Identifier: Apache-2.0 */
/* help - what --help prints, made of the table of commands. */
#ifndef GRIDBOX_CLI_HELP_H
#define GRIDBOX_CLI_HELP_H

#include <stdio.h>

#include "server/cli/args.h"

/* Help for the command of *a, else for its group, else for everything. */
void help_print(const struct cli_table *table, const struct cli_args *a, FILE *out);

#endif
