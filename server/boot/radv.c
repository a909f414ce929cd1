/* SPDX-License-Identifier: Apache-2.0 */
/* radv - one raw ICMPv6 socket: solicitations in, the same advertisement out. */
#include "server/boot/radv.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "server/base/auto.h"
#include "server/boot/interface.h"

#define BATCH 64 /* solicitations answered in one go */

struct boot_radv {
    int fd;
    unsigned index; /* of the interface */
};

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

static int set_up(int fd, const struct boot_interface *i)
{
    static const struct in6_addr routers = { .s6_addr = { 0xff, 0x02, [15] = 0x02 } };
    struct ipv6_mreq group = { .ipv6mr_multiaddr = routers, .ipv6mr_interface = i->index };
    struct icmp6_filter filter;

    ICMP6_FILTER_SETBLOCKALL(&filter);
    ICMP6_FILTER_SETPASS(ND_ROUTER_SOLICIT, &filter);
    if (setsockopt(fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof filter) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, i->name, (socklen_t)strlen(i->name)) < 0 ||
        set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1) < 0 ||
        set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255) < 0 ||
        set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255) < 0 ||
        set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, (int)i->index) < 0 ||
        set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0) < 0 ||
        setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &group, sizeof group) < 0)
        return -errno;
    return 0;
}

int boot_radv_open(const struct boot_interface *i, struct boot_radv **ret, struct err *e)
{
    AUTO(auto_close)
    int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6);
    if (fd < 0)
        return err_errno(e, "router advertisements: open a socket");
    int rc = set_up(fd, i);
    if (rc < 0)
        return err_set(e, rc, "router advertisements on %s: %s", i->name, strerror(-rc));

    struct boot_radv *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(e, -ENOMEM, "router advertisements: out of memory");
    *r = (struct boot_radv){ .fd = take_fd(&fd), .index = i->index };
    *ret = r;
    return 0;
}

void boot_radv_close(struct boot_radv *r)
{
    if (!r)
        return;
    close(r->fd);
    free(r);
}

int boot_radv_fd(const struct boot_radv *r)
{
    return r->fd;
}

/* Came over this link and no router: only then the hop limit is still 255. */
static bool from_the_link(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        int hops;
        if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_HOPLIMIT)
            continue;
        memcpy(&hops, CMSG_DATA(c), sizeof hops);
        return hops == 255;
    }
    return false;
}

static void advertise(const struct boot_radv *r, const struct sockaddr_in6 *asker)
{
    static const struct in6_addr everybody = { .s6_addr = { 0xff, 0x02, [15] = 0x01 } };
    struct nd_router_advert advert = { .nd_ra_hdr = { .icmp6_type = ND_ROUTER_ADVERT } };
    struct sockaddr_in6 to = { .sin6_family = AF_INET6,
                               .sin6_addr = asker->sin6_addr,
                               .sin6_scope_id = r->index };

    if (IN6_IS_ADDR_UNSPECIFIED(&to.sin6_addr))
        to.sin6_addr = everybody;
    /* One that is lost is asked for again. */
    (void)sendto(r->fd, &advert, sizeof advert, 0, (struct sockaddr *)&to, sizeof to);
}

void boot_radv_answer(struct boot_radv *r)
{
    for (int n = 0; n < BATCH; n++) {
        uint8_t packet[512];
        _Alignas(struct cmsghdr) uint8_t control[64];
        struct sockaddr_in6 from = { 0 };
        struct iovec v = { .iov_base = packet, .iov_len = sizeof packet };
        struct msghdr m = { .msg_name = &from,
                            .msg_namelen = sizeof from,
                            .msg_iov = &v,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof control };
        ssize_t got = recvmsg(r->fd, &m, 0);
        if (got < 0)
            return;
        if (got < (ssize_t)sizeof(struct nd_router_solicit) || packet[0] != ND_ROUTER_SOLICIT ||
            packet[1] != 0 || !from_the_link(&m))
            continue;
        advertise(r, &from);
    }
}
