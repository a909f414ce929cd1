/* SPDX-License-Identifier: Apache-2.0 */
#include "server/boot/script.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "tests/unit/unit.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

static const struct boot_server server = { .address = "10.77.0.1", .http_port = 8420 };

static struct boot_request request(bool efi, const char *chip)
{
    struct boot_request r = { .mac = "52:54:00:12:34:56", .efi = efi };

    snprintf(r.chip, sizeof r.chip, "%s", chip);
    return r;
}

static const char *script(enum boot_kind kind, const struct boot_server *s,
                          const struct boot_request *r, struct buf *b)
{
    buf_init(b, BOOT_SCRIPT_MAX);
    boot_script(kind, s, r, TOKEN, b);
    const char *text = buf_text(b);
    assert_non_null(text);
    return text;
}

static const struct {
    const char *mac, *platform;
    const char *want; /* the MAC, or NULL: refused */
    bool efi;
} queries[] = {
    { "52:54:00:12:34:56", "pcbios", "52:54:00:12:34:56", false },
    { "52-54-00-AB-CD-EF", "efi", "52:54:00:ab:cd:ef", true },
    { "52:54:00:12:34:5", "efi", NULL, false },
    { "52:54:00:12:34:567", "efi", NULL, false },
    { "52:54:00:12:34:5g", "efi", NULL, false },
    { "52:54.00:12:34:56", "efi", NULL, false },
    { "53:54:00:12:34:56", "efi", NULL, false }, /* a group */
    { "00:00:00:00:00:00", "efi", NULL, false },
    { "", "efi", NULL, false },
    { NULL, "efi", NULL, false },
    { "52:54:00:12:34:56", "arm", NULL, false },
    { "52:54:00:12:34:56", NULL, NULL, false },
    { "52:54:00:12:34:56\n", "efi", NULL, false },
};

static void a_query_is_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct boot_request r;
        struct err e = { 0 };
        int rc = boot_request_read(queries[i].mac, "e1000", queries[i].platform, &r, &e);
        assert_int_equal(rc, queries[i].want ? 0 : -EINVAL);
        if (!queries[i].want)
            continue;
        assert_string_equal(r.mac, queries[i].want);
        assert_int_equal(r.efi, queries[i].efi);
        assert_string_equal(r.chip, "e1000");
    }
}

static void a_long_chip_is_cut(void **state)
{
    (void)state;
    struct boot_request r;
    char chip[300];
    memset(chip, 'x', sizeof chip - 1);
    chip[sizeof chip - 1] = '\0';

    assert_int_equal(boot_request_read("52:54:00:12:34:56", chip, "efi", &r, NULL), 0);
    assert_int_equal(strlen(r.chip), sizeof r.chip - 1);
}

static void who_chains_undionly_does_so_once(void **state)
{
    (void)state;
    struct boot_request card = request(false, "82540em"), rom = request(false, "undionly");
    struct boot_request efi = request(true, "82540em");

    assert_int_equal(boot_decide(&card, BOOT_LOADER_UNDIONLY), BOOT_CHAIN);
    assert_int_equal(boot_decide(&rom, BOOT_LOADER_UNDIONLY), BOOT_BIOS);
    assert_int_equal(boot_decide(&card, BOOT_LOADER_AUTO), BOOT_BIOS);
    assert_int_equal(boot_decide(&rom, BOOT_LOADER_AUTO), BOOT_BIOS);
    assert_int_equal(boot_decide(&efi, BOOT_LOADER_UNDIONLY), BOOT_EFI);
    assert_int_equal(boot_decide(&efi, BOOT_LOADER_AUTO), BOOT_EFI);
}

static void a_bios_gets_xen_kernel_and_image_in_this_order(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_request r = request(false, "82540em");

    assert_string_equal(
        script(BOOT_BIOS, &server, &r, &b),
        "#!ipxe\n"
        "imgfree\n"
        "echo Gridbox: 52:54:00:12:34:56 boots Xen and dom0 from 10.77.0.1\n"
        "kernel http://10.77.0.1:8420/boot/xen dom0_mem=512M,max:512M dom0_max_vcpus=1-2"
        " com1=115200,8n1 console=com1,vga || exit 1\n"
        "module http://10.77.0.1:8420/boot/vmlinuz console=tty0 console=hvc0 nomodeset"
        " gridbox.server=http://10.77.0.1:8420 gridbox.token=" TOKEN
        " BOOTIF=01-52-54-00-12-34-56 || exit 1\n"
        "module http://10.77.0.1:8420/boot/dom0.img || exit 1\n"
        "boot || exit 1\n");
}

static void uefi_gets_xen_without_an_argument(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_request r = request(true, "82540em");
    const char *text = script(BOOT_EFI, &server, &r, &b);

    assert_non_null(strstr(text, "\nkernel http://10.77.0.1:8420/boot/xen.efi || exit 1\n"));
    assert_non_null(strstr(text, "\ninitrd --name xen.cfg http://10.77.0.1:8420/boot/xen.cfg"
                                 "?mac=52:54:00:12:34:56&token=" TOKEN " || exit 1\n"));
    assert_non_null(strstr(text, "\ninitrd --name vmlinuz "));
    assert_non_null(strstr(text, "\ninitrd --name dom0.img "));
}

static void xen_cfg_has_the_same_options(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_request r = request(true, "82540em");

    buf_init(&b, BOOT_SCRIPT_MAX);
    boot_xen_cfg(&server, &r, TOKEN, &b);
    assert_string_equal(buf_text(&b),
                        "[global]\n"
                        "default=dom0\n"
                        "\n"
                        "[dom0]\n"
                        "options=dom0_mem=512M,max:512M dom0_max_vcpus=1-2 com1=115200,8n1"
                        " console=com1,vga\n"
                        "kernel=vmlinuz console=tty0 console=hvc0 nomodeset"
                        " gridbox.server=http://10.77.0.1:8420 gridbox.token=" TOKEN
                        " BOOTIF=01-52-54-00-12-34-56\n"
                        "ramdisk=dom0.img\n");
}

static void debugging_gives_dom0_a_shell(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_server s = { .address = "10.77.0.1", .http_port = 8420, .debug = true };
    struct boot_request r = request(false, "82540em");

    assert_non_null(strstr(script(BOOT_BIOS, &s, &r, &b), " gridbox.debug || exit 1\n"));
}

static void the_chain_carries_no_token(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_request r = request(false, "82540em");
    const char *text = script(BOOT_CHAIN, &server, &r, &b);

    assert_non_null(strstr(text, "\nchain tftp://10.77.0.1/undionly.kpxe\n"));
    assert_null(strstr(text, TOKEN));
}

/* What iPXE keeps of a `kernel` or `module` line: all behind the first word, and a NUL. */
static size_t multiboot_bytes(const char *text)
{
    size_t bytes = 0;

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "kernel ", 7) != 0 && strncmp(line, "module ", 7) != 0)
            continue;
        bytes += (size_t)(strstr(line, " || ") - line) - 7 + 1;
    }
    return bytes;
}

static void the_longest_command_lines_fit_into_ipxe(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_server s = { .address = "255.255.255.255", .http_port = 65535, .debug = true };
    struct boot_request r = request(false, "82540em");
    size_t bytes = multiboot_bytes(script(BOOT_BIOS, &s, &r, &b));

    assert_in_range(bytes, 300, BOOT_MULTIBOOT_MAX);
}

static void the_first_script_tries_for_ever(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;

    const struct boot_server s = { .address = "10.77.0.1", .http_port = 8420 };
    buf_init(&b, BOOT_SCRIPT_MAX);
    boot_script_start(&s, &b);
    const char *text = buf_text(&b);
    assert_int_equal(strncmp(text, "#!ipxe\n:again\nchain ", 20), 0);
    assert_non_null(strstr(text, "chain --autofree http://10.77.0.1:8420/boot/ipxe?"
                                 "mac=${netX/mac:hexhyp}&uuid=${uuid}&chip=${netX/chip:uristring}"
                                 "&platform=${platform} ||\n"));
    assert_non_null(strstr(text, "\ngoto again\n"));
}

static void a_refusal_cannot_smuggle_commands(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;

    buf_init(&b, BOOT_SCRIPT_MAX);
    boot_script_refusal("no: ${net0/ip}\nshell && `x`", &b);
    assert_string_equal(buf_text(&b),
                        "#!ipxe\necho Gridbox: no: ??net0/ip??shell ?? ?x?\nexit 1\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_is_checked),
        cmocka_unit_test(a_long_chip_is_cut),
        cmocka_unit_test(who_chains_undionly_does_so_once),
        cmocka_unit_test(a_bios_gets_xen_kernel_and_image_in_this_order),
        cmocka_unit_test(uefi_gets_xen_without_an_argument),
        cmocka_unit_test(xen_cfg_has_the_same_options),
        cmocka_unit_test(debugging_gives_dom0_a_shell),
        cmocka_unit_test(the_chain_carries_no_token),
        cmocka_unit_test(the_longest_command_lines_fit_into_ipxe),
        cmocka_unit_test(the_first_script_tries_for_ever),
        cmocka_unit_test(a_refusal_cannot_smuggle_commands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
