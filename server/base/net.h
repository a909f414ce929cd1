/* SPDX-License-Identifier: Apache-2.0 */
/* net - numeric addresses as people write them, and listening sockets on them.
 *
 * "10.0.0.1:80" or "[::1]:80"; numbers only, nothing is ever looked up: what listens or reconnects
 * must not depend on DNS.  Any thread. */
#ifndef GRIDBOX_BASE_NET_H
#define GRIDBOX_BASE_NET_H

#include <stdbool.h>
#include <sys/socket.h>

#include "server/base/err.h"

#define NET_ADDRESS_SIZE 80 /* "[ADDR]:PORT" and NUL */

struct net_address {
    struct sockaddr_storage sa;
    socklen_t length;
};

/* Port 0 is legal and means any.  0, or -EINVAL in words. */
int net_parse(const char *text, struct net_address *ret, struct err *e);

/* A bound and listening TCP socket, close-on-exec.
 *   flags    0 or SOCK_NONBLOCK
 *   backlog  as of listen(2)
 *   -EINVAL not an address; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES … in words that name it and say
 *   what to do */
int net_listen(const char *text, int flags, int backlog, int *ret_fd, struct err *e);

/* The socket's own address as text, with its real port; "" if it has none. */
void net_local(int fd, char ret_text[static NET_ADDRESS_SIZE]);

#endif
