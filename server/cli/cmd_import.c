/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_import - `gridbox image import`: names the source to the server or uploads it, follows the
 * job, cancels it on Ctrl-C.  How an image is read is the server's business. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/progress.h"

#define POLL_SECONDS   20
#define CANCEL_SECONDS 15 /* how long the server may take to end a cancelled job */

struct import {
    struct cli *c;
    const char *name;
    struct progress progress;
};

static void auto_json(json_t **j)
{
    json_decref(*j);
}

/* ---- the source
 * ----------------------------------------------------------------------------------*/
static void on_upload(void *ctx, uint64_t done, uint64_t total)
{
    struct import *im = ctx;
    char what[128];

    snprintf(what, sizeof what, "%s: upload", im->name);
    progress_show(&im->progress, what, done, total);
}

/* A disk file or block device of known size.  *ret_fd stands at its start. */
static int open_source(const char *path, int *ret_fd, uint64_t *ret_size, struct err *e)
{
    AUTO(auto_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_errno(e, "%s", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, -EMEDIUMTYPE, "%s: neither a file nor a block device", path);
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return err_errno(e, "%s", path);
    if (size == 0)
        return err_set(e, -ENODATA, "%s: the file is empty", path);
    *ret_size = (uint64_t)size;
    *ret_fd = take_fd(&fd);
    return 0;
}

/* Brings the file to the server; the source is then the upload's id. */
static int upload(struct import *im, const char *path, json_t **ret_source, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    AUTO(auto_close) int fd = -1;
    uint64_t size = 0;
    char call[64];

    int rc = open_source(path, &fd, &size, e);
    if (rc < 0)
        return rc;
    snprintf(call, sizeof call, "/v1/uploads?size=%llu", (unsigned long long)size);
    rc = client_upload(im->c->client, call, fd, size, on_upload, im, &r, e);
    if (rc == -ECANCELED)
        return err_set(e, rc, "the import of '%s' was cancelled", im->name);
    if (rc < 0)
        return err_wrap(e, rc, "upload of %s", path);
    *ret_source = json_pack("{s:O}", "upload", json_object_get(r.json, "upload"));
    return *ret_source ? 0 : err_set(e, -EPROTO, "the server did not say where the upload lies");
}

static bool starts_with(const char *text, const char *head)
{
    return strncmp(text, head, strlen(head)) == 0;
}

/* The server opens a path itself when it is on this machine: it then wants it whole. */
static int local_file(const char *path, json_t **ret_source, struct err *e)
{
    char whole[PATH_MAX];

    if (!realpath(path, whole))
        return err_errno(e, "%s", path);
    *ret_source = json_pack("{s:s}", "file", whole);
    return *ret_source ? 0 : err_set(e, -EINVAL, "%s: the path is not UTF-8", path);
}

static int find_source(struct import *im, const char *text, json_t **ret_source, struct err *e)
{
    const char *key = NULL;

    if (starts_with(text, "http://") || starts_with(text, "https://"))
        key = "url";
    else if (starts_with(text, "nbd://") || starts_with(text, "nbd+unix://"))
        key = "nbd";
    else if (strstr(text, "://"))
        return err_set(e, -EINVAL,
                       "SOURCE '%.80s': use the path of a file, http://, https:// or nbd://", text);
    if (!key)
        return client_address(im->c->client)->is_unix ? local_file(text, ret_source, e)
                                                      : upload(im, text, ret_source, e);
    *ret_source = json_pack("{s:s}", key, text);
    return *ret_source ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* ---- the job
 * -------------------------------------------------------------------------------------*/
static int job_get(struct import *im, const char *id, int64_t after, unsigned wait,
                   struct client_reply *ret, struct err *e)
{
    char path[CLIENT_PATH_SIZE], query[64];

    snprintf(query, sizeof query, "?after=%lld&wait=%u", (long long)after, wait);
    int rc = client_path(path, "/v1/jobs/", id, query, e);
    return rc < 0 ? rc : client_call(im->c->client, "GET", path, NULL, wait, ret, e);
}

static bool job_running(const struct client_reply *r)
{
    return strcmp(client_text(r->json, "state"), "running") == 0;
}

static void job_show(struct import *im, const struct client_reply *r)
{
    int64_t done = client_number(r->json, "done_bytes"),
            total = client_number(r->json, "total_bytes");
    char what[256];

    snprintf(what, sizeof what, "%s: %s", im->name, client_text(r->json, "phase"));
    progress_show(&im->progress, what, done > 0 ? (uint64_t)done : 0,
                  total > 0 ? (uint64_t)total : 0);
}

/* Follows the job until it ends or the user has enough of it (-ECANCELED). */
static int job_follow(struct import *im, const char *id, struct client_reply *ret, struct err *e)
{
    int64_t after = 0;

    while (!interrupt_take(&im->c->interrupt)) {
        struct client_reply r = { 0 };
        int rc = job_get(im, id, after, POLL_SECONDS, &r, e);
        if (rc < 0)
            return rc;
        if (!job_running(&r)) {
            *ret = r;
            return 0;
        }
        after = client_number(r.json, "seq");
        job_show(im, &r);
        client_reply_done(&r);
    }
    return -ECANCELED;
}

/* Tells the server to stop, and waits until nothing of the import is left there; another Ctrl-C
 * ends the waiting. */
static int job_cancel(struct import *im, const char *id, struct client_reply *ret, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char path[CLIENT_PATH_SIZE];
    int64_t deadline = clock_mono_ns() + CANCEL_SECONDS * NS_PER_S, after = 0;

    int rc = client_path(path, "/v1/jobs/", id, "", e);
    if (rc == 0)
        rc = client_call(im->c->client, "DELETE", path, NULL, 0, &r, e);
    if (rc < 0)
        return rc;
    while (clock_mono_ns() < deadline) {
        client_reply_done(&r);
        rc = job_get(im, id, after, 1, &r, e);
        if (rc == -ECANCELED)
            break;
        if (rc < 0)
            return rc;
        if (!job_running(&r)) {
            *ret = r;
            r = (struct client_reply){ 0 };
            return 0;
        }
        after = client_number(r.json, "seq");
    }
    return err_set(e, -ETIMEDOUT,
                   "the server was told to cancel the import, and still works on it");
}

static int job_result(struct import *im, const struct client_reply *r, struct err *e)
{
    const char *state = client_text(r->json, "state"), *why = client_text(r->json, "error");

    if (im->c->json)
        cli_print_json(im->c, r);
    if (strcmp(state, "cancelled") == 0)
        return err_set(e, -ECANCELED, "the import of '%s' was cancelled", im->name);
    if (strcmp(state, "done") != 0)
        return err_set(e, -EREMOTEIO, "import of '%s': %s", im->name, why[0] ? why : state);
    if (!im->c->json)
        fprintf(im->c->out, "%s\n", client_text(json_object_get(r->json, "result"), "image"));
    return 0;
}

static int run(struct import *im, const char *source_text, struct err *e)
{
    AUTO(auto_json) json_t *source = NULL;
    AUTO(client_reply_done) struct client_reply started = { 0 }, ended = { 0 };

    int rc = find_source(im, source_text, &source, e);
    if (rc < 0)
        return rc;
    AUTO(auto_json) json_t *body = json_pack("{s:s, s:O}", "name", im->name, "source", source);
    if (!body)
        return err_set(e, -ENOMEM, "out of memory");
    rc = client_call(im->c->client, "POST", "/v1/images", body, 0, &started, e);
    if (rc < 0)
        return rc;

    const char *id = client_text(started.json, "job");
    rc = job_follow(im, id, &ended, e);
    if (rc == -ECANCELED)
        rc = job_cancel(im, id, &ended, e);
    progress_end(&im->progress);
    return rc < 0 ? rc : job_result(im, &ended, e);
}

int cmd_image_import(struct cli *c, const struct cli_args *a, struct err *e)
{
    struct import im = { .c = c, .name = a->words[0] };

    progress_start(&im.progress, STDERR_FILENO);
    interrupt_begin(&c->interrupt);
    int rc = run(&im, a->words[1], e);
    progress_end(&im.progress);
    interrupt_end(&c->interrupt);
    return rc;
}
