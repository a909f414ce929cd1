/* SPDX-License-Identifier: Apache-2.0 */
/* tls - TLS for NBD connections: bytes of the wire go in and come out here, those of the protocol
 * on the other side.
 *
 * OpenSSL; TLS 1.2 and 1.3 alone, no renegotiation, no resumption.  Files of pre-shared keys are
 * those of GnuTLS's psktool, which the clients have (libnbd, qemu).
 * Where the kernel has TLS (Linux: Documentation/networking/tls.rst), it encrypts what a link of
 * TLS 1.3 sends, from the first byte of the protocol on: no copy of ours, and what lies in the page
 * cache can be lent.  What comes is decrypted here always: clients change their keys after 2^24
 * records, which kernels before 6.14 cannot follow.
 * Threads: credentials are read-only once made; a link belongs to its connection's shard. */
#ifndef GRIDBOX_NBD_TLS_H
#define GRIDBOX_NBD_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "server/base/err.h"

struct nbd_tls; /* credentials */
struct tls_link;

#define TLS_RECORD_BYTES 16384u /* RFC 8446 5.1: plain bytes of one record */

struct nbd_tls_files {             /* paths; NULL = none */
    const char *certificate, *key; /* PEM; both or none */
    const char *ca;                /* PEM: who must have signed a client's certificate */
    const char *psk;               /* lines "USER:HEX", as psktool writes them */
};

/* Reads the files.  -EINVAL, -ENOENT …: says which one and what is wrong with it. */
int nbd_tls_new(const struct nbd_tls_files *files, struct nbd_tls **ret, struct err *e);
void nbd_tls_free(struct nbd_tls *t); /* NULL is legal */

/* One connection, server's side; t must outlive it.  fd: its TCP socket, borrowed, with nothing
 * queued for it; < 0: none, the kernel shall not encrypt.  -ENOMEM. */
int tls_link_new(const struct nbd_tls *t, int fd, struct tls_link **ret);
void tls_link_free(struct tls_link *l); /* NULL is legal */

/* Shakes hands, then decrypts, from bytes of the wire: *wire and *left move on over what was used,
 * at most a little more than what the answer needed.
 *   > 0      so many plain bytes are in `plain`
 *   -EAGAIN  more bytes are needed; all of *wire was used
 *   -EPIPE   the client has ended it
 *   -EPROTO  it is broken: tls_link_why()
 * Whatever it answers, there may be output. */
ssize_t tls_link_read(struct tls_link *l, const uint8_t **wire, size_t *left, void *plain,
                      size_t size);

/* From now on what is sent on the socket is encrypted there: send it as it is, and never call
 * tls_link_write.  Settled when tls_link_read has answered with plain bytes once. */
bool tls_link_in_kernel(const struct tls_link *l);

/* Encrypts; only after tls_link_read has answered with plain bytes once.  0, -ENOMEM. */
int tls_link_write(struct tls_link *l, const struct iovec *parts, unsigned count);

/* Says goodbye, if hands were shaken. */
void tls_link_bye(struct tls_link *l);

/* What is to be sent: heap, the caller's from now on; NULL: nothing. */
void *tls_link_output(struct tls_link *l, size_t *ret_length);

const char *tls_link_why(const struct tls_link *l); /* for the log */

#endif
