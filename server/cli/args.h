/* SPDX-License-Identifier: Apache-2.0 */
/* args - from words on a command line to a command with its options.
 *
 * One table of commands drives the reading, the help, the completion and the check of the man page;
 * the table itself is commands.c.  Nothing here talks to a server or prints. */
#ifndef GRIDBOX_CLI_ARGS_H
#define GRIDBOX_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

struct cli;
struct cli_args;

/* What a word stands for: how it is completed. */
enum cli_kind {
    CLI_NOTHING, /* no value, or one that cannot be guessed */
    CLI_IMAGE,   /* NAME or NAME@VERSION of an image */
    CLI_VOLUME,
    CLI_SNAPSHOT,
    CLI_SOURCE, /* NAME of a volume, or NAME@SNAPSHOT */
    CLI_HOST,
    CLI_DOMAIN,
    CLI_FILE,
    CLI_LOADER,
    CLI_SORT, /* a column of `gridbox top` */
};

struct cli_option {
    const char *name;  /* without "--" */
    const char *value; /* "HOST"; NULL = takes none */
    enum cli_kind kind;
    bool required;
    const char *help; /* one line, no final stop */
};

#define CLI_MANY        UINT32_MAX
#define CLI_OPTIONS_MAX 6 /* with the empty one that ends the list */

struct cli_command {
    const char *group;           /* "image"; "" = the verb stands alone */
    const char *verb;            /* "import" */
    const char *operands;        /* "NAME SOURCE", as help shows them; "" = none */
    unsigned min_args, max_args; /* operands; max_args CLI_MANY = any number */
    enum cli_kind first, others; /* kinds of the operands */
    struct cli_option options[CLI_OPTIONS_MAX];
    const char *summary; /* one line, no final stop */
    const char *example; /* a command line that works, without "gridbox" */
    /* Does it.  0, -EINVAL for wrong use (exit 2), any other -errno: failed (exit 1); e is filled.
     */
    int (*run)(struct cli *c, const struct cli_args *a, struct err *e);
};

struct cli_table {
    const struct cli_command *commands; /* in the order of the help; the last has verb == NULL */
    const struct cli_option *globals;   /* options of every command; the last has name == NULL */
};

struct cli_args {
    const struct cli_command *command; /* NULL with help or version alone */
    const char *group;  /* with help and no command: the group asked about, or NULL */
    const char **words; /* operands: a heap array of what argv owns */
    unsigned count;
    /* By index of command->options: "" for a flag that was given, NULL if absent. */
    const char *values[CLI_OPTIONS_MAX];
    const char *server; /* NULL = not given */
    bool json, help, version;
};

/* Reads argv[1..].  -EINVAL with what is wrong and what would be right, or -ENOMEM.  The globals
 * that it knows are server, json, help and version.  *ret wants args_done() whatever is returned.
 */
int args_parse(const struct cli_table *table, int argc, char *const *argv, struct cli_args *ret,
               struct err *e);

void args_done(struct cli_args *a); /* idempotent; also the AUTO function */

/* The value of an option of the command, "" for a flag that was given, NULL if absent.  A name that
 * the command does not have is our own mistake (assert). */
const char *args_value(const struct cli_args *a, const char *name);

/* The same as a whole number within a range (least is 1 or more).  *ret is left alone when the
 * option is absent.  -EINVAL "--count 'x': …". */
struct args_range {
    uint32_t least, most;
};
int args_number(const struct cli_args *a, const char *name, struct args_range range, uint32_t *ret,
                struct err *e);

/* Reads an operand that is a size ("20G", see text_read_bytes).  what: its name in the help.
 * -EINVAL "BYTES 'x': …". */
int args_bytes(const char *what, const char *text, uint64_t *ret, struct err *e);

/* "gridbox image import" into ret. */
const char *args_command_name(const struct cli_command *command, char *ret, size_t size);

#endif
