/* SPDX-License-Identifier: Apache-2.0 */
/* Runs in a network name space of its own, which goes with it. */
#include "server/boot/neigh.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "server/boot/interface.h"
#include "tests/unit/unit.h"

static unsigned lab0;

static int make_net(void **state)
{
    (void)state;
    /* Not root: a user name space gives the right to it. */
    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return -1;
    if (system("ip link add lab0 type veth peer name far0 &&"
               " ip address add 10.77.0.1/24 dev lab0 &&"
               " ip link set lab0 up && ip link set far0 up && ip link set lo up &&"
               " ip address add fd77::1/64 dev lab0 nodad &&"
               " ip neigh add 10.77.0.5 lladdr 52:54:00:AB:cd:05 dev lab0 nud reachable &&"
               " ip neigh add 10.77.0.6 lladdr 52:54:00:00:00:06 dev lab0 nud stale &&"
               " ip neigh add 10.77.0.7 lladdr 52:54:00:00:00:07 dev lab0 nud failed &&"
               " ip neigh add fd77::5 lladdr 52:54:00:00:00:15 dev lab0 nud permanent &&"
               " ip neigh add 10.78.0.8 lladdr 52:54:00:00:00:08 dev far0 nud permanent") != 0)
        return -1;
    lab0 = if_nametoindex("lab0");
    return lab0 ? 0 : -1;
}

static const struct {
    const char *address;
    const char *mac; /* NULL: none */
    int want;
} cases[] = {
    { "10.77.0.5", "52:54:00:ab:cd:05", 0 },
    { "::ffff:10.77.0.5", "52:54:00:ab:cd:05", 0 },
    { "10.77.0.6", "52:54:00:00:00:06", 0 },
    { "fd77::5", "52:54:00:00:00:15", 0 },
    { "10.77.0.7", NULL, -ENOENT },  /* did not answer */
    { "10.77.0.99", NULL, -ENOENT }, /* unknown */
    { "10.78.0.8", NULL, -ENOENT },  /* on another interface */
    { "10.77.0.1", NULL, -ENOENT },  /* ourselves */
    { "", NULL, -EINVAL },
    { "10.77.0", NULL, -EINVAL },
    { "localhost", NULL, -EINVAL },
};

static void an_address_has_the_mac_that_the_kernel_knows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char mac[NEIGH_MAC_SIZE] = "";
        struct err e = { 0 };
        assert_int_equal(neigh_find(lab0, cases[i].address, mac, &e), cases[i].want);
        assert_string_equal(mac, cases[i].mac ? cases[i].mac : "");
    }
}

static void an_interface_is_read(void **state)
{
    (void)state;
    struct boot_interface i;

    assert_int_equal(boot_interface_read("lab0", &i, NULL), 0);
    assert_string_equal(i.name, "lab0");
    assert_int_equal(i.index, lab0);
    assert_string_equal(i.text, "10.77.0.1");
    assert_int_equal(i.prefix, 24);
}

static void an_interface_that_does_not_do_is_refused_in_words(void **state)
{
    (void)state;
    struct boot_interface i;
    struct err e = { 0 };

    assert_int_equal(boot_interface_read("lab7", &i, &e), -ENODEV);
    assert_non_null(strstr(e.msg, "lab0"));
    assert_int_equal(boot_interface_read("far0", &i, &e), -EADDRNOTAVAIL);
    assert_non_null(strstr(e.msg, "ip address add"));
    assert_int_equal(boot_interface_read("a-name-that-is-too-long-for-linux", &i, &e), -ENODEV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_has_the_mac_that_the_kernel_knows),
        cmocka_unit_test(an_interface_is_read),
        cmocka_unit_test(an_interface_that_does_not_do_is_refused_in_words),
    };

    return cmocka_run_group_tests(tests, make_net, NULL);
}
