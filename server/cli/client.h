/* SPDX-License-Identifier: Apache-2.0 */
/* client - one call of the server's HTTP API at a time; server/docs/api.md says what there is to
 * call.
 *
 * Threads: the one thread of the program. */
#ifndef GRIDBOX_CLI_CLIENT_H
#define GRIDBOX_CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/cli/address.h"

#define CLIENT_PATH_SIZE 1024

struct client;
struct interrupt;

struct client_reply {
    int status;   /* HTTP status; 0 = none came */
    char *text;   /* the body as it came, with a NUL after it; NULL if it was empty */
    json_t *json; /* the same, read; NULL if the body was empty */
};

void client_reply_done(struct client_reply *r); /* idempotent; also the AUTO function */

/* token: sent over TCP, NULL = none; refused with -EINVAL if it could not stand in a header line.
 * interrupt: NULL, or what breaks off uploads and calls that wait (wait_seconds > 0) while it is
 * begun; borrowed.  A call that does not wait is never broken off: what it has done is always
 * known. */
int client_new(const struct cli_address *address, const char *token, struct interrupt *interrupt,
               struct client **ret, struct err *e);
void client_free(struct client *a); /* NULL is legal */

/* No call takes longer than this from now on (completion must not hang a shell). */
void client_hurry(struct client *a, unsigned seconds);

const struct cli_address *client_address(const struct client *a);

/* One call.
 *   method, path  "POST", "/v1/volumes"
 *   body          borrowed; NULL = none (a POST then has an empty object)
 *   wait_seconds  how long the server itself may wait before it answers; added to the time limit
 * 0 and *ret for a status of 200 to 299 (the caller calls client_reply_done).  Otherwise *ret is
 * empty but for its status, and the code is
 *
 *   -EREMOTEIO  the server refuses; e is its `detail`
 *   -ENOTCONN   nobody answers there
 *   -ECANCELED  interrupted
 *   -EPROTO     the answer is none of ours
 *   -ETIMEDOUT, -EIO, -ENOMEM  as they say
 */
int client_call(struct client *a, const char *method, const char *path, const json_t *body,
                unsigned wait_seconds, struct client_reply *ret, struct err *e);

/* What an upload reports while it goes. */
typedef void client_progress_fn(void *ctx, uint64_t done, uint64_t total);

/* Sends size_bytes of fd, from where it stands, as the body of a POST.  Codes as of client_call;
 * also -ESTALE: the file became shorter meanwhile. */
int client_upload(struct client *a, const char *path, int fd, uint64_t size_bytes,
                  client_progress_fn *progress, void *ctx, struct client_reply *ret, struct err *e);

/* PREFIX, NAME as one escaped segment, SUFFIX: "/v1/volumes/", "v1", "/attachment".
 * 0 or -EINVAL (the name is longer than any name can be). */
int client_path(char ret[static CLIENT_PATH_SIZE], const char *prefix, const char *name,
                const char *suffix, struct err *e);

/* The AUTO function of a json_t pointer; NULL is legal. */
void auto_json(json_t **j);

/* Members of a JSON object that may be absent or of another kind: "" / 0 / false / NULL then. */
const char *client_text(const json_t *object, const char *key);
int64_t client_number(const json_t *object, const char *key);
bool client_true(const json_t *object, const char *key);

#endif
