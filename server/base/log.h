/* SPDX-License-Identifier: Apache-2.0 */
/* log - lines on standard error: "level module object: what happened: why key=value".
 *
 * One line per failure, written by the edge (service, API handler, main) and nobody below it.
 * A line is at most 1,000 bytes and is written with one write(2); control characters in it become
 * '?', so nothing from outside can forge a line.  Tokens and passwords never go in.  Any thread.
 * Under systemd (JOURNAL_STREAM is set) each line starts with its "<N>" priority. */
#ifndef GRIDBOX_BASE_LOG_H
#define GRIDBOX_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped.  The default is LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
