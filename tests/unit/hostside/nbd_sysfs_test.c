/* SPDX-License-Identifier: Apache-2.0 */
/* /sys/block as the kernel lays it out, in a directory of our own. */
#include "tests/unit/unit.h"

#include "hostside/nbd_sysfs.h"

#include <errno.h>
#include <ftw.h>
#include <linux/nbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/file.h"

struct fake {
    char base[64];
};

static int set_up(void **state)
{
    struct fake *f = calloc(1, sizeof *f);

    strcpy(f->base, "/tmp/nbd_sysfs_test.XXXXXX");
    *state = f;
    return mkdtemp(f->base) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    struct fake *f = *state;

    nftw(f->base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static void put(struct fake *f, const char *device, const char *file, const char *text)
{
    char path[160];

    snprintf(path, sizeof path, "%s/%s", f->base, device);
    mkdir(path, 0700);
    strcat(path, "/queue");
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", f->base, device, file);
    assert_int_equal(file_replace(path, text, strlen(text), 0600, NULL), 0);
}

static void only_connected_devices_of_ours_are_listed(void **state)
{
    struct fake *f = *state;
    struct nbd_sysfs_device d[4];
    unsigned count;

    put(f, "nbd0", "size", "0\n"); /* free */
    put(f, "nbd1", "size", "2048\n");
    put(f, "nbd1", "backend", "v0.1.2\n");
    put(f, "nbd2", "size", "2048\n");
    put(f, "nbd2", "backend", "somebody's\n");
    put(f, "nbd1p1", "size", "2\n");
    put(f, "nbd1p1", "backend", "v0.1.2\n");
    put(f, "sda", "size", "2\n");
    assert_int_equal(nbd_sysfs_list(f->base, d, 4, &count, NULL), 0);
    assert_int_equal(count, 1);
    assert_int_equal(d[0].index, 1);
    assert_string_equal(d[0].id.volume, "v0");
    assert_int_equal(d[0].id.epoch, 2);
    assert_int_equal(d[0].size_bytes, 1 << 20);
}

static void flags_are_read_back_as_the_handshake_gave_them(void **state)
{
    struct fake *f = *state;
    uint64_t flags = 0;

    put(f, "nbd3", "ro", "0\n");
    put(f, "nbd3", "queue/fua", "1\n");
    put(f, "nbd3", "queue/write_cache", "write back\n");
    assert_int_equal(nbd_sysfs_flags(f->base, 3, &flags, NULL), 0);
    assert_int_equal(flags, NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA);
    assert_int_equal(flags, nbd_sysfs_visible(0x6d)); /* flush, FUA, trim, zeroes */
    put(f, "nbd3", "ro", "1\n");
    put(f, "nbd3", "queue/fua", "0\n");
    put(f, "nbd3", "queue/write_cache", "write through\n");
    assert_int_equal(nbd_sysfs_flags(f->base, 3, &flags, NULL), 0);
    assert_int_equal(flags, NBD_FLAG_READ_ONLY);
    assert_int_equal(nbd_sysfs_visible(NBD_FLAG_SEND_FUA), 0); /* no FUA without flush */
}

static void waiting_requests_are_seen(void **state)
{
    struct fake *f = *state;

    assert_false(nbd_sysfs_busy(f->base, 4)); /* not there */
    put(f, "nbd4", "inflight", "       0        0\n");
    assert_false(nbd_sysfs_busy(f->base, 4));
    put(f, "nbd4", "inflight", "       0        3\n");
    assert_true(nbd_sysfs_busy(f->base, 4));
}

static void the_io_timeout_is_written(void **state)
{
    struct fake *f = *state;
    char path[160], *text;

    put(f, "nbd5", "queue/io_timeout", "30000\n");
    assert_int_equal(nbd_sysfs_set_io_timeout(f->base, 5, 2000, NULL), 0);
    snprintf(path, sizeof path, "%s/nbd5/queue/io_timeout", f->base);
    assert_int_equal(file_read(path, 100, &text, NULL, NULL), 0);
    assert_memory_equal(text, "2000\n", 5);
    free(text);
    assert_int_equal(nbd_sysfs_set_io_timeout(f->base, 6, 2000, NULL), -ENOENT);
}

static void an_impossible_size_is_refused(void **state)
{
    struct fake *f = *state;
    uint64_t size;

    put(f, "nbd7", "size", "18446744073709551615\n");
    assert_int_equal(nbd_sysfs_size(f->base, 7, &size, NULL), -EPROTO);
    put(f, "nbd7", "size", "12x\n");
    assert_int_equal(nbd_sysfs_size(f->base, 7, &size, NULL), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_connected_devices_of_ours_are_listed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(flags_are_read_back_as_the_handshake_gave_them, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(waiting_requests_are_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_io_timeout_is_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_impossible_size_is_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
