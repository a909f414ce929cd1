/* SPDX-License-Identifier: Apache-2.0 */
/* ballast_test - the room that is kept for a full disk: there, given back, kept again; and not for
 * guests. */
#include "server/store/ballast.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/store/store_state.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"

#define BYTES (1u << 20)

struct fixture {
    struct rig rig;
    int dir_fd;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    rig_init(&f->rig);
    f->dir_fd = open(f->rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = f;
    return f->dir_fd < 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close(f->dir_fd);
    rig_remove(&f->rig);
    free(f);
    return 0;
}

static uint64_t kept(const struct fixture *f)
{
    struct stat st;

    return fstatat(f->dir_fd, "ballast", &st, 0) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static void room_is_kept_given_back_and_kept_again(void **state)
{
    struct fixture *f = *state;
    struct ballast b;

    ballast_init(&b, f->dir_fd, BYTES);
    assert_false(ballast_gone(&b));
    assert_true(kept(f) >= BYTES);
    assert_true(ballast_drop(&b));
    assert_true(ballast_gone(&b));
    assert_int_equal(kept(f), 0);
    assert_false(ballast_drop(&b)); /* there is no more */
    ballast_restore(&b);
    assert_false(ballast_gone(&b));
    assert_true(kept(f) >= BYTES);
    ballast_init(&b, f->dir_fd, BYTES); /* the next start finds it */
    assert_false(ballast_gone(&b));
}

static void room_that_is_not_there_is_not_kept(void **state)
{
    struct fixture *f = *state;
    struct ballast b;

    ballast_init(&b, f->dir_fd, 1ull << 60);
    assert_true(ballast_gone(&b));
    assert_int_equal(kept(f), 0);
    assert_false(ballast_drop(&b));
}

static void guests_wait_until_the_room_is_kept_again(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = { 1 };
    int error;

    rig_open(&f->rig);
    CHECK(store_recovered(f->rig.store, &e));
    struct layer_id image = rig_image(&f->rig, 64 * 4096);
    struct volume *v = rig_volume(&f->rig, rig_new_id(), image, 64 * 4096, 1);
    struct blkdev *d = volume_device(v);
    assert_int_equal(rig_io(d, BLK_WRITE, 0, 0, 4096, buf), 0);
    assert_true(ballast_drop(&f->rig.store->ballast)); /* for a checkpoint, say */
    assert_int_equal(rig_io(d, BLK_WRITE, 0, 0, 4096, buf), 0);
    rig_begin(d, BLK_WRITE, 0, 4096, 4096, buf, &error);
    fake_run();
    assert_int_equal(error, PENDING);
    assert_int_equal(f->rig.parked, 1);
    fake_fire_timers();
    fake_run();
    assert_int_equal(error, 0);
    assert_true(kept(f) > 0);
    rig_volume_close(v);
    rig_close(&f->rig);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(room_is_kept_given_back_and_kept_again),
        TEST(room_that_is_not_there_is_not_kept),
        TEST(guests_wait_until_the_room_is_kept_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
