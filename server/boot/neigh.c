/* SPDX-License-Identifier: Apache-2.0 */
/* neigh - one question to rtnetlink (RTM_GETNEIGH) and its answer.  rtnetlink(7). */
#include "server/boot/neigh.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "server/base/auto.h"

#define USABLE (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT)

struct address {
    uint8_t family;
    uint16_t length;
    uint8_t bytes[16];
};

static bool read_address(const char *text, struct address *ret)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    struct address a = { .family = AF_INET, .length = 4 };

    if (inet_pton(AF_INET, text, a.bytes) == 1) {
        *ret = a;
        return true;
    }
    a = (struct address){ .family = AF_INET6, .length = 16 };
    if (inet_pton(AF_INET6, text, a.bytes) != 1)
        return false;
    if (memcmp(a.bytes, mapped, sizeof mapped) == 0) {
        memmove(a.bytes, a.bytes + 12, 4);
        a.family = AF_INET;
        a.length = 4;
    }
    *ret = a;
    return true;
}

struct question {
    struct nlmsghdr head;
    struct ndmsg neigh;
    struct rtattr attr;
    uint8_t address[16];
};

static int ask(int fd, unsigned index, const struct address *a, struct err *e)
{
    size_t length = offsetof(struct question, address) + a->length;
    struct question q = {
        .head = { .nlmsg_len = (uint32_t)length,
                  .nlmsg_type = RTM_GETNEIGH,
                  .nlmsg_flags = NLM_F_REQUEST,
                  .nlmsg_seq = 1 },
        .neigh = { .ndm_family = a->family, .ndm_ifindex = (int)index },
        .attr = { .rta_len = (uint16_t)RTA_LENGTH(a->length), .rta_type = NDA_DST },
    };

    memcpy(q.address, a->bytes, a->length);
    if (send(fd, &q, length, 0) != (ssize_t)length)
        return err_errno(e, "ask for a neighbour");
    return 0;
}

/* One attribute: its payload at *ret_data; the length until the next one.  0 = no more. */
static size_t attribute(const uint8_t *at, size_t left, uint16_t *ret_type,
                        const uint8_t **ret_data, size_t *ret_length)
{
    struct rtattr head;

    if (left < sizeof head)
        return 0;
    memcpy(&head, at, sizeof head);
    if (head.rta_len < sizeof head || head.rta_len > left)
        return 0;
    *ret_type = head.rta_type;
    *ret_data = at + sizeof head;
    *ret_length = head.rta_len - sizeof head;
    size_t step = RTA_ALIGN((size_t)head.rta_len);
    return step < left ? step : left;
}

static int read_neigh(const uint8_t *body, size_t length, char *ret_mac, struct err *e)
{
    struct ndmsg neigh;

    if (length < sizeof neigh)
        return err_set(e, -EIO, "the kernel's answer about a neighbour is too short");
    memcpy(&neigh, body, sizeof neigh);
    if (!(neigh.ndm_state & USABLE))
        return err_set(e, -ENOENT, "the neighbour is not resolved");

    const uint8_t *data;
    uint16_t type;
    size_t bytes, step;
    for (size_t at = sizeof neigh;
         at < length && (step = attribute(body + at, length - at, &type, &data, &bytes));
         at += step)
        if (type == NDA_LLADDR && bytes == ETH_ALEN) {
            snprintf(ret_mac, NEIGH_MAC_SIZE, "%02x:%02x:%02x:%02x:%02x:%02x", data[0], data[1],
                     data[2], data[3], data[4], data[5]);
            return 0;
        }
    return err_set(e, -ENOENT, "the neighbour has no MAC address");
}

static int answer(int fd, char *ret_mac, struct err *e)
{
    uint8_t bytes[2048];
    struct nlmsghdr head;
    struct nlmsgerr error;
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);

    if (got < 0)
        return err_errno(e, "ask for a neighbour");
    if ((size_t)got < sizeof head)
        return err_set(e, -EIO, "the kernel's answer about a neighbour is too short");
    memcpy(&head, bytes, sizeof head);
    if (head.nlmsg_len < sizeof head || head.nlmsg_len > (size_t)got)
        return err_set(e, -EIO, "the kernel's answer about a neighbour has a wrong length");
    size_t body = head.nlmsg_len - sizeof head;

    if (head.nlmsg_type == RTM_NEWNEIGH)
        return read_neigh(bytes + sizeof head, body, ret_mac, e);
    if (head.nlmsg_type != NLMSG_ERROR || body < sizeof error)
        return err_set(e, -EIO, "the kernel's answer about a neighbour is none");
    memcpy(&error, bytes + sizeof head, sizeof error);
    if (error.error == 0)
        return err_set(e, -EIO, "the kernel's answer about a neighbour is none");
    return err_set(e, error.error, "no such neighbour: %s", strerror(-error.error));
}

int neigh_find(unsigned interface_index, const char *address, char ret_mac[static NEIGH_MAC_SIZE],
               struct err *e)
{
    struct address a;

    if (!read_address(address, &a))
        return err_set(e, -EINVAL, "'%.40s' is not a numeric address", address);
    AUTO(auto_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return err_errno(e, "open a netlink socket");

    struct timeval limit = { .tv_sec = 1 }; /* the kernel answers within the call */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    int rc = ask(fd, interface_index, &a, e);
    return rc < 0 ? rc : answer(fd, ret_mac, e);
}
