/* SPDX-License-Identifier: Apache-2.0 */
/* Raw files become layers: content, size, SHA-256, sparseness; what cannot be one is refused. */
#include "tests/unit/control/import_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t *pattern(size_t length, unsigned seed)
{
    uint8_t *p = malloc(length);

    for (size_t i = 0; i < length; i++)
        p[i] = (uint8_t)(1 + (i * 7 + i / 4096 + seed) % 255);
    return p;
}

static void a_raw_file_comes_in_as_it_is(void **state)
{
    struct import_rig g;
    uint8_t *disk = pattern(5u << 20, 1);

    (void)state;
    irig_open(&g);
    int fd = irig_file(&g, "disk", disk, 5u << 20, 5u << 20);
    assert_int_equal(irig_import_file(&g, "disk", fd, RIG_LIMIT), 0);
    assert_string_equal(g.result.format, "raw");
    assert_int_equal(g.result.data_bytes, 5u << 20);
    irig_expect_disk(&g, disk, 5u << 20, 5u << 20);
    irig_close(&g);
    free(disk);
}

static void holes_stay_holes(void **state)
{
    struct import_rig g;
    uint8_t *disk = calloc(1, 40u << 20), *data = pattern(8192, 2);

    (void)state;
    irig_open(&g);
    int fd = irig_file(&g, "disk", data, 8192, 40u << 20);
    assert_int_equal(pwrite(fd, data, 5000, (17 << 20) + 1000), 5000);
    memcpy(disk, data, 8192);
    memcpy(disk + (17 << 20) + 1000, data, 5000);
    assert_int_equal(irig_import_file(&g, "disk", fd, RIG_LIMIT), 0);
    assert_int_equal(g.result.data_bytes, 8192 + 8192);
    irig_expect_disk(&g, disk, 40u << 20, 40u << 20);
    irig_close(&g);
    free(disk);
    free(data);
}

static void odd_sizes_are_padded_with_zeros(void **state)
{
    static const uint64_t sizes[] = {
        1, 511, 512, 513, 4095, 4097, (2u << 20) - 1, (2u << 20) + 1, (2u << 20) + 5000
    };
    struct import_rig g;
    uint8_t *disk = pattern(3u << 20, 3);

    (void)state;
    irig_open(&g);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int fd = irig_file(&g, "disk", disk, sizes[i], sizes[i]);
        assert_int_equal(irig_import_file(&g, "disk", fd, RIG_LIMIT), 0);
        irig_expect_disk(&g, disk, sizes[i], (sizes[i] + 511) / 512 * 512);
    }
    irig_close(&g);
    free(disk);
}

static void a_hole_at_the_end_is_padded_too(void **state)
{
    struct import_rig g;

    (void)state;
    irig_open(&g);
    int fd = irig_file(&g, "disk", "x", 1, 100001);
    assert_int_equal(irig_import_file(&g, "disk", fd, RIG_LIMIT), 0);
    irig_expect_disk(&g, "x", 1, 100352);
    irig_close(&g);
}

static void what_is_no_disk_is_refused(void **state)
{
    struct import_rig g;

    (void)state;
    irig_open(&g);
    int fd = irig_file(&g, "empty", "", 0, 0);
    irig_expect_refused(&g, irig_import_file(&g, "empty", fd, RIG_LIMIT), -EINVAL, "is empty");
    fd = irig_file(&g, "large", "x", 1, 1u << 20);
    irig_expect_refused(&g, irig_import_file(&g, "large", fd, (1u << 20) - 1), -EFBIG, "limit");
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    irig_expect_refused(&g, irig_import_file(&g, "null", fd, RIG_LIMIT), -EINVAL, "neither a file");
    fd = open("/tmp", O_RDONLY | O_CLOEXEC);
    irig_expect_refused(&g, irig_import_file(&g, "dir", fd, RIG_LIMIT), -EINVAL, "neither a file");
    irig_close(&g);
}

static void a_cancelled_import_leaves_nothing(void **state)
{
    struct import_rig g;

    (void)state;
    irig_open(&g);
    int fd = irig_file(&g, "disk", "x", 1, 100u << 20);
    atomic_store(&g.progress.cancel, true);
    irig_expect_refused(&g, irig_import_file(&g, "disk", fd, RIG_LIMIT), -ECANCELED, "cancelled");
    irig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_raw_file_comes_in_as_it_is),
        cmocka_unit_test(holes_stay_holes),
        cmocka_unit_test(odd_sizes_are_padded_with_zeros),
        cmocka_unit_test(a_hole_at_the_end_is_padded_too),
        cmocka_unit_test(what_is_no_disk_is_refused),
        cmocka_unit_test(a_cancelled_import_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
