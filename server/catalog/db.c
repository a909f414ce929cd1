/* SPDX-License-Identifier: Apache-2.0 */
/* db - statements and transactions.  Owns the SQLite handle; knows no table. */
#include "server/catalog/db.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/catalog/handle.h"

/* What SQLite says, as one of db_run's codes and a line for a person. */
static int fail(struct catalog *c, struct err *e)
{
    const char *text = sqlite3_errmsg(c->db);
    int extended = sqlite3_extended_errcode(c->db);
    int code = -EIO;

    switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        code = -EEXIST;
        break;
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        code = -EBUSY;
        break;
    case SQLITE_CONSTRAINT_CHECK:
    case SQLITE_CONSTRAINT_TRIGGER:
    case SQLITE_CONSTRAINT_NOTNULL:
    case SQLITE_CONSTRAINT_DATATYPE:
        code = -EINVAL;
        break;
    case SQLITE_FULL:
        code = -ENOSPC;
        break;
    case SQLITE_NOMEM:
        code = -ENOMEM;
        break;
    default:
        break;
    }
    return err_set(e, code, "catalog: %s", text);
}

static int bind_all(sqlite3_stmt *stmt, const char *types, va_list ap)
{
    for (int at = 1; *types; types++, at++) {
        const void *bytes;
        int rc = SQLITE_MISUSE;

        switch (*types) {
        case 'i':
            rc = sqlite3_bind_int64(stmt, at, va_arg(ap, int64_t));
            break;
        case 't':
            rc = sqlite3_bind_text(stmt, at, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
            break;
        case 'b':
            bytes = va_arg(ap, const void *);
            rc = sqlite3_bind_blob64(stmt, at, bytes, va_arg(ap, size_t), SQLITE_TRANSIENT);
            break;
        case 'n':
            rc = sqlite3_bind_null(stmt, at);
            break;
        default:
            break;
        }
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

/* The place, with its statement or, if other words lie at this address by now, without. */
static struct cat_statement *same_text(struct cat_statement *k, const char *sql)
{
    if (k->stmt && strcmp(sqlite3_sql(k->stmt), sql) != 0) {
        sqlite3_finalize(k->stmt);
        k->stmt = NULL;
    }
    return k;
}

/* Where the statement with this text is kept, or is to be; NULL: it is in use, or the place is. */
static struct cat_statement *place_of(struct catalog *c, const char *sql)
{
    uintptr_t hash = (uintptr_t)sql * (uintptr_t)0x9e3779b97f4a7c15;

    for (unsigned i = 0; i < 4; i++) {
        struct cat_statement *k = &c->statements[((hash >> 48) + i) % CAT_STATEMENTS];
        if (k->sql == sql && k->busy)
            return NULL;
        if (k->sql == sql)
            return same_text(k, sql);
        if (!k->sql)
            return k;
    }
    return NULL;
}

static int prepare(struct catalog *c, const char *sql, const char *types, va_list ap,
                   struct db_query *ret, struct err *e)
{
    struct db_query q = { .catalog = c, .kept = place_of(c, sql) };

    if (q.kept && q.kept->stmt)
        q.stmt = q.kept->stmt;
    else if (sqlite3_prepare_v3(c->db, sql, -1, q.kept ? SQLITE_PREPARE_PERSISTENT : 0, &q.stmt,
                                NULL) != SQLITE_OK)
        return fail(c, e);
    if (q.kept)
        *q.kept = (struct cat_statement){ .sql = sql, .stmt = q.stmt, .busy = true };
    if (bind_all(q.stmt, types, ap) != SQLITE_OK) {
        int rc = fail(c, e);
        db_done(&q);
        return rc;
    }
    *ret = q;
    return 0;
}

int db_query(struct catalog *c, struct db_query *ret, struct err *e, const char *sql,
             const char *types, ...)
{
    va_list ap;

    *ret = (struct db_query){ .catalog = c };
    va_start(ap, types);
    int rc = prepare(c, sql, types, ap, ret, e);
    va_end(ap);
    return rc;
}

void db_done(struct db_query *q)
{
    if (q->kept) {
        sqlite3_reset(q->stmt);
        sqlite3_clear_bindings(q->stmt);
        q->kept->busy = false;
    } else {
        sqlite3_finalize(q->stmt);
    }
    q->stmt = NULL;
    q->kept = NULL;
}

void db_forget(struct catalog *c)
{
    for (unsigned i = 0; i < CAT_STATEMENTS; i++) {
        sqlite3_finalize(c->statements[i].stmt);
        c->statements[i] = (struct cat_statement){ 0 };
    }
}

int db_next(struct db_query *q, struct err *e)
{
    int rc = sqlite3_step(q->stmt);

    if (rc == SQLITE_ROW)
        return 1;
    return rc == SQLITE_DONE ? 0 : fail(q->catalog, e);
}

/* After a COMMIT that failed nobody knows what is on the disk; but for a full disk and for a
 * constraint, which SQLite finds before the record that makes the transaction valid is written. */
static int committed(struct catalog *c, int rc, struct err *e)
{
    if (rc == 0 || rc == -EBUSY || rc == -EEXIST || rc == -EINVAL || rc == -ENOSPC)
        return rc;
    struct err why = *e;
    err_wrap(&why, rc, "the catalog has failed and refuses changes until gridboxd is restarted");
    memcpy(c->why, why.msg, sizeof c->why);
    return err_set(e, rc, "%s", why.msg);
}

int db_run(struct catalog *c, struct err *e, const char *sql, const char *types, ...)
{
    AUTO(db_done) struct db_query q = { .catalog = c };
    bool alone = sqlite3_get_autocommit(c->db); /* it is a transaction by itself */
    struct err failure = { 0 };
    const char *why;
    va_list ap;

    if (cat_failed(c, &why))
        return err_set(e, -EIO, "%s", why);
    va_start(ap, types);
    int rc = prepare(c, sql, types, ap, &q, e);
    va_end(ap);
    if (rc < 0)
        return rc;
    rc = db_next(&q, &failure);
    if (rc >= 0)
        return 0;
    if (alone && !sqlite3_stmt_readonly(q.stmt))
        committed(c, rc, &failure);
    return err_set(e, rc, "%s", failure.msg);
}

int64_t db_int(const struct db_query *q, int column)
{
    return sqlite3_column_int64(q->stmt, column);
}

bool db_null(const struct db_query *q, int column)
{
    return sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
}

void db_text(const struct db_query *q, int column, char *ret, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(q->stmt, column);
    size_t length = text ? strnlen(text, size - 1) : 0;

    if (length)
        memcpy(ret, text, length);
    ret[length] = '\0';
}

size_t db_blob(const struct db_query *q, int column, void *ret, size_t size)
{
    const void *bytes = sqlite3_column_blob(q->stmt, column);
    size_t length = (size_t)sqlite3_column_bytes(q->stmt, column);

    if (length > size)
        length = size;
    if (bytes && length)
        memcpy(ret, bytes, length);
    return bytes ? length : 0;
}

int64_t db_last_id(const struct catalog *c)
{
    return sqlite3_last_insert_rowid(c->db);
}

int64_t db_changes(const struct catalog *c)
{
    return sqlite3_changes64(c->db);
}

bool cat_failed(const struct catalog *c, const char **ret_why)
{
    if (ret_why)
        *ret_why = c->why;
    return c->why[0] != '\0';
}

/* It writes nothing yet. */
static int begin(struct catalog *c, struct err *e)
{
    AUTO(db_done) struct db_query q = { .catalog = c };
    const char *why;

    if (cat_failed(c, &why))
        return err_set(e, -EIO, "%s", why);
    int rc = db_query(c, &q, e, "BEGIN IMMEDIATE", "");
    return rc < 0 ? rc : db_next(&q, e);
}

int cat_begin(struct catalog *c, struct err *e)
{
    if (c->depth == 0) {
        int rc = begin(c, e);
        if (rc < 0)
            return rc;
        c->spoiled = false;
    }
    c->depth++;
    return 0;
}

static int commit(struct catalog *c, struct err *e)
{
    struct err why = { 0 };

    if (sqlite3_get_autocommit(c->db))
        return err_set(e, -ECANCELED, "catalog: the transaction was undone by an earlier failure");
    int rc = db_run(c, &why, "COMMIT", "");
    if (rc == 0)
        return 0;
    sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    committed(c, rc, &why);
    return err_set(e, rc, "%s", why.msg);
}

int cat_commit(struct catalog *c, struct err *e)
{
    if (c->depth > 1) {
        c->depth--;
        return 0;
    }
    c->depth = 0;
    if (!c->spoiled)
        return commit(c, e);
    sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    return err_set(e, -ECANCELED, "catalog: a part of the transaction was undone");
}

void cat_rollback(struct catalog *c)
{
    if (c->depth == 0)
        return;
    c->spoiled = true;
    if (--c->depth == 0)
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

int cat_end(struct catalog *c, int rc, struct err *e)
{
    if (rc == 0)
        return cat_commit(c, e);
    cat_rollback(c);
    return rc;
}
