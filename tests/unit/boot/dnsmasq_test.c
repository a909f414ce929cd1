/* SPDX-License-Identifier: Apache-2.0 */
#include "server/boot/dnsmasq.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/boot/interface.h"
#include "tests/unit/unit.h"

static struct boot_interface interface(const char *address, unsigned prefix)
{
    struct boot_interface i = { .name = "lab0", .index = 3, .prefix = prefix };

    assert_int_equal(inet_pton(AF_INET, address, &i.address), 1);
    snprintf(i.text, sizeof i.text, "%s", address);
    return i;
}

static const struct {
    const char *address;
    unsigned prefix;
    const char *range; /* as configured */
    const char *first, *last;
    int want;
} ranges[] = {
    { "10.77.0.1", 24, NULL, "10.77.0.10", "10.77.0.254", 0 },
    { "10.77.0.254", 24, NULL, "10.77.0.10", "10.77.0.253", 0 },
    { "10.77.0.100", 24, NULL, "10.77.0.101", "10.77.0.254", 0 },
    { "10.77.0.200", 24, NULL, "10.77.0.10", "10.77.0.199", 0 },
    { "10.77.0.1", 29, NULL, "10.77.0.2", "10.77.0.6", 0 },
    { "10.77.0.6", 29, NULL, "10.77.0.1", "10.77.0.5", 0 },
    { "10.77.0.1", 30, NULL, NULL, NULL, -ERANGE },
    { "10.77.0.1", 32, NULL, NULL, NULL, -ERANGE },
    { "10.0.0.1", 8, NULL, "10.0.0.10", "10.0.78.41", 0 },
    { "10.77.0.1", 24, "10.77.0.100-10.77.0.199", "10.77.0.100", "10.77.0.199", 0 },
    { "10.77.0.1", 24, "10.77.0.100-10.77.0.100", "10.77.0.100", "10.77.0.100", 0 },
    { "10.77.0.1", 24, "10.77.0.199-10.77.0.100", NULL, NULL, -EINVAL },
    { "10.77.0.1", 24, "10.77.1.100-10.77.1.199", NULL, NULL, -EINVAL },
    { "10.77.0.1", 24, "10.77.0.100-10.77.1.199", NULL, NULL, -EINVAL },
    { "10.77.0.1", 24, "10.77.0.1-10.77.0.199", NULL, NULL, -EINVAL },
    { "10.77.0.1", 24, "10.77.0.100", NULL, NULL, -EINVAL },
    { "10.77.0.9", 24, "10.77.0.0-10.77.0.5", NULL, NULL, -EINVAL },
    { "10.77.0.9", 24, "10.77.0.200-10.77.0.255", NULL, NULL, -EINVAL },
    { "10.77.0.1", 24, "", NULL, NULL, -EINVAL },
    { "10.77.0.1", 24, "10.77.0.100-10.77.0.199,1h", NULL, NULL, -EINVAL },
    { "10.77.0.1", 24, "a-b", NULL, NULL, -EINVAL },
};

static void a_range_is_derived_or_checked(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof ranges / sizeof ranges[0]; n++) {
        struct boot_interface i = interface(ranges[n].address, ranges[n].prefix);
        struct boot_range r;
        struct err e = { 0 };
        char first[INET_ADDRSTRLEN], last[INET_ADDRSTRLEN];

        assert_int_equal(boot_range_read(ranges[n].range, &i, &r, &e), ranges[n].want);
        if (ranges[n].want < 0) {
            assert_int_not_equal(e.msg[0], '\0');
            continue;
        }
        assert_string_equal(inet_ntop(AF_INET, &r.first, first, sizeof first), ranges[n].first);
        assert_string_equal(inet_ntop(AF_INET, &r.last, last, sizeof last), ranges[n].last);
    }
}

static const char *conf(struct boot_dnsmasq *d, const struct boot_interface *i, struct buf *b)
{
    d->interface = i;
    d->lease_seconds = 3600;
    d->http_port = 8420;
    d->user = "dnsmasq";
    d->pid_file = "/s/pid";
    d->lease_file = "/s/leases";
    d->tftp_dir = "/t";
    if (!d->proxy)
        assert_int_equal(boot_range_read(NULL, i, &d->range, NULL), 0);
    buf_init(b, 8192);
    assert_int_equal(boot_dnsmasq_conf(d, b, NULL), 0);
    return buf_text(b);
}

static void dhcp_gives_addresses_and_the_loader_that_fits(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_interface i = interface("10.77.0.1", 24);
    struct boot_dnsmasq d = { .router = "10.77.0.9" };
    const char *text = conf(&d, &i, &b);

    assert_non_null(strstr(text, "\nport=0\ninterface=lab0\n"));
    assert_non_null(strstr(text, "\ntftp-root=\"/t\"\n"));
    assert_non_null(strstr(text, "\ndhcp-range=10.77.0.10,10.77.0.254,255.255.255.0,3600\n"));
    assert_non_null(strstr(text, "\ndhcp-option=option:router,10.77.0.9\n"));
    assert_non_null(strstr(text, "\ndhcp-option=option:dns-server\n"));
    assert_non_null(strstr(text, "\ndhcp-boot=tag:!ipxe,tag:efi,ipxe.efi\n"));
    assert_non_null(strstr(text, "\ndhcp-boot=tag:!ipxe,tag:!efi,tag:!alien,undionly.kpxe\n"));
    assert_non_null(strstr(text, "\ndhcp-boot=tag:ipxe,http://10.77.0.1:8420/boot/start.ipxe\n"));
    assert_null(strstr(text, "proxy"));
}

static void beside_another_server_no_address_is_given(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b;
    struct boot_interface i = interface("192.168.7.130", 25);
    struct boot_dnsmasq d = { .proxy = true };
    const char *text = conf(&d, &i, &b);

    assert_non_null(strstr(text, "\ndhcp-range=192.168.7.128,proxy,255.255.255.128\n"));
    assert_non_null(strstr(text, "\npxe-service=tag:!ipxe,x86PC,\"Gridbox\",undionly.kpxe\n"));
    assert_non_null(strstr(
        text, "\ndhcp-boot=tag:ipxe,http://192.168.7.130:8420/boot/start.ipxe,,192.168.7.130\n"));
    assert_null(strstr(text, "dhcp-authoritative"));
    assert_null(strstr(text, "option:router"));
}

static void a_path_that_dnsmasq_cannot_read_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "/s/\"x", "/s/x\n", "/s\\x" };
    struct boot_interface i = interface("10.77.0.1", 24);

    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        AUTO(buf_done) struct buf b;
        struct err e = { 0 };
        struct boot_dnsmasq d = { .interface = &i,
                                  .user = "nobody",
                                  .pid_file = "/s/pid",
                                  .lease_file = bad[n],
                                  .tftp_dir = "/t" };
        buf_init(&b, 8192);
        assert_int_equal(boot_dnsmasq_conf(&d, &b, &e), -EINVAL);
        assert_int_equal(b.length, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_derived_or_checked),
        cmocka_unit_test(dhcp_gives_addresses_and_the_loader_that_fits),
        cmocka_unit_test(beside_another_server_no_address_is_given),
        cmocka_unit_test(a_path_that_dnsmasq_cannot_read_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
