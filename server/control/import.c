/* SPDX-License-Identifier: Apache-2.0 */
/* import - from a source to a sealed layer: finds out what the source is and hands it to the reader
 * of its kind.  It must never know jobs, names of images or the catalog. */
#include "server/control/import.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/control/import_raw.h"
#include "server/control/import_sink.h"

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

static int import_raw(struct store *store, const struct import_source *source, int fd,
                      uint64_t size, struct import_progress *progress, struct import_result *ret,
                      struct err *e)
{
    AUTO(auto_sink) struct sink *sink = NULL;
    int rc = sink_open(store, "the file", size, source->limit_bytes, progress, &sink, e);

    if (rc == 0)
        rc = raw_read(fd, size, sink, e);
    if (rc == 0)
        rc = sink_finish(sink, ret, e);
    if (rc == 0)
        strcpy(ret->format, "raw");
    return rc;
}

static int import_file(struct store *store, const struct import_source *source, int fd,
                       struct import_progress *progress, struct import_result *ret, struct err *e)
{
    uint64_t size;
    int rc = file_size(fd, &size, e);

    return rc < 0 ? rc : import_raw(store, source, fd, size, progress, ret, e);
}

int import_run(struct store *store, const struct import_source *source,
               struct import_progress *progress, struct import_result *ret, struct err *e)
{
    if (source->kind == IMPORT_FILE)
        return import_file(store, source, source->fd, progress, ret, e);
    return err_set(e, -ENOTSUP, "%s: no reader for this kind of source", source->where);
}
