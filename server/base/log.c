/* SPDX-License-Identifier: Apache-2.0 */
/* log - the one place that writes to standard error. */
#include "server/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The level is the one thing of the process that every module shares; see style rule 7: it is set
 * by main() before there is a second thread and only read afterwards. */
static atomic_int max_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&max_level, (int)level);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    static const char *const priorities[] = { "<3>", "<4>", "<6>", "<7>" };

    if ((int)level > atomic_load(&max_level))
        return;

    int saved = errno;
    char line[1000];
    int head = snprintf(line, sizeof line, "%s%s ",
                        getenv("JOURNAL_STREAM") ? priorities[level] : "", names[level]);
    va_list ap;
    va_start(ap, fmt);
    int body = vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, ap);
    va_end(ap);

    size_t length = (size_t)head + (body > 0 ? (size_t)body : 0);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[length++] = '\n';
    if (write(STDERR_FILENO, line, length) < 0) {
        /* Nowhere left to say it. */
    }
    errno = saved;
}
