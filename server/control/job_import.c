/* SPDX-License-Identifier: Apache-2.0 */
/* job_import - POST /v1/images: the order for an import, and its end in the catalog.  What an
 * import reads and writes is import.h's business. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "server/control/care.h"
#include "server/control/control.h"
#include "server/control/hide.h"
#include "server/control/http.h"
#include "server/control/import.h"
#include "server/control/jobs.h"
#include "server/control/json.h"
#include "server/control/uploads.h"

struct import_work {
    char name[NAME_SIZE];
    char *where;      /* heap: path, URL, URI */
    char source[512]; /* for people */
    struct import_source import;
    struct catalog *expecting;   /* which waits for its layer; NULL: none */
    int fd;                      /* of import.fd; -1: none */
    struct import_result result; /* size_bytes 0: none */
};

static void import_free(void *work)
{
    struct import_work *w = work;

    if (!w)
        return;
    if (w->expecting)
        cat_layer_unexpect(w->expecting, w->import.layer.b, NULL); /* else at the next start */
    if (w->fd >= 0)
        close(w->fd);
    free(w->where);
    free(w);
}

static void auto_import(struct import_work **w)
{
    import_free(*w);
}

/* ---- the end of an import -----------------------------------------------------------------------
 */

static int name_image(struct job *j, char ret_image[static 80], struct err *e)
{
    struct import_work *w = j->work;
    struct control *c = j->control;
    struct cat_image i = { .size_bytes = w->result.size_bytes,
                           .data_bytes = w->result.data_bytes,
                           .created_at = clock_wall_s() };
    int rc = cat_begin(c->catalog, e);

    if (rc < 0)
        return rc;
    memcpy(i.name, w->name, sizeof i.name);
    memcpy(i.layer, w->result.layer.b, sizeof i.layer);
    hex_encode(w->result.sha256, sizeof w->result.sha256, i.sha256);
    snprintf(i.source, sizeof i.source, "%s", w->source);
    snprintf(i.format, sizeof i.format, "%s", w->result.format);
    rc = cat_image_add(c->catalog, &i, e);
    snprintf(ret_image, 80, "%s@%u", i.name, i.version);
    if (rc == 0)
        rc = control_event(c, e, "image-imported", ret_image, "image %s was imported from %s",
                           ret_image, w->source);
    return cat_end(c->catalog, rc, e);
}

/* Nothing came of it: its layer, if it is there, is dead. */
static void drop_layer(struct control *c, struct import_work *w)
{
    struct err e = { 0 };

    if (cat_layer_unexpect(c->catalog, w->import.layer.b, &e) < 0)
        log_error("control import %s: what it left stays until the next start: %s", w->name, e.msg);
    w->expecting = NULL;
    care_kick(c->care);
}

/* The sealed layer becomes an image, or goes. */
static bool import_conclude(struct job *j)
{
    struct import_work *w = j->work;
    struct control *c = j->control;
    char image[80] = "";
    struct err e = { 0 };

    if (j->rc == 0)
        j->rc = name_image(j, image, &j->e);
    if (j->rc == 0)
        w->expecting = NULL;
    /* A catalog that has failed may name the layer after all: the next start sees. */
    if (j->rc < 0 && !cat_failed(c->catalog, NULL))
        drop_layer(c, w);
    hide_secrets(j->e.msg);
    json_text_clean(j->e.msg);
    if (j->rc == 0) {
        j->result = json_pack("{s:s}", "image", image);
        log_info("control import %s: done size_bytes=%" PRIu64 " data_bytes=%" PRIu64, image,
                 w->result.size_bytes, w->result.data_bytes);
    } else if (j->rc != -ECANCELED &&
               control_event(c, &e, "import-failed", w->name, "import of image %s failed: %s",
                             w->name, j->e.msg) < 0) {
        log_error("control import %s: event: %s", w->name, e.msg);
    }
    return false;
}

static void import_abandon(struct job *j)
{
    struct import_work *w = j->work;
    struct err e = { 0 };

    if (w->result.size_bytes && layer_remove(j->control->store, w->import.layer, &e) < 0)
        log_error("control job %s: remove the layer of an import that was given up: %s", j->id,
                  e.msg);
    w->result = (struct import_result){ 0 };
}

static int import_run_job(struct job *j)
{
    struct import_work *w = j->work;

    return import_run(j->control->store, &w->import, &j->progress, &w->result, &j->e);
}

static const struct job_kind import_kind = {
    .name = "import",
    .import = true,
    .run = import_run_job,
    .conclude = import_conclude,
    .abandon = import_abandon,
    .free = import_free,
};

/* ---- POST /v1/images ----------------------------------------------------------------------------
 */

static int open_file(struct import_work *w, const char *path, struct err *e)
{
    struct stat st;

    if (path[0] != '/')
        return err_set(e, -EINVAL, "source: file: must be an absolute path");
    w->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (w->fd < 0)
        return err_set(e, errno == ENOENT ? -ENOENT : -EINVAL, "%s: %s", path, strerror(errno));
    if (fstat(w->fd, &st) < 0)
        return err_errno(e, "%s", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, -EINVAL, "%s: is neither a file nor a block device", path);
    w->import.kind = IMPORT_FILE;
    return 0;
}

/* One of {"file"}, {"url"}, {"nbd"}, {"upload"}. */
static int read_source(struct http_request *r, const json_t *source, struct import_work *w,
                       struct err *e)
{
    static const char *const keys[] = { "file", "url", "nbd", "upload", NULL };
    struct control *c = http_context(r);
    const char *file, *url, *nbd, *upload;
    int rc;

    if (!json_is_object(source) || json_object_size(source) != 1)
        return err_set(e, -EINVAL,
                       "source: must be an object with one of file, url, nbd or upload");
    if ((rc = json_only(source, keys, e)) < 0 ||
        (rc = json_get_text(source, "file", false, 4095, &file, e)) < 0 ||
        (rc = json_get_text(source, "url", false, 4095, &url, e)) < 0 ||
        (rc = json_get_text(source, "nbd", false, 4095, &nbd, e)) < 0 ||
        (rc = json_get_text(source, "upload", false, 64, &upload, e)) < 0)
        return rc;
    if (file && !http_is_local(r))
        return err_set(e, -EACCES,
                       "source: a file of the server can only be named over its Unix "
                       "socket: upload it, or use that");
    if (nbd && (strncasecmp(nbd, "nbd+unix:", 9) == 0 || strncasecmp(nbd, "nbds+unix:", 10) == 0) &&
        !http_is_local(r))
        return err_set(e, -EACCES,
                       "source: a socket of the server can only be named over its Unix socket");
    const char *where = file ? file : url ? url : nbd ? nbd : "upload";
    w->where = strdup(where);
    if (!w->where)
        return err_set(e, -ENOMEM, "out of memory");
    snprintf(w->source, sizeof w->source, "%s", where);
    hide_secrets(w->source);
    json_text_clean(w->source);
    w->import.kind = url ? IMPORT_URL : nbd ? IMPORT_NBD : IMPORT_FILE;
    if (file)
        return open_file(w, file, e);
    return upload ? uploads_take(c->uploads, upload, &w->fd, e) : 0;
}

static int read_import(struct http_request *r, struct import_work *w, struct err *e)
{
    static const char *const keys[] = { "name", "source", NULL };
    struct control *c = http_context(r);
    const char *name;
    json_t *body;
    int rc = http_json(r, keys, &body, e);

    if (rc < 0 || (rc = json_get_text(body, "name", true, 4095, &name, e)) < 0 ||
        (rc = name_check("image", name, e)) < 0 || (rc = jobs_room(c, &import_kind, e)) < 0)
        return rc;
    snprintf(w->name, sizeof w->name, "%s", name);
    rc = read_source(r, json_object_get(body, "source"), w, e);
    w->import.where = w->where;
    w->import.fd = w->fd;
    w->import.limit_bytes = c->image_limit_bytes;
    w->import.scratch_dir = c->scratch_dir;
    if (rc < 0)
        return rc;
    /* Whenever the server is killed, the next one knows what this one was about to write. */
    random_bytes(w->import.layer.b, sizeof w->import.layer.b);
    rc = cat_layer_expect(c->catalog, w->import.layer.b, e);
    if (rc == 0)
        w->expecting = c->catalog;
    return rc;
}

void jobs_on_import(struct http_request *r)
{
    struct control *c = http_context(r);
    AUTO(auto_import) struct import_work *w = calloc(1, sizeof *w);
    struct err e = { 0 };
    struct job *j;

    if (!w) {
        http_answer_problem(r, 500, "out of memory");
        return;
    }
    w->fd = -1;
    if (read_import(r, w, &e) < 0) {
        http_answer_err(r, &e);
        return;
    }
    log_info("control import %s: from %s", w->name, w->source);
    const char *name = w->name;
    if (jobs_add(c, &import_kind, name, TAKE(w), &j, &e) < 0)
        http_answer_err(r, &e);
    else
        http_answer_json(r, 202, json_pack("{s:s}", "job", j->id));
}
