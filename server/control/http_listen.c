/* SPDX-License-Identifier: Apache-2.0 */
/* http_listen - sockets that listen, made by us so that an error says what is wrong; and accepting.
 * Knows who is at the other end of a Unix socket. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/base/net.h"
#include "server/control/http_conn.h"

static void refuse(int fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\n"
                               "Content-Type: application/problem+json\r\n"
                               "Connection: close\r\nContent-Length: 87\r\n\r\n"
                               "{\"status\":503,\"title\":\"Service Unavailable\","
                               "\"detail\":\"too many connections: try later\"}";

    if (send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("http: a refused connection: %s", strerror(errno));
    close(fd);
}

/* No descriptor is left: give the spare one up for a moment, so that the caller is sent away and
 * the loop does not spin. */
static void refuse_one(struct listener *l)
{
    struct http *h = l->http;

    if (h->spare_fd >= 0)
        close(h->spare_fd);
    int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        refuse(fd);
    h->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* The administrator is who runs the server, or root. */
static bool is_admin(int fd)
{
    struct ucred who;
    socklen_t length = sizeof who;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) < 0)
        return false;
    return who.uid == 0 || who.uid == geteuid();
}

static void take(struct listener *l, int fd)
{
    struct http *h = l->http;
    int one = 1;
    unsigned count = l->local ? h->count_unix : h->count_tcp;

    if (count >= (l->local ? h->max_unix : h->max_tcp)) {
        refuse(fd);
        return;
    }
    if (!l->local)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    http_adopt(h, fd, l->local, l->local && is_admin(fd));
}

static void on_connections(void *arg)
{
    struct listener *l = arg;

    for (int i = 0; i < 64; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            take(l, fd);
        else if (errno == EMFILE || errno == ENFILE)
            refuse_one(l);
        else if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

static int add_listener(struct http *h, int fd, bool local, const char *address, struct err *e)
{
    struct listener *l = &h->listeners[h->listener_count];

    *l = (struct listener){ .http = h, .fd = fd, .local = local };
    snprintf(l->address, sizeof l->address, "%s", address);
    int rc = loop_watch(h->loop, fd, on_connections, l, &l->watch, e);
    if (rc == 0)
        h->listener_count++;
    return rc;
}

void listeners_close(struct http *h)
{
    for (unsigned i = 0; i < h->listener_count; i++) {
        loop_unwatch(h->listeners[i].watch);
        close(h->listeners[i].fd);
    }
    h->listener_count = 0;
    if (h->unix_path[0])
        unlink(h->unix_path);
}

/* ---- TCP ----------------------------------------------------------------------------------------
 */

int http_listen(struct http *h, const char *address, struct err *e)
{
    AUTO(auto_close) int fd = -1;
    char name[NET_ADDRESS_SIZE];

    if (h->listener_count == HTTP_LISTENERS_MAX)
        return err_set(e, -ENOSPC, "listen on %s: at most %d addresses", address,
                       HTTP_LISTENERS_MAX);
    int rc = net_listen(address, SOCK_NONBLOCK, 128, &fd, e);
    if (rc < 0)
        return rc;
    net_local(fd, name);
    rc = add_listener(h, fd, false, name, e);
    if (rc == 0)
        take_fd(&fd);
    return rc;
}

const char *http_address(const struct http *h, unsigned index)
{
    for (unsigned i = 0; i < h->listener_count; i++)
        if (!h->listeners[i].local && index-- == 0)
            return h->listeners[i].address;
    return NULL;
}

/* ---- the Unix socket ----------------------------------------------------------------------------
 */

int http_check_unix_path(const char *path, struct err *e)
{
    size_t most = sizeof((struct sockaddr_un *)0)->sun_path - 1;

    if (strlen(path) <= most)
        return 0;
    return err_set(e, -ENAMETOOLONG,
                   "%s: the path of the socket has %zu bytes, the kernel allows %zu: choose a "
                   "shorter state directory",
                   path, strlen(path), most);
}

int http_listen_unix(struct http *h, const char *path, struct err *e)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int rc = http_check_unix_path(path, e);

    if (rc < 0)
        return rc;
    if (h->listener_count == HTTP_LISTENERS_MAX)
        return err_set(e, -ENOSPC, "listen on %s: at most %d addresses", path, HTTP_LISTENERS_MAX);
    memcpy(a.sun_path, path, strlen(path));
    AUTO(auto_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(e, "listen on %s", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(e, "remove the old socket %s", path);
    /* Who may come is decided by SO_PEERCRED; nobody else needs to get as far as that.  Nobody can
     * connect before listen(), so the mode is in place in time. */
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || chmod(path, 0600) < 0 ||
        listen(fd, 128) < 0)
        return err_errno(e, "listen on %s", path);
    rc = add_listener(h, fd, true, path, e);
    if (rc < 0) {
        unlink(path);
        return rc;
    }
    snprintf(h->unix_path, sizeof h->unix_path, "%s", path);
    take_fd(&fd);
    return 0;
}
