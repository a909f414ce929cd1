/* SPDX-License-Identifier: Apache-2.0 */
/* table - aligned columns.  It knows nothing of what is in them. */
#include "server/cli/table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/text.h"

#define CELL_MAX 400 /* bytes of one cell; more is cut */

struct table {
    size_t columns;
    bool right[TABLE_COLUMNS_MAX];
    size_t width[TABLE_COLUMNS_MAX];
    char **cells; /* row by row, the heading first */
    size_t count, capacity;
    bool failed;
};

static void add(struct table *t, const char *text)
{
    if (t->count == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        char **cells = reallocarray(t->cells, capacity, sizeof *cells);
        if (!cells) {
            t->failed = true;
            return;
        }
        t->cells = cells;
        t->capacity = capacity;
    }
    char *copy = strdup(text);
    if (!copy) {
        t->failed = true;
        return;
    }
    size_t column = t->count % t->columns;
    size_t width = text_width(copy);
    if (width > t->width[column])
        t->width[column] = width;
    t->cells[t->count++] = copy;
}

struct table *table_new(const char *headings)
{
    AUTO(auto_free) char *copy = strdup(headings);
    struct table *t = calloc(1, sizeof *t);
    char *names[TABLE_COLUMNS_MAX];

    if (!copy || !t) {
        free(t);
        return NULL;
    }
    char *rest = copy, *name;
    while (t->columns < TABLE_COLUMNS_MAX && (name = strsep(&rest, "|"))) {
        t->right[t->columns] = name[0] == '>';
        names[t->columns++] = name + (name[0] == '>');
    }
    for (size_t i = 0; i < t->columns; i++)
        add(t, names[i]);
    return t;
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    free(t);
}

void table_add(struct table *t, const char *text)
{
    char safe[CELL_MAX];

    if (!t->failed)
        add(t, text && text[0] ? text_safe(text, safe, sizeof safe) : "-");
}

/* Spaces are held back until something follows them. */
static void print_row(const struct table *t, char *const *cells, size_t count, FILE *out)
{
    size_t owed = 0;

    for (size_t i = 0; i < count; i++) {
        size_t pad = t->width[i] - text_width(cells[i]);
        if (t->right[i])
            owed += pad;
        fprintf(out, "%*s%s", (int)owed, "", cells[i]);
        owed = 2 + (t->right[i] ? 0 : pad);
    }
    fputc('\n', out);
}

int table_print(const struct table *t, FILE *out)
{
    if (t->failed)
        return -ENOMEM;
    for (size_t at = 0; at < t->count; at += t->columns) {
        size_t count = t->count - at < t->columns ? t->count - at : t->columns;
        print_row(t, t->cells + at, count, out);
    }
    return 0;
}
