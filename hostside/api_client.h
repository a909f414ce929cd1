/* SPDX-License-Identifier: Apache-2.0 */
/* api_client - HTTP calls to the server that run beside each other and never block the caller.
 *
 * A call has a slot; a slot holds one call at a time.  Answers are limited to CONTRACT_TEXT_MAX.
 * Threads: belongs to one. */
#ifndef GRIDBOX_HOSTSIDE_API_CLIENT_H
#define GRIDBOX_HOSTSIDE_API_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "server/base/err.h"

#define API_SLOTS 4u

struct api_client;
struct pollfd;

/* url: "http://HOST:PORT", without a path.  -EINVAL: not that. */
int api_client_new(const char *url, struct api_client **ret, struct err *e);
void api_client_free(struct api_client *c);

struct api_call {
    unsigned slot;
    const char *path;   /* with its query */
    const char *bearer; /* a secret; "" = none */
    const char *body;   /* JSON to POST, copied; NULL = GET */
    unsigned timeout_s;
};

/* The slot must be free.  -ENOMEM only. */
int api_client_start(struct api_client *c, const struct api_call *call, struct err *e);

/* Moves bytes until a call is done, one of the descriptors is ready (revents), or the time is
 * over. */
void api_client_wait(struct api_client *c, struct pollfd *fds, unsigned count, int timeout_ms);

struct api_done {
    unsigned slot;
    int status;       /* of HTTP; -errno: there was no answer, and body says why */
    const char *body; /* borrowed until the slot is used again */
    size_t length;
};

/* A call that is done; its slot is free again.  False: none. */
bool api_client_done(struct api_client *c, struct api_done *ret);

#endif
