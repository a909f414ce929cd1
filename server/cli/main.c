/* SPDX-License-Identifier: Apache-2.0 */
/* gridbox - the command line of gridboxd: reads its words, makes the client, runs the command.
 *
 * Exit status: 0 done, 1 failed, 2 wrong use.  This file alone knows the environment and exit
 * codes. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/complete.h"
#include "server/cli/help.h"

enum { DONE = 0, FAILED = 1, WRONG_USE = 2 };

static void auto_client(struct client **a)
{
    client_free(*a);
}

/* --server, else GRIDBOX_SERVER, else where the server's state lies by default. */
static int find_server(const struct cli_args *a, struct cli_address *ret, struct err *e)
{
    const char *environment = getenv("GRIDBOX_SERVER");

    if (a->server)
        return address_parse(a->server, ret, e);
    if (environment && environment[0]) {
        int rc = address_parse(environment, ret, e);
        return rc < 0 ? err_wrap(e, rc, "GRIDBOX_SERVER") : 0;
    }
    return address_parse(ADDRESS_DEFAULT, ret, e);
}

static int run_command(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(auto_client) struct client *client = NULL;
    struct cli_address address;
    const char *token = getenv("GRIDBOX_TOKEN");

    int rc = cli_check_words(a, e);
    if (rc == 0)
        rc = find_server(a, &address, e);
    if (rc == 0)
        rc = client_new(&address, token && token[0] ? token : NULL, &c->interrupt, &client, e);
    if (rc < 0)
        return rc;
    c->client = client;
    c->json = a->json;
    return a->command->run(c, a, e);
}

static int run(struct cli *c, int argc, char **argv)
{
    AUTO(args_done) struct cli_args a = { 0 };
    struct err e = { 0 };

    int rc = args_parse(commands_table(), argc, argv, &a, &e);
    if (rc == 0 && a.help)
        help_print(commands_table(), &a, c->out);
    else if (rc == 0 && a.version)
        fprintf(c->out, "gridbox %s\n", GRIDBOX_VERSION);
    else if (rc == 0)
        rc = run_command(c, &a, &e);
    if (rc < 0)
        cli_complain(c, &e);
    return rc == -EINVAL ? WRONG_USE : c->failed ? FAILED : DONE;
}

int main(int argc, char **argv)
{
    struct cli c = { .interrupt = { .fd = -1 }, .out = stdout };

    setlocale(LC_TIME, "");
    if (argc >= 3 && strcmp(argv[1], "complete") == 0 && strcmp(argv[2], "--") == 0) {
        complete_print(commands_table(), argc - 3, argv + 3);
        return DONE;
    }
    int status = run(&c, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        struct err e = { 0 };
        err_errno(&e, "standard output");
        cli_complain(&c, &e);
        status = FAILED;
    }
    return status;
}
