/* SPDX-License-Identifier: Apache-2.0 */
/* rule - which PCs are approved without being asked about, and how a new one is called.  Pure. */
#ifndef GRIDBOX_LAB_RULE_H
#define GRIDBOX_LAB_RULE_H

#include <stdbool.h>
#include <stddef.h>

#include "server/base/err.h"
#include "server/base/name.h"

#define LAB_PREFIXES_MAX 64

/* "none", "all", or MAC addresses and beginnings of them, with commas between: a PC is approved if
 * the card that it boots from begins with one. */
struct lab_rule {
    bool all;
    char prefix[LAB_PREFIXES_MAX][18]; /* lower case, ':' between bytes */
    size_t count;
};

/* NULL is "none".  -EINVAL in words. */
int lab_rule_read(const char *text, struct lab_rule *ret, struct err *e);

/* mac: lower case, with ':'. */
bool lab_rule_approves(const struct lab_rule *r, const char *mac);

/* "pc-525400123456". */
void lab_host_name(const char *mac, char ret_name[static NAME_SIZE]);

/* A MAC address as people write it ('-' or ':', either case) as we write it; false: it is none. */
bool lab_mac_read(const char *text, char ret_mac[static 18]);

#endif
