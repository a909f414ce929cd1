/* SPDX-License-Identifier: Apache-2.0 */
/* Files that fail: a full disk at every step, a sync that fails once, short writes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/store/one_volume.h"

#define SIZE (256u << 10)

static int set_up(void **state)
{
    struct one_volume *f = *state = one_new(SIZE);

    f->rig.journal_bytes = 128u << 10;
    f->rig.log_blocks = STORE_LOG_NONE; /* a flush syncs the data file: its errors are the matter */
    one_start(f);
    one_open(f);
    return 0;
}

static void failed_sync_is_final(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 7 };

    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO); /* once: the next one would succeed */
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    assert_int_equal(f->rig.failures, 1);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 4096, 4096, buf), -EIO);
    expect_image(f->d, 8192, 4096); /* reads go on */
}

static void failed_volume_is_named_at_the_next_start(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 7 };

    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    assert_int_equal(f->rig.failures, 1);
    one_stop(f);
    assert_int_equal(one_start_again(f), 1);
}

static void failed_write_fails_the_volume(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 7 };

    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), 0);
    fake_run();
    sim_fail_next(f->sim, SIM_WRITE, 1, -EROFS);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 4096, 4096, buf), -EIO);
    assert_int_equal(f->rig.failures, 1);
    expect_image(f->d, 4096, 4096);
}

static void failed_journal_fails_every_volume(void **state)
{
    struct one_volume *f = *state;
    struct volume *other = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
    uint8_t buf[4096] = { 7 };

    assert_int_equal(rig_io(f->d, BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    assert_int_equal(rig_io(volume_device(other), BLK_WRITE, BLK_FUA, 0, 4096, buf), 0);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 4096, 4096, buf), 0);
    fake_hold(fake_slow_pool(), true);
    int error;
    rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
    fake_run();
    fake_hold(fake_slow_pool(), false);
    assert_true(fake_step()); /* the data's sync */
    assert_true(fake_step()); /* its message: the journal is next */
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    fake_run();
    assert_int_equal(error, -EIO);
    assert_int_equal(f->rig.failures, 2);
    assert_int_equal(rig_io(volume_device(other), BLK_WRITE, 0, 0, 4096, buf), -EIO);
    rig_volume_close(other);
}

static void read_error_below_fails_that_request_alone(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[512];

    memset(buf, 9, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 4096, 512, buf), 0);
    sim_fail_next(f->sim, SIM_READ, 2, -EIO);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 512, buf), -EIO);
    sim_fail_next(f->sim, SIM_READ, 2, -EIO);
    assert_int_equal(rig_io(f->d, BLK_READ, 0, 8192, 512, buf), -EIO);
    sim_fail_next(f->sim, SIM_READ, 0, 0);
    assert_int_equal(f->rig.failures, 0);
    expect_image(f->d, 0, 4096);
    memset(buf, 8, sizeof buf);
    assert_int_equal(rig_io(f->d, BLK_WRITE, BLK_FUA, 0, 512, buf), 0);
    expect_fill(f->d, 0, 512, 8);
}

static void volumes_that_flush_together_share_the_sync_of_the_journal(void **state)
{
    struct one_volume *f = *state;
    struct volume *v[8];
    uint8_t buf[4096] = { 1 };
    int error[8];

    for (int i = 0; i < 8; i++) {
        v[i] = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
        assert_int_equal(rig_io(volume_device(v[i]), BLK_WRITE, 0, 0, 4096, buf), 0);
    }
    fake_run();
    uint64_t before = sim_count_of(f->sim, SIM_SYNC);
    for (int i = 0; i < 8; i++)
        rig_begin(volume_device(v[i]), BLK_FLUSH, 0, 0, 0, NULL, &error[i]);
    fake_run();
    for (int i = 0; i < 8; i++)
        assert_int_equal(error[i], 0);
    uint64_t syncs = sim_count_of(f->sim, SIM_SYNC) - before;
    assert_in_range(syncs, 9, 10); /* the first may go alone */
    for (int i = 0; i < 8; i++)
        rig_volume_close(v[i]);
}

static void first_writes_of_many_volumes_share_their_syncs(void **state)
{
    struct one_volume *f = *state;
    struct volume *v[24];
    uint8_t buf[4096] = { 1 };
    int error[24];

    fake_run();
    uint64_t dirs = sim_count_of(f->sim, SIM_SYNC_DIR), files = sim_count_of(f->sim, SIM_SYNC);
    for (int i = 0; i < 24; i++) {
        v[i] = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
        rig_begin(volume_device(v[i]), BLK_WRITE, 0, 0, 4096, buf, &error[i]);
    }
    fake_run();
    assert_int_equal(sim_count_of(f->sim, SIM_SYNC_DIR) - dirs, 1);
    assert_in_range(sim_count_of(f->sim, SIM_SYNC) - files, 1, 2); /* the journal alone */
    for (int i = 0; i < 24; i++) {
        assert_int_equal(error[i], 0);
        expect_bytes(volume_device(v[i]), 0, 4096, buf);
        rig_volume_close(v[i]);
    }
}

static void failed_sync_of_the_directory_fails_the_first_writes(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 1 };

    sim_fail_next(f->sim, SIM_SYNC_DIR, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, 4096, buf), -EIO);
    assert_int_equal(f->rig.failures, 1);
    expect_image(f->d, 0, 4096);
}

static void short_writes_are_continued(void **state)
{
    struct one_volume *f = *state;
    uint8_t *buf = malloc(SIZE);

    memset(buf, 0x5A, SIZE);
    sim_short_writes(f->sim, true);
    assert_int_equal(rig_io(f->d, BLK_WRITE, BLK_FUA, 512, SIZE - 1024, buf), 0);
    one_reopen(f);
    expect_image(f->d, 0, 512);
    expect_fill(f->d, 512, SIZE - 1024, 0x5A);
    expect_image(f->d, SIZE - 512, 512);
    free(buf);
}

static void full_disk_at_any_step_of_a_write_parks_it(void **state)
{
    struct one_volume *f = *state;
    uint8_t *buf = malloc(8 * 4096); /* several blocks, the first and the last in part */
    unsigned parked = 0;
    int error;

    for (unsigned skip = 0; skip < 16; skip++) {
        uint8_t fill = (uint8_t)(0x40 + skip);

        fake_run();
        memset(buf, fill, 8 * 4096);
        sim_full(f->sim, skip / 2, 1);
        rig_begin(f->d, BLK_WRITE, 0, 4096 + 512, 8 * 4096, buf, &error);
        fake_run();
        sim_full(f->sim, 0, 0);
        assert_int_equal(f->rig.failures, 0);
        assert_int_equal(f->rig.parked, error == PENDING);
        if (error == PENDING) {
            parked++;
            expect_image(f->d, 0, 4096 + 512); /* around it nothing changed */
            expect_image(f->d, 9 * 4096 + 512, SIZE - 9 * 4096 - 512);
            fake_fire_timers(); /* there is space again */
            fake_run();
            assert_int_equal(f->rig.parked, 0);
        }
        assert_int_equal(error, 0);
        expect_fill(f->d, 4096 + 512, 8 * 4096, fill);
        /* The next round writes over blocks that are zero, or first touches. */
        if (skip % 2)
            assert_int_equal(rig_io(f->d, BLK_TRIM, 0, 4096, 9 * 4096, NULL), 0);
        if (skip % 2 == 0) {
            one_close(f);
            f->top = rig_new_id();
            one_open(f);
        } else {
            expect_fill(f->d, 4096, 9 * 4096, 0);
            uint8_t *image = malloc(SIZE);
            fill_image(image, 0, SIZE);
            assert_int_equal(rig_io(f->d, BLK_WRITE, 0, 0, SIZE, image), 0);
            free(image);
        }
    }
    assert_true(parked >= 4);
    free(buf);
}

/* Part of its blocks had their room: these keep what they hold. */
static void full_disk_takes_nothing_from_blocks_that_were_written(void **state)
{
    struct one_volume *f = *state;
    const size_t length = 3 * 4096;
    uint8_t *buf = malloc(length);
    int error;

    one_put(f, 1, 1, 1);
    fake_run();
    memset(buf, 2, length);
    sim_full(f->sim, 0, 1);
    rig_begin(f->d, BLK_WRITE, 0, 0, length, buf, &error);
    fake_run();
    assert_int_equal(error, PENDING);
    expect_image(f->d, 0, 4096);
    expect_fill(f->d, 4096, 4096, 1);
    expect_image(f->d, 8192, 4096);
    fake_fire_timers();
    fake_run();
    assert_int_equal(error, 0);
    expect_fill(f->d, 0, length, 2);
    free(buf);
}

/* Flushed writes that fill the journal again and again, with trouble at its first checkpoints. */
static void wait_some_seconds(const int *error)
{
    fake_run();
    for (int tries = 0; *error == PENDING && tries < 8; tries++) {
        fake_fire_timers();
        fake_run();
    }
    assert_int_equal(*error, 0);
}

static void expect_all_after_trouble(struct one_volume *f, void (*trouble)(struct one_volume *f))
{
    uint8_t buf[4096];

    for (unsigned i = 0; i < 60; i++) { /* the journal has room for 2 * 15 batches */
        memset(buf, (int)i + 1, sizeof buf);
        if (i == 10)
            trouble(f);
        int error;
        rig_begin(f->d, BLK_WRITE, 0, (i % 60) * 4096, 4096, buf, &error);
        wait_some_seconds(&error);
        rig_begin(f->d, BLK_FLUSH, 0, 0, 0, NULL, &error);
        wait_some_seconds(&error);
    }
    assert_int_equal(f->rig.failures, 0);
    one_reopen(f);
    for (unsigned i = 0; i < 60; i++)
        expect_fill(f->d, i * 4096, 4096, (uint8_t)(i + 1));
}

static void no_room_for_map_files(struct one_volume *f)
{
    sim_fail_next(f->sim, SIM_OPEN, 2, -ENOSPC);
}

static void no_room_for_one_map_file(struct one_volume *f)
{
    sim_fail_next(f->sim, SIM_OPEN, 1, -ENOSPC);
}

static void full_disk_at_a_checkpoint_is_what_room_is_kept_for(void **state)
{
    struct one_volume *f = *state;
    char path[160];

    snprintf(path, sizeof path, "%s/ballast", f->rig.dir);
    assert_int_equal(access(path, F_OK), 0);
    expect_all_after_trouble(f, no_room_for_one_map_file);
    assert_int_equal(access(path, F_OK), 0); /* again */
}

static void full_disk_at_a_checkpoint_only_delays_it(void **state)
{
    expect_all_after_trouble(*state, no_room_for_map_files);
}

/* The simulation's files, but map files cannot be opened for reading for some time. */
static struct {
    struct file_ops ops;
    const struct file_ops *real;
    unsigned skip, times;
} scarce;

static int scarce_open(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    if (strstr(name, ".map") && !(flags & O_CREAT) && scarce.times) {
        if (!scarce.skip) {
            scarce.times--;
            return -EMFILE;
        }
        scarce.skip--;
    }
    return scarce.real->open_at(ctx, dir_fd, name, flags, mode);
}

static void no_descriptor_for_map_files(struct one_volume *f)
{
    (void)f;
    scarce.times = 2;
}

/* The rig's store, over files whose descriptors can run out. */
static void reopen_scarce(struct one_volume *f)
{
    one_stop(f);
    scarce.real = f->rig.ops;
    scarce.ops = *f->rig.ops;
    scarce.ops.open_at = scarce_open;
    f->rig.ops = &scarce.ops;
    one_start_again(f);
    one_open(f);
}

static void no_descriptor_at_a_checkpoint_only_delays_it(void **state)
{
    reopen_scarce(*state);
    scarce.skip = 0; /* when the map is read */
    expect_all_after_trouble(*state, no_descriptor_for_map_files);
}

static void no_descriptor_late_in_a_checkpoint_only_delays_it(void **state)
{
    reopen_scarce(*state);
    scarce.skip = 1; /* when it is looked at once more, before it is replaced */
    expect_all_after_trouble(*state, no_descriptor_for_map_files);
}

static void full_disk_during_an_import_leaves_nothing(void **state)
{
    struct one_volume *f = *state;
    uint8_t *buf = malloc(SIZE);

    memset(buf, 1, SIZE);
    for (unsigned step = 0;; step++) {
        struct layer_writer *w = NULL;
        struct err e = { 0 };
        uint64_t data;

        sim_fail_at(f->sim, sim_count(f->sim) + step, 1, -ENOSPC);
        int rc = layer_create(f->rig.store, SIZE, &w, &e);
        if (rc == 0)
            rc = layer_write(w, 0, buf, SIZE, &e);
        if (rc == 0)
            rc = layer_seal(w, &data, &e);
        if (rc < 0)
            assert_true(e.msg[0]);
        layer_writer_free(w);
        sim_fail_at(f->sim, 0, 0, 0);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOSPC);
        assert_int_equal(rig_files(&f->rig), 2); /* the fixture's image alone */
    }
    free(buf);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failed_sync_is_final),
        TEST(failed_volume_is_named_at_the_next_start),
        TEST(failed_write_fails_the_volume),
        TEST(failed_journal_fails_every_volume),
        TEST(read_error_below_fails_that_request_alone),
        TEST(volumes_that_flush_together_share_the_sync_of_the_journal),
        TEST(first_writes_of_many_volumes_share_their_syncs),
        TEST(failed_sync_of_the_directory_fails_the_first_writes),
        TEST(short_writes_are_continued),
        TEST(full_disk_at_any_step_of_a_write_parks_it),
        TEST(full_disk_takes_nothing_from_blocks_that_were_written),
        TEST(full_disk_at_a_checkpoint_is_what_room_is_kept_for),
        TEST(full_disk_at_a_checkpoint_only_delays_it),
        TEST(no_descriptor_at_a_checkpoint_only_delays_it),
        TEST(no_descriptor_late_in_a_checkpoint_only_delays_it),
        TEST(full_disk_during_an_import_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
