/* SPDX-License-Identifier: Apache-2.0 */
/* snapshots_test - chains of layers, snapshots, what nothing needs any more, what may be merged;
 * and a catalog of schema version 1 that is brought up to date. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/catalog/catalog.h"
#include "server/catalog/db.h"
#include "server/catalog/layers.h"
#include "server/catalog/schema.h"
#include "server/catalog/schema_hosts.h"
#include "server/catalog/snapshots.h"
#include "server/catalog/volumes.h"

struct fixture {
    char dir[64], path[96];
    struct catalog *c;
    struct err e;
    struct cat_image image;
};

static int make_dir(void **state)
{
    static struct fixture f;

    f = (struct fixture){ 0 };
    strcpy(f.dir, "/tmp/snapshots_test.XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.path, sizeof f.path, "%s/catalog.db", f.dir);
    *state = &f;
    return 0;
}

static int start(void **state)
{
    make_dir(state);
    struct fixture *f = *state;
    struct cat_image *i = &f->image;

    assert_int_equal(cat_open(f->path, &f->c, &f->e), 0);
    *i = (struct cat_image){ .name = "deb", .size_bytes = 1 << 20, .source = "x", .format = "raw" };
    memset(i->sha256, 'a', 64);
    random_bytes(i->layer, sizeof i->layer);
    assert_int_equal(cat_image_add(f->c, i, &f->e), 0);
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;
    char path[128];

    cat_close(f->c);
    static const char *const tails[] = { "", "-wal" };
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s%s", f->path, tails[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0); /* and there never was a -shm */
    return 0;
}

static struct cat_volume get(struct fixture *f, const char *name)
{
    struct cat_volume v;

    assert_int_equal(cat_volume_get(f->c, name, &v, &f->e), 0);
    return v;
}

static struct cat_volume add_volume(struct fixture *f, const char *name)
{
    uint8_t top[16];
    int64_t id;

    random_bytes(top, sizeof top);
    assert_int_equal(cat_volume_add(f->c, name, &f->image, top, &id, &f->e), 0);
    return get(f, name);
}

/* Seals and names what the volume showed. */
static struct cat_snapshot snapshot(struct fixture *f, const char *name, const char *volume)
{
    struct cat_volume v = get(f, volume);
    struct cat_snapshot s;
    uint8_t top[16];

    random_bytes(top, sizeof top);
    assert_int_equal(cat_volume_seal(f->c, &v, top, &f->e), 0);
    assert_int_equal(cat_snapshot_add(f->c, name, &s, &f->e), 0);
    struct cat_snapshot_volume held = { .volume_id = v.id, .size_bytes = v.size_bytes };
    memcpy(held.layer, v.below, sizeof held.layer);
    assert_int_equal(cat_snapshot_hold(f->c, s.id, &held, &f->e), 0);
    return s;
}

static unsigned dead(struct fixture *f)
{
    struct cat_counts n;

    assert_int_equal(cat_count(f->c, &n, &f->e), 0);
    return (unsigned)n.dead_layers;
}

static void test_chain_is_read_downwards(void **state)
{
    struct fixture *f = *state;
    struct cat_volume first = add_volume(f, "v");
    struct cat_chain chain;
    unsigned depth;

    snapshot(f, "s", "v");
    struct cat_volume v = get(f, "v");
    assert_int_equal(cat_layer_chain(f->c, v.below, &chain, &f->e), 0);
    assert_int_equal(chain.count, 2);
    assert_memory_equal(chain.id[0], first.top, 16);
    assert_memory_equal(chain.id[1], f->image.layer, 16);
    assert_int_equal(cat_layer_depth(f->c, v.top, &depth, &f->e), 0);
    assert_int_equal(depth, 3);
    random_bytes(v.top, sizeof v.top);
    assert_int_equal(cat_layer_chain(f->c, v.top, &chain, &f->e), -ENOENT);
}

static void test_chain_has_a_limit(void **state)
{
    struct fixture *f = *state;
    struct cat_chain chain;
    char name[8];

    add_volume(f, "v");
    for (unsigned i = 0; i < CAT_CHAIN_MAX; i++) {
        snprintf(name, sizeof name, "s%u", i);
        snapshot(f, name, "v");
    }
    struct cat_volume v = get(f, "v");
    assert_int_equal(cat_layer_chain(f->c, v.below, &chain, &f->e), -EMLINK);
}

static void test_snapshot_keeps_layers(void **state)
{
    struct fixture *f = *state;

    add_volume(f, "v");
    struct cat_snapshot s1 = snapshot(f, "s1", "v");
    struct cat_snapshot s2 = snapshot(f, "s2", "v");
    struct cat_volume v = get(f, "v");
    uint8_t top[16];
    random_bytes(top, sizeof top);
    assert_int_equal(cat_volume_restart(f->c, &v, f->image.layer, top, &f->e), 0);
    assert_int_equal(dead(f), 1); /* the old top alone */
    assert_int_equal(v.epoch, 2);
    assert_int_equal(cat_snapshot_remove(f->c, s2.id, &f->e), 0);
    assert_int_equal(dead(f), 2);
    assert_int_equal(cat_snapshot_remove(f->c, s1.id, &f->e), 0);
    assert_int_equal(dead(f), 3);
    assert_true(cat_layer_known(f->c, f->image.layer));
}

static void test_volume_in_a_snapshot_stays(void **state)
{
    struct fixture *f = *state;

    add_volume(f, "v");
    struct cat_snapshot s = snapshot(f, "s", "v");
    struct cat_volume v = get(f, "v");
    assert_int_equal(v.snapshots, 1);
    assert_int_equal(cat_volume_remove(f->c, &v, &f->e), -EBUSY);
    assert_int_equal(cat_snapshot_drop_volume(f->c, v.id, &f->e), 0);
    assert_int_equal(cat_snapshot_get(f->c, "s", &s, &f->e), -ENOENT); /* it held nothing else */
    assert_int_equal(cat_volume_remove(f->c, &v, &f->e), 0);
    assert_int_equal(dead(f), 2);
}

static void test_names_of_snapshots_are_unique(void **state)
{
    struct fixture *f = *state;
    struct cat_snapshot s;

    add_volume(f, "v");
    snapshot(f, "s", "v");
    assert_int_equal(cat_snapshot_add(f->c, "s", &s, &f->e), -EEXIST);
    assert_non_null(strstr(f->e.msg, "snapshot 's' already"));
}

static int count_one(void *ctx, const struct cat_snapshot *s)
{
    unsigned *count = ctx;

    (void)s;
    ++*count;
    return 0;
}

static void test_snapshots_of_a_volume(void **state)
{
    struct fixture *f = *state;
    struct cat_snapshot_volume held;
    unsigned count = 0;

    struct cat_volume v = add_volume(f, "v"), w = add_volume(f, "w");
    struct cat_snapshot s = snapshot(f, "s1", "v");
    snapshot(f, "s2", "v");
    snapshot(f, "s3", "w");
    assert_int_equal(cat_snapshot_list(f->c, v.id, count_one, &count, &f->e), 0);
    assert_int_equal(count, 2);
    assert_int_equal(cat_snapshot_list(f->c, 0, count_one, &count, &f->e), 0);
    assert_int_equal(count, 5);
    assert_int_equal(cat_snapshot_volume(f->c, &s, v.id, &held, &f->e), 0);
    assert_string_equal(held.volume, "v");
    assert_memory_equal(held.layer, v.top, 16);
    assert_int_equal(cat_snapshot_volume(f->c, &s, w.id, &held, &f->e), -ENOENT);
}

static void test_merged_layer_takes_both_places(void **state)
{
    struct fixture *f = *state;
    uint8_t lower[16], upper[16], merged[16];
    struct cat_snapshot_volume held;
    struct cat_chain chain;

    struct cat_volume first = add_volume(f, "v");
    struct cat_snapshot s1 = snapshot(f, "s1", "v"), s2 = snapshot(f, "s2", "v");
    struct cat_volume second = get(f, "v");
    assert_int_equal(cat_layer_mergeable(f->c, NULL, lower, upper, &f->e), 0);
    assert_int_equal(cat_snapshot_remove(f->c, s1.id, &f->e), 0);
    assert_int_equal(cat_layer_mergeable(f->c, NULL, lower, upper, &f->e), 1);
    assert_memory_equal(lower, first.top, 16);
    assert_memory_equal(upper, second.below, 16);
    assert_int_equal(cat_layer_mergeable(f->c, lower, lower, upper, &f->e), 0);

    random_bytes(merged, sizeof merged);
    assert_int_equal(cat_layer_expect(f->c, merged, &f->e), 0);
    assert_true(cat_layer_known(f->c, merged));
    assert_int_equal(cat_layer_merge(f->c, first.top, second.below, merged, &f->e), 0);
    assert_int_equal(cat_layer_chain(f->c, get(f, "v").top, &chain, &f->e), 0);
    assert_int_equal(chain.count, 3);
    assert_memory_equal(chain.id[1], merged, 16);
    assert_memory_equal(chain.id[2], f->image.layer, 16);
    assert_int_equal(cat_snapshot_volume(f->c, &s2, first.id, &held, &f->e), 0);
    assert_memory_equal(held.layer, merged, 16);
    assert_int_equal(dead(f), 2);
    assert_int_equal(cat_layer_merge(f->c, first.top, second.below, merged, &f->e), -ESTALE);
    assert_int_equal(cat_layer_unexpect(f->c, NULL, &f->e), 0);
    assert_int_equal(dead(f), 2); /* it was born */
}

static void test_unborn_layers_die(void **state)
{
    struct fixture *f = *state;
    uint8_t a[16], b[16];

    random_bytes(a, sizeof a);
    random_bytes(b, sizeof b);
    assert_int_equal(cat_layer_expect(f->c, a, &f->e), 0);
    assert_int_equal(cat_layer_expect(f->c, b, &f->e), 0);
    assert_int_equal(dead(f), 0);
    assert_int_equal(cat_layer_unexpect(f->c, a, &f->e), 0);
    assert_int_equal(dead(f), 1);
    assert_int_equal(cat_layer_unexpect(f->c, NULL, &f->e), 0);
    assert_int_equal(dead(f), 2);
    assert_true(cat_layer_known(f->c, b));
}

static int take_owner(void *ctx, const struct cat_layer *l)
{
    char *text = ctx;

    snprintf(text + strlen(text), 512 - strlen(text), "%s%s%s;", l->owner, l->top ? " top" : "",
             l->image ? " image" : "");
    return 0;
}

static void test_layers_say_whose_they_are(void **state)
{
    struct fixture *f = *state;
    char text[512] = "";

    add_volume(f, "v");
    snapshot(f, "s", "v");
    assert_int_equal(cat_layer_list(f->c, take_owner, text, &f->e), 0);
    assert_non_null(strstr(text, "volume v top;"));
    assert_non_null(strstr(text, "snapshot s of v;"));
    assert_non_null(strstr(text, "image deb@1 image;"));
}

static void test_only_one_has_it_open(void **state)
{
    struct fixture *f = *state;
    struct catalog *other = NULL;

    assert_int_equal(cat_open(f->path, &other, &f->e), -EIO);
    assert_non_null(strstr(f->e.msg, "locked"));
}

/* ---- schema version 1 -------------------------------------------------------------------------*/

#define ID(n) "x'000000000000000000000000000000" n "'"

static const char old_rows[] =
    "INSERT INTO image_name VALUES ('deb', 3), ('other', 1);"
    "INSERT INTO layer VALUES (" ID("01") ", NULL, 4096), (" ID(
        "02") ", NULL, 8192),"
              " (" ID("11") ", " ID("01") ", 4096), (" ID("12") ", " ID(
                  "02") ", 8192);"
                        "INSERT INTO image VALUES"
                        " (4, 'deb', 1, " ID(
                            "01") ", 4096, 10, hex(zeroblob(32)), 'a', 'raw', 5),"
                                  " (7, 'deb', 3, " ID(
                                      "02") ", 8192, 20, hex(zeroblob(32)), 'b', 'qcow2', 6);"
                                            "UPDATE sqlite_sequence SET seq = 9 WHERE name = "
                                            "'image';"
                                            "INSERT INTO volume VALUES (2, 'v', 4, " ID(
                                                "11") ", 4096, 5, 6, 'ok', 7),"
                                                      " (3, 'w', 7, " ID(
                                                          "12") ", 8192, 1, 1, 'failed', 8);"
                                                                "INSERT INTO retired VALUES "
                                                                "('gone', 4, 5);"
                                                                "INSERT INTO attachment VALUES "
                                                                "(1, " ID(
                                                                    "aa") ", 2, NULL, NULL, 5, 6, "
                                                                          "9),"
                                                                          " (2, " ID(
                                                                              "bb") ", NULL, 7, "
                                                                                    "NULL, 0, 0, "
                                                                                    "9);"
                                                                                    "INSERT INTO "
                                                                                    "event VALUES "
                                                                                    "(8, 1, 'k', "
                                                                                    "'o', 't');"
                                                                                    "PRAGMA "
                                                                                    "user_version "
                                                                                    "= 1;";

static int start_old(void **state)
{
    make_dir(state);
    struct fixture *f = *state;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON; BEGIN;" CATALOG_SCHEMA_CORE
                         CATALOG_SCHEMA_HOSTS,
                     NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, old_rows, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(cat_open(f->path, &f->c, &f->e), 0);
    return 0;
}

static void test_old_rows_are_there(void **state)
{
    struct fixture *f = *state;
    struct cat_image i;

    assert_int_equal(cat_image_get(f->c, "deb", 0, &i, &f->e), 0);
    assert_int_equal(i.id, 7);
    assert_int_equal(i.state, CAT_IMAGE_VERIFIED);
    assert_int_equal(strlen(i.sha256), 64);
    assert_int_equal(i.volumes, 1);
    assert_true(i.attached);
    struct cat_volume v = get(f, "v");
    assert_int_equal(v.generation, 5);
    assert_int_equal(v.quota_bytes, 0);
    assert_int_equal(v.snapshots, 0);
    assert_true(cat_volume_attached(&v));
    assert_int_equal(v.below[15], 1);
    assert_true(get(f, "w").failed);
}

static void test_old_rows_go_on(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = { .name = "deb", .size_bytes = 1, .source = "", .format = "raw" };

    /* Neither an id nor a version is ever used twice. */
    random_bytes(i.layer, sizeof i.layer);
    i.state = CAT_IMAGE_UNVERIFIED;
    assert_int_equal(cat_image_add(f->c, &i, &f->e), 0);
    assert_int_equal(i.id, 10);
    assert_int_equal(i.version, 4);
    /* What referred to images still does. */
    assert_int_equal(db_run(f->c, &f->e, "DELETE FROM image WHERE id = 4", ""), -EBUSY);
    assert_int_equal(db_run(f->c, &f->e, "UPDATE volume SET epoch = 1 WHERE name = 'v'", ""),
                     -EINVAL);
    f->image = i;
    assert_int_equal(add_volume(f, "gone").epoch, 6);
    snapshot(f, "s", "v");
    assert_int_equal(get(f, "v").snapshots, 1);
}

static void test_it_happens_once(void **state)
{
    struct fixture *f = *state;

    cat_close(f->c);
    assert_int_equal(cat_open(f->path, &f->c, &f->e), 0);
    test_old_rows_are_there(state);
}

int main(void)
{
#define TEST(fn)     cmocka_unit_test_setup_teardown(fn, start, stop)
#define TEST_OLD(fn) cmocka_unit_test_setup_teardown(fn, start_old, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_chain_is_read_downwards),
        TEST(test_chain_has_a_limit),
        TEST(test_snapshot_keeps_layers),
        TEST(test_volume_in_a_snapshot_stays),
        TEST(test_names_of_snapshots_are_unique),
        TEST(test_snapshots_of_a_volume),
        TEST(test_merged_layer_takes_both_places),
        TEST(test_unborn_layers_die),
        TEST(test_layers_say_whose_they_are),
        TEST(test_only_one_has_it_open),
        TEST_OLD(test_old_rows_are_there),
        TEST_OLD(test_old_rows_go_on),
        TEST_OLD(test_it_happens_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
