/* SPDX-License-Identifier: Apache-2.0 */
/* import_foreign - joins feeder, qemu-nbd, NBD reader and sink, and says in words what went wrong
 * where.  It must never know what a format looks like. */
#include "server/control/import_foreign.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/control/import_feed.h"
#include "server/control/import_format.h"
#include "server/control/import_nbd.h"
#include "server/control/import_qemu.h"
#include "server/control/import_sink.h"
#include "server/control/import_view.h"

struct reading {
    struct feed *feed;
    struct qemu *qemu;
    struct nbd_reader *reader;
    struct sink *sink;
};

static int open_all(struct reading *d, struct store *store, const struct import_source *source,
                    const struct view *view, const struct format_disk *disk,
                    struct job_progress *progress, struct err *e)
{
    AUTO(auto_close) int feed_fd = -1;
    char what[40];
    int fd = -1, rc;

    snprintf(what, sizeof what, "the disk in the %s file", format_name(disk->format));
    rc = sink_check_size(what, disk->disk_bytes, source->limit_bytes, e);
    if (rc == 0)
        rc = feed_start(view, disk->exact_end, &d->feed, &feed_fd, e);
    if (rc == 0)
        rc = qemu_start(source->scratch_dir, format_name(disk->format), feed_fd, &d->qemu, &fd, e);
    if (rc == 0)
        rc = nbd_reader_open(NULL, fd, progress, &d->reader, e);
    if (rc == 0)
        rc = sink_open(store, what, nbd_reader_size(d->reader), source, progress, &d->sink, e);
    return rc;
}

/* An error that is the file's, told by whoever knows most. */
static int explain(const struct reading *d, const struct view *view, const char *why,
                   enum format format, struct err *e)
{
    enum feed_fault fault = d->feed ? feed_fault(d->feed) : FEED_FINE;

    if (fault == FEED_BEYOND_END)
        return err_set(e, -EINVAL,
                       "it is a %s file that is truncated: it ends after %llu bytes, and its disk "
                       "does not; copy it again",
                       format_name(format), (unsigned long long)view->size);
    if (fault == FEED_READ_ERROR)
        return err_set(e, -EIO, "reading the file failed, or it became shorter meanwhile");
    if (strncmp(why, "Disconnect client", 17) == 0) /* it says no more of a read that failed */
        return err_set(e, -EINVAL,
                       "it is a %s file that is corrupt or truncated: a part of its disk cannot be "
                       "read; copy it again",
                       format_name(format));
    if (why[0])
        return err_set(e, -EINVAL, "it is a %s file that cannot be read: %s", format_name(format),
                       why);
    return err_wrap(e, -EINVAL, "it is a %s file that cannot be read", format_name(format));
}

/* Connection lost, refused reads, silence: the file's fault.  The rest speaks for itself. */
static bool is_the_files(int rc)
{
    return rc == -EIO || rc == -ECONNRESET || rc == -ETIMEDOUT || rc == -ENOTCONN || rc == -EPIPE ||
           rc == -EINVAL;
}

int foreign_read(struct store *store, const struct import_source *source, const struct view *view,
                 const struct format_disk *disk, struct job_progress *progress,
                 struct import_result *ret, struct err *e)
{
    struct reading d = { 0 };
    struct err mine = { 0 };
    char why[200] = "";
    int rc = open_all(&d, store, source, view, disk, progress, &mine);

    if (rc == 0)
        rc = nbd_reader_read(d.reader, d.sink, &mine);
    nbd_reader_close(d.reader);
    qemu_stop(d.qemu, why, sizeof why);
    if (rc == 0 && feed_fault(d.feed) != FEED_FINE)
        rc = -EIO; /* whatever qemu made of it */
    if (d.qemu && is_the_files(rc))
        rc = explain(&d, view, why, disk->format, &mine);
    feed_stop(d.feed);
    if (rc == 0)
        rc = sink_finish(d.sink, ret, &mine);
    sink_free(d.sink);
    return rc < 0 ? err_set(e, rc, "%s", mine.msg) : 0;
}
