/* SPDX-License-Identifier: Apache-2.0 */
/* nbd_load - writes and verifies many exports at once, through any number of deaths of the server.
 *
 *   nbd_load kills SEED URI...     until SIGTERM; a line "up N MS" each time all of them are back
 *                                  for the N-th time and have read all again: the longest anybody
 *                                  waited for an answer was MS.  At the end: "operations N"
 *   nbd_load stale SEED ROUNDS URI a new connection while the old one's writes are still unread
 *
 * Each connection has a few requests in flight that do not overlap.  When it ends, a new one is
 * made to the same URI and what was not answered is sent again, in the same order, as the kernel's
 * client does.  An answered write must be there whenever it is read; one under way may be there or
 * not. Exit status 1, and a line on stderr, when that does not hold. */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/nbd/wire.h"
#include "tests/crash/load/nbd_load.h"

#define SECTOR       512u
#define SECTORS      8192u /* of an export that are used: 4 MiB */
#define DEPTH        8u
#define REQUEST_MOST 128u /* sectors */
#define PATIENCE_NS  (60 * NS_PER_S)
#define CLIENTS_MOST 64

struct request {
    bool active;
    uint64_t order; /* grows; also the cookie */
    unsigned type, flags;
    uint32_t first, count;
    uint64_t value;
    int64_t sent_ns;
};

struct client {
    pthread_t thread;
    unsigned index;
    struct nbd_uri uri;
    uint64_t seed, next, operations;
    int fd;
    uint64_t acked[SECTORS]; /* the value of each sector when nothing is under way */
    bool busy[SECTORS];      /* a request is under way */
    struct request requests[DEPTH];
    unsigned active;
    uint32_t to_verify; /* the first sector that was not read since the connection was made */
    char buf[REQUEST_MOST * SECTOR];
};

static struct {
    struct client clients[CLIENTS_MOST];
    unsigned count;
    atomic_bool ending;
    pthread_mutex_t lock;
    unsigned rounds_of[CLIENTS_MOST], told;
    int64_t longest_ns; /* since the last line */
} load = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void die(const struct client *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void die(const struct client *c, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "client %u: ", c->index);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static uint64_t draw(struct client *c, uint64_t limit)
{
    c->seed = c->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (c->seed >> 33) % limit;
}

/* ---- what all of them have come to ------------------------------------------------------------*/

static void waited(int64_t ns)
{
    pthread_mutex_lock(&load.lock);
    if (ns > load.longest_ns)
        load.longest_ns = ns;
    pthread_mutex_unlock(&load.lock);
}

/* This client has read everything again since it came back. */
static void all_verified(struct client *c)
{
    unsigned least = UINT32_MAX;

    pthread_mutex_lock(&load.lock);
    load.rounds_of[c->index]++;
    for (unsigned i = 0; i < load.count; i++)
        least = load.rounds_of[i] < least ? load.rounds_of[i] : least;
    if (least > load.told) {
        load.told = least;
        printf("up %u %lld\n", least, load.longest_ns / NS_PER_MS);
        fflush(stdout);
        load.longest_ns = 0;
    }
    pthread_mutex_unlock(&load.lock);
}

/* ---- requests ---------------------------------------------------------------------------------*/

static void fill(char *buf, uint32_t count, uint64_t value)
{
    for (uint32_t i = 0; i < count * SECTOR; i += sizeof value)
        memcpy(buf + i, &value, sizeof value);
}

static int transmit(struct client *c, struct request *r)
{
    bool write = r->type == NBDW_CMD_WRITE;

    if (write)
        fill(c->buf, r->count, r->value);
    return nbd_send_request(c->fd, r->type, r->flags, r->order, (uint64_t)r->first * SECTOR,
                            r->count * SECTOR, write ? c->buf : NULL);
}

static bool is_free(const struct client *c, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        if (c->busy[i])
            return false;
    return true;
}

static void mark(struct client *c, const struct request *r, bool busy)
{
    for (uint32_t i = r->first; i < r->first + r->count; i++)
        c->busy[i] = busy;
}

/* What the next request is; false: its sectors are not free. */
static bool choose(struct client *c, struct request *r)
{
    uint64_t kind = draw(c, 100);

    *r = (struct request){ .type = NBDW_CMD_READ };
    if (c->to_verify < SECTORS && draw(c, 2)) {
        r->first = c->to_verify;
        r->count = SECTORS - r->first < REQUEST_MOST ? SECTORS - r->first : REQUEST_MOST;
        return is_free(c, r->first, r->count);
    }
    if (kind >= 95) {
        r->type = NBDW_CMD_FLUSH;
        return true;
    }
    r->count = 1 + (uint32_t)draw(c, draw(c, 4) ? 16 : REQUEST_MOST);
    r->first = (uint32_t)draw(c, SECTORS - r->count);
    if (kind < 70)
        r->type = NBDW_CMD_WRITE;
    else if (kind < 80)
        r->type = kind < 75 ? NBDW_CMD_WRITE_ZEROES : NBDW_CMD_TRIM;
    if (r->type == NBDW_CMD_TRIM) { /* whole blocks, which read as zeros from then on */
        r->first &= ~7u;
        r->count = (r->count + 7) & ~7u;
        if (r->first + r->count > SECTORS)
            return false;
    }
    if (r->type != NBDW_CMD_READ && draw(c, 12) == 0)
        r->flags = NBDW_CMD_FLAG_FUA;
    return is_free(c, r->first, r->count);
}

static int submit_one(struct client *c)
{
    struct request r, *at = c->requests;

    if (!choose(c, &r))
        return 0;
    while (at->active)
        at++;
    r.active = true;
    r.order = ++c->next;
    r.value = r.type == NBDW_CMD_WRITE ? (uint64_t)(c->index + 1) << 48 | r.order : 0;
    r.sent_ns = nbd_now_ns();
    *at = r;
    c->active++;
    mark(c, at, true);
    if (r.type == NBDW_CMD_READ && r.first == c->to_verify)
        c->to_verify += r.count;
    return transmit(c, at);
}

/* ---- answers ----------------------------------------------------------------------------------*/

static void compare(struct client *c, const struct request *r)
{
    for (uint32_t s = 0; s < r->count; s++)
        for (uint32_t i = 0; i < SECTOR; i += 8) {
            uint64_t got, want = c->acked[r->first + s];
            memcpy(&got, c->buf + s * SECTOR + i, sizeof got);
            if (got != want)
                die(c,
                    "%s: sector %u, byte %u: %" PRIx64 " instead of %" PRIx64
                    " (requests up to %" PRIx64 ")",
                    c->uri.export, r->first + s, i, got, want, c->next);
        }
}

static void answered(struct client *c, struct request *r)
{
    if (r->type == NBDW_CMD_READ)
        compare(c, r);
    else if (r->type != NBDW_CMD_FLUSH)
        for (uint32_t i = r->first; i < r->first + r->count; i++)
            c->acked[i] = r->value;
    waited(nbd_now_ns() - r->sent_ns);
    mark(c, r, false);
    r->active = false;
    c->active--;
    c->operations++;
}

static int receive_one(struct client *c)
{
    struct request *r = c->requests;
    uint64_t cookie;
    uint32_t error;
    int rc = nbd_receive_reply(c->fd, &cookie, &error);

    if (rc == -EPROTO)
        die(c, "an answer without its magic");
    if (rc < 0 || error == NBDW_ESHUTDOWN)
        return -EAGAIN;
    while (r < c->requests + DEPTH && (!r->active || r->order != cookie))
        r++;
    if (r == c->requests + DEPTH)
        die(c, "an answer to nothing that was asked");
    if (error)
        die(c, "request %u of sectors %u+%u ended with error %u", r->type, r->first, r->count,
            error);
    if (r->type == NBDW_CMD_READ) {
        rc = nbd_receive(c->fd, c->buf, (uint64_t)r->count * SECTOR);
        if (rc < 0)
            return rc;
    }
    answered(c, r);
    return 0;
}

/* ---- connections ------------------------------------------------------------------------------*/

static int dial(struct client *c)
{
    int64_t deadline = nbd_now_ns() + PATIENCE_NS;
    struct err e = { 0 };
    uint64_t size;
    int rc;

    while ((rc = nbd_dial(&c->uri, &c->fd, &size, &e)) == -EAGAIN && !load.ending) {
        if (nbd_now_ns() > deadline)
            die(c, "no server for a minute: %s", e.msg);
        usleep(5000);
    }
    if (rc < 0 && rc != -EAGAIN)
        die(c, "%s", e.msg);
    if (rc == 0 && size < (uint64_t)SECTORS * SECTOR)
        die(c, "the export is too small");
    return rc;
}

static int by_order(const void *a, const void *b)
{
    const struct request *x = a, *y = b;

    if (x->active != y->active)
        return x->active ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* What was not answered is sent again, in the order of its first time. */
static int send_again(struct client *c)
{
    int rc = 0;

    qsort(c->requests, DEPTH, sizeof *c->requests, by_order);
    for (unsigned i = 0; i < DEPTH && c->requests[i].active && rc == 0; i++)
        rc = transmit(c, &c->requests[i]);
    return rc;
}

/* Until the connection ends. */
static void talk(struct client *c)
{
    bool told = false;
    int rc = send_again(c);

    c->to_verify = 0;
    while (rc == 0 && !load.ending) {
        for (unsigned tries = 0; rc == 0 && c->active < DEPTH && tries < 2 * DEPTH; tries++)
            rc = submit_one(c);
        if (rc == 0 && c->active)
            rc = receive_one(c);
        if (!told && rc == 0 && c->to_verify >= SECTORS) {
            all_verified(c);
            told = true;
        }
    }
}

static void *run_client(void *arg)
{
    struct client *c = arg;

    while (!load.ending && dial(c) == 0) {
        talk(c);
        close(c->fd);
    }
    return NULL;
}

static void on_term(int signal)
{
    (void)signal;
    load.ending = true;
}

static int run_kills(uint64_t seed, char *const *uris, unsigned count)
{
    struct err e = { 0 };
    uint64_t operations = 0;

    load.count = count;
    signal(SIGTERM, on_term);
    for (unsigned i = 0; i < count; i++) {
        struct client *c = &load.clients[i];
        c->index = i;
        c->seed = seed * 1000 + i;
        if (nbd_uri_parse(uris[i], &c->uri, &e) < 0)
            die(c, "%s", e.msg);
    }
    for (unsigned i = 0; i < count; i++)
        pthread_create(&load.clients[i].thread, NULL, run_client, &load.clients[i]);
    for (unsigned i = 0; i < count; i++) {
        pthread_join(load.clients[i].thread, NULL);
        operations += load.clients[i].operations;
    }
    printf("operations %" PRIu64 "\n", operations);
    return 0;
}

/* ---- the old connection's writes --------------------------------------------------------------*/

#define STALE_WRITES 64u

static void must(const struct client *c, int rc, const char *what)
{
    if (rc < 0)
        die(c, "%s: the connection is over", what);
}

/* Writes all the blocks with one value and waits for the answers. */
static void write_all(struct client *c, int fd, uint64_t value)
{
    uint64_t cookie;
    uint32_t error;

    fill(c->buf, REQUEST_MOST, value);
    for (uint32_t i = 0; i < STALE_WRITES; i++)
        must(c,
             nbd_send_request(fd, NBDW_CMD_WRITE, 0, i, (uint64_t)i * 8 * SECTOR, 8 * SECTOR,
                              c->buf),
             "write");
    for (uint32_t i = 0; i < STALE_WRITES; i++) {
        must(c, nbd_receive_reply(fd, &cookie, &error), "answer to a write");
        if (error)
            die(c, "a write ended with error %u", error);
    }
}

static void expect_all(struct client *c, int fd, uint64_t value)
{
    static char got[STALE_WRITES * 8 * SECTOR];
    uint64_t cookie, word;
    uint32_t error;

    must(c, nbd_send_request(fd, NBDW_CMD_READ, 0, 1, 0, sizeof got, NULL), "read");
    must(c, nbd_receive_reply(fd, &cookie, &error), "answer to a read");
    if (error)
        die(c, "a read ended with error %u", error);
    must(c, nbd_receive(fd, got, sizeof got), "data of a read");
    for (size_t i = 0; i < sizeof got; i += 8) {
        memcpy(&word, got + i, 8);
        if (word != value)
            die(c, "byte %zu: %" PRIx64 ", which the old connection wrote, instead of %" PRIx64, i,
                word, value);
    }
}

/* As much of an old connection's writes as goes into its socket, unread; then the new one's. */
static void one_stale_round(struct client *c, uint64_t round)
{
    uint64_t old_value = round * 4 + 1, same = old_value, new_value = round * 4 + 2, size;
    struct err e = { 0 };
    int old, fd;

    if (nbd_dial(&c->uri, &old, &size, &e) < 0)
        die(c, "%s", e.msg);
    fill(c->buf, REQUEST_MOST, old_value);
    for (uint32_t i = 0; i < 4 * STALE_WRITES; i++)
        if (nbd_send_request(old, NBDW_CMD_WRITE, 0, i, (uint64_t)(i % STALE_WRITES) * 8 * SECTOR,
                             8 * SECTOR, c->buf) < 0)
            break;
    if (draw(c, 2))
        shutdown(old, SHUT_WR); /* what it sent is on its way all the same */
    if (nbd_dial(&c->uri, &fd, &size, &e) < 0)
        die(c, "%s", e.msg);
    write_all(c, fd, same); /* sent again */
    write_all(c, fd, new_value);
    for (int i = 0; i < 4; i++)
        expect_all(c, fd, new_value);
    close(old);
    expect_all(c, fd, new_value);
    close(fd);
}

static int run_stale(uint64_t seed, uint64_t rounds, const char *uri)
{
    struct client *c = &load.clients[0];
    struct err e = { 0 };

    c->seed = seed;
    if (nbd_uri_parse(uri, &c->uri, &e) < 0)
        die(c, "%s", e.msg);
    for (uint64_t i = 1; i <= rounds; i++)
        one_stale_round(c, i);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && argc - 3 <= CLIENTS_MOST && strcmp(argv[1], "kills") == 0)
        return run_kills(strtoull(argv[2], NULL, 10), argv + 3, (unsigned)argc - 3);
    if (argc == 5 && strcmp(argv[1], "stale") == 0)
        return run_stale(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), argv[4]);
    fprintf(stderr, "usage: nbd_load kills SEED URI... | nbd_load stale SEED ROUNDS URI\n");
    return 2;
}
