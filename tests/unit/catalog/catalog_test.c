/* SPDX-License-Identifier: Apache-2.0 */
/* catalog_test - transactions, migration, images, volumes, attachments, events, on a real file. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/catalog/catalog.h"
#include "server/catalog/db.h"
#include "server/catalog/events.h"
#include "server/catalog/handle.h"
#include "server/catalog/layers.h"
#include "server/catalog/volumes.h"

struct fixture {
    char dir[64], path[96];
    struct catalog *c;
    struct err e;
};

static int start(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof f);
    strcpy(f.dir, "/tmp/catalog_test.XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    snprintf(f.path, sizeof f.path, "%s/catalog.db", f.dir);
    assert_int_equal(cat_open(f.path, &f.c, &f.e), 0);
    *state = &f;
    return 0;
}

static int stop(void **state)
{
    struct fixture *f = *state;
    char path[128];

    cat_close(f->c);
    static const char *const tails[] = { "", "-wal", "-shm" };
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", f->path, tails[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    return 0;
}

static void reopen(struct fixture *f)
{
    cat_close(f->c);
    f->c = NULL;
    assert_int_equal(cat_open(f->path, &f->c, &f->e), 0);
}

static struct cat_image add_image(struct fixture *f, const char *name)
{
    struct cat_image i = { .size_bytes = 1 << 20, .data_bytes = 4096, .created_at = 5 };

    snprintf(i.name, sizeof i.name, "%s", name);
    memset(i.sha256, 'a', 64);
    strcpy(i.source, "/dev/null");
    strcpy(i.format, "raw");
    random_bytes(i.layer, sizeof i.layer);
    assert_int_equal(cat_image_add(f->c, &i, &f->e), 0);
    return i;
}

static struct cat_volume add_volume(struct fixture *f, const char *name, const struct cat_image *i)
{
    uint8_t top[16];
    struct cat_volume v;
    int64_t id;

    random_bytes(top, sizeof top);
    assert_int_equal(cat_volume_add(f->c, name, i, top, &id, &f->e), 0);
    assert_int_equal(cat_volume_get(f->c, name, &v, &f->e), 0);
    assert_int_equal(v.id, id);
    assert_memory_equal(v.top, top, sizeof top);
    return v;
}

static uint64_t volumes(struct fixture *f)
{
    struct cat_counts n;

    assert_int_equal(cat_count(f->c, &n, &f->e), 0);
    return n.volumes;
}

static void test_file_is_private(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(db_run(f->c, &f->e, "PRAGMA user_version=99", ""), 0);
    cat_close(f->c);
    f->c = NULL;
    assert_int_equal(cat_open(f->path, &f->c, &f->e), -ENOTSUP);
    assert_non_null(strstr(f->e.msg, "schema version 99"));
    assert_null(f->c);
}

static void test_garbage_is_refused(void **state)
{
    struct fixture *f = *state;
    FILE *file;

    cat_close(f->c);
    f->c = NULL;
    file = fopen(f->path, "w");
    for (int i = 0; i < 3000; i++)
        fputs("no catalog ", file);
    fclose(file);
    assert_int_equal(cat_open(f->path, &f->c, &f->e), -EIO);
    assert_non_null(strstr(f->e.msg, "not a database"));
}

static void test_rows_outlive_close(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb"), got;

    add_volume(f, "v", &i);
    reopen(f);
    assert_int_equal(cat_image_get(f->c, "deb", 0, &got, &f->e), 0);
    assert_int_equal(got.version, 1);
    assert_int_equal(got.volumes, 1);
    assert_memory_equal(got.layer, i.layer, sizeof i.layer);
    assert_string_equal(got.source, "/dev/null");
    assert_int_equal(volumes(f), 1);
}

static void test_transactions_nest(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");

    assert_int_equal(cat_begin(f->c, &f->e), 0);
    add_volume(f, "a", &i);
    assert_int_equal(cat_begin(f->c, &f->e), 0);
    add_volume(f, "b", &i);
    assert_int_equal(cat_commit(f->c, &f->e), 0);
    cat_rollback(f->c);
    assert_int_equal(volumes(f), 0); /* the inner commit was not one */

    assert_int_equal(cat_begin(f->c, &f->e), 0);
    add_volume(f, "a", &i);
    assert_int_equal(cat_begin(f->c, &f->e), 0);
    add_volume(f, "b", &i);
    cat_rollback(f->c);
    assert_int_equal(cat_commit(f->c, &f->e), -ECANCELED);
    assert_int_equal(volumes(f), 0); /* the outer one is undone as well */

    assert_int_equal(cat_begin(f->c, &f->e), 0);
    add_volume(f, "a", &i);
    assert_int_equal(cat_end(f->c, 0, &f->e), 0);
    assert_int_equal(volumes(f), 1);
}

static void test_all_or_none(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    uint8_t top[16] = { 1 };
    int64_t id;

    add_volume(f, "v1", &i);
    assert_int_equal(cat_begin(f->c, &f->e), 0);
    add_volume(f, "v0", &i);
    int rc = cat_volume_add(f->c, "v1", &i, top, &id, &f->e);
    assert_int_equal(rc, -EEXIST);
    assert_non_null(strstr(f->e.msg, "'v1'"));
    assert_int_equal(cat_end(f->c, rc, &f->e), -EEXIST);
    assert_int_equal(volumes(f), 1);
    assert_false(cat_layer_known(f->c, top));
}

static void test_open_transaction_is_undone_by_close(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");

    assert_int_equal(cat_begin(f->c, &f->e), 0);
    add_volume(f, "v", &i);
    reopen(f);
    assert_int_equal(volumes(f), 0);
}

static void test_versions_are_never_used_again(void **state)
{
    struct fixture *f = *state;
    struct cat_image one = add_image(f, "deb"), two = add_image(f, "deb"), got;

    assert_int_equal(one.version, 1);
    assert_int_equal(two.version, 2);
    assert_int_equal(cat_image_get(f->c, "deb", 0, &got, &f->e), 0);
    assert_int_equal(got.version, 2);
    assert_int_equal(cat_image_remove(f->c, &two, &f->e), 0);
    assert_int_equal(cat_image_get(f->c, "deb", 0, &got, &f->e), 0);
    assert_int_equal(got.version, 1);
    assert_int_equal(cat_image_get(f->c, "deb", 2, &got, &f->e), -ENOENT);
    assert_non_null(strstr(f->e.msg, "deb@2"));
    assert_int_equal(add_image(f, "deb").version, 3);
    assert_int_equal(add_image(f, "other").version, 1);
}

static void test_image_in_use_stays(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    struct cat_volume v = add_volume(f, "v", &i);
    uint8_t dead[4][16];
    unsigned count;

    assert_int_equal(cat_image_remove(f->c, &i, &f->e), -EBUSY);
    assert_true(cat_layer_known(f->c, i.layer));
    assert_int_equal(cat_volume_remove(f->c, &v, &f->e), 0);
    assert_int_equal(cat_image_remove(f->c, &i, &f->e), 0);
    assert_int_equal(cat_layer_dead(f->c, NULL, dead, 4, &count, &f->e), 0);
    assert_int_equal(count, 2); /* both layers' files are still to be removed */
    assert_true(cat_layer_known(f->c, dead[0]));
    assert_int_equal(cat_layer_forget(f->c, dead[0], &f->e), 0);
    assert_false(cat_layer_known(f->c, dead[0]));
    assert_int_equal(cat_layer_dead(f->c, NULL, dead, 4, &count, &f->e), 0);
    assert_int_equal(count, 1);
}

static void test_attachment(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    struct cat_volume v = add_volume(f, "v", &i), got;

    assert_int_equal(v.generation, 1);
    assert_int_equal(cat_volume_attach(f->c, &v, 0, &f->e), 0);
    assert_true(cat_volume_attached(&v));
    uint8_t token[16];
    memcpy(token, v.attachment.token, sizeof token);
    assert_int_equal(cat_volume_get(f->c, "v", &got, &f->e), 0);
    assert_true(cat_volume_attached(&got));
    assert_int_equal(got.generation, 2);
    assert_memory_equal(got.attachment.token, token, sizeof token);
    assert_int_equal(cat_volume_remove(f->c, &got, &f->e), -EBUSY);

    assert_int_equal(cat_volume_attach(f->c, &got, 0, &f->e), 0); /* taken over */
    assert_int_equal(got.generation, 3);
    assert_memory_not_equal(got.attachment.token, token, sizeof token);
    assert_int_equal(cat_volume_attach(f->c, &got, 77, &f->e), -EBUSY); /* no such host */
    assert_int_equal(cat_volume_detach(f->c, &got, &f->e), 0);
    assert_int_equal(cat_volume_get(f->c, "v", &got, &f->e), 0);
    assert_false(cat_volume_attached(&got));
    assert_int_equal(got.generation, 3);
}

static void test_epoch_ends_attachment(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    struct cat_volume v = add_volume(f, "v", &i);
    uint8_t unknown[16] = { 9 };

    assert_int_equal(cat_volume_attach(f->c, &v, 0, &f->e), 0);
    assert_int_equal(cat_volume_raise_epoch(f->c, v.top, &f->e), 0);
    assert_int_equal(cat_volume_raise_epoch(f->c, unknown, &f->e), -ENOENT);
    assert_int_equal(cat_volume_get(f->c, "v", &v, &f->e), 0);
    assert_int_equal(v.epoch, 2);
    assert_int_not_equal(v.attachment.id, 0);
    assert_false(cat_volume_attached(&v));
}

static void test_generation_and_epoch_never_go_back(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    struct cat_volume v = add_volume(f, "v", &i);

    assert_int_equal(cat_volume_attach(f->c, &v, 0, &f->e), 0);
    assert_int_equal(cat_volume_raise_epoch(f->c, v.top, &f->e), 0);
    assert_int_equal(db_run(f->c, &f->e, "UPDATE volume SET epoch = 1", ""), -EINVAL);
    assert_non_null(strstr(f->e.msg, "never go back"));
    assert_int_equal(db_run(f->c, &f->e, "UPDATE volume SET generation = 1", ""), -EINVAL);
    assert_int_equal(cat_volume_detach(f->c, &v, &f->e), 0);
    assert_int_equal(cat_volume_remove(f->c, &v, &f->e), 0);
    v = add_volume(f, "v", &i); /* another one of the same name */
    assert_int_equal(v.generation, 3);
    assert_int_equal(v.epoch, 3);
}

static void test_failed_volume_serves_with_a_higher_epoch(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    struct cat_volume v = add_volume(f, "v", &i);

    assert_int_equal(cat_volume_set_failed(f->c, "v", true, &f->e), 0);
    assert_int_equal(cat_volume_get(f->c, "v", &v, &f->e), 0);
    assert_true(v.failed);
    assert_int_equal(cat_volume_set_failed(f->c, "v", false, &f->e), 0);
    assert_int_equal(cat_volume_set_failed(f->c, "v", false, &f->e), 0); /* nothing more */
    assert_int_equal(cat_volume_get(f->c, "v", &v, &f->e), 0);
    assert_false(v.failed);
    assert_int_equal(v.epoch, 2);
}

static void test_image_attachment_is_one(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    struct cat_attachment a, b;

    assert_int_equal(cat_image_attach(f->c, &i, &a, &f->e), 0);
    assert_int_equal(cat_image_attach(f->c, &i, &b, &f->e), 0);
    assert_memory_equal(a.token, b.token, sizeof a.token);
    assert_int_equal(cat_image_get(f->c, "deb", 1, &i, &f->e), 0);
    assert_true(i.attached);
    assert_int_equal(cat_image_remove(f->c, &i, &f->e), -EBUSY);
    assert_int_equal(cat_image_detach(f->c, &i, &f->e), 0);
    assert_int_equal(cat_image_remove(f->c, &i, &f->e), 0);
}

static int note_name(void *ctx, const struct cat_volume *v)
{
    char *names = ctx;

    strcat(names, v->name);
    return 0;
}

static void test_volumes_come_in_the_order_of_creation(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    char names[16] = "";

    add_volume(f, "c", &i);
    struct cat_volume a = add_volume(f, "a", &i);
    add_volume(f, "b", &i);
    assert_int_equal(cat_volume_remove(f->c, &a, &f->e), 0);
    add_volume(f, "a", &i);
    assert_int_equal(cat_volume_list(f->c, note_name, names, &f->e), 0);
    assert_string_equal(names, "cba");
}

struct seen {
    unsigned count;
    struct cat_event last;
    uint64_t first_seq;
};

static int note_event(void *ctx, const struct cat_event *event)
{
    struct seen *s = ctx;

    if (s->count++ == 0)
        s->first_seq = event->seq;
    s->last = *event;
    return 0;
}

static void test_events_are_a_ring(void **state)
{
    struct fixture *f = *state;
    struct seen s = { 0 };
    uint64_t last;

    assert_int_equal(cat_begin(f->c, &f->e), 0);
    for (int i = 0; i < CAT_EVENTS_KEPT + 5; i++)
        assert_int_equal(cat_event_add(f->c, "kind", "object", "a\nb\x1b[1m", &f->e), 0);
    assert_int_equal(cat_commit(f->c, &f->e), 0);
    assert_int_equal(cat_event_last(f->c, &last, &f->e), 0);
    assert_int_equal(last, CAT_EVENTS_KEPT + 5);
    assert_int_equal(cat_event_list(f->c, 0, 100000, note_event, &s, &f->e), 0);
    assert_int_equal(s.count, CAT_EVENTS_KEPT);
    assert_int_equal(s.first_seq, 6);
    assert_string_equal(s.last.text, "a?b?[1m");
    s = (struct seen){ 0 };
    assert_int_equal(cat_event_list(f->c, last - 2, 500, note_event, &s, &f->e), 0);
    assert_int_equal(s.count, 2);
    assert_int_equal(cat_event_list(f->c, UINT64_MAX, 500, note_event, &s, &f->e), 0);
}

static void test_event_goes_with_its_transaction(void **state)
{
    struct fixture *f = *state;
    uint64_t last;

    assert_int_equal(cat_begin(f->c, &f->e), 0);
    assert_int_equal(cat_event_add(f->c, "kind", "object", "text", &f->e), 0);
    cat_rollback(f->c);
    assert_int_equal(cat_event_last(f->c, &last, &f->e), 0);
    assert_int_equal(last, 0);
}

static void test_full_disk_is_told_and_undone(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    int rc = 0;

    assert_int_equal(db_run(f->c, &f->e, "PRAGMA max_page_count=60", ""), 0);
    for (int n = 0; n < 10000 && rc == 0; n++) {
        char name[32];
        uint8_t top[16];
        int64_t id;
        snprintf(name, sizeof name, "v%d", n);
        random_bytes(top, sizeof top);
        rc = cat_volume_add(f->c, name, &i, top, &id, &f->e);
    }
    assert_int_equal(rc, -ENOSPC);
    assert_false(cat_failed(f->c, NULL)); /* it goes on when there is room */
    uint64_t before = volumes(f);
    assert_int_equal(db_run(f->c, &f->e, "PRAGMA max_page_count=600", ""), 0);
    add_volume(f, "more", &i);
    assert_int_equal(volumes(f), before + 1);
}

static int refuse_commit(void *ctx)
{
    return *(int *)ctx;
}

static void test_failed_commit_is_final(void **state)
{
    struct fixture *f = *state;
    struct cat_image i = add_image(f, "deb");
    uint8_t top[16] = { 1 };
    const char *why;
    int64_t id;
    int refuse = 1;

    sqlite3_commit_hook(f->c->db, refuse_commit, &refuse);
    assert_int_equal(cat_volume_add(f->c, "v", &i, top, &id, &f->e), -EIO);
    refuse = 0;
    assert_true(cat_failed(f->c, &why));
    assert_non_null(strstr(why, "restarted"));
    assert_int_equal(cat_volume_add(f->c, "w", &i, top, &id, &f->e), -EIO);
    assert_non_null(strstr(f->e.msg, "until gridboxd is restarted"));
    assert_int_equal(volumes(f), 0); /* reading goes on */
    reopen(f);
    assert_false(cat_failed(f->c, NULL));
    add_volume(f, "v", &i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_file_is_private, start, stop),
        cmocka_unit_test_setup_teardown(test_newer_schema_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(test_garbage_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(test_rows_outlive_close, start, stop),
        cmocka_unit_test_setup_teardown(test_transactions_nest, start, stop),
        cmocka_unit_test_setup_teardown(test_all_or_none, start, stop),
        cmocka_unit_test_setup_teardown(test_open_transaction_is_undone_by_close, start, stop),
        cmocka_unit_test_setup_teardown(test_versions_are_never_used_again, start, stop),
        cmocka_unit_test_setup_teardown(test_image_in_use_stays, start, stop),
        cmocka_unit_test_setup_teardown(test_attachment, start, stop),
        cmocka_unit_test_setup_teardown(test_epoch_ends_attachment, start, stop),
        cmocka_unit_test_setup_teardown(test_generation_and_epoch_never_go_back, start, stop),
        cmocka_unit_test_setup_teardown(test_failed_volume_serves_with_a_higher_epoch, start, stop),
        cmocka_unit_test_setup_teardown(test_image_attachment_is_one, start, stop),
        cmocka_unit_test_setup_teardown(test_volumes_come_in_the_order_of_creation, start, stop),
        cmocka_unit_test_setup_teardown(test_events_are_a_ring, start, stop),
        cmocka_unit_test_setup_teardown(test_event_goes_with_its_transaction, start, stop),
        cmocka_unit_test_setup_teardown(test_full_disk_is_told_and_undone, start, stop),
        cmocka_unit_test_setup_teardown(test_failed_commit_is_final, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
