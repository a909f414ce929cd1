/* SPDX-License-Identifier: Apache-2.0 */
/* cli - what the commands share: the server, the form of the output, lists, one failure of many. */
#ifndef GRIDBOX_CLI_CLI_H
#define GRIDBOX_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "server/base/err.h"
#include "server/cli/args.h"
#include "server/cli/client.h"
#include "server/cli/interrupt.h"
#include "server/cli/table.h"

struct cli {
    struct client *client;
    struct interrupt interrupt; /* not begun, unless a command begins it */
    bool json;
    bool failed; /* something was complained about: exit 1 in the end */
    FILE *out;
};

/* "gridbox: MESSAGE" on standard error. */
void cli_complain(struct cli *c, const struct err *e);

/* The answer as it came, and a line end; nothing if it was empty. */
void cli_print_json(struct cli *c, const struct client_reply *r);

/* Adds the cells of one member of a list to the table. */
typedef void cli_row_fn(struct table *t, const json_t *item);

/* GET path, then its JSON or a table of the array `key` in it. */
int cli_list(struct cli *c, const char *path, const char *key, const char *headings,
             cli_row_fn *row, struct err *e);

/* "key  value" with aligned values, for the show commands. */
void cli_field(struct cli *c, const char *key, const char *value);

/* The volumes that a command is about: adds `volumes` (the operands from number `from` on) or `all`
 * to a body.  -EINVAL unless there is exactly one of the two. */
int cli_volumes(const struct cli_args *a, unsigned from, json_t *body, struct err *e);

/* The name of a volume to be made, with or without a count: -EINVAL where a %d is without a count,
 * which is no name but what somebody forgot. */
int cli_check_numbered(const char *what, const char *name, uint32_t count, struct err *e);

/* POST path with this body (borrowed; NULL counts as out of memory), then the JSON if that is
 * wanted: *ret is then empty but for its status, and nothing more is to be printed. */
int cli_post(struct cli *c, const char *path, const json_t *body, struct client_reply *ret,
             struct err *e);

/* GET PREFIX/NAME, then its JSON or what show() makes of it. */
int cli_show(struct cli *c, const char *prefix, const char *name,
             void (*show)(struct cli *c, const json_t *object), struct err *e);

/* POST path with this body (NULL: none), then the JSON or the one text `key` of it. */
int cli_post_text(struct cli *c, const char *path, const json_t *body, const char *key,
                  struct err *e);

/* METHOD PREFIX/NAME/SUFFIX for each operand, in order.  One that fails does not keep the rest from
 * being done: with several, each failure is complained about as it comes. */
int cli_each(struct cli *c, const struct cli_args *a, const char *method, const char *prefix,
             const char *suffix, struct err *e);

/* Fails with -EINVAL unless a word is UTF-8, as JSON is; checks the operands and option values. */
int cli_check_words(const struct cli_args *a, struct err *e);

#endif
