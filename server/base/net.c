/* SPDX-License-Identifier: Apache-2.0 */
/* net - numeric addresses as people write them, and listening sockets on them. */
#include "server/base/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"

static int wrong(const char *text, struct err *e)
{
    return err_set(e, -EINVAL,
                   "'%.80s' is not ADDRESS:PORT in numbers: write for example 10.0.0.1:8420 or "
                   "[::1]:8420",
                   text);
}

int net_parse(const char *text, struct net_address *ret, struct err *e)
{
    const char *colon = strrchr(text, ':');
    bool bracket = text[0] == '[';
    char host[64];

    if (!colon || colon == text || (bracket && colon[-1] != ']') ||
        (size_t)(colon - text) >= sizeof host)
        return wrong(text, e);
    snprintf(host, sizeof host, "%.*s", (int)(colon - text) - 2 * bracket, text + bracket);

    size_t digits = strlen(colon + 1);
    if (digits < 1 || digits > 5 || strspn(colon + 1, "0123456789") != digits ||
        atoi(colon + 1) > 65535)
        return wrong(text, e);

    struct addrinfo hints = { .ai_family = bracket ? AF_INET6 : AF_INET,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0 || !found)
        return wrong(text, e);
    *ret = (struct net_address){ .length = found->ai_addrlen };
    memcpy(&ret->sa, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static int refused(const char *text, struct err *e)
{
    if (errno == EADDRINUSE)
        return err_set(e, -EADDRINUSE,
                       "listen on %s: the port is in use: stop what has it, or choose another",
                       text);
    if (errno == EADDRNOTAVAIL)
        return err_set(e, -EADDRNOTAVAIL, "listen on %s: this machine does not have that address",
                       text);
    return err_errno(e, "listen on %s", text);
}

int net_listen(const char *text, int flags, int backlog, int *ret_fd, struct err *e)
{
    struct net_address a;
    int one = 1;
    int rc = net_parse(text, &a, e);

    if (rc < 0)
        return rc;
    AUTO(auto_close) int fd = socket(a.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        return err_errno(e, "listen on %s", text);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (a.sa.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a.sa, a.length) < 0 || listen(fd, backlog) < 0)
        return refused(text, e);
    *ret_fd = take_fd(&fd);
    return 0;
}

void net_local(int fd, char ret_text[static NET_ADDRESS_SIZE])
{
    struct sockaddr_storage a;
    socklen_t length = sizeof a;
    char host[64], port[8];

    ret_text[0] = '\0';
    if (getsockname(fd, (struct sockaddr *)&a, &length) < 0 ||
        getnameinfo((struct sockaddr *)&a, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(ret_text, NET_ADDRESS_SIZE, a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
