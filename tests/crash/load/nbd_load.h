/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_load - a lean NBD client that comes back: one connection to one export, as the kernel's. */
#ifndef GRIDBOX_TESTS_CRASH_NBD_LOAD_H
#define GRIDBOX_TESTS_CRASH_NBD_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"

struct nbd_uri {
    char host[64], port[8], export[160];
};

/* "nbd://HOST:PORT/EXPORT" */
int nbd_uri_parse(const char *text, struct nbd_uri *ret, struct err *e);

/* Connects and negotiates.  0 and a socket; -EAGAIN: nobody is there, or not yet, or the connection
 * ended; -EACCES: the server refuses the export, in its words. */
int nbd_dial(const struct nbd_uri *u, int *ret_fd, uint64_t *ret_size_bytes, struct err *e);

/* All of it: 0, or -EAGAIN when the connection is over. */
int nbd_send(int fd, const void *data, uint64_t length);
int nbd_receive(int fd, void *buf, uint64_t length);

/* One request; data for a write. */
int nbd_send_request(int fd, unsigned type, unsigned flags, uint64_t cookie, uint64_t offset,
                     uint32_t length, const void *data);
/* The head of the next answer. */
int nbd_receive_reply(int fd, uint64_t *ret_cookie, uint32_t *ret_error);

int64_t nbd_now_ns(void);

#endif
