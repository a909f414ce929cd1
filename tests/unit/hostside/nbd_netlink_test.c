/* SPDX-License-Identifier: Apache-2.0 */
/* The messages to the kernel's NBD, attribute by attribute, and what is read from its own. */
#include "tests/unit/unit.h"

#include "hostside/nbd_netlink.h"

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <string.h>

#define FAMILY 31

struct room {
    char bytes[NBDNL_MESSAGE_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static const struct nbdnl_link link_7 = {
    .fd = 7, .identifier = "v0.1.2", .size_bytes = UINT64_C(1) << 40, .flags = 0x6d
};

/* The attributes by number; each may be there once. */
struct attrs {
    const struct nlattr *by_type[NBD_ATTR_MAX + 1];
};

static int take(const struct nlattr *attr, void *arg)
{
    struct attrs *a = arg;
    unsigned type = mnl_attr_get_type(attr);

    assert_in_range(type, 1, NBD_ATTR_MAX);
    assert_null(a->by_type[type]);
    a->by_type[type] = attr;
    return MNL_CB_OK;
}

static struct attrs read_message(const struct nlmsghdr *m, uint8_t command)
{
    const struct genlmsghdr *head = mnl_nlmsg_get_payload(m);
    struct attrs a = { 0 };

    assert_int_equal(m->nlmsg_type, FAMILY);
    assert_int_equal(m->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
    assert_int_equal(head->cmd, command);
    assert_int_equal(head->version, 1);
    assert_true(m->nlmsg_len < NBDNL_MESSAGE_MAX);
    assert_int_equal(mnl_attr_parse(m, sizeof *head, take, &a), MNL_CB_OK);
    return a;
}

/* SOCKETS { ITEM { FD } }, nested ones marked as the kernel wants them. */
static uint32_t socket_in(const struct attrs *a)
{
    const struct nlattr *list = a->by_type[NBD_ATTR_SOCKETS];
    const struct nlattr *item = mnl_attr_get_payload(list);
    const struct nlattr *fd = mnl_attr_get_payload(item);

    assert_true(list->nla_type & NLA_F_NESTED);
    assert_true(item->nla_type & NLA_F_NESTED);
    assert_int_equal(mnl_attr_get_type(item), NBD_SOCK_ITEM);
    assert_int_equal(mnl_attr_get_type(fd), NBD_SOCK_FD);
    assert_int_equal(list->nla_len, 4 + 4 + 8);
    return mnl_attr_get_u32(fd);
}

static void connect_names_everything_but_the_device(void **state)
{
    struct room room;
    struct attrs a;

    (void)state;
    memset(&room, 0xff, sizeof room);
    a = read_message(nbdnl_build_connect(&room, FAMILY, &link_7), NBD_CMD_CONNECT);
    assert_null(a.by_type[NBD_ATTR_INDEX]);
    assert_int_equal(mnl_attr_get_u64(a.by_type[NBD_ATTR_SIZE_BYTES]), UINT64_C(1) << 40);
    assert_int_equal(mnl_attr_get_u64(a.by_type[NBD_ATTR_BLOCK_SIZE_BYTES]), 512);
    assert_int_equal(mnl_attr_get_u64(a.by_type[NBD_ATTR_SERVER_FLAGS]), 0x6d);
    assert_int_equal(mnl_attr_get_u64(a.by_type[NBD_ATTR_TIMEOUT]), 0);
    assert_true(mnl_attr_get_u64(a.by_type[NBD_ATTR_DEAD_CONN_TIMEOUT]) > 86400ull * 365);
    assert_string_equal(mnl_attr_get_str(a.by_type[NBD_ATTR_BACKEND_IDENTIFIER]), "v0.1.2");
    assert_int_equal(mnl_attr_get_payload_len(a.by_type[NBD_ATTR_BACKEND_IDENTIFIER]), 7);
    assert_null(a.by_type[NBD_ATTR_CLIENT_FLAGS]); /* neither destroyed nor ended on close */
    assert_int_equal(socket_in(&a), 7);
}

static void reconfigure_leaves_the_timeout_as_it_is(void **state)
{
    struct room room;
    struct attrs a;

    (void)state;
    memset(&room, 0xff, sizeof room);
    a = read_message(nbdnl_build_reconfigure(&room, FAMILY, 12, &link_7), NBD_CMD_RECONFIGURE);
    assert_int_equal(mnl_attr_get_u32(a.by_type[NBD_ATTR_INDEX]), 12);
    assert_string_equal(mnl_attr_get_str(a.by_type[NBD_ATTR_BACKEND_IDENTIFIER]), "v0.1.2");
    assert_null(a.by_type[NBD_ATTR_TIMEOUT]);
    assert_null(a.by_type[NBD_ATTR_SIZE_BYTES]);
    assert_int_equal(socket_in(&a), 7);
}

static void disconnect_names_the_device(void **state)
{
    struct room room;
    struct attrs a;

    (void)state;
    a = read_message(nbdnl_build_disconnect(&room, FAMILY, 3), NBD_CMD_DISCONNECT);
    assert_int_equal(mnl_attr_get_u32(a.by_type[NBD_ATTR_INDEX]), 3);
}

static struct nlmsghdr *put_event(void *room, uint16_t family, uint8_t command, uint32_t index)
{
    struct nlmsghdr *m = mnl_nlmsg_put_header(room);
    struct genlmsghdr *head = mnl_nlmsg_put_extra_header(m, sizeof *head);

    m->nlmsg_type = family;
    head->cmd = command;
    mnl_attr_put_u32(m, NBD_ATTR_INDEX, index);
    return m;
}

static void dead_links_are_read_and_nothing_else(void **state)
{
    struct room room;
    char *at = room.bytes;
    unsigned index[4];

    (void)state;
    at += put_event(at, FAMILY, NBD_CMD_LINK_DEAD, 5)->nlmsg_len;
    at += put_event(at, FAMILY, NBD_CMD_STATUS, 6)->nlmsg_len;
    at += put_event(at, FAMILY + 1, NBD_CMD_LINK_DEAD, 7)->nlmsg_len;
    at += put_event(at, FAMILY, NBD_CMD_LINK_DEAD, 8)->nlmsg_len;
    assert_int_equal(nbdnl_parse_dead(room.bytes, (size_t)(at - room.bytes), FAMILY, index, 4), 2);
    assert_int_equal(index[0], 5);
    assert_int_equal(index[1], 8);
    /* never more than there is room for */
    assert_int_equal(nbdnl_parse_dead(room.bytes, (size_t)(at - room.bytes), FAMILY, index, 1), 1);
}

static void cut_off_messages_are_not_read_beyond_their_end(void **state)
{
    struct room room;
    unsigned index[4];
    size_t length = put_event(room.bytes, FAMILY, NBD_CMD_LINK_DEAD, 5)->nlmsg_len;

    (void)state;
    for (size_t cut = 0; cut < length; cut++)
        assert_int_equal(nbdnl_parse_dead(room.bytes, cut, FAMILY, index, 4), 0);
    /* a message without its index, and one whose index is too short */
    struct nlmsghdr *m = put_event(room.bytes, FAMILY, NBD_CMD_LINK_DEAD, 5);

    m->nlmsg_len -= 8;
    assert_int_equal(nbdnl_parse_dead(room.bytes, m->nlmsg_len, FAMILY, index, 4), 0);
    m->nlmsg_len += 8;
    ((struct nlattr *)mnl_nlmsg_get_payload_offset(m, sizeof(struct genlmsghdr)))->nla_len = 6;
    assert_int_equal(nbdnl_parse_dead(room.bytes, m->nlmsg_len, FAMILY, index, 4), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_names_everything_but_the_device),
        cmocka_unit_test(reconfigure_leaves_the_timeout_as_it_is),
        cmocka_unit_test(disconnect_names_the_device),
        cmocka_unit_test(dead_links_are_read_and_nothing_else),
        cmocka_unit_test(cut_off_messages_are_not_read_beyond_their_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
