/* SPDX-License-Identifier: Apache-2.0 */
/* uploads - POST /v1/uploads: a stream into a sparse file without a name. */
#include "server/control/uploads.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/loop.h"
#include "server/store/store.h"

struct upload {
    struct uploads *uploads;
    struct upload *next;
    char id[33];
    int fd;
    uint64_t size_bytes; /* that were announced */
    uint64_t at;         /* bytes that have come */
    int64_t expires_ns;  /* 0: it is still coming */
};

struct uploads {
    struct control *control;
    struct upload *first;
    unsigned count;
    struct loop_timer sweep;
};

static void drop(struct upload *u)
{
    struct upload **at = &u->uploads->first;

    while (*at && *at != u)
        at = &(*at)->next;
    if (*at) {
        *at = u->next;
        u->uploads->count--;
    }
    if (u->fd >= 0)
        close(u->fd);
    free(u);
}

static void on_sweep(struct loop_timer *t)
{
    struct uploads *all = (struct uploads *)((char *)t - offsetof(struct uploads, sweep));
    int64_t now = clock_mono_ns();

    for (struct upload *u = all->first, *next; u; u = next) {
        next = u->next;
        if (u->expires_ns && u->expires_ns <= now)
            drop(u);
    }
    if (all->first)
        loop_timer_set(all->control->loop, t, now + 60 * NS_PER_S);
}

int uploads_new(struct control *c, struct uploads **ret, struct err *e)
{
    struct uploads *all = calloc(1, sizeof *all);

    if (!all)
        return err_set(e, -ENOMEM, "uploads: out of memory");
    all->control = c;
    all->sweep.fn = on_sweep;
    *ret = all;
    return 0;
}

void uploads_free(struct uploads *all)
{
    if (!all)
        return;
    while (all->first)
        drop(all->first);
    loop_timer_cancel(all->control->loop, &all->sweep);
    free(all);
}

int uploads_take(struct uploads *all, const char *id, int *ret_fd, struct err *e)
{
    for (struct upload *u = all->first; u; u = u->next) {
        if (!u->expires_ns || strcmp(u->id, id) != 0)
            continue;
        *ret_fd = take_fd(&u->fd);
        drop(u);
        return 0;
    }
    return err_set(e, -ENOENT, "there is no such upload: it lives for an hour and for one import");
}

static int nameless_file(const char *dir, int *ret_fd, struct err *e)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/upload.XXXXXX", dir) >= (int)sizeof path)
        return err_set(e, -ENAMETOOLONG, "%s: path too long", dir);
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s", path);
    unlink(path);
    *ret_fd = fd;
    return 0;
}

static int begin(struct uploads *all, uint64_t size_bytes, struct upload **ret, struct err *e)
{
    struct store_space space;
    uint8_t id[16];
    int rc = store_space(all->control->store, &space, e);

    if (rc < 0)
        return rc;
    if (all->count >= UPLOADS_MOST)
        return err_set(e, -EAGAIN, "%d uploads are there already: try later", UPLOADS_MOST);
    if (size_bytes > space.free_bytes)
        return err_set(e, -ENOSPC,
                       "the upload has %" PRIu64 " bytes, the server's disk has %" PRIu64
                       " free: make room first",
                       size_bytes, space.free_bytes);
    struct upload *u = calloc(1, sizeof *u);
    if (!u)
        return err_set(e, -ENOMEM, "out of memory");
    rc = nameless_file(all->control->scratch_dir, &u->fd, e);
    if (rc < 0) {
        free(u);
        return rc;
    }
    random_bytes(id, sizeof id);
    hex_encode(id, sizeof id, u->id);
    u->uploads = all;
    u->size_bytes = size_bytes;
    u->next = all->first;
    all->first = u;
    all->count++;
    *ret = u;
    return 0;
}

static bool all_zero(const char *p, size_t length)
{
    return length == 0 || (p[0] == 0 && memcmp(p, p + 1, length - 1) == 0);
}

/* What is zero becomes a hole. */
static int on_data(void *arg, const void *bytes, size_t length, struct err *e)
{
    struct upload *u = arg;
    const char *p = bytes;

    if (all_zero(p, length)) {
        u->at += length;
        return 0;
    }
    while (length) {
        ssize_t put = pwrite(u->fd, p, length, (off_t)u->at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0 && errno == ENOSPC)
            return err_set(e, -ENOSPC, "the server's disk is full: make room and send it again");
        if (put <= 0)
            return err_errno(e, "write the upload");
        p += put;
        u->at += (uint64_t)put;
        length -= (size_t)put;
    }
    return 0;
}

static void on_gone(void *arg)
{
    drop(arg);
}

static void on_complete(struct http_request *r, struct upload *u)
{
    struct uploads *all = u->uploads;

    http_sink_done(r);
    if (ftruncate(u->fd, (off_t)u->at) < 0) {
        http_answer_problem(r, errno == ENOSPC ? 507 : 500, "end of the upload: %s",
                            strerror(errno));
        drop(u);
        return;
    }
    u->expires_ns = clock_mono_ns() + UPLOADS_SECONDS * NS_PER_S;
    if (!all->sweep.due_ns)
        loop_timer_set(all->control->loop, &all->sweep, clock_mono_ns() + 60 * NS_PER_S);
    http_answer_json(
        r, 201, json_pack("{s:s, s:I}", "upload", u->id, "size_bytes", (json_int_t)u->size_bytes));
}

static void on_upload(struct http_request *r)
{
    static const struct http_sink sink = { on_data, on_gone };
    struct control *c = http_context(r);
    struct upload *u = http_sink_arg(r);
    struct err e = { 0 };
    uint64_t size;

    if (u) {
        on_complete(r, u);
        return;
    }
    if (http_query_u64(r, "size", http_content_length(r), &size, &e) < 0)
        http_answer_err(r, &e);
    else if (size != http_content_length(r) || size == 0)
        http_answer_problem(r, 400, "size: must be the body's length and not 0");
    else if (begin(c->uploads, size, &u, &e) < 0)
        http_answer_err(r, &e);
    else
        http_receive(r, &sink, u);
}

int control_upload_routes(struct http *h, struct err *e)
{
    static const struct http_route routes[] = {
        { "POST", "/v1/uploads", HTTP_ADMIN, on_upload, true },
    };

    return http_routes(h, routes, sizeof routes / sizeof *routes, e);
}
