/* SPDX-License-Identifier: Apache-2.0 */
/* import - from a source to a sealed layer: finds out what the source is and hands it to the reader
 * of its kind.  It must never know jobs, names of images or the catalog. */
#include "server/control/import.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/control/hide.h"
#include "server/control/import_foreign.h"
#include "server/control/import_format.h"
#include "server/control/import_nbd.h"
#include "server/control/import_raw.h"
#include "server/control/import_sink.h"
#include "server/control/import_url.h"
#include "server/control/import_view.h"

static void auto_sink(struct sink **s)
{
    sink_free(*s);
}

static int file_size(int fd, uint64_t *ret_bytes, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(e, "the file cannot be examined");
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(e, -EINVAL, "neither a file nor a block device");
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < 0)
        return err_errno(e, "the size of the file cannot be read");
    *ret_bytes = (uint64_t)size;
    return 0;
}

static int read_raw(struct store *store, const struct import_source *source, int fd, uint64_t size,
                    struct job_progress *progress, struct import_result *ret, struct err *e)
{
    AUTO(auto_sink) struct sink *sink = NULL;
    int rc = sink_open(store, "the file", size, source, progress, &sink, e);

    if (rc == 0)
        rc = raw_read(fd, size, sink, e);
    return rc < 0 ? rc : sink_finish(sink, ret, e);
}

static int import_file(struct store *store, const struct import_source *source, int fd,
                       struct job_progress *progress, struct import_result *ret, struct err *e)
{
    AUTO(view_done) struct view view = { 0 };
    struct format_disk disk;
    uint64_t size = 0;
    int rc = file_size(fd, &size, e);

    if (rc < 0)
        return rc;
    view_init(&view, fd, size);
    rc = format_examine(&view, &disk, e);
    if (rc < 0)
        return rc;
    rc = disk.format == FORMAT_RAW ? read_raw(store, source, fd, size, progress, ret, e)
                                   : foreign_read(store, source, &view, &disk, progress, ret, e);
    if (rc == 0)
        strcpy(ret->format, format_name(disk.format));
    return rc;
}

static int import_url(struct store *store, const struct import_source *source,
                      struct job_progress *progress, struct import_result *ret, struct err *e)
{
    AUTO(auto_close) int fd = -1;
    int rc = url_fetch(source, progress, &fd, e);

    return rc < 0 ? rc : import_file(store, source, fd, progress, ret, e);
}

static void auto_reader(struct nbd_reader **r)
{
    nbd_reader_close(*r);
}

static int import_nbd(struct store *store, const struct import_source *source,
                      struct job_progress *progress, struct import_result *ret, struct err *e)
{
    AUTO(auto_reader) struct nbd_reader *reader = NULL;
    AUTO(auto_sink) struct sink *sink = NULL;
    int rc = nbd_reader_open(source->where, -1, progress, &reader, e);

    if (rc == 0)
        rc =
            sink_open(store, "the NBD export", nbd_reader_size(reader), source, progress, &sink, e);
    if (rc == 0)
        rc = nbd_reader_read(reader, sink, e);
    if (rc == 0)
        rc = sink_finish(sink, ret, e);
    if (rc == 0)
        strcpy(ret->format, "raw");
    return rc;
}

/* Secrets are taken out before anything is cut off. */
static int wrap_source(int rc, const char *where, struct err *e)
{
    AUTO(auto_free) char *shown = strdup(where);

    if (shown)
        hide_secrets(shown);
    return err_wrap(e, rc, "%.160s", shown ? shown : "import");
}

int import_run(struct store *store, const struct import_source *source,
               struct job_progress *progress, struct import_result *ret, struct err *e)
{
    struct import_result result = { 0 };
    int rc = -EINVAL;

    switch (source->kind) {
    case IMPORT_FILE:
        rc = import_file(store, source, source->fd, progress, &result, e);
        break;
    case IMPORT_URL:
        rc = import_url(store, source, progress, &result, e);
        break;
    case IMPORT_NBD:
        rc = import_nbd(store, source, progress, &result, e);
        break;
    }
    if (rc < 0)
        return rc == -ECANCELED ? rc : wrap_source(rc, source->where, e);
    *ret = result;
    return 0;
}
