/* SPDX-License-Identifier: Apache-2.0 */
/* What a PC says of itself, read from a tree that looks like its /sys and /proc. */
#include "tests/unit/unit.h"

#include "hostside/machine.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Makes the folders on the way to it. */
static void put(const char *file, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", root, file);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_card(const char *name, const char *type, const char *mac, const char *bus)
{
    char path[256], target[64];

    snprintf(path, sizeof path, "sys/class/net/%s/type", name);
    put(path, type);
    snprintf(path, sizeof path, "sys/class/net/%s/address", name);
    put(path, mac);
    if (!bus)
        return;
    snprintf(path, sizeof path, "%s/sys/class/net/%s/device", root, name);
    mkdir(path, 0700);
    strcat(path, "/subsystem");
    snprintf(target, sizeof target, "../../../bus/%s", bus);
    assert_int_equal(symlink(target, path), 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/machine_test.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static void a_pc_with_two_cards_names_the_one_it_was_booted_from_first(void **state)
{
    struct contract_register r;

    (void)state;
    put("proc/cmdline", "console=hvc0 BOOTIF=01-52-54-00-AA-00-02 gridbox.token=x\n");
    put("proc/cpuinfo", "processor\t: 0\nmodel name\t: A CPU @ 2 GHz\nflags\t: x\n");
    put("sys/class/dmi/id/product_uuid", "AABBCCDD-0011-2233-4455-66778899AABB\n");
    put_card("eth0", "1\n", "52:54:00:aa:00:01\n", "pci");
    put_card("eth1", "1\n", "52:54:00:aa:00:02\n", "virtio");
    put_card("lo", "772\n", "00:00:00:00:00:00\n", NULL);
    put_card("br0", "1\n", "52:54:00:aa:00:02\n", NULL);
    put_card("vif1.0", "1\n", "fe:ff:ff:ff:ff:ff\n", "xen-backend");
    put_card("usb0", "1\n", "nonsense\n", "usb");
    assert_int_equal(machine_read(root, &r, NULL), 0);
    assert_int_equal(r.mac_count, 2);
    assert_string_equal(r.macs[0], "52:54:00:aa:00:02");
    assert_string_equal(r.macs[1], "52:54:00:aa:00:01");
    assert_string_equal(r.uuid, "aabbccdd-0011-2233-4455-66778899aabb");
    assert_string_equal(r.cpu, "A CPU @ 2 GHz");
}

static void without_bootif_and_smbios_it_says_what_it_can(void **state)
{
    struct contract_register r;

    (void)state;
    put("proc/cmdline", "quiet\n");
    put("sys/class/dmi/id/product_uuid", "none\n");
    put_card("eth0", "1\n", "52:54:00:aa:00:01\n", "pci");
    assert_int_equal(machine_read(root, &r, NULL), 0);
    assert_int_equal(r.mac_count, 1);
    assert_string_equal(r.uuid, "");
    assert_string_equal(r.cpu, "");
}

static void a_pc_without_a_card_is_an_error(void **state)
{
    struct contract_register r;

    (void)state;
    put_card("lo", "772\n", "00:00:00:00:00:00\n", NULL);
    assert_int_equal(machine_read(root, &r, NULL), -ENODEV);
}

static void a_made_up_pc_stays_the_same(void **state)
{
    struct contract_register a, b;

    (void)state;
    assert_int_equal(machine_made_up(root, &a, NULL), 0);
    assert_int_equal(machine_made_up(root, &b, NULL), 0);
    assert_string_equal(a.macs[0], b.macs[0]);
    assert_string_equal(a.uuid, b.uuid);
    assert_int_equal(strlen(a.uuid), 36);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pc_with_two_cards_names_the_one_it_was_booted_from_first),
        TEST(without_bootif_and_smbios_it_says_what_it_can),
        TEST(a_pc_without_a_card_is_an_error),
        TEST(a_made_up_pc_stays_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
