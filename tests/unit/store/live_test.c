/* SPDX-License-Identifier: Apache-2.0 */
/* Live maps: what the next process believes, what it takes over, and what happens without room. */
#include "server/store/live.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/store/live_file.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"
#include "tests/unit/store/one_volume.h"

#define SIZE (256u << 10)

static int set_up(void **state)
{
    struct one_volume *f = *state = one_new(SIZE);

    f->rig.log_blocks = STORE_LOG_NONE; /* an error of a sync is one of a data file */
    one_start(f);
    one_open(f);
    return 0;
}

/* ---- what counts ------------------------------------------------------------------------------*/

static void killed_process_loses_no_answered_write(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 1, 1, 0x11);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    assert_int_equal(store_past(f->rig.store), STORE_PAST_KILLED);
    one_open(f);
    expect_fill(f->d, 4096, 4096, 0x11);
    expect_image(f->d, 8192, 4096);
}

/* Every field that must be as it was. */
static const struct {
    const char *name;
    size_t offset, length;
} fields[] = {
    { "magic", offsetof(struct live_header, magic), 1 },
    { "version", offsetof(struct live_header, version), 4 },
    { "slots", offsetof(struct live_header, slots), 4 },
    { "store", offsetof(struct live_header, store), 16 },
    { "instance", offsetof(struct live_header, instance), 16 },
    { "boot", offsetof(struct live_header, boot), 16 },
    { "device", offsetof(struct live_header, mount.device), 8 },
    { "directory", offsetof(struct live_header, mount.inode), 8 },
    { "mount", offsetof(struct live_header, mount.id), 8 },
    { "kind of mount", offsetof(struct live_header, mount.unique), 8 },
    { "state", offsetof(struct live_header, state), 4 },
    { "entries", offsetof(struct live_header, entries) + 3, 1 },
    { "kind of an entry", DISK_BLOCK + offsetof(struct live_entry, state), 1 },
    { "page of an entry", DISK_BLOCK + offsetof(struct live_entry, page), 1 },
    { "unknown states in a page", 0, 0 }, /* of the first slot */
};

static void damage(struct one_volume *f, size_t i)
{
    char path[512];
    uint8_t bytes[16];
    off_t offset = (off_t)fields[i].offset;
    size_t length = fields[i].length;

    if (!length) {
        offset = (off_t)live_slots_offset(256);
        length = 1;
    }
    snprintf(path, sizeof path, "ls -d %s/*.live", f->rig.live);
    FILE *list = popen(path, "r");
    assert_non_null(fgets(path, sizeof path, list));
    path[strcspn(path, "\n")] = '\0';
    pclose(list);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, bytes, length, offset), length);
    for (size_t b = 0; b < length; b++)
        bytes[b] = (uint8_t)~bytes[b];
    assert_int_equal(pwrite(fd, bytes, length, offset), length);
    close(fd);
}

static void any_difference_is_a_loss_of_power(void **state)
{
    struct one_volume *f = *state;

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        one_put(f, 0, 1, (uint8_t)(1 + 2 * i));
        one_flush(f);
        one_put(f, 1, 1, (uint8_t)(2 + 2 * i));
        one_die(f);
        damage(f, i);
        if (one_start_again(f) != 1 || store_past(f->rig.store) != STORE_PAST_POWER)
            fail_msg("%s is not looked at", fields[i].name);
        one_open(f);
        expect_fill(f->d, 0, 4096, (uint8_t)(1 + 2 * i));
    }
}

static void file_of_another_length_is_not_believed(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_die(f);
    f->rig.live_slots = 128;
    assert_int_equal(one_start_again(f), 1);
    one_open(f);
}

static void missing_file_is_a_loss_of_power(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_die(f);
    rig_live_put(&f->rig, NULL, 0);
    assert_int_equal(one_start_again(f), 1);
    assert_int_equal(store_past(f->rig.store), STORE_PAST_POWER);
    one_open(f);
}

static void file_of_an_older_instance_is_not_believed(void **state)
{
    struct one_volume *f = *state;
    char old[sizeof f->rig.live + 8];

    one_put(f, 0, 1, 1);
    one_die(f);
    snprintf(old, sizeof old, "%s.old", f->rig.live);
    assert_int_equal(rename(f->rig.live, old), 0);
    assert_int_equal(one_start_again(f), 1); /* it goes on without, and writes */
    one_open(f);
    one_put(f, 0, 1, 2);
    one_flush(f);
    one_die(f);
    rig_live_put(&f->rig, NULL, 0);
    assert_int_equal(rmdir(f->rig.live), 0);
    assert_int_equal(rename(old, f->rig.live), 0); /* the older file is back */
    assert_int_equal(one_start_again(f), 1);
    one_open(f);
    expect_fill(f->d, 0, 4096, 2);
}

static void kill_before_the_epochs_grew_is_no_way_round_them(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_die(f);
    rig_live_put(&f->rig, NULL, 0);
    rig_open(&f->rig); /* the power was lost; nobody has raised an epoch yet */
    one_die(f);
    assert_int_equal(one_start_again(f), 1);
    one_open(f);
}

static void clean_stop_leaves_no_file(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_stop(f);
    assert_int_equal(rmdir(f->rig.live), 0);
    assert_int_equal(one_start_again(f), 0);
    assert_int_equal(store_past(f->rig.store), STORE_PAST_CLEAN);
}

static void directory_of_others_is_refused(void **state)
{
    struct one_volume *f = *state;
    struct store *s;
    struct err e = { 0 };

    one_stop(f);
    assert_int_equal(chmod(f->rig.live, 0777), 0);
    const struct store_options o = rig_options(&f->rig);
    assert_int_equal(store_open(&o, &s, &e), -EACCES);
    assert_non_null(strstr(e.msg, "writable by nobody else"));
}

/* ---- failures ---------------------------------------------------------------------------------*/

static void failed_volume_begins_an_epoch(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    one_flush(f);
    one_put(f, 1, 1, 2);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    one_die(f);
    assert_int_equal(one_start_again(f), 1);
    assert_int_equal(store_past(f->rig.store), STORE_PAST_KILLED);
    one_open(f);
    expect_fill(f->d, 0, 4096, 1);
    expect_image(f->d, 4096, 4096); /* what was durable, for a new life */
    one_stop(f);
    assert_int_equal(one_start_again(f), 0); /* once */
}

static void failed_volume_is_named_though_it_was_closed(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    one_stop(f);
    assert_int_equal(one_start_again(f), 1);
}

static void failed_volume_in_its_new_epoch_is_like_any_other(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    sim_fail_next(f->sim, SIM_SYNC, 1, -EIO);
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), -EIO);
    one_close(f);
    f->epoch = 2;
    one_open(f);
    one_put(f, 1, 1, 2);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    one_open(f);
    expect_fill(f->d, 4096, 4096, 2);
}

static void failed_journal_voids_all(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    store_fail(f->rig.store, "the journal has failed");
    assert_int_equal(f->rig.failures, 1);
    one_die(f);
    assert_int_equal(one_start_again(f), 1);
    assert_int_equal(store_past(f->rig.store), STORE_PAST_POWER);
}

/* ---- room -------------------------------------------------------------------------------------*/

/* A map of many pages over a live file of its own. */
static struct live *small_live(struct one_volume *f, uint32_t slots)
{
    const struct live_options o = { .ops = &file_ops_real,
                                    .state_fd = f->rig.store->state_fd,
                                    .state = f->rig.dir,
                                    .dir = f->rig.live,
                                    .store = rig_new_id(),
                                    .slots = slots };
    struct live *l;
    bool adopted;

    CHECK(live_open(&o, &l, &adopted, &e));
    assert_false(adopted);
    return l;
}

static struct disk_id key_of(struct layer_id id)
{
    struct disk_id key;

    memcpy(key.b, id.b, sizeof key.b);
    return key;
}

static void pages_beyond_the_room_are_refused_until_others_go(void **state)
{
    struct live *l = small_live(*state, 3);
    struct layer_id id[2] = { rig_new_id(), rig_new_id() };
    struct map m[2];

    for (int i = 0; i < 2; i++) {
        map_init(&m[i], 4 * DISK_PAGE_BLOCKS);
        map_set_home(&m[i], live_home(l), key_of(id[i]));
    }
    assert_int_equal(map_reserve(&m[0], 0, 2 * DISK_PAGE_BLOCKS, true), 0);
    assert_int_equal(map_reserve(&m[1], 0, 2 * DISK_PAGE_BLOCKS, true), -ENOSPC);
    assert_int_equal(map_reserve(&m[1], 0, 1, true), 0); /* one had fitted */
    map_set(&m[1], 0, 1, DISK_DATA);
    map_done(&m[0]);
    live_release(l, id[0]);
    assert_int_equal(map_reserve(&m[1], 0, 3 * DISK_PAGE_BLOCKS, true), 0);
    assert_int_equal(map_get(&m[1], 0), DISK_DATA);
    assert_int_equal(map_get(&m[1], DISK_PAGE_BLOCKS), DISK_INHERIT); /* not what was there */
    map_done(&m[1]);
    live_release(l, id[1]);
    assert_int_equal(live_used(l), 0);
    live_close(l);
}

static void page_that_moves_keeps_what_it_said(void **state)
{
    struct live *l = small_live(*state, 3);
    struct map m;
    static struct disk_map_page before, after;

    map_init(&m, DISK_PAGE_BLOCKS);
    assert_int_equal(map_reserve(&m, 0, 100, false), 0);
    map_set(&m, 5, 30, DISK_DATA);
    map_set(&m, 50, 3, DISK_ZERO);
    map_page_export(&m, 0, &before);
    map_set_home(&m, live_home(l), key_of(rig_new_id()));
    assert_int_equal(map_reserve(&m, 7, 1, true), 0);
    map_page_export(&m, 0, &after);
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(m.data_blocks, 30);
    map_done(&m);
    live_leave(l);
}

static void quiet_volume_gives_its_room_back(void **state)
{
    struct one_volume *f = *state;

    one_put(f, 0, 1, 1);
    assert_int_equal(live_used(f->rig.store->live), 1);
    one_be_quiet(f->v);
    assert_int_equal(f->v->mark.durable, DISK_CLEAN);
    assert_int_equal(live_used(f->rig.store->live), 0);
    expect_fill(f->d, 0, 4096, 1);
    one_put(f, 1, 1, 2);
    assert_int_equal(live_used(f->rig.store->live), 1);
    one_die(f);
    assert_int_equal(one_start_again(f), 0);
    one_open(f);
    expect_fill(f->d, 0, 4096, 1);
    expect_fill(f->d, 4096, 4096, 2);
}

/* To let go takes its time where live maps lie on a disk, and guests wait for the hold. */
static void sealed_top_gives_its_room_back_when_nobody_waits(void **state)
{
    struct one_volume *f = *state;
    struct seal_volume part = { .top = f->top, .new_top = rig_new_id() };
    struct store_seal *seal;

    one_put(f, 0, 1, 1);
    CHECK(store_seal_begin(f->rig.store, &part, 1, 1000, &seal, &e));
    assert_int_equal(f->v->mark.durable, DISK_CLEAN);
    assert_int_equal(live_used(f->rig.store->live), 1);
    store_seal_end(seal, true);
    assert_int_equal(live_used(f->rig.store->live), 0);
}

static int note_named(void *ctx, struct layer_id id)
{
    struct layer_id **at = ctx;

    *(*at)++ = id;
    return 0;
}

/* One volume is being written, one was long ago, one was closed. */
static void loss_of_power_restarts_exactly_the_busy_ones(void **state)
{
    struct one_volume *f = *state;
    static struct layer_id named[4];
    struct layer_id *at = named, idle_top = rig_new_id(), clean_top = rig_new_id();
    struct volume *idle = rig_volume(&f->rig, idle_top, f->image, SIZE, 1);
    struct volume *clean = rig_volume(&f->rig, clean_top, f->image, SIZE, 1);
    static uint8_t buf[4096] = { 1 };

    assert_int_equal(rig_io(volume_device(idle), BLK_WRITE, 0, 0, 4096, buf), 0);
    assert_int_equal(rig_io(volume_device(clean), BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_volume_close(clean);
    one_be_quiet(idle);
    one_put(f, 0, 1, 2);
    sim_cut_at(f->sim, sim_count(f->sim));
    rig_volume_close(idle);
    rig_volume_close(f->v);
    rig_close(&f->rig);
    sim_restore(f->sim);
    rig_live_put(&f->rig, NULL, 0);
    rig_open(&f->rig);
    CHECK(store_recover(f->rig.store, note_named, &at, &e));
    assert_int_equal(at - named, 1);
    assert_memory_equal(&named[0], &f->top, sizeof f->top);
    CHECK(store_recovered(f->rig.store, &e));
    one_open(f);
}

static void volume_without_room_for_its_map_waits(void **state)
{
    struct one_volume *f = *state;
    uint8_t buf[4096] = { 1 };
    int error;

    one_stop(f);
    f->rig.live_slots = 1;
    one_start_again(f);
    one_open(f);
    struct volume *other = rig_volume(&f->rig, rig_new_id(), f->image, SIZE, 1);
    assert_int_equal(rig_io(volume_device(other), BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_begin(f->d, BLK_WRITE, 0, 0, 4096, buf, &error);
    fake_run();
    assert_int_equal(error, PENDING); /* parked */
    rig_volume_close(other);
    fake_fire_timers();
    fake_run();
    assert_int_equal(error, 0);
    assert_int_equal(f->rig.failures, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, one_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(killed_process_loses_no_answered_write),
        TEST(any_difference_is_a_loss_of_power),
        TEST(file_of_another_length_is_not_believed),
        TEST(missing_file_is_a_loss_of_power),
        TEST(file_of_an_older_instance_is_not_believed),
        TEST(kill_before_the_epochs_grew_is_no_way_round_them),
        TEST(clean_stop_leaves_no_file),
        TEST(directory_of_others_is_refused),
        TEST(failed_volume_begins_an_epoch),
        TEST(failed_volume_is_named_though_it_was_closed),
        TEST(failed_volume_in_its_new_epoch_is_like_any_other),
        TEST(failed_journal_voids_all),
        TEST(pages_beyond_the_room_are_refused_until_others_go),
        TEST(page_that_moves_keeps_what_it_said),
        TEST(quiet_volume_gives_its_room_back),
        TEST(sealed_top_gives_its_room_back_when_nobody_waits),
        TEST(loss_of_power_restarts_exactly_the_busy_ones),
        TEST(volume_without_room_for_its_map_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
