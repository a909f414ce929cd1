/* SPDX-License-Identifier: Apache-2.0 */
/* table - rows of text under a heading, in aligned columns. */
#ifndef GRIDBOX_CLI_TABLE_H
#define GRIDBOX_CLI_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 10

struct table;

/* headings: separated by '|'; one that starts with '>' is aligned to the right ("NAME|>SIZE").
 * At most TABLE_COLUMNS_MAX.  NULL when out of memory. */
struct table *table_new(const char *headings);
void table_free(struct table *t); /* NULL is legal */

/* Fills the next cell, row by row; control characters become '?'.  An empty text is shown as "-".
 * Memory that ran out shows when the table is printed. */
void table_add(struct table *t, const char *text);

/* Prints heading and rows; spaces at the end of a line are left out.  A table without rows prints
 * its heading.  0 or -ENOMEM (nothing printed). */
int table_print(const struct table *t, FILE *out);

#endif
