/* SPDX-License-Identifier: Apache-2.0 */
/* handle - what a struct catalog is; for db.c and catalog.c alone. */
#ifndef GRIDBOX_CATALOG_HANDLE_H
#define GRIDBOX_CATALOG_HANDLE_H

#include <stdbool.h>

struct sqlite3;

struct catalog {
    struct sqlite3 *db;
    unsigned depth; /* of nested transactions */
    bool spoiled;   /* an inner one was rolled back: the outermost must be as well */
    char why[480];  /* not empty: failed for good */
};

#endif
