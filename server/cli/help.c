/* SPDX-License-Identifier: Apache-2.0 */
/* help - made of the table alone: what is not in the table is not in the help. */
#include "server/cli/help.h"

#include <string.h>

#define MARGIN 36 /* where the explanations start */

static void line(const char *left, const char *right, FILE *out)
{
    if (strlen(left) + 2 > MARGIN)
        fprintf(out, "%s\n%*s%s\n", left, MARGIN, "", right);
    else
        fprintf(out, "%-*s%s\n", MARGIN, left, right);
}

static void print_options(const char *title, const struct cli_option *o, FILE *out)
{
    char left[80];

    if (o->name)
        fprintf(out, "\n%s:\n", title);
    for (; o->name; o++) {
        snprintf(left, sizeof left, "  --%s%s%s", o->name, o->value ? " " : "",
                 o->value ? o->value : "");
        line(left, o->help, out);
    }
}

/* "image import NAME SOURCE", with the options that must be there. */
static const char *form(const struct cli_command *c, char *ret, size_t size)
{
    int at = snprintf(ret, size, "%s%s%s%s%s", c->group, c->group[0] ? " " : "", c->verb,
                      c->operands[0] ? " " : "", c->operands);

    for (const struct cli_option *o = c->options; o->name && at > 0 && (size_t)at < size; o++)
        if (o->required)
            at += snprintf(ret + at, size - (size_t)at, " --%s %s", o->name, o->value);
    return ret;
}

static void print_command(const struct cli_table *table, const struct cli_command *c, FILE *out)
{
    char text[200];

    fprintf(out, "usage: gridbox %s%s\n\n  %s.\n", form(c, text, sizeof text),
            c->options[0].name ? " [OPTION...]" : "", c->summary);
    print_options("options", c->options, out);
    print_options("options of every command", table->globals, out);
    fprintf(out, "\nexample:\n  gridbox %s\n", c->example);
}

static void print_commands(const struct cli_table *table, const char *group, FILE *out)
{
    const char *last = "";
    char text[200], left[204];

    for (const struct cli_command *c = table->commands; c->verb; c++) {
        if (group && strcmp(group, c->group) != 0)
            continue;
        if (c == table->commands || strcmp(last, c->group) != 0)
            fputc('\n', out);
        last = c->group;
        snprintf(left, sizeof left, "  %s", form(c, text, sizeof text));
        line(left, c->summary, out);
    }
}

void help_print(const struct cli_table *table, const struct cli_args *a, FILE *out)
{
    if (a->command) {
        print_command(table, a->command, out);
        return;
    }
    if (a->group)
        fprintf(out, "usage: gridbox %s COMMAND ...\n", a->group);
    else
        fputs(
            "usage: gridbox [--server ADDRESS] [--json] COMMAND ...\n\n"
            "Golden images, copy-on-write volumes, lab PCs and their domains: the command line of "
            "gridboxd.\n",
            out);
    print_commands(table, a->group, out);
    print_options("options of every command", table->globals, out);
    fputs("\nWhere the server is: --server, else $GRIDBOX_SERVER, else\n"
          "unix:/var/lib/gridbox/control.sock.  Over TCP $GRIDBOX_TOKEN holds the token.\n"
          "More: gridbox COMMAND --help, man gridbox\n",
          out);
}
