/* SPDX-License-Identifier: Apache-2.0 */
/* address - where the server is: unix:PATH or http://HOST:PORT. */
#ifndef GRIDBOX_CLI_ADDRESS_H
#define GRIDBOX_CLI_ADDRESS_H

#include <stdbool.h>

#include "server/base/err.h"

#define ADDRESS_DEFAULT "unix:/var/lib/gridbox/control.sock"

struct cli_address {
    bool is_unix;
    char unix_path[108]; /* of is_unix: sun_path's size, so it always fits */
    char base[300]; /* what request paths are put behind: "http://HOST:PORT", no '/' at its end */
    char text[300]; /* as it was given, for messages */
};

/* Reads an address.  -EINVAL with what is wrong and what would be right. */
int address_parse(const char *text, struct cli_address *ret, struct err *e);

#endif
