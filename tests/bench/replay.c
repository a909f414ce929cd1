/* SPDX-License-Identifier: Apache-2.0 */
/* replay - plays a trace of disk requests to NBD servers, on all connections at once.
 *
 *   replay [-d DEPTH] TRACE nbd://HOST:PORT/EXPORT...
 *
 * One thread, one connection for each URI, each at this depth (2) and as fast as it can.  A flush
 * is sent when all writes before it are answered.  Trims and zeroes are left out where the server
 * does not offer them.  Prints one line of key=value; latencies in microseconds; exit 1 if any
 * request failed.  It knows nothing of what serves. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/histogram.h"
#include "server/nbd/wire.h"

#define DEPTH_MAX   64u
#define LENGTH_MAX  (32u << 20)
#define INPUT_BYTES (256u << 10)

struct step {
    uint16_t type; /* NBDW_CMD_* */
    uint64_t offset;
    uint32_t length;
};

struct request {
    const struct step *step; /* NULL: free */
    int64_t sent_ns;
};

struct client {
    int fd;
    uint16_t flags; /* NBDW_TX_* */
    size_t next;    /* step */
    unsigned in_flight;
    struct request requests[DEPTH_MAX];
    uint8_t *out; /* not yet sent */
    size_t out_at, out_end, out_room;
    uint8_t head[sizeof(struct nbdw_simple_reply)];
    size_t head_bytes;
    uint64_t payload; /* of the reply that is coming in, bytes left */
    struct request *current;
    bool waits_to_send;
};

static struct step *steps;
static size_t step_count;
static uint32_t longest;
static unsigned depth = 2, running;
static uint64_t done_count, done_bytes, failed;
static struct histogram latency;
static int poller;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "replay: %s: %s\n", what, why);
    exit(2);
}

/* ---- the trace ------------------------------------------------------------------------------- */

static int command_of(char op)
{
    switch (op) {
    case 'r':
        return NBDW_CMD_READ;
    case 'w':
        return NBDW_CMD_WRITE;
    case 'f':
        return NBDW_CMD_FLUSH;
    case 't':
        return NBDW_CMD_TRIM;
    case 'z':
        return NBDW_CMD_WRITE_ZEROES;
    default:
        return -1;
    }
}

static void read_trace(const char *path)
{
    FILE *f = fopen(path, "re");
    char line[128], op;
    unsigned long long offset, length;

    if (!f)
        die(path, strerror(errno));
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#')
            continue;
        if (sscanf(line, "%c %llu %llu", &op, &offset, &length) != 3 || command_of(op) < 0 ||
            length > UINT32_MAX)
            die(path, "not a trace");
        if ((op == 'r' || op == 'w') && length > LENGTH_MAX)
            die(path, "a request of more than 32 MiB");
        struct step *more = realloc(steps, (step_count + 1) * sizeof *steps);
        if (!more)
            die(path, "out of memory");
        steps = more;
        steps[step_count++] = (struct step){ (uint16_t)command_of(op), offset, (uint32_t)length };
        if (op == 'w' && length > longest)
            longest = (uint32_t)length;
    }
    fclose(f);
}

/* ---- connecting ------------------------------------------------------------------------------ */

static void receive_all(int fd, void *buf, size_t bytes, const char *uri)
{
    if (recv(fd, buf, bytes, MSG_WAITALL) != (ssize_t)bytes)
        die(uri, "the server hung up in the handshake");
}

/* "Newstyle negotiation", with EXPORT_NAME alone: every server has it. */
static void negotiate(struct client *c, const char *name, const char *uri)
{
    struct nbdw_greeting greeting;
    struct nbdw_option option = { .magic = put_be64(NBDW_OPTION_MAGIC),
                                  .option = put_be32(NBDW_OPT_EXPORT_NAME),
                                  .length = put_be32((uint32_t)strlen(name)) };
    struct nbdw_client_flags flags = { put_be32(NBDW_FLAG_FIXED_NEWSTYLE | NBDW_FLAG_NO_ZEROES) };
    struct nbdw_export_name_reply reply;

    receive_all(c->fd, &greeting, sizeof greeting, uri);
    if (get_be64(greeting.magic) != NBDW_MAGIC)
        die(uri, "not an NBD server");
    if (!(get_be16(greeting.flags) & NBDW_FLAG_NO_ZEROES))
        flags.flags = put_be32(NBDW_FLAG_FIXED_NEWSTYLE);
    if (send(c->fd, &flags, sizeof flags, MSG_MORE | MSG_NOSIGNAL) < 0 ||
        send(c->fd, &option, sizeof option, MSG_MORE | MSG_NOSIGNAL) < 0 ||
        send(c->fd, name, strlen(name), MSG_NOSIGNAL) < 0)
        die(uri, strerror(errno));
    receive_all(c->fd, &reply,
                get_be32(flags.flags) & NBDW_FLAG_NO_ZEROES
                    ? offsetof(struct nbdw_export_name_reply, zeroes)
                    : sizeof reply,
                uri);
    c->flags = get_be16(reply.flags);
}

static void connect_to(struct client *c, const char *uri)
{
    static const char scheme[] = "nbd://";
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    char host[256];
    int one = 1;

    if (strncmp(uri, scheme, strlen(scheme)) != 0)
        die(uri, "not nbd://HOST:PORT/EXPORT");
    const char *slash = strchr(uri + strlen(scheme), '/');
    if (!slash ||
        (size_t)snprintf(host, sizeof host, "%.*s", (int)(slash - uri - (long)strlen(scheme)),
                         uri + strlen(scheme)) >= sizeof host)
        die(uri, "not nbd://HOST:PORT/EXPORT");
    char *port = strrchr(host, ':');
    if (!port)
        die(uri, "no port");
    *port++ = '\0';
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc)
        die(uri, gai_strerror(rc));
    c->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, found->ai_addr, found->ai_addrlen) < 0)
        die(uri, strerror(errno));
    freeaddrinfo(found);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    negotiate(c, slash + 1, uri);
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool offered(const struct client *c, uint16_t type)
{
    if (type == NBDW_CMD_TRIM)
        return c->flags & NBDW_TX_SEND_TRIM;
    if (type == NBDW_CMD_WRITE_ZEROES)
        return c->flags & NBDW_TX_SEND_WRITE_ZEROES;
    return type != NBDW_CMD_FLUSH || c->flags & NBDW_TX_SEND_FLUSH;
}

static void queue(struct client *c, unsigned slot, const struct step *s)
{
    struct nbdw_request r = { .magic = put_be32(NBDW_REQUEST_MAGIC),
                              .type = put_be16(s->type),
                              .cookie = put_be64(slot),
                              .offset = put_be64(s->offset),
                              .length = put_be32(s->length) };

    memcpy(c->out + c->out_end, &r, sizeof r);
    c->out_end += sizeof r;
    if (s->type == NBDW_CMD_WRITE) {
        memset(c->out + c->out_end, (int)(s->offset >> 12 & 0xff) | 1, s->length);
        c->out_end += s->length;
    }
    c->requests[slot] = (struct request){ s, clock_mono_ns() };
    c->in_flight++;
}

static void send_out(struct client *c)
{
    while (c->out_at < c->out_end) {
        ssize_t n =
            send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            die("send", strerror(errno));
        if (n < 0)
            break;
        c->out_at += (size_t)n;
    }
    if (c->out_at == c->out_end)
        c->out_at = c->out_end = 0;
    bool waits = c->out_end > 0;
    if (waits != c->waits_to_send) {
        struct epoll_event e = { .events = EPOLLIN | (waits ? EPOLLOUT : 0), .data.ptr = c };
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
        c->waits_to_send = waits;
    }
}

/* Fills the connection up to its depth; ends it after the last step. */
static void go_on(struct client *c)
{
    size_t need = sizeof(struct nbdw_request) + longest;

    while (c->in_flight < depth && c->next < step_count && c->out_end + need <= c->out_room) {
        const struct step *s = &steps[c->next];
        unsigned slot = 0;
        if (s->type == NBDW_CMD_FLUSH && c->in_flight > 0)
            break; /* what it covers is answered first */
        c->next++;
        if (!offered(c, s->type))
            continue;
        while (c->requests[slot].step)
            slot++;
        queue(c, slot, s);
        if (s->type == NBDW_CMD_FLUSH)
            break;
    }
    send_out(c);
    if (c->in_flight == 0 && c->next == step_count) {
        close(c->fd);
        running--;
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static void finish(struct client *c)
{
    const struct step *s = c->current->step;

    histogram_add(&latency, clock_mono_ns() - c->current->sent_ns);
    done_count++;
    if (s->type == NBDW_CMD_READ || s->type == NBDW_CMD_WRITE)
        done_bytes += s->length;
    c->current->step = NULL;
    c->current = NULL;
    c->in_flight--;
}

static void on_head(struct client *c)
{
    struct nbdw_simple_reply r;

    memcpy(&r, c->head, sizeof r);
    c->head_bytes = 0;
    uint64_t slot = get_be64(r.cookie);
    if (get_be32(r.magic) != NBDW_SIMPLE_MAGIC || slot >= depth || !c->requests[slot].step)
        die("reply", "not an answer to one of our requests");
    c->current = &c->requests[slot];
    failed += get_be32(r.error) != 0;
    c->payload = c->current->step->type == NBDW_CMD_READ && get_be32(r.error) == 0
                     ? c->current->step->length
                     : 0;
    if (c->payload == 0)
        finish(c);
}

static void on_bytes(struct client *c, const uint8_t *at, size_t bytes)
{
    while (bytes > 0) {
        size_t n = c->current ? c->payload : sizeof c->head - c->head_bytes;
        if (n > bytes)
            n = bytes;
        if (c->current) { /* what was read is of no interest */
            c->payload -= n;
            if (c->payload == 0)
                finish(c);
        } else {
            memcpy(c->head + c->head_bytes, at, n);
            c->head_bytes += n;
            if (c->head_bytes == sizeof c->head)
                on_head(c);
        }
        at += n;
        bytes -= n;
    }
}

static void receive(struct client *c)
{
    static uint8_t input[INPUT_BYTES];
    ssize_t n = recv(c->fd, input, sizeof input, MSG_DONTWAIT);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("receive", n < 0 ? strerror(errno) : "the server hung up");
    on_bytes(c, input, (size_t)n);
    go_on(c);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void play(struct client *clients, unsigned count)
{
    struct epoll_event events[64];

    for (unsigned i = 0; i < count; i++)
        go_on(&clients[i]);
    while (running > 0) {
        int n = epoll_wait(poller, events, 64, 60000);
        if (n == 0)
            die("wait", "no answer for 60 s");
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_out(c);
            if (events[i].events & ~(unsigned)EPOLLOUT)
                receive(c);
        }
    }
}

int main(int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "d:")) >= 0)
        if (option != 'd' || (depth = (unsigned)atoi(optarg)) < 1 || depth > DEPTH_MAX)
            die("usage", "replay [-d DEPTH] TRACE nbd://HOST:PORT/EXPORT...");
    if (argc - optind < 2)
        die("usage", "replay [-d DEPTH] TRACE nbd://HOST:PORT/EXPORT...");
    read_trace(argv[optind++]);
    running = (unsigned)(argc - optind);
    struct client *clients = calloc(running, sizeof *clients);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || poller < 0)
        die("start", "out of memory");
    for (unsigned i = 0; i < running; i++) {
        struct client *c = &clients[i];
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
        c->out_room = depth * (sizeof(struct nbdw_request) + (size_t)longest);
        c->out = malloc(c->out_room);
        if (!c->out)
            die("start", "out of memory");
        connect_to(c, argv[optind + (int)i]);
        epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
    }
    int64_t begin = clock_mono_ns();
    play(clients, running);
    double seconds = (double)(clock_mono_ns() - begin) / (double)NS_PER_S;
    printf("seconds=%.3f requests=%llu megabytes=%.1f p50=%llu p99=%llu failed=%llu\n", seconds,
           (unsigned long long)done_count, (double)done_bytes / 1e6,
           (unsigned long long)histogram_quantile_us(&latency, 0.5),
           (unsigned long long)histogram_quantile_us(&latency, 0.99), (unsigned long long)failed);
    return failed ? 1 : 0;
}
