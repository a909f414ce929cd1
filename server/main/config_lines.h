/* SPDX-License-Identifier: Apache-2.0 */
/* config_lines - where each key of the configuration file stands, and whether it may stand there.
 *
 * libcyaml 1.3 names the line after the offence, or of the mapping's end; so the form of the file
 * is checked here, on libyaml's own events and marks, before libcyaml takes the values. */
#ifndef GRIDBOX_MAIN_CONFIG_LINES_H
#define GRIDBOX_MAIN_CONFIG_LINES_H

#include <stddef.h>

#include "server/base/err.h"
#include "server/main/options.h"

#define SETTINGS_MAX 32 /* at least as many as options_settings() has */

struct config_lines {
    unsigned key[SETTINGS_MAX];                      /* line of settings[i]; 0 = absent */
    unsigned item[SETTINGS_MAX][OPTIONS_LISTEN_MAX]; /* line of each item of a list */
};

/* One mapping from known keys to scalars, or to lists of them where the setting is one; no key
 * twice, no alias, no second document.  An empty file is legal.
 * 0, or -EINVAL "PATH:LINE: key: what is wrong, what would be right". */
int config_lines_read(const char *path, const char *text, size_t length, struct config_lines *ret,
                      struct err *e);

#endif
