/* SPDX-License-Identifier: Apache-2.0 */
/* catalog - opening the file and bringing its schema up to date.  Knows no table's meaning. */
#include "server/catalog/catalog.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/db.h"
#include "server/catalog/handle.h"
#include "server/catalog/schema.h"
#include "server/catalog/schema_hosts.h"
#include "server/catalog/schema_snapshots.h"

/* Step N leads from schema version N to N + 1.  Published steps never change. */
static const char *const migrations[] = {
    CATALOG_SCHEMA_CORE CATALOG_SCHEMA_HOSTS,
    CATALOG_SCHEMA_SNAPSHOTS,
};

static_assert(sizeof migrations / sizeof *migrations == CAT_SCHEMA_VERSION,
              "one migration leads to each schema version");

static void auto_catalog(struct catalog **c)
{
    cat_close(*c);
}

/* One number that a statement answers. */
static int one_number(struct catalog *c, const char *sql, int64_t *ret, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, sql, "");

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc < 0)
        return rc;
    *ret = rc ? db_int(&q, 0) : 0;
    return 0;
}

static int run_script(struct catalog *c, const char *sql, struct err *e)
{
    if (sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    int code = (sqlite3_errcode(c->db) & 0xff) == SQLITE_FULL ? -ENOSPC : -EIO;
    return err_set(e, code, "%s", sqlite3_errmsg(c->db));
}

/* locking_mode comes first: then the index of the WAL lies in our memory and not in a shared file,
 * since nobody else is to open the catalog. */
static int set_modes(struct catalog *c, struct err *e)
{
    int64_t synchronous;

    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, 2000);
    int rc = run_script(c,
                        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                        "PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF;"
                        "PRAGMA cell_size_check=ON;",
                        e);
    if (rc == 0)
        rc = one_number(c, "PRAGMA synchronous", &synchronous, e);
    if (rc == 0 && synchronous != 2)
        return err_set(e, -EIO, "SQLite does not take synchronous=FULL");
    return rc;
}

/* Every reference still has its row. */
static int check_references(struct catalog *c, struct err *e)
{
    AUTO(db_done) struct db_query q;
    int rc = db_query(c, &q, e, "PRAGMA foreign_key_check", "");

    if (rc == 0)
        rc = db_next(&q, e);
    if (rc <= 0)
        return rc;
    return err_set(e, -EIO, "it is damaged: a row refers to another one that is not there");
}

static int step_up(struct catalog *c, int64_t from, struct err *e)
{
    char version[64];

    snprintf(version, sizeof version, "PRAGMA user_version=%" PRId64, from + 1);
    int rc = cat_begin(c, e);
    if (rc < 0)
        return rc;
    rc = run_script(c, migrations[from], e);
    if (rc == 0)
        rc = check_references(c, e);
    if (rc == 0)
        rc = run_script(c, version, e);
    return cat_end(c, rc, e);
}

/* With foreign keys off, so that a table can be made anew under rows that refer to it. */
static int migrate(struct catalog *c, struct err *e)
{
    int64_t version;
    int rc = one_number(c, "PRAGMA user_version", &version, e);

    if (rc < 0)
        return rc;
    if (version < 0 || version > CAT_SCHEMA_VERSION)
        return err_set(e, -ENOTSUP,
                       "it has schema version %" PRId64 ", this gridboxd knows up to %d: start the "
                       "newer gridboxd that wrote it",
                       version, CAT_SCHEMA_VERSION);
    for (; version < CAT_SCHEMA_VERSION && rc == 0; version++)
        rc = step_up(c, version, e);
    return rc;
}

/* SQLite would make the file with the umask's mode; it holds tokens.  (Over another way to files
 * than the system's there is no such file.) */
static int make_file(const char *path, struct err *e)
{
    const sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    if (!vfs || strncmp(vfs->zName, "unix", 4) != 0)
        return 0;
    AUTO(auto_close) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? err_errno(e, "%s", path) : 0;
}

static int open_file(const char *path, struct catalog *c, struct err *e)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = make_file(path, e);

    if (rc < 0)
        return rc;
    if (sqlite3_open_v2(path, &c->db, flags, NULL) != SQLITE_OK)
        return err_set(e, -EIO, "%s", c->db ? sqlite3_errmsg(c->db) : "out of memory");
    return 0;
}

/* A process that was killed may have written a transaction to the WAL and not synced it.  We have
 * read it and act on it: from now on it must outlive a power cut. */
static int sync_wal(struct catalog *c, struct err *e)
{
    sqlite3_file *wal = NULL;

    int rc = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
    if (rc == SQLITE_OK && wal && wal->pMethods)
        rc = wal->pMethods->xSync(wal, SQLITE_SYNC_FULL);
    return rc == SQLITE_OK ? 0 : err_set(e, -EIO, "sync of the WAL: %s", sqlite3_errstr(rc));
}

int cat_open(const char *path, struct catalog **ret, struct err *e)
{
    AUTO(auto_catalog) struct catalog *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, -ENOMEM, "open catalog: out of memory");

    int rc = open_file(path, c, e);
    if (rc == 0)
        rc = set_modes(c, e);
    if (rc == 0)
        rc = migrate(c, e);
    if (rc == 0)
        rc = run_script(c, "PRAGMA foreign_keys=ON", e);
    if (rc == 0)
        rc = sync_wal(c, e);
    if (rc < 0)
        return err_wrap(e, rc, "catalog %s", path);

    *ret = TAKE(c);
    return 0;
}

void cat_close(struct catalog *c)
{
    if (!c)
        return;
    if (c->depth) {
        c->depth = 1;
        cat_rollback(c);
    }
    db_forget(c);
    sqlite3_close_v2(c->db);
    free(c);
}
