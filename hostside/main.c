/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the command line of gridbox-host.
 * Must never know: how anything works. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostside/hotplug.h"
#include "hostside/run.h"

static const char help[] =
    "Usage: gridbox-host run --server URL --token-file FILE [--sim DIR]\n"
    "       gridbox-host hotplug ACTION\n"
    "\n"
    "The agent of Gridbox in dom0 of a lab PC: attaches volumes, runs domains, reports.\n"
    "\n"
    "run        registers this PC with the server, then does what the server desires\n"
    "  --server URL       the server, like http://10.77.0.1:8420\n"
    "  --token-file FILE  the one-time token that the PC was booted with\n"
    "  --sim DIR          rehearse: domains and devices are files in DIR, no Xen is needed\n"
    "hotplug    run by libxl for each disk and network card of a domain (also under the\n"
    "           names `block` and `vif-bridge` in /etc/xen/scripts)\n"
    "  --help             this text\n"
    "  --version          the version\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 wrong use.\n";

static int wrong_use(const char *what)
{
    fprintf(stderr, "gridbox-host: %s; see gridbox-host --help\n", what);
    return 2;
}

static int command_run(int argc, char **argv)
{
    static const struct option known[] = {
        { "server", required_argument, NULL, 's' },
        { "token-file", required_argument, NULL, 't' },
        { "sim", required_argument, NULL, 'm' },
        { 0 },
    };
    struct run_options o = { 0 };
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 's')
            o.server = optarg;
        else if (option == 't')
            o.token_file = optarg;
        else if (option == 'm')
            o.sim_dir = optarg;
        else
            return 2; /* getopt has said what is wrong */
    }
    if (optind < argc)
        return wrong_use("run takes options only");
    if (!o.server || !o.token_file)
        return wrong_use("run needs --server and --token-file");
    return run(&o);
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');

    name = name ? name + 1 : argv[0];
    if (strcmp(name, "block") == 0 || strcmp(name, "vif-bridge") == 0)
        return hotplug_run(argc, argv);
    if (argc < 2)
        return wrong_use("a command is missing");
    if (strcmp(argv[1], "run") == 0)
        return command_run(argc - 1, argv + 1);
    if (strcmp(argv[1], "hotplug") == 0)
        return hotplug_run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0)
        return fputs(help, stdout) < 0 || fflush(stdout) != 0;
    if (strcmp(argv[1], "--version") == 0)
        return puts("gridbox-host " GRIDBOX_VERSION) < 0 || fflush(stdout) != 0;
    return wrong_use("no such command");
}
