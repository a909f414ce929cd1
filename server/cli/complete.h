/* SPDX-License-Identifier: Apache-2.0 */
/* complete - what may come next on a command line, for the shell: `gridbox complete -- WORD...`. */
#ifndef GRIDBOX_CLI_COMPLETE_H
#define GRIDBOX_CLI_COMPLETE_H

#include <stdbool.h>

#include "server/base/buf.h"
#include "server/cli/args.h"

/* What is being completed. */
struct complete_ask {
    const struct cli_command *command; /* NULL = not yet known */
    const char *group;                 /* NULL = not yet known */
    unsigned operands;                 /* words after the command */
    bool words_only;                   /* after "--" */
    enum cli_kind kind;                /* of the word itself, if command is known */
    bool is_value;                     /* it is the value of an option */
    const char *server;                /* what --server said, or NULL */
    const char *current;               /* the word as far as it is there */
};

/* Reads the words before and at the cursor (the last one), without the program's name. */
void complete_read(const struct cli_table *table, int count, char *const *words,
                   struct complete_ask *ret);

/* Adds the commands or options that start with ask->current, one a line. */
void complete_words(const struct cli_table *table, const struct complete_ask *ask, struct buf *out);

/* Prints all candidates, names asked from the server included; ":file" stands for file names.  Says
 * nothing about failures: a completion that does not work is silent. */
void complete_print(const struct cli_table *table, int count, char *const *words);

#endif
