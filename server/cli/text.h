/* SPDX-License-Identifier: Apache-2.0 */
/* text - numbers, times and foreign words in the form that people read. */
#ifndef GRIDBOX_CLI_TEXT_H
#define GRIDBOX_CLI_TEXT_H

#include <stddef.h>
#include <stdint.h>

#define TEXT_SIZE 32 /* of each short text below, with its NUL */

/* "0 B", "512 B", "1.5 KiB", "20 GiB": three digits at most, or four before the unit steps. */
const char *text_bytes(uint64_t bytes, char ret[static TEXT_SIZE]);

/* The other way: digits, then nothing, B, or K, M, G, T or P with or without "iB"; a unit is 1024
 * of the one before; the case does not matter ("20G", "512 MiB", "4096").  0 or -EINVAL. */
int text_read_bytes(const char *text, uint64_t *ret);

/* "0 s", "59 s", "2 min 3 s", "5 h 2 min", "3 d 4 h"; below 0 is 0. */
const char *text_duration(int64_t seconds, char ret[static TEXT_SIZE]);

/* Local time, "2026-11-23 14:05:53"; "-" for 0 or below. */
const char *text_time(int64_t wall_s, char ret[static TEXT_SIZE]);

/* Copies at most size - 1 bytes; control characters become '?', so that a server cannot write to
 * the terminal what is no text.  A UTF-8 sequence that does not fit whole is left out. */
const char *text_safe(const char *text, char *ret, size_t size);

/* Columns that a UTF-8 text takes: its code points (no wide characters come here). */
size_t text_width(const char *text);

/* Appends one segment of a URL path: all but letters, digits and "-._~@:" as %XX.
 * 0, or -ENAMETOOLONG if it does not fit into size (ret is then cut, still terminated). */
int text_url_append(char *ret, size_t size, const char *segment);

#endif
