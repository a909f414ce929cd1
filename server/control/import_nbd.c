/* SPDX-License-Identifier: Apache-2.0 */
/* import_nbd - a disk from an NBD server, by libnbd.  Chunks of 2 MiB are asked for in order, up to
 * SLOTS of them at once, and handed on in order.  It must never know who started the server. */
#include "server/control/import_nbd.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/base/clock.h"
#include "server/control/import_extents.h"
#include "server/control/import_sink.h"

#define BLOCK        4096u
#define SLOTS        4u
#define STATUS_BYTES (1ull << 30) /* asked about at once */
#define TURN_MS      200
#define CONNECT_NS   (30 * NS_PER_S)
#define STALL_NS     (60 * NS_PER_S) /* without one answer */
#define GOODBYE_NS   (500 * NS_PER_MS)

#define STATE_ZERO 2u /* base:allocation: reads as zeros */

struct slot {
    struct nbd_reader *reader;
    uint8_t *buf;
    uint64_t at, length;  /* the chunk */
    uint64_t first, data; /* the part of it that is asked for; data = 0: none is */
    bool waiting;
    int error; /* errno */
};

struct nbd_reader {
    struct nbd_handle *h;
    const char *who; /* for messages */
    struct job_progress *progress;
    uint64_t size, unit; /* unit: requests are multiples of it but at the end */
    uint64_t chunk;
    struct extents extents;
    bool has_status;
    bool asking;       /* a question about extents is on its way */
    uint64_t asked_to; /* where it ends */
    int ask_error;
    bool answered; /* something came since the last look */
    int64_t last_answer_ns;
    struct slot slots[SLOTS];
};

/* ---- errors -----------------------------------------------------------------------------------*/

/* Takes every occurrence of the export's name out of a message. */
static void hide_export(struct nbd_handle *h, char *text)
{
    AUTO(auto_free) char *name = nbd_get_export_name(h);
    size_t length = name ? strlen(name) : 0;

    for (char *at = text; length > 0 && (at = strstr(at, name));) {
        size_t shown = length < 3 ? length : 3;

        memset(at, '.', shown);
        memmove(at + shown, at + length, strlen(at + length) + 1);
        at += shown;
    }
}

static bool is_over(const struct nbd_reader *r)
{
    return nbd_aio_is_dead(r->h) > 0 || nbd_aio_is_closed(r->h) > 0;
}

static int lost(const struct nbd_reader *r, struct err *e)
{
    return err_set(e, -ECONNRESET, "the connection to %s was lost before the disk was complete",
                   r->who);
}

/* What libnbd says: "nbd_poll: recv: …" without its function's name. */
static int failed(struct nbd_reader *r, struct err *e)
{
    const char *said = nbd_get_error();
    int error = nbd_get_errno();
    struct err mine = { 0 };

    if (r->chunk && is_over(r)) /* after the handshake: how it was noticed is no matter */
        return lost(r, e);
    if (said && strncmp(said, "nbd_", 4) == 0 && strstr(said, ": "))
        said = strstr(said, ": ") + 2;
    err_set(&mine, -EIO, "%s", said ? said : "the connection failed");
    hide_export(r->h, mine.msg);
    return err_set(e, error > 0 ? -error : -EIO, "%s: %s", r->who, mine.msg);
}

/* ---- waiting ----------------------------------------------------------------------------------*/

/* Waits for the socket and lets libnbd go on.  1, 0 when nothing happened, -1 with libnbd's error.
 * (nbd_poll tells a hang-up to a state that waits to write as if it could read, which it refuses.)
 */
static int pump(struct nbd_handle *h, int timeout_ms)
{
    unsigned direction = nbd_aio_get_direction(h);
    struct pollfd p = { .fd = nbd_aio_get_fd(h) };
    int n;

    if (direction & LIBNBD_AIO_DIRECTION_READ)
        p.events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        p.events |= POLLOUT;
    n = poll(&p, 1, timeout_ms);
    if (n <= 0)
        return n == 0 || errno == EINTR ? 0 : -1;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (p.revents & ~POLLOUT))
        return nbd_aio_notify_read(h) < 0 ? -1 : 1;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        return nbd_aio_notify_write(h) < 0 ? -1 : 1;
    return 1;
}

/* Lets a fraction of a second pass, or less if something happens. */
static int turn(struct nbd_reader *r, int64_t patience_ns, struct err *e)
{
    int rc = import_cancelled(r->progress, e);

    if (rc < 0)
        return rc;
    if (pump(r->h, TURN_MS) < 0)
        return failed(r, e);
    if (r->answered)
        r->last_answer_ns = clock_mono_ns();
    r->answered = false;
    if (clock_mono_ns() - r->last_answer_ns > patience_ns)
        return err_set(e, -ETIMEDOUT, "%s has not answered for %lld seconds", r->who,
                       (long long)(patience_ns / NS_PER_S));
    return 0;
}

static int await_answer(struct nbd_reader *r, struct err *e)
{
    return is_over(r) ? lost(r, e) : turn(r, STALL_NS, e);
}

/* ---- life -------------------------------------------------------------------------------------*/

static int configure(struct nbd_reader *r, bool by_uri, struct err *e)
{
    if (nbd_add_meta_context(r->h, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0)
        return failed(r, e);
    if (by_uri && nbd_set_uri_allow_transports(r->h, LIBNBD_ALLOW_TRANSPORT_TCP |
                                                         LIBNBD_ALLOW_TRANSPORT_UNIX) < 0)
        return failed(r, e);
    return 0;
}

/* What the handshake brought. */
static int learn(struct nbd_reader *r, struct err *e)
{
    int64_t size = nbd_get_size(r->h);
    int64_t min = nbd_get_block_size(r->h, LIBNBD_SIZE_MINIMUM);
    int64_t max = nbd_get_block_size(r->h, LIBNBD_SIZE_MAXIMUM);

    if (size < 0) /* libnbd 1.14 passes on what it was told */
        return err_set(e, -EFBIG, "%s says a size that no disk has", r->who);
    r->size = (uint64_t)size;
    r->unit = min > BLOCK ? (uint64_t)min : BLOCK;
    r->chunk = max > 0 && (uint64_t)max < SINK_CHUNK_BYTES ? (uint64_t)max : SINK_CHUNK_BYTES;
    if ((r->unit & (r->unit - 1)) != 0 || r->unit > r->chunk)
        return err_set(e, -EINVAL,
                       "%s wants requests of %llu to %llu bytes, which are not known here", r->who,
                       (unsigned long long)r->unit, (unsigned long long)r->chunk);
    r->chunk = round_down(r->chunk, r->unit);
    r->has_status = nbd_can_meta_context(r->h, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
    return 0;
}

static int shake_hands(struct nbd_reader *r, const char *uri, int fd, struct err *e)
{
    int rc = configure(r, uri, e);

    if (rc < 0) {
        if (!uri)
            close(fd);
        return rc;
    }
    if ((uri ? nbd_aio_connect_uri(r->h, uri) : nbd_aio_connect_socket(r->h, fd)) < 0)
        return failed(r, e);
    r->last_answer_ns = clock_mono_ns();
    while (nbd_aio_is_ready(r->h) <= 0) {
        if (is_over(r))
            return err_set(e, -ECONNRESET, "%s ended the connection at once", r->who);
        rc = turn(r, CONNECT_NS, e);
        if (rc < 0)
            return rc;
    }
    return learn(r, e);
}

int nbd_reader_open(const char *uri, int fd, struct job_progress *progress, struct nbd_reader **ret,
                    struct err *e)
{
    struct nbd_reader *r = calloc(1, sizeof *r);
    int rc = 0;

    if (!r || !(r->h = nbd_create()))
        rc = err_set(e, -ENOMEM, "out of memory");
    for (unsigned i = 0; rc == 0 && i < SLOTS; i++) {
        r->slots[i].reader = r;
        if (!(r->slots[i].buf = malloc(SINK_CHUNK_BYTES)))
            rc = err_set(e, -ENOMEM, "out of memory");
    }
    if (rc < 0) {
        if (!uri)
            close(fd);
        nbd_reader_close(r);
        return rc;
    }
    r->who = uri ? "the NBD server" : "qemu-nbd";
    r->progress = progress;
    atomic_store(&progress->phase, "connect");
    rc = shake_hands(r, uri, fd, e);
    if (rc < 0) {
        nbd_reader_close(r);
        return rc;
    }
    *ret = r;
    return 0;
}

uint64_t nbd_reader_size(const struct nbd_reader *r)
{
    return r->size;
}

void nbd_reader_close(struct nbd_reader *r)
{
    int64_t until = clock_mono_ns() + GOODBYE_NS;

    if (!r)
        return;
    /* A goodbye, if nothing is in the way. */
    if (r->h && nbd_aio_is_ready(r->h) > 0 && nbd_aio_in_flight(r->h) == 0 &&
        nbd_aio_disconnect(r->h, 0) == 0)
        while (!is_over(r) && clock_mono_ns() < until && pump(r->h, TURN_MS / 2) > 0)
            ;
    nbd_close(r->h); /* before the buffers: it may still fill them */
    for (unsigned i = 0; i < SLOTS; i++)
        free(r->slots[i].buf);
    free(r);
}

/* ---- where the zeros are ----------------------------------------------------------------------*/

/* The answer to a question.  Its numbers are the server's: lengths may be 0 or go beyond. */
static int on_extents(void *ctx, const char *context, uint64_t offset, uint32_t *entries,
                      size_t count, int *error)
{
    struct nbd_reader *r = ctx;

    (void)error;
    if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 || offset != r->extents.end)
        return 0;
    for (size_t i = 0; i + 1 < count && r->extents.end < r->asked_to; i += 2) {
        uint64_t left = r->asked_to - r->extents.end;

        extents_add(&r->extents, entries[i] < left ? entries[i] : left,
                    entries[i + 1] & STATE_ZERO);
    }
    return 0;
}

static int on_asked(void *ctx, int *error)
{
    struct nbd_reader *r = ctx;

    r->asking = false;
    r->answered = true;
    r->ask_error = *error;
    return 1;
}

/* Asks until all before `to` is known.  What a server does not tell is data. */
static int learn_extents(struct nbd_reader *r, uint64_t to, struct err *e)
{
    while (r->extents.end < to) {
        uint64_t from = r->extents.end, left = r->size - from;
        uint64_t length = left < STATUS_BYTES ? left : STATUS_BYTES;

        r->asked_to = from + length;
        r->asking = r->has_status;
        r->ask_error = 0;
        if (r->has_status &&
            nbd_aio_block_status(
                r->h, length, from, (nbd_extent_callback){ .callback = on_extents, .user_data = r },
                (nbd_completion_callback){ .callback = on_asked, .user_data = r }, 0) < 0)
            r->asking = false;
        while (r->asking) {
            int rc = await_answer(r, e);
            if (rc < 0)
                return rc;
        }
        if (r->ask_error)
            r->has_status = false; /* asked once too often: the rest is read */
        if (r->extents.end == from)
            extents_add(&r->extents, length, false);
    }
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------*/

static int on_read(void *ctx, int *error)
{
    struct slot *s = ctx;

    s->waiting = false;
    s->error = *error;
    s->reader->answered = true;
    return 1;
}

/* Asks for the data of the chunk at `at`, if it has any. */
static int begin(struct nbd_reader *r, struct slot *s, uint64_t at, struct err *e)
{
    uint64_t first = 0, end = 0;
    int rc;

    s->at = at;
    s->length = r->size - at < r->chunk ? r->size - at : r->chunk;
    s->data = 0;
    s->error = 0;
    s->waiting = false;
    rc = learn_extents(r, at + s->length, e);
    if (rc < 0)
        return rc;
    if (extents_data(&r->extents, at, s->length, &first, &end)) {
        s->first = round_down(first, r->unit);
        end = round_up(end, r->unit);
        s->data = (end < at + s->length ? end : at + s->length) - s->first;
        s->waiting = true;
        if (nbd_aio_pread(r->h, s->buf, s->data, s->first,
                          (nbd_completion_callback){ .callback = on_read, .user_data = s }, 0) < 0)
            return failed(r, e);
    }
    extents_drop(&r->extents, at + s->length);
    return 0;
}

/* Waits for the chunk and hands it on; the disk's last sector is filled up with zeros. */
static int finish(struct nbd_reader *r, struct slot *s, struct sink *sink, struct err *e)
{
    uint64_t end = s->at + s->length == r->size ? sink_size(sink) : s->at + s->length;
    uint64_t data = s->data;
    int rc = 0;

    while (rc == 0 && s->waiting)
        rc = await_answer(r, e);
    if (rc < 0)
        return rc;
    if (s->error)
        return is_over(r) ? lost(r, e)
                          : err_set(e, -s->error, "%s cannot read at byte %llu: %s", r->who,
                                    (unsigned long long)s->first, strerror(s->error));
    if (data > 0) {
        if (s->first + data == r->size) {
            memset(s->buf + data, 0, end - r->size);
            data += end - r->size;
        }
        rc = sink_zeros(sink, s->first - s->at, e);
        if (rc == 0)
            rc = sink_data(sink, s->buf, data, e);
    }
    return rc < 0 ? rc : sink_zeros(sink, end - sink_at(sink), e);
}

int nbd_reader_read(struct nbd_reader *r, struct sink *sink, struct err *e)
{
    uint64_t next = 0; /* the chunk to ask for */
    unsigned begun = 0, finished = 0;

    while (next < r->size || finished < begun) {
        int rc;

        if (next < r->size && begun - finished < SLOTS) {
            struct slot *s = &r->slots[begun % SLOTS];
            rc = begin(r, s, next, e);
            next += s->length;
            begun++;
        } else {
            rc = finish(r, &r->slots[finished % SLOTS], sink, e);
            finished++;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}
