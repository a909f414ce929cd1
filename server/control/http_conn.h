/* SPDX-License-Identifier: Apache-2.0 */
/* http_conn - what a connection and a request are; for http*.c alone. */
#ifndef GRIDBOX_CONTROL_HTTP_CONN_H
#define GRIDBOX_CONTROL_HTTP_CONN_H

#include <libwebsockets.h>

#include "server/base/buf.h"
#include "server/control/http.h"
#include "server/control/loop.h"
#include "server/control/route.h"

#define HTTP_LISTENERS_MAX 16
#define HTTP_PATH_SIZE     1024
#define HTTP_QUERY_SIZE    4096
#define HTTP_CHUNK         65536 /* bytes that are sent at once */

enum conn_state {
    CONN_IDLE,    /* no request, or a part of its head */
    CONN_BODY,    /* the head is there, the body comes */
    CONN_HANDLER, /* with the handler, or waiting */
    CONN_SENDING, /* the answer goes out */
    CONN_DRAINING /* the answer is out, the rest of the body is thrown away, then it is closed */
};

struct http_conn {
    struct http *http;
    struct lws *wsi;
    struct http_conn *prev, *next;
    int fd; /* libwebsockets' */
    bool local, admin;
    bool close_after;    /* the answer ends the connection */
    bool body_done;      /* nothing of the present request's body is left to come */
    int64_t deadline_ns; /* it is closed when this has passed; 0 = never */
    enum conn_state state;
    struct http_request *request; /* of the states but CONN_IDLE and CONN_DRAINING */
};

struct http_request {
    struct http_conn *conn;
    const struct http_route *route;
    const char *args[HTTP_ARGS_MAX];
    char path[HTTP_PATH_SIZE];
    char query[HTTP_QUERY_SIZE]; /* "name=value" NUL … NUL NUL */
    char bearer[160];
    char peer[64], local_host[64];
    bool head; /* HEAD: no body in the answer */
    uint64_t content_length;

    struct buf body;
    json_t *json;
    const struct http_sink *sink;
    void *sink_arg;
    uint64_t received;

    struct http_request *park_prev, *park_next; /* among http->parked */
    uint64_t topic;
    int64_t wait_until_ns; /* 0: it has not waited yet */
    bool parked, due;

    bool answered, head_sent;
    int status;
    char type[64];
    char *text; /* heap */
    size_t text_length, text_sent;
    int file;           /* -1: none */
    uint64_t file_left; /* bytes still to be sent */
};

struct listener {
    struct http *http;
    struct loop_watch *watch;
    int fd;
    bool local;
    char address[80]; /* or the socket's path is in http->unix_path */
};

struct http {
    struct loop *loop;
    struct lws_vhost *vhost;
    void *context;
    char admin_token[160];
    unsigned max_tcp, max_unix, count_tcp, count_unix;
    int spare_fd; /* given up to tell a client that there are no descriptors left */
    struct router router;
    struct listener listeners[HTTP_LISTENERS_MAX];
    unsigned listener_count;
    char unix_path[128];
    struct http_conn *conns;
    struct http_request *parked;
    struct loop_timer tick;   /* once a second: deadlines of connections */
    struct loop_timer unpark; /* when a waiting request is due */
    unsigned char *chunk;     /* LWS_PRE + HTTP_CHUNK bytes for the one write under way */
    bool closing;
};

/* http_request.c */
struct http_request *request_new(struct http_conn *k);
void request_free(struct http_request *r); /* NULL is legal */
void request_park_drop(struct http_request *r);

/* http.c: the answer is set, send it. */
void conn_answered(struct http_conn *k);

/* http_listen.c */
void listeners_close(struct http *h);

/* http_lws.c: what libwebsockets calls. */
int http_lws_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                      size_t length);
const char *http_reason(int status);
int http_adopt(struct http *h, int fd, bool local, bool admin);

#endif
