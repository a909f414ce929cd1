/* SPDX-License-Identifier: Apache-2.0 */
/* http - the HTTP server of the control thread: listeners, routes, requests, answers.
 *
 * A handler runs on the control thread, when the request's body is there, and must do one of three
 * things before it returns: answer (http_answer_*), wait (http_wait, it is called again), or
 * receive a stream (http_receive, it is called again at its end).  Nothing of the library below is
 * visible here.
 * Limits: head 8 KiB, path 1,023 bytes, body 1 MiB (streams apart), connections of TCP and of the
 * Unix socket counted apart, so that strangers cannot lock the administrator out. */
#ifndef GRIDBOX_CONTROL_HTTP_H
#define GRIDBOX_CONTROL_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"

struct http;
struct http_request;
struct loop;

#define HTTP_BODY_MAX (1u << 20)
#define HTTP_ARGS_MAX 4  /* variable segments of one path */
#define HTTP_WAIT_MAX 60 /* seconds that a request may wait */

typedef void (*http_handler_fn)(struct http_request *r);

enum http_access {
    HTTP_ADMIN,  /* Unix socket: the server's own user or root; TCP: the administrator's token */
    HTTP_SELF,   /* the handler checks http_bearer() itself: the agent's calls */
    HTTP_PUBLIC, /* anybody: boot files */
};

struct http_route {
    const char *method;  /* "GET" (serves HEAD as well), "POST", "PUT", "DELETE" */
    const char *pattern; /* "/v1/volumes/{}/attachment": {} is one segment that is not empty */
    enum http_access access;
    http_handler_fn handler;
    bool stream; /* the handler is called before the body and calls http_receive() */
};

struct http_options {
    struct loop *loop;
    void *context;             /* what http_context() answers */
    const char *admin_token;   /* copied; NULL: nobody is administrator over TCP */
    unsigned tcp_connections;  /* 0 = 512; more are told 503 and closed */
    unsigned unix_connections; /* 0 = 64 */
};

int http_new(const struct http_options *o, struct http **ret, struct err *e);

/* The begin of a stop: takes no more connections, answers what waits with 503, and runs the loop
 * for at most a fifth of a second so that answers reach their clients.  Idempotent. */
void http_close(struct http *h);

/* Closes everything.  NULL is legal. */
void http_free(struct http *h);

/* The array must outlive `h`.  -ENOSPC: more than 32 arrays. */
int http_routes(struct http *h, const struct http_route *routes, size_t count, struct err *e);

/* address: "10.0.0.1:8420", "[::1]:8420", port 0 = any.
 *   -EINVAL not such an address; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES … in words that name it */
int http_listen(struct http *h, const char *address, struct err *e);

/* A leftover socket at `path` is replaced: the caller must hold the lock that says that nobody
 * lives there.  -ENAMETOOLONG with both lengths. */
int http_listen_unix(struct http *h, const char *path, struct err *e);

/* 0, or -ENAMETOOLONG "…": the check of http_listen_unix alone. */
int http_check_unix_path(const char *path, struct err *e);

/* The addresses that it listens on over TCP, as "ADDR:PORT" with the real port; borrowed; NULL
 * behind the last. */
const char *http_address(const struct http *h, unsigned index);

/* ---- in a handler: the request ------------------------------------------------------------------
 * Texts are borrowed until the request is answered. */
void *http_context(const struct http_request *r);
const char *http_arg(const struct http_request *r, unsigned index);     /* the {} of the pattern */
const char *http_query(const struct http_request *r, const char *name); /* decoded, or NULL */

/* A number in the query; *ret is `absent` if it is not there.  -EINVAL "… must be a number". */
int http_query_u64(const struct http_request *r, const char *name, uint64_t absent, uint64_t *ret,
                   struct err *e);

/* The body as a JSON object; an empty body is an empty object.  -EINVAL in words (the place, a key
 * given twice …), also for a key that is not in the list (NULL behind the last). */
int http_json(struct http_request *r, const char *const *keys, json_t **ret_borrowed,
              struct err *e);
const char *http_body(struct http_request *r, size_t *ret_length); /* NUL behind it */

const char *http_bearer(const struct http_request *r);     /* "" if there is none */
bool http_is_local(const struct http_request *r);          /* over the Unix socket */
const char *http_peer(const struct http_request *r);       /* numeric address, "" if local */
const char *http_local_host(const struct http_request *r); /* address it was sent to, likewise */

/* ---- in a handler: the answer -------------------------------------------------------------------
 */
void http_answer_json(struct http_request *r, int status, json_t *take); /* NULL: 500 */
void http_answer_empty(struct http_request *r, int status);              /* 204, 304, 202 */
void http_answer_text(struct http_request *r, int status, const char *type, const char *text,
                      size_t length); /* copied */
void http_answer_problem(struct http_request *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A failure: its code says which status.  What is ours (5xx) is logged. */
void http_answer_err(struct http_request *r, const struct err *e);
/* A regular file, with its length; 404 if it is not there. */
void http_answer_file(struct http_request *r, const char *path, const char *type);

/* Puts the request aside: the handler is called again when http_wake() names the topic or when
 * `seconds` (at most HTTP_WAIT_MAX) since the first wait of this request are over; then
 * http_waited() says true and it must answer. */
void http_wait(struct http_request *r, uint64_t topic, uint64_t seconds);
bool http_waited(const struct http_request *r);

/* Control thread, also from within a handler: the handlers run after it has returned. */
void http_wake(struct http *h, uint64_t topic);

/* Topics of waiting: one number for the kind of thing and its own. */
enum http_topic { HTTP_TOPIC_EVENTS = 1, HTTP_TOPIC_JOB, HTTP_TOPIC_HOST, HTTP_TOPIC_CARE };
static inline uint64_t http_topic(enum http_topic kind, uint64_t id)
{
    return (uint64_t)kind << 56 | (id & 0xffffffffffffff);
}

/* ---- streams ------------------------------------------------------------------------------------
 */
struct http_sink {
    /* Some bytes of the body.  0, or -errno and *e: the request is answered with it. */
    int (*data)(void *arg, const void *bytes, size_t length, struct err *e);
    /* The stream is over without the handler's second call: clean up. */
    void (*gone)(void *arg);
};

/* In the first call of a `stream` route's handler.  The second call comes when all is there;
 * http_sink_arg() gives arg back then, and NULL in the first.  The handler calls http_sink_done()
 * when arg is no longer the request's: gone() is not called then. */
void http_receive(struct http_request *r, const struct http_sink *sink, void *arg);
void *http_sink_arg(const struct http_request *r);
void http_sink_done(struct http_request *r);
uint64_t http_content_length(const struct http_request *r);

#endif
