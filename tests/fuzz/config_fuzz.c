/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* sources: server/main/options.c server/main/config.c server/main/config_lines.c server/lab/rule.c server/base/err.c server/base/name.c server/base/net.c server/base/file.c server/base/buf.c server/base/log.c -lcyaml -lyaml */
/* clang-format on */
/* Any bytes as a configuration file: what is refused says in which line and why. */
#include "server/main/config.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/main/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct options o = { 0 };
    struct err e = { 0 };
    int rc = config_parse("f", (const char *)data, size, &o, &e);

    if (rc < 0 && (e.code != rc || !e.msg[0]))
        abort();
    if (rc == -EINVAL && strncmp(e.msg, "f:", 2) != 0)
        abort();
    options_done(&o);
    return 0;
}
