/* SPDX-License-Identifier: Apache-2.0 */
/* server - gridboxd's parts, wired in order and unwired in reverse.
 * Threads: main's, which is the control thread; signals SIGTERM and SIGINT must be blocked in it
 * before server_start(), so that no thread takes them. */
#ifndef GRIDBOX_MAIN_SERVER_H
#define GRIDBOX_MAIN_SERVER_H

#include "server/base/err.h"

struct options;
struct server;

/* Everything up to the open ports.  o must outlive the server.  On failure nothing is left:
 *   -EBUSY       another gridboxd uses the state directory
 *   -EADDRINUSE, -EADDRNOTAVAIL, -EACCES   a port
 *   -ENAMETOOLONG  the state directory's path is too long for its socket
 *   … in words */
int server_start(const struct options *o, struct server **ret, struct err *e);

/* Serves until SIGTERM or SIGINT. */
void server_run(struct server *s);

/* A clean stop: connections are cut, what was written is committed.  NULL is legal. */
void server_stop(struct server *s);

#endif
