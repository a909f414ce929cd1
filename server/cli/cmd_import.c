/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_import - `gridbox image import`: names the source to the server or uploads it, follows the
 * job.  How an image is read is the server's business. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/job.h"

/* ---- the source
 * ----------------------------------------------------------------------------------*/
static void on_upload(void *ctx, uint64_t done, uint64_t total)
{
    struct job *j = ctx;
    char what[128];

    snprintf(what, sizeof what, "%s: upload", j->title);
    progress_show(&j->progress, what, done, total);
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
static int upload(struct job *j, const char *path, json_t **ret_source, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    AUTO(auto_close) int fd = -1;
    uint64_t size = 0;
    char call[64];

    int rc = open_source(path, &fd, &size, e);
    if (rc < 0)
        return rc;
    snprintf(call, sizeof call, "/v1/uploads?size=%llu", (unsigned long long)size);
    rc = client_upload(j->c->client, call, fd, size, on_upload, j, &r, e);
    if (rc == -ECANCELED)
        return err_set(e, rc, "the %s was cancelled", j->what);
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

static int find_source(struct job *j, const char *text, json_t **ret_source, struct err *e)
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
        return client_address(j->c->client)->is_unix ? local_file(text, ret_source, e)
                                                     : upload(j, text, ret_source, e);
    *ret_source = json_pack("{s:s}", key, text);
    return *ret_source ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* ---- the import
 * ----------------------------------------------------------------------------------*/
static int run(struct job *j, const char *name, const char *source_text, struct err *e)
{
    AUTO(auto_json) json_t *source = NULL;
    AUTO(client_reply_done) struct client_reply started = { 0 }, ended = { 0 };

    int rc = find_source(j, source_text, &source, e);
    if (rc < 0)
        return rc;
    AUTO(auto_json) json_t *body = json_pack("{s:s, s:O}", "name", name, "source", source);
    if (!body)
        return err_set(e, -ENOMEM, "out of memory");
    rc = client_call(j->c->client, "POST", "/v1/images", body, 0, &started, e);
    if (rc == 0)
        rc = job_wait(j, client_text(started.json, "job"), &ended, e);
    if (rc == 0)
        rc = job_result(j, &ended, e);
    if (rc == 0 && !j->c->json)
        fprintf(j->c->out, "%s\n", client_text(json_object_get(ended.json, "result"), "image"));
    return rc;
}

int cmd_image_import(struct cli *c, const struct cli_args *a, struct err *e)
{
    char what[128];
    struct job j = { .c = c, .title = a->words[0], .what = what };

    snprintf(what, sizeof what, "import of '%s'", a->words[0]);
    progress_start(&j.progress, STDERR_FILENO);
    interrupt_begin(&c->interrupt);
    int rc = run(&j, a->words[0], a->words[1], e);
    progress_end(&j.progress);
    interrupt_end(&c->interrupt);
    return rc;
}
