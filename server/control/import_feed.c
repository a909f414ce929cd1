/* SPDX-License-Identifier: Apache-2.0 */
/* import_feed - a read-only NBD server for one file and one client that we started ourselves, but
 * that has looked into a hostile file.  It must never know formats or processes. */
#include "server/control/import_feed.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/be.h"
#include "server/base/checked.h"
#include "server/control/import_view.h"
#include "server/io/thread.h"

/* proto.md "Oldstyle negotiation"; "Request message"; "Simple reply message". */
struct hello {
    char magic[8]; /* "NBDMAGIC" */
    struct be64 oldstyle_magic;
    struct be64 size;
    struct be32 flags;
    uint8_t zeros[124];
};
struct request {
    struct be32 magic;
    struct be16 flags;
    struct be16 type;
    struct be64 cookie;
    struct be64 offset;
    struct be32 length;
};
struct reply {
    struct be32 magic;
    struct be32 error;
    struct be64 cookie;
};
static_assert(sizeof(struct hello) == 152, "proto.md: 152 bytes");
static_assert(sizeof(struct request) == 28, "proto.md: 28 bytes");
static_assert(sizeof(struct reply) == 16, "proto.md: 16 bytes");

#define OLDSTYLE_MAGIC 0x00420281861253u
#define REQUEST_MAGIC  0x25609513u
#define REPLY_MAGIC    0x67446698u

enum { FLAG_HAS_FLAGS = 1, FLAG_READ_ONLY = 2, TYPE_READ = 0, TYPE_DISCONNECT = 2 };
enum { NBD_EIO = 5, NBD_EINVAL = 22 };

#define BEYOND_BYTES (1ull << 40) /* how much larger the file looks */
#define PIECE_BYTES  (1u << 20)   /* read and sent at once */
#define LENGTH_MAX   (32u << 20)  /* of a request: qemu's own limit */

struct feed {
    const struct view *view;
    uint64_t shown_bytes;
    int fd;
    pthread_t thread;
    uint8_t *piece;
    _Atomic(enum feed_fault) fault;
};

static bool send_all(const struct feed *f, const void *data, size_t length)
{
    const char *p = data;

    while (length > 0) {
        ssize_t n = send(f->fd, p, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        length -= (size_t)n;
    }
    return true;
}

static bool receive_all(const struct feed *f, void *data, size_t length)
{
    char *p = data;

    while (length > 0) {
        ssize_t n = recv(f->fd, p, length, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        length -= (size_t)n;
    }
    return true;
}

static bool answer(const struct feed *f, const struct request *q, uint32_t error)
{
    struct reply r = { put_be32(REPLY_MAGIC), put_be32(error), q->cookie };

    return send_all(f, &r, sizeof r);
}

/* Only the first fault counts. */
static void remember(struct feed *f, enum feed_fault fault)
{
    enum feed_fault fine = FEED_FINE;

    atomic_compare_exchange_strong(&f->fault, &fine, fault);
}

/* False: the connection is over. */
static bool on_read(struct feed *f, const struct request *q)
{
    uint64_t offset = get_be64(q->offset), length = get_be32(q->length);
    bool first = true;

    if (length == 0 || length > LENGTH_MAX || !range_inside(offset, length, f->shown_bytes))
        return answer(f, q, NBD_EINVAL);
    if (!range_inside(offset, length, round_up(f->view->size, VIEW_SLACK))) {
        remember(f, FEED_BEYOND_END);
        return answer(f, q, NBD_EIO);
    }
    while (length > 0) {
        size_t step = length < PIECE_BYTES ? (size_t)length : PIECE_BYTES;
        if (view_read(f->view, f->piece, step, offset) < 0) {
            remember(f, FEED_READ_ERROR);
            return first && answer(f, q, NBD_EIO);
        }
        if ((first && !answer(f, q, 0)) || !send_all(f, f->piece, step))
            return false;
        first = false;
        offset += step;
        length -= step;
    }
    return true;
}

static void *run(void *arg)
{
    struct feed *f = arg;
    struct hello hello = { .magic = "NBDMAGI" };
    struct request q;

    hello.magic[7] = 'C';
    hello.oldstyle_magic = put_be64(OLDSTYLE_MAGIC);
    hello.size = put_be64(f->shown_bytes);
    hello.flags = put_be32(FLAG_HAS_FLAGS | FLAG_READ_ONLY);
    bool on = send_all(f, &hello, sizeof hello);
    while (on && receive_all(f, &q, sizeof q)) {
        if (get_be32(q.magic) != REQUEST_MAGIC || get_be16(q.type) == TYPE_DISCONNECT)
            break;
        on = get_be16(q.type) == TYPE_READ ? on_read(f, &q) : answer(f, &q, NBD_EINVAL);
    }
    shutdown(f->fd, SHUT_RDWR);
    return NULL;
}

int feed_start(const struct view *view, bool exact, struct feed **ret, int *ret_fd, struct err *e)
{
    int pair[2], rc;
    struct feed *f = calloc(1, sizeof *f);

    if (!f || !(f->piece = malloc(PIECE_BYTES))) {
        free(f);
        return err_set(e, -ENOMEM, "out of memory");
    }
    f->view = view;
    /* Whole sectors: qemu waits for ever for the rest of the last one. */
    f->shown_bytes = round_up(view->size, VIEW_SLACK) + (exact ? 0 : BEYOND_BYTES);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        rc = err_errno(e, "make a pair of sockets");
        goto undo_memory;
    }
    f->fd = pair[0];
    rc = thread_start("import-feed", run, f, &f->thread, e);
    if (rc < 0)
        goto undo_sockets;
    *ret = f;
    *ret_fd = pair[1];
    return 0;

undo_sockets:
    close(pair[0]);
    close(pair[1]);
undo_memory:
    free(f->piece);
    free(f);
    return rc;
}

enum feed_fault feed_fault(const struct feed *f)
{
    return atomic_load(&f->fault);
}

void feed_stop(struct feed *f)
{
    if (!f)
        return;
    shutdown(f->fd, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->fd);
    free(f->piece);
    free(f);
}
