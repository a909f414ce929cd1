/* SPDX-License-Identifier: Apache-2.0 */
/* config - the configuration file: YAML, one mapping, the keys of options.h's table. */
#ifndef GRIDBOX_MAIN_CONFIG_H
#define GRIDBOX_MAIN_CONFIG_H

#include <stddef.h>

#include "server/base/err.h"

struct options;

#define CONFIG_MAX_BYTES (256u << 10)

/* Sets in *o what the file says.
 *   -EINVAL  "FILE:LINE: key: what is wrong, what would be right"
 *   -ENOENT … it cannot be read; -EFBIG over CONFIG_MAX_BYTES */
int config_read(const char *path, struct options *o, struct err *e);

/* The same of text that is in memory already; path is for messages. */
int config_parse(const char *path, const char *text, size_t length, struct options *o,
                 struct err *e);

#endif
