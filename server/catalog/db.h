/* SPDX-License-Identifier: Apache-2.0 */
/* db - statements of the catalog; for the files of this room alone.
 *
 * One way to run SQL: a statement with '?' marks and one letter per mark that says what follows in
 * the arguments:
 *   i  int64_t                     t  const char * (NULL: null)
 *   b  const void *, size_t (NULL: null)   n  nothing: null
 * Threads: the one that has opened the catalog. */
#ifndef GRIDBOX_CATALOG_DB_H
#define GRIDBOX_CATALOG_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

struct cat_statement;
struct catalog;
struct sqlite3_stmt;

/* Runs a statement that answers no rows.  0, or
 *   -EEXIST     a UNIQUE or PRIMARY KEY constraint says no
 *   -EBUSY      a FOREIGN KEY constraint says no (the row is in use)
 *   -EINVAL     a CHECK or a trigger says no
 *   -ENOSPC     the disk is full; the transaction is to be rolled back
 *   -EIO        anything else, also a catalog that has failed */
int db_run(struct catalog *c, struct err *e, const char *sql, const char *types, ...);

/* A query under way.  db_done() may be called at any time and again; use AUTO(db_done).
 * Statements are prepared once and kept by the address of their text. */
struct db_query {
    struct catalog *catalog;
    struct sqlite3_stmt *stmt;
    struct cat_statement *kept; /* NULL: ends with the query */
};
int db_query(struct catalog *c, struct db_query *ret, struct err *e, const char *sql,
             const char *types, ...);
void db_done(struct db_query *q);

/* Before the catalog is closed: no statement is kept any more. */
void db_forget(struct catalog *c);

/* 1: a row is there; 0: no more; else as db_run. */
int db_next(struct db_query *q, struct err *e);

/* Columns of the present row, counted from 0.  db_text and db_blob copy: what is longer than the
 * room is cut (text stays terminated), null gives "" or 0 bytes.  db_blob returns the length. */
int64_t db_int(const struct db_query *q, int column);
bool db_null(const struct db_query *q, int column);
void db_text(const struct db_query *q, int column, char *ret, size_t size);
size_t db_blob(const struct db_query *q, int column, void *ret, size_t size);

int64_t db_last_id(const struct catalog *c); /* rowid of the last INSERT */
int64_t db_changes(const struct catalog *c); /* rows that the last statement changed */

#endif
