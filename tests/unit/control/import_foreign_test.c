/* SPDX-License-Identifier: Apache-2.0 */
/* Foreign disk files, made by qemu-img, become the same layer as the raw disk; broken ones, and
 * such as name other files, become none. */
#include "tests/unit/control/import_rig.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB        (1u << 20)
#define DISK_BYTES (24u * MIB + 512)

/* Data at the start, in the middle, at the end; zeros between. */
static uint8_t *make_disk(struct import_rig *g)
{
    uint8_t *disk = calloc(1, DISK_BYTES);

    for (size_t i = 0; i < DISK_BYTES; i++)
        if (i < 300000 || (i > 10 * MIB && i < 13 * MIB) || i > DISK_BYTES - 70000)
            disk[i] = (uint8_t)(i * 31 + i / 512);
    close(irig_file(g, "disk.raw", disk, DISK_BYTES, DISK_BYTES));
    return disk;
}

static unsigned count(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void every_format_is_the_same_disk(void **state)
{
    static const char *const made[][2] = {
        { "qcow2", "-O qcow2" },
        { "qcow2", "-O qcow2 -c" },
        { "qcow2", "-O qcow2 -c -o compression_type=zstd" },
        { "qcow2", "-O qcow2 -o compat=0.10" },
        { "qcow2", "-O qcow2 -o cluster_size=2M" },
        { "qcow2", "-O qcow2 -o cluster_size=512" },
        { "qcow2", "-O qcow2 -o extended_l2=on,preallocation=metadata" },
        { "vmdk", "-O vmdk" },
        { "vmdk", "-O vmdk -o subformat=streamOptimized" },
        { "vdi", "-O vdi" },
        { "vdi", "-O vdi -o static=on" },
        { "vhdx", "-O vhdx" },
        { "vhdx", "-O vhdx -o subformat=fixed" },
    };
    struct import_rig g;

    (void)state;
    irig_open(&g);
    uint8_t *disk = make_disk(&g);
    unsigned descriptors = count("/proc/self/fd");
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        irig_sh(&g, "qemu-img convert -f raw %s disk.raw disk", made[i][1]);
        if (irig_import_file(&g, "disk", -1, RIG_LIMIT) < 0)
            fail_msg("%s: %s", made[i][1], g.err.msg);
        assert_string_equal(g.result.format, made[i][0]);
        assert_true(g.result.data_bytes < 6 * MIB);
        irig_expect_disk(&g, disk, DISK_BYTES, DISK_BYTES);
        assert_int_equal(count("/proc/self/fd"), descriptors);
    }
    free(disk);
    irig_close(&g);
}

static void truncated_files_are_refused(void **state)
{
    static const struct {
        const char *how;
        unsigned length;
    } cases[] = {
        { "qcow2", 60 },
        { "qcow2", 100000 },
        { "qcow2", 300000 },
        { "qcow2", 2 * MIB },
        { "qcow2", 3400000 },
        { "vdi", 300 },
        { "vdi", 1500 },
        { "vdi", 2 * MIB },
        { "vdi -o static=on", 20 * MIB },
        { "vmdk", 1000 },
        { "vmdk", 90000 },
        { "vmdk", 2 * MIB },
        { "vmdk -o subformat=streamOptimized", 100000 },
        { "vhdx", 100000 },
        { "vhdx", 2 * MIB },
        { "vhdx -o subformat=fixed", 20 * MIB },
    };
    struct import_rig g;

    (void)state;
    irig_open(&g);
    free(make_disk(&g));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        irig_sh(&g, "qemu-img convert -f raw -O %s disk.raw whole && head -c %u whole >disk",
                cases[i].how, cases[i].length);
        int rc = irig_import_file(&g, "disk", -1, RIG_LIMIT);
        print_message("# %s %u: %s\n", cases[i].how, cases[i].length, g.err.msg);
        irig_expect_refused(&g, rc, -EINVAL, " file that ");
    }
    irig_close(&g);
}

static void files_that_name_others_are_refused(void **state)
{
    static const struct {
        const char *command, *words;
    } cases[] = {
        { "qemu-img create -q -f qcow2 -b disk.raw -F raw disk", "backing file" },
        { "qemu-img create -q -f qcow2 disk 4M && qemu-img rebase -q -u -f qcow2 -F raw "
          "-b 'json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}' disk",
          "backing file" },
        { "qemu-img create -q -f qcow2 -o data_file=data.raw disk 4M", "another file" },
        { "qemu-img create -q -f qcow2 -o data_file=data.raw,data_file_raw=on disk 4M",
          "another file" },
        { "qemu-img create -q -f qcow2 disk 4M && "
          "printf '\\1' | dd of=disk bs=1 seek=35 conv=notrunc status=none",
          "encrypted" },
        { "qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat disk.raw disk",
          "in other files" },
        { "qemu-img convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse disk.raw disk",
          "in other files" },
        { "qemu-img convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse disk.raw part.vmdk && "
          "mv part-s001.vmdk disk",
          "kind is not known" },
        { "qemu-img convert -f raw -O vmdk disk.raw disk && "
          "sed -i 's/parentCID=ffffffff/parentCID=12345678/' disk",
          "its parent" },
        { "qemu-img convert -f raw -O vmdk disk.raw disk && sed -i 's,SPARSE \"disk\",FLAT "
          "\"disk\"  ,' disk",
          "names other files" },
    };
    struct import_rig g;

    (void)state;
    irig_open(&g);
    free(make_disk(&g));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        irig_sh(&g, "rm -f disk; %s", cases[i].command);
        int rc = irig_import_file(&g, "disk", -1, RIG_LIMIT);
        irig_expect_refused(&g, rc, -EINVAL, cases[i].words);
    }
    irig_close(&g);
}

static void a_virtual_size_over_the_limit_is_refused(void **state)
{
    static const char *const formats[] = { "qcow2", "vmdk", "vdi", "vhdx" };
    struct import_rig g;

    (void)state;
    irig_open(&g);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        irig_sh(&g, "qemu-img create -q -f %s disk 1025G", formats[i]);
        irig_expect_refused(&g, irig_import_file(&g, "disk", -1, RIG_LIMIT), -EFBIG, "limit");
    }
    irig_close(&g);
}

/* Random damage: a disk or a refusal, never a hang, a crash or something left. */
static void damaged_files_end_in_one_of_two_ways(void **state)
{
    static const char *const formats[] = { "qcow2", "vmdk", "vdi", "vhdx" };
    struct import_rig g;
    unsigned seed = 7;

    (void)state;
    irig_open(&g);
    free(make_disk(&g));
    for (size_t i = 0; i < 4 * sizeof formats / sizeof *formats; i++) {
        char path[200];
        unsigned last = i % 4 == 3 ? 300000 : 1000;

        irig_sh(&g, "qemu-img convert -f raw -O %s disk.raw disk", formats[i / 4]);
        snprintf(path, sizeof path, "%s/disk", g.dir);
        FILE *f = fopen(path, "r+");
        assert_non_null(f);
        for (unsigned n = 0; n < 20; n++) {
            assert_int_equal(fseek(f, rand_r(&seed) % (long)last, SEEK_SET), 0);
            fputc(rand_r(&seed), f);
        }
        fclose(f);
        if (irig_import_file(&g, "disk", -1, RIG_LIMIT) == 0)
            assert_int_equal(layer_remove(g.store, g.result.layer, &g.err), 0);
        else
            irig_expect_refused(&g, g.err.code, g.err.code, "disk");
    }
    irig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_is_the_same_disk),
        cmocka_unit_test(truncated_files_are_refused),
        cmocka_unit_test(files_that_name_others_are_refused),
        cmocka_unit_test(a_virtual_size_over_the_limit_is_refused),
        cmocka_unit_test(damaged_files_end_in_one_of_two_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
