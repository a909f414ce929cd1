/* SPDX-License-Identifier: Apache-2.0 */
/* The store as a whole: its lock, its file system, what a start finds, imports. */
#include "server/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "server/store/store_state.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"

#define SIZE (256u << 10)

struct fixture {
    struct rig rig;
    struct layer_id image, top;
    unsigned named;
    bool keep;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    rig_init(&f->rig);
    rig_open(&f->rig);
    f->image = rig_image(&f->rig, SIZE);
    f->top = rig_new_id();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->rig.store)
        rig_close(&f->rig);
    rig_remove(&f->rig);
    free(f);
    return 0;
}

static void second_server_is_told_who_holds_the_store(void **state)
{
    struct fixture *f = *state;
    const struct store_options o = rig_options(&f->rig);
    struct store *second;
    struct err e = { 0 };
    char want[64];

    assert_int_equal(store_open(&o, &second, &e), -EBUSY);
    snprintf(want, sizeof want, "is in use by gridboxd pid %d", (int)getpid());
    assert_non_null(strstr(e.msg, want));
}

static void file_systems_are_judged(void **state)
{
    static const struct {
        unsigned long type;
        const char *options;
        int rc;
        const char *durability;
    } cases[] = {
        { EXT4_SUPER_MAGIC, " - ext4 /dev/sda rw", 0, "power" },
        { EXT4_SUPER_MAGIC, " - ext4 /dev/sda rw,data=writeback", 0, "process" },
        { 0x58465342, " - xfs /dev/sda rw", 0, "power" },
        { TMPFS_MAGIC, "", 0, "process" },
        { OVERLAYFS_SUPER_MAGIC, "", 0, "process" },
        { 0x12345678, "", 0, "process" },
        { NFS_SUPER_MAGIC, "", -ENOTSUP, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *durability = NULL;
        assert_int_equal(store_judge_fs(cases[i].type, cases[i].options, &durability, NULL),
                         cases[i].rc);
        if (cases[i].rc == 0)
            assert_string_equal(durability, cases[i].durability);
    }
}

static void store_tells_its_space(void **state)
{
    struct fixture *f = *state;
    struct store_space space;

    CHECK(store_space(f->rig.store, &space, &e));
    assert_true(space.size_bytes > 0 && space.free_bytes <= space.size_bytes);
}

/* ---- start ------------------------------------------------------------------------------------*/

static int count_open(void *ctx, struct layer_id id)
{
    struct fixture *f = ctx;

    assert_memory_equal(&id, &f->top, sizeof id);
    f->named++;
    return 0;
}

static unsigned named_at_start(struct fixture *f)
{
    f->named = 0;
    CHECK(store_recover(f->rig.store, count_open, f, &e));
    return f->named;
}

/* Writes to the volume and leaves the store as a killed server would: the mark stays OPEN. */
static void die_while_open(struct fixture *f)
{
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 3);
    uint8_t buf[4096] = { 1 };
    char command[400];

    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    snprintf(command, sizeof command, "cp -a %s %s.copy", f->rig.dir, f->rig.dir);
    assert_int_equal(system(command), 0);
    rig_volume_close(v);
    rig_close(&f->rig);
    rig_remove(&f->rig);
    strcat(f->rig.dir, ".copy");
    rig_open(&f->rig);
}

static void volume_that_was_open_is_named_until_it_is_recovered(void **state)
{
    struct fixture *f = *state;

    die_while_open(f);
    assert_int_equal(named_at_start(f), 1);
    rig_close(&f->rig);
    rig_open(&f->rig);
    assert_int_equal(named_at_start(f), 1); /* nobody has raised its epoch */
    CHECK(store_recovered(f->rig.store, &e));
    rig_close(&f->rig);
    rig_open(&f->rig);
    assert_int_equal(named_at_start(f), 0);
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 4);
    expect_fill(volume_device(v), 512, 512, 0);
    expect_image(volume_device(v), 4096, 4096);
    rig_volume_close(v);
}

static void cleanly_closed_volume_is_not_named(void **state)
{
    struct fixture *f = *state;
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 3);
    uint8_t buf[4096] = { 1 };

    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_volume_close(v);
    rig_close(&f->rig);
    rig_open(&f->rig);
    assert_int_equal(named_at_start(f), 0);
    v = rig_volume(&f->rig, f->top, f->image, SIZE, 3);
    expect_bytes(volume_device(v), 0, 4096, buf);
    rig_volume_close(v);
}

static void lost_journal_means_lost_power_for_every_volume(void **state)
{
    struct fixture *f = *state;
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 3);
    uint8_t buf[4096] = { 1 };
    char path[160];

    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_volume_close(v);
    rig_close(&f->rig);
    rig_open(&f->rig); /* now it is all in map files */
    rig_close(&f->rig);
    snprintf(path, sizeof path, "%s/journal", f->rig.dir);
    assert_int_equal(unlink(path), 0);
    rig_open(&f->rig);
    assert_int_equal(named_at_start(f), 1);
    CHECK(store_recovered(f->rig.store, &e));
    v = rig_volume(&f->rig, f->top, f->image, SIZE, 4);
    expect_bytes(volume_device(v), 0, 4096, buf);
    rig_volume_close(v);
    rig_close(&f->rig);
    rig_open(&f->rig);
    assert_int_equal(named_at_start(f), 0);
}

static bool keep(void *ctx, struct layer_id id)
{
    const struct fixture *f = ctx;

    return f->keep || memcmp(&id, &f->image, sizeof id) == 0;
}

static void unknown_layers_are_swept_if_empty_else_kept_aside(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 1 };
    char path[200];
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 1);

    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_volume_close(v);
    v = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_volume_close(v);
    assert_int_equal(rig_files(&f->rig), 4); /* their maps are in the journal */
    rig_close(&f->rig);
    snprintf(path, sizeof path, "%s/layers/%032d.data", f->rig.dir, 7); /* no map: not begun */
    close(open(path, O_WRONLY | O_CREAT, 0600));
    snprintf(path, sizeof path, "%s/layers/%032d.import", f->rig.dir, 8);
    close(open(path, O_WRONLY | O_CREAT, 0600));
    rig_open(&f->rig);
    f->keep = true;
    CHECK(store_sweep(f->rig.store, keep, f, &e));
    assert_int_equal(rig_files(&f->rig), 7); /* the broken import alone is gone */
    f->keep = false;
    CHECK(store_sweep(f->rig.store, keep, f, &e));
    assert_int_equal(rig_files(&f->rig), 2);
    snprintf(path, sizeof path, "ls %s/lost+found | wc -l | grep -qx 4", f->rig.dir);
    assert_int_equal(system(path), 0);
}

/* ---- layers -----------------------------------------------------------------------------------*/

/* A volume that grew, was not written to since and became an image. */
static void image_may_be_larger_than_what_it_stands_on(void **state)
{
    struct fixture *f = *state;
    struct blkdev *d;

    CHECK(image_open(f->rig.store, rig_chain(f->image), SIZE * 2, &d, &e));
    expect_image(d, 0, SIZE);
    expect_fill(d, SIZE, SIZE, 0);
    image_close(d);
}

static void image_is_what_was_imported_and_stays_sparse(void **state)
{
    struct fixture *f = *state;
    struct blkdev *d;
    uint64_t data;
    uint8_t buf[512] = { 0 };

    CHECK(image_open(f->rig.store, rig_chain(f->image), SIZE, &d, &e));
    expect_image(d, 0, SIZE);
    expect_image(d, 3 * 512, 512 * 11);
    assert_int_equal(rig_io(d, BLK_WRITE, 0, 0, 512, buf), -EPERM);
    assert_int_equal(rig_io(d, BLK_FLUSH, 0, 0, 0, NULL), 0);
    assert_int_equal(rig_io(d, BLK_CACHE, 0, 0, SIZE, NULL), 0);
    image_close(d);
    CHECK(layer_usage(f->rig.store, f->image, &data, &e));
    assert_int_equal(data, SIZE / 4 * 3); /* every 4th block is zeros */
    struct err e = { 0 };
    assert_int_equal(image_open(f->rig.store, rig_chain(f->image), SIZE / 2, &d, &e), -EIO);
    assert_int_equal(image_open(f->rig.store, rig_chain(rig_new_id()), SIZE, &d, &e), -ENOENT);
}

static void import_that_is_given_up_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct layer_writer *w;
    uint8_t buf[4096] = { 1 };

    CHECK(layer_create(f->rig.store, SIZE, &w, &e));
    CHECK(layer_write(w, 8192, buf, 4096, &e));
    assert_int_equal(rig_files(&f->rig), 3);
    layer_writer_free(w);
    assert_int_equal(rig_files(&f->rig), 2);
}

static void writer_takes_any_order_and_a_short_last_block(void **state)
{
    struct fixture *f = *state;
    struct layer_writer *w;
    struct blkdev *d;
    static uint8_t buf[3 * 4096];
    uint64_t size = 5 * 4096 + 512, data;

    CHECK(layer_create(f->rig.store, size, &w, &e));
    memset(buf, 1, sizeof buf);
    CHECK(layer_write(w, 5 * 4096, buf, 512, &e));
    CHECK(layer_write(w, 4096, buf, 3 * 4096, &e));
    memset(buf, 0, 4096);
    CHECK(layer_write(w, 8192, buf, 4096, &e)); /* zeros over data */
    assert_int_equal(layer_write(w, 512, buf, 4096, NULL), -EINVAL);
    assert_int_equal(layer_write(w, 4096, buf, 512, NULL), -EINVAL);
    assert_int_equal(layer_write(w, 5 * 4096, buf, 4096, NULL), -EINVAL);
    CHECK(layer_seal(w, &data, &e));
    struct layer_id id = layer_writer_id(w);
    layer_writer_free(w);
    CHECK(image_open(f->rig.store, rig_chain(id), size, &d, &e));
    expect_fill(d, 0, 4096, 0);
    expect_fill(d, 4096, 4096, 1);
    expect_fill(d, 8192, 4096, 0);
    expect_fill(d, 3 * 4096, 4096, 1);
    expect_fill(d, 4 * 4096, 4096, 0);
    expect_fill(d, 5 * 4096, 512, 1);
    image_close(d);
}

static void layer_in_use_is_neither_removed_nor_opened_twice(void **state)
{
    struct fixture *f = *state;
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 1), *second;
    struct volume_spec spec = {
        .name = "twice", .top = f->top, .below = rig_chain(f->image), .size_bytes = SIZE
    };
    struct err e = { 0 };

    assert_int_equal(layer_remove(f->rig.store, f->image, &e), -EBUSY);
    assert_int_equal(layer_remove(f->rig.store, f->top, &e), -EBUSY);
    assert_int_equal(volume_open(f->rig.store, &spec, NULL, &second, &e), -EBUSY);
    rig_volume_close(v);
    assert_int_equal(layer_remove(f->rig.store, f->top, &e), 0); /* never had files */
    assert_int_equal(layer_remove(f->rig.store, f->image, &e), 0);
    assert_int_equal(rig_files(&f->rig), 0);
}

static void removed_layer_does_not_come_back_with_a_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 1);
    uint8_t buf[4096] = { 1 };

    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    rig_volume_close(v);
    CHECK(layer_remove(f->rig.store, f->top, &e));
    rig_close(&f->rig);
    rig_open(&f->rig);
    assert_int_equal(rig_files(&f->rig), 2);
}

static void top_that_lost_its_map_is_not_taken_for_a_fresh_one(void **state)
{
    struct fixture *f = *state;
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 1);
    uint8_t buf[4096] = { 1 };
    char path[200], hex[LAYER_NAME_BYTES];
    struct volume_spec spec = {
        .name = "bad", .top = f->top, .below = rig_chain(f->image), .size_bytes = SIZE
    };
    struct err e = { 0 };

    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_volume_close(v);
    rig_close(&f->rig);
    rig_open(&f->rig);
    lay_file_name(f->top, ".map", hex);
    snprintf(path, sizeof path, "%s/layers/%s", f->rig.dir, hex);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(volume_open(f->rig.store, &spec, NULL, &v, &e), -EIO);
    assert_non_null(strstr(e.msg, "holds data, but"));
}

static void empty_leftover_of_a_first_write_is_taken(void **state)
{
    struct fixture *f = *state;
    char path[200], hex[LAYER_NAME_BYTES];
    uint8_t buf[4096] = { 1 };

    lay_file_name(f->top, ".data", hex);
    snprintf(path, sizeof path, "%s/layers/%s", f->rig.dir, hex);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    struct volume *v = rig_volume(&f->rig, f->top, f->image, SIZE, 1);
    assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 0, 4096, buf), 0);
    expect_bytes(volume_device(v), 0, 4096, buf);
    rig_volume_close(v);
}

static void damaged_map_stops_its_volume_alone(void **state)
{
    struct fixture *f = *state;
    struct layer_id tops[2] = { rig_new_id(), rig_new_id() };
    uint8_t buf[4096] = { 1 };
    char path[200], hex[LAYER_NAME_BYTES];
    struct volume_spec spec = {
        .name = "bad", .top = tops[0], .below = rig_chain(f->image), .size_bytes = SIZE
    };
    struct volume *v;
    struct err e = { 0 };

    for (int i = 0; i < 2; i++) {
        v = rig_volume(&f->rig, tops[i], f->image, SIZE, 1);
        assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, 0, 4096, buf), 0);
        rig_volume_close(v);
    }
    rig_close(&f->rig);
    rig_open(&f->rig); /* now there are map files */
    rig_close(&f->rig);
    lay_file_name(tops[0], ".map", hex);
    snprintf(path, sizeof path, "%s/layers/%s", f->rig.dir, hex);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "xx", 2, 100), 2);
    close(fd);
    rig_open(&f->rig);
    assert_int_equal(volume_open(f->rig.store, &spec, NULL, &v, &e), -EIO);
    assert_non_null(strstr(e.msg, "checksum"));
    v = rig_volume(&f->rig, tops[1], f->image, SIZE, 1);
    expect_bytes(volume_device(v), 0, 4096, buf);
    rig_volume_close(v);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(second_server_is_told_who_holds_the_store),
        cmocka_unit_test(file_systems_are_judged),
        TEST(store_tells_its_space),
        TEST(volume_that_was_open_is_named_until_it_is_recovered),
        TEST(cleanly_closed_volume_is_not_named),
        TEST(lost_journal_means_lost_power_for_every_volume),
        TEST(unknown_layers_are_swept_if_empty_else_kept_aside),
        TEST(image_may_be_larger_than_what_it_stands_on),
        TEST(image_is_what_was_imported_and_stays_sparse),
        TEST(import_that_is_given_up_leaves_nothing),
        TEST(writer_takes_any_order_and_a_short_last_block),
        TEST(layer_in_use_is_neither_removed_nor_opened_twice),
        TEST(removed_layer_does_not_come_back_with_a_checkpoint),
        TEST(top_that_lost_its_map_is_not_taken_for_a_fresh_one),
        TEST(empty_leftover_of_a_first_write_is_taken),
        TEST(damaged_map_stops_its_volume_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
