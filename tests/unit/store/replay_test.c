/* SPDX-License-Identifier: Apache-2.0 */
/* The journal goes into map files of many layers: how often that waits for the disk, and with how
 * few descriptors it comes to its end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/io/file_ops.h"
#include "server/store/store_state.h"
#include "tests/unit/store/one_volume.h"

/* Looks on while new map files are made.  It holds one store at a time. */
static struct {
    struct file_ops ops;
    const struct file_ops *real;
    int fds[8]; /* of new map files that are open */
    unsigned open, most;
    unsigned allowed; /* so many may be open at once */
    char did[64];     /* n: a new one is begun, s: one is synced */
} watch;

static void note(char what)
{
    size_t length = strlen(watch.did);

    assert_true(length + 1 < sizeof watch.did);
    watch.did[length] = what;
}

static int watch_open(void *ctx, int dir_fd, const char *name, int flags, mode_t mode)
{
    bool fresh = strstr(name, ".map.new") != NULL;

    if (fresh && watch.open >= watch.allowed)
        return -EMFILE;
    int fd = watch.real->open_at(ctx, dir_fd, name, flags, mode);
    if (fd >= 0 && fresh) {
        assert_true(watch.open < sizeof watch.fds / sizeof *watch.fds);
        watch.fds[watch.open++] = fd;
        note('n');
    }
    return fd;
}

static int find(int fd)
{
    for (unsigned i = 0; i < watch.open; i++)
        if (watch.fds[i] == fd)
            return (int)i;
    return -1;
}

static int watch_sync(void *ctx, int fd)
{
    if (find(fd) >= 0)
        note('s');
    return watch.real->sync_data(ctx, fd);
}

static void watch_close(void *ctx, int fd)
{
    int i = find(fd);

    if (i >= 0)
        watch.fds[i] = watch.fds[--watch.open];
    watch.real->close(ctx, fd);
}

/* Two volumes, of which the journal knows something that their map files do not. */
static int set_up(void **state)
{
    struct one_volume *f = one_new(1 << 20);

    *state = f;
    sim_be_plain(f->sim);
    memset(&watch, 0, sizeof watch);
    watch.allowed = 8;
    watch.real = f->rig.ops;
    watch.ops = *watch.real;
    watch.ops.open_at = watch_open;
    watch.ops.sync_data = watch_sync;
    watch.ops.close = watch_close;
    f->rig.ops = &watch.ops;
    one_start(f);
    one_open(f);
    f->other = rig_volume(&f->rig, rig_new_id(), f->image, 1 << 20, 1);
    one_put(f, 0, 1, 1);
    one_flush(f);
    assert_int_equal(
        rig_io(volume_device(f->other), BLK_WRITE, BLK_FUA, 0, 4096, (uint8_t[4096]){ 2 }), 0);
    memset(watch.did, 0, sizeof watch.did);
    return 0;
}

static int replay_all(struct one_volume *f, struct err *e)
{
    struct journal_view view;

    jnl_view(&f->rig.store->journal, &view);
    return store_replay(f->rig.store, &view, e);
}

static void all_are_written_before_the_first_is_synced(void **state)
{
    struct err e = { 0 };

    assert_int_equal(replay_all(*state, &e), 0);
    assert_string_equal(watch.did, "nnss");
    assert_int_equal(watch.open, 0);
}

static void one_descriptor_is_enough(void **state)
{
    struct err e = { 0 };

    watch.allowed = 1;
    assert_int_equal(replay_all(*state, &e), 0);
    assert_string_equal(watch.did, "nsns");
}

static void none_is_an_error_that_leaves_nothing(void **state)
{
    struct one_volume *f = *state;
    struct err e = { 0 };
    unsigned files = rig_files(&f->rig);

    watch.allowed = 0;
    assert_int_equal(replay_all(f, &e), -EMFILE);
    assert_int_equal(rig_files(&f->rig), files);
    watch.allowed = 8;
}

/* What was begun is taken away again, and the other one is not kept back for long. */
static void failed_sync_is_an_error_that_leaves_nothing(void **state)
{
    struct one_volume *f = *state;
    struct err e = { 0 };

    sim_fail_next(f->sim, SIM_SYNC, 2, -EIO);
    assert_int_equal(replay_all(f, &e), -EIO);
    assert_int_equal(watch.open, 0);
    char path[400];
    char name[LAYER_NAME_BYTES];
    lay_file_name(f->top, ".map.new", name);
    snprintf(path, sizeof path, "%s/layers/%s", f->rig.dir, name);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(replay_all(f, &e), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_are_written_before_the_first_is_synced, set_up,
                                        one_tear_down),
        cmocka_unit_test_setup_teardown(one_descriptor_is_enough, set_up, one_tear_down),
        cmocka_unit_test_setup_teardown(none_is_an_error_that_leaves_nothing, set_up,
                                        one_tear_down),
        cmocka_unit_test_setup_teardown(failed_sync_is_an_error_that_leaves_nothing, set_up,
                                        one_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
