/* SPDX-License-Identifier: Apache-2.0 */
/* handle - what a struct catalog is; for db.c and catalog.c alone. */
#ifndef GRIDBOX_CATALOG_HANDLE_H
#define GRIDBOX_CATALOG_HANDLE_H

#include <stdbool.h>

struct sqlite3;
struct sqlite3_stmt;

/* Statements that were prepared once, found by the address of their text (they are literals).  A
 * power of two; one that finds its place taken is prepared anew each time. */
#define CAT_STATEMENTS 256u

struct cat_statement {
    const char *sql;
    struct sqlite3_stmt *stmt;
    bool busy; /* a query runs on it */
};

struct catalog {
    struct sqlite3 *db;
    unsigned depth; /* of nested transactions */
    bool spoiled;   /* an inner one was rolled back: the outermost must be as well */
    char why[480];  /* not empty: failed for good */
    struct cat_statement statements[CAT_STATEMENTS];
};

#endif
