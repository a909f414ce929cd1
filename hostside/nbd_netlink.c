/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the messages of the kernel's NBD family, and their settings.
 * Must never know: handshakes, sysfs, when a link is replaced. */
#include "hostside/nbd_netlink.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "server/base/auto.h"

#define LOGICAL_BLOCK 512u
#define NO_TIMEOUT    0u                           /* no request fails because the server is slow */
#define DEAD_CONN_S   (UINT64_C(10) * 365 * 86400) /* nor because it is away */
#define ANSWER_MAX    4096u                        /* bytes; the kernel's are below 1,000 */
#define ANSWER_S      10                           /* the kernel answers within milliseconds */

/* ---- building ---- */

static struct nlmsghdr *start(void *room, uint16_t family, uint8_t command)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(room);
    struct genlmsghdr *head = mnl_nlmsg_put_extra_header(message, sizeof *head);

    message->nlmsg_type = family;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    message->nlmsg_seq = (uint32_t)time(NULL);
    head->cmd = command;
    head->version = NBD_GENL_VERSION;
    return message;
}

static void put_socket(struct nlmsghdr *message, int fd)
{
    struct nlattr *list = mnl_attr_nest_start(message, NBD_ATTR_SOCKETS);
    struct nlattr *item = mnl_attr_nest_start(message, NBD_SOCK_ITEM);

    mnl_attr_put_u32(message, NBD_SOCK_FD, (uint32_t)fd);
    mnl_attr_nest_end(message, item);
    mnl_attr_nest_end(message, list);
}

/* Without NBD_ATTR_INDEX the kernel picks a free device or makes one. */
struct nlmsghdr *nbdnl_build_connect(void *room, uint16_t family, const struct nbdnl_link *link)
{
    struct nlmsghdr *message = start(room, family, NBD_CMD_CONNECT);

    mnl_attr_put_u64(message, NBD_ATTR_SIZE_BYTES, link->size_bytes);
    mnl_attr_put_u64(message, NBD_ATTR_BLOCK_SIZE_BYTES, LOGICAL_BLOCK);
    mnl_attr_put_u64(message, NBD_ATTR_SERVER_FLAGS, link->flags);
    mnl_attr_put_u64(message, NBD_ATTR_TIMEOUT, NO_TIMEOUT);
    mnl_attr_put_u64(message, NBD_ATTR_DEAD_CONN_TIMEOUT, DEAD_CONN_S);
    mnl_attr_put_strz(message, NBD_ATTR_BACKEND_IDENTIFIER, link->identifier);
    put_socket(message, link->fd);
    return message;
}

/* No NBD_ATTR_TIMEOUT here: it would set io_timeout back to 30 s. */
struct nlmsghdr *nbdnl_build_reconfigure(void *room, uint16_t family, unsigned index,
                                         const struct nbdnl_link *link)
{
    struct nlmsghdr *message = start(room, family, NBD_CMD_RECONFIGURE);

    mnl_attr_put_u32(message, NBD_ATTR_INDEX, index);
    mnl_attr_put_strz(message, NBD_ATTR_BACKEND_IDENTIFIER, link->identifier);
    put_socket(message, link->fd);
    return message;
}

struct nlmsghdr *nbdnl_build_disconnect(void *room, uint16_t family, unsigned index)
{
    struct nlmsghdr *message = start(room, family, NBD_CMD_DISCONNECT);

    mnl_attr_put_u32(message, NBD_ATTR_INDEX, index);
    return message;
}

/* ---- reading ---- */

static int take_index(const struct nlattr *attr, void *arg)
{
    if (mnl_attr_get_type(attr) == NBD_ATTR_INDEX && mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
        *(int64_t *)arg = mnl_attr_get_u32(attr);
    return MNL_CB_OK;
}

static int64_t index_in(const struct nlmsghdr *message)
{
    int64_t index = -1;

    mnl_attr_parse(message, sizeof(struct genlmsghdr), take_index, &index);
    return index;
}

unsigned nbdnl_parse_dead(const void *bytes, size_t length, uint16_t family, unsigned *ret_index,
                          unsigned max)
{
    const struct nlmsghdr *message = bytes;
    int left = (int)length;
    unsigned count = 0;

    for (; mnl_nlmsg_ok(message, left) && count < max; message = mnl_nlmsg_next(message, &left)) {
        const struct genlmsghdr *head = mnl_nlmsg_get_payload(message);
        int64_t index;

        if (message->nlmsg_type != family || mnl_nlmsg_get_payload_len(message) < sizeof *head ||
            head->cmd != NBD_CMD_LINK_DEAD)
            continue;
        index = index_in(message);
        if (index >= 0)
            ret_index[count++] = (unsigned)index;
    }
    return count;
}

/* ---- talking ---- */

static void auto_mnl_close(struct mnl_socket **s)
{
    if (*s)
        mnl_socket_close(*s);
}

static struct mnl_socket *open_socket(void)
{
    struct mnl_socket *s = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
    struct timeval limit = { .tv_sec = ANSWER_S };

    if (!s)
        return NULL;
    if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
        setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0) {
        int saved = errno;

        mnl_socket_close(s);
        errno = saved;
        return NULL;
    }
    return s;
}

/* Sends one message and gives every message of the answer to take(), until the kernel's
 * acknowledgement.  0 or -errno of the kernel. */
static int ask(struct nlmsghdr *message, mnl_cb_t take, void *arg)
{
    AUTO(auto_mnl_close) struct mnl_socket *s = open_socket();
    char answer[ANSWER_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    unsigned port;
    int rc = MNL_CB_OK;

    if (!s)
        return -errno;
    port = mnl_socket_get_portid(s);
    if (mnl_socket_sendto(s, message, message->nlmsg_len) < 0)
        return -errno;
    while (rc > MNL_CB_STOP) {
        ssize_t length = mnl_socket_recvfrom(s, answer, sizeof answer);

        if (length < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        rc = mnl_cb_run(answer, (size_t)length, message->nlmsg_seq, port, take, arg);
    }
    return rc < 0 ? -errno : 0;
}

static int ignore_message(const struct nlmsghdr *message, void *arg)
{
    (void)message, (void)arg;
    return MNL_CB_OK;
}

/* ---- the family ---- */

struct group {
    const char *name;
    uint32_t id;
};

static int take_group_field(const struct nlattr *attr, void *arg)
{
    struct group *g = arg;

    if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_NAME &&
        mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0)
        g->name = mnl_attr_get_str(attr);
    if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GRP_ID &&
        mnl_attr_validate(attr, MNL_TYPE_U32) == 0)
        g->id = mnl_attr_get_u32(attr);
    return MNL_CB_OK;
}

static int take_group(const struct nlattr *attr, void *arg)
{
    struct nbdnl *nl = arg;
    struct group g = { 0 };

    mnl_attr_parse_nested(attr, take_group_field, &g);
    if (g.name && strcmp(g.name, NBD_GENL_MCAST_GROUP_NAME) == 0)
        nl->dead_group = g.id;
    return MNL_CB_OK;
}

static int take_family_attr(const struct nlattr *attr, void *arg)
{
    struct nbdnl *nl = arg;

    if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID &&
        mnl_attr_validate(attr, MNL_TYPE_U16) == 0)
        nl->family = mnl_attr_get_u16(attr);
    if (mnl_attr_get_type(attr) == CTRL_ATTR_MCAST_GROUPS)
        mnl_attr_parse_nested(attr, take_group, nl);
    return MNL_CB_OK;
}

static int take_family(const struct nlmsghdr *message, void *arg)
{
    mnl_attr_parse(message, sizeof(struct genlmsghdr), take_family_attr, arg);
    return MNL_CB_OK;
}

int nbdnl_open(struct nbdnl *ret, struct err *e)
{
    char room[NBDNL_MESSAGE_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nlmsghdr *message = start(room, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
    struct nbdnl nl = { 0 };
    int rc;

    mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME);
    rc = ask(message, take_family, &nl);
    if (rc == -ENOENT)
        return err_set(e, rc, "the kernel has no network block devices: `modprobe nbd` first");
    if (rc < 0)
        return err_set(e, rc, "look for the kernel's NBD: %s", strerror(-rc));
    if (!nl.family || !nl.dead_group)
        return err_set(e, -EPROTO, "the kernel's NBD family lacks its id or its group");
    *ret = nl;
    return 0;
}

/* ---- orders ---- */

static int take_connected(const struct nlmsghdr *message, void *arg)
{
    *(int64_t *)arg = index_in(message);
    return MNL_CB_OK;
}

int nbdnl_connect(const struct nbdnl *nl, const struct nbdnl_link *link, unsigned *ret_index,
                  struct err *e)
{
    char room[NBDNL_MESSAGE_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    int64_t index = -1;
    int rc = ask(nbdnl_build_connect(room, nl->family, link), take_connected, &index);

    if (rc < 0)
        return err_set(e, rc, "kernel: connect '%s': %s", link->identifier, strerror(-rc));
    if (index < 0)
        return err_set(e, -EPROTO, "kernel: connect '%s': did not say which device",
                       link->identifier);
    *ret_index = (unsigned)index;
    return 0;
}

int nbdnl_reconfigure(const struct nbdnl *nl, unsigned index, const struct nbdnl_link *link,
                      struct err *e)
{
    char room[NBDNL_MESSAGE_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    int rc = ask(nbdnl_build_reconfigure(room, nl->family, index, link), ignore_message, NULL);

    return rc < 0 ? err_set(e, rc, "kernel: reconnect nbd%u: %s", index, strerror(-rc)) : 0;
}

int nbdnl_disconnect(const struct nbdnl *nl, unsigned index, struct err *e)
{
    char room[NBDNL_MESSAGE_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    int rc = ask(nbdnl_build_disconnect(room, nl->family, index), ignore_message, NULL);

    return rc < 0 ? err_set(e, rc, "kernel: disconnect nbd%u: %s", index, strerror(-rc)) : 0;
}

int nbdnl_listen(const struct nbdnl *nl, int *ret_fd, struct err *e)
{
    AUTO(auto_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    struct sockaddr_nl any = { .nl_family = AF_NETLINK };

    if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof any) < 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &nl->dead_group,
                   sizeof nl->dead_group) < 0)
        return err_errno(e, "listen for dead links");
    *ret_fd = take_fd(&fd);
    return 0;
}

int nbdnl_read_dead(const struct nbdnl *nl, int fd, unsigned *ret_index, unsigned max)
{
    char bytes[ANSWER_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct sockaddr_nl from;
    socklen_t from_size = sizeof from;
    ssize_t length = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &from_size);

    if (length < 0)
        return -errno;
    if (from_size != sizeof from || from.nl_pid != 0)
        return 0; /* only the kernel knows */
    return (int)nbdnl_parse_dead(bytes, (size_t)length, nl->family, ret_index, max);
}
