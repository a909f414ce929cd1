/* SPDX-License-Identifier: Apache-2.0 */
/* Runs in a network name space of its own, which goes with it. */
#include "server/boot/radv.h"

#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/boot/interface.h"
#include "tests/unit/unit.h"

#define DEADLINE_MS 5000

static struct boot_interface lab0;
static struct boot_radv *radv;
static int asker; /* a raw socket on the other end of the cable */

static int set(int option, int value)
{
    return setsockopt(asker, IPPROTO_IPV6, option, &value, sizeof value);
}

/* The cable carries only link-local addresses, as on an interface without IPv6 of its own. */
static int make_net(void **state)
{
    (void)state;
    struct icmp6_filter filter;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return -1;
    if (system("ip link add lab0 type veth peer name far0 &&"
               " sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.lab0.accept_dad=0"
               " net.ipv6.conf.far0.accept_dad=0 net.ipv6.conf.far0.router_solicitations=0"
               " net.ipv6.conf.far0.accept_ra=0 net.ipv6.conf.lab0.router_solicitations=0 &&"
               " ip address add 10.77.0.1/24 dev lab0 &&"
               " ip link set lab0 up && ip link set far0 up && ip link set lo up") != 0)
        return -1;
    if (boot_interface_read("lab0", &lab0, NULL) < 0 || boot_radv_open(&lab0, &radv, NULL) < 0)
        return -1;
    asker = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ND_ROUTER_ADVERT, &filter);
    if (asker < 0 || setsockopt(asker, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) < 0 ||
        setsockopt(asker, SOL_SOCKET, SO_BINDTODEVICE, "far0", 4) < 0 ||
        set(IPV6_RECVHOPLIMIT, 1) < 0)
        return -1;
    return 0;
}

static int end_net(void **state)
{
    (void)state;
    boot_radv_close(radv);
    close(asker);
    return 0;
}

static void send_to_routers(const void *packet, size_t length, int hops)
{
    struct sockaddr_in6 routers = { .sin6_family = AF_INET6,
                                    .sin6_addr = { .s6_addr = { 0xff, 0x02, [15] = 0x02 } },
                                    .sin6_scope_id = if_nametoindex("far0") };

    assert_int_equal(set(IPV6_MULTICAST_HOPS, hops), 0);
    assert_int_equal(sendto(asker, packet, length, 0, (struct sockaddr *)&routers, sizeof routers),
                     length);
}

static bool readable(int fd, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, ms) == 1;
}

static void a_solicitation_is_answered_by_a_router_that_routes_nothing(void **state)
{
    (void)state;
    struct nd_router_solicit ask = { .nd_rs_hdr = { .icmp6_type = ND_ROUTER_SOLICIT } };
    struct nd_router_advert got;

    send_to_routers(&ask, sizeof ask, 255);
    assert_true(readable(boot_radv_fd(radv), DEADLINE_MS));
    boot_radv_answer(radv);
    assert_true(readable(asker, DEADLINE_MS));
    assert_int_equal(recv(asker, &got, sizeof got, MSG_TRUNC), sizeof got); /* no options */
    assert_int_equal(got.nd_ra_type, ND_ROUTER_ADVERT);
    assert_int_equal(got.nd_ra_router_lifetime, 0);
    assert_int_equal(got.nd_ra_flags_reserved, 0); /* no DHCPv6 */
}

/* Each is dropped; then a good one is answered, once. */
static void what_is_no_solicitation_from_this_link_is_not_answered(void **state)
{
    (void)state;
    struct nd_router_solicit good = { .nd_rs_hdr = { .icmp6_type = ND_ROUTER_SOLICIT } };
    struct nd_router_solicit code = good;
    struct nd_router_advert got;
    code.nd_rs_hdr.icmp6_code = 1;

    send_to_routers(&good, sizeof good, 64); /* came over a router */
    send_to_routers(&code, sizeof code, 255);
    send_to_routers(&good, sizeof good - 4, 255); /* cut */
    send_to_routers(&good, sizeof good, 255);
    for (int i = 0; i < 4 && readable(boot_radv_fd(radv), 100); i++)
        boot_radv_answer(radv);
    assert_true(readable(asker, DEADLINE_MS));
    assert_int_equal(recv(asker, &got, sizeof got, 0), sizeof got);
    assert_false(readable(asker, 0));
}

static void nobody_asked_is_fine(void **state)
{
    (void)state;
    boot_radv_answer(radv);
    assert_false(readable(asker, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_solicitation_is_answered_by_a_router_that_routes_nothing),
        cmocka_unit_test(what_is_no_solicitation_from_this_link_is_not_answered),
        cmocka_unit_test(nobody_asked_is_fine),
    };

    return cmocka_run_group_tests(tests, make_net, end_net);
}
