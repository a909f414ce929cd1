/* SPDX-License-Identifier: Apache-2.0 */
/* journal_read - the journal's file made, opened, searched for its end, and read.
 * Every byte of it is hostile. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/base/crc32c.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/io/file_ops.h"
#include "server/store/journal.h"
#include "server/store/layer.h"

static uint32_t header_crc(struct disk_journal_header *h)
{
    struct le32 kept = h->crc32c;

    h->crc32c = put_le32(0);
    uint32_t crc = crc32c(0, h, sizeof *h);
    h->crc32c = kept;
    return crc;
}

/* Reads the batch at `offset` of a half into `batch` (room for DISK_BATCH_MAX).  Returns its seq
 * and length, or seq 0 where the run of batches ends.  -errno if the file cannot be read. */
static int read_batch(const struct journal *j, unsigned half, uint64_t offset, uint64_t limit,
                      struct disk_batch *batch, uint64_t *ret_seq, uint32_t *ret_length)
{
    uint64_t base = DISK_BLOCK + half * j->half_bytes;
    int rc;

    *ret_seq = 0;
    if (limit - offset < DISK_BLOCK)
        return 0;
    rc = lay_read_all(j->ops, j->fd, batch, DISK_BLOCK, base + offset);
    if (rc < 0)
        return rc;
    uint32_t length = batch_length(batch, j->store);
    if (batch_room(length) > limit - offset)
        return 0;
    if (batch_room(length) > DISK_BLOCK) {
        rc = lay_read_all(j->ops, j->fd, (char *)batch + DISK_BLOCK,
                          batch_room(length) - DISK_BLOCK, base + offset + DISK_BLOCK);
        if (rc < 0)
            return rc;
    }
    if (memcmp(batch->store.b, j->store.b, sizeof j->store.b) != 0 || !batch_intact(batch, length))
        return 0;
    *ret_length = length;
    *ret_seq = get_le64(batch->seq);
    return 0;
}

static int note_layer(void *ctx, const struct disk_record *record)
{
    id_set_add(ctx, batch_layer(record));
    return 0;
}

/* Finds the run of batches from the start of a half. */
static int scan_half(struct journal *j, unsigned half, struct disk_batch *batch, struct err *e)
{
    struct journal_half *h = &j->half[half];

    for (;;) {
        uint64_t seq;
        uint32_t length;
        int rc = read_batch(j, half, h->used_bytes, j->half_bytes, batch, &seq, &length);
        if (rc < 0)
            return err_set(e, -EIO, "reading it failed: %s", strerror(-rc));
        if (seq == 0 || (h->last_seq && seq != h->last_seq + 1) || get_le64(batch->applied) >= seq)
            return 0;
        rc = batch_each(batch + 1, length, note_layer, &h->layers, e);
        if (rc < 0)
            return rc;
        if (!h->first_seq)
            h->first_seq = seq;
        h->last_seq = seq;
        if (get_le64(batch->applied) > h->max_applied)
            h->max_applied = get_le64(batch->applied);
        h->used_bytes += batch_room(length);
    }
}

/* Which half was appended to last, and is anything missing before it? */
static int find_end(struct journal *j, struct err *e)
{
    struct journal_half *h = j->half;

    j->active = h[1].last_seq > h[0].last_seq ? 1 : 0;
    struct journal_half *newer = &h[j->active], *older = &h[1 - j->active];

    j->next_seq = newer->last_seq + 1;
    if (!newer->first_seq)
        return 0;
    uint64_t first = newer->first_seq;
    if (older->first_seq && older->last_seq + 1 == first)
        first = older->first_seq;
    uint64_t applied =
        newer->max_applied > older->max_applied ? newer->max_applied : older->max_applied;
    if (first > applied + 1)
        return err_set(e, -EIO,
                       "batches %llu to %llu are missing: it was damaged, and what they said of "
                       "volumes is lost",
                       (unsigned long long)applied + 1, (unsigned long long)first - 1);
    if (first == newer->first_seq) { /* what the older half holds is applied */
        id_set_done(&older->layers);
        *older = (struct journal_half){ 0 };
    }
    return 0;
}

static int read_header(struct journal *j, struct err *e)
{
    AUTO(auto_free) struct disk_journal_header *h = malloc(sizeof *h);
    uint64_t size;
    int rc;

    if (!h)
        return err_set(e, -ENOMEM, "out of memory");
    rc = j->ops->size(j->ops->ctx, j->fd, &size);
    if (rc == 0)
        rc = lay_read_all(j->ops, j->fd, h, sizeof *h, 0);
    if (rc < 0)
        return err_set(e, -EIO, "reading it failed: %s", strerror(-rc));
    if (memcmp(h->magic, DISK_JOURNAL_MAGIC, sizeof h->magic) != 0)
        return err_set(e, -EIO, "not a journal");
    if (get_le32(h->version) != DISK_VERSION ||
        (get_le32(h->features) & ~(uint32_t)DISK_FEATURE_DATA))
        return err_set(e, -ENOTSUP, "written by a newer gridboxd (version %u, features %#x)",
                       get_le32(h->version), get_le32(h->features));
    if (header_crc(h) != get_le32(h->crc32c))
        return err_set(e, -EIO, "checksum of its header is wrong");
    j->takes_data = get_le32(h->features) & DISK_FEATURE_DATA;
    j->half_bytes = get_le64(h->half_bytes);
    if (j->half_bytes < JOURNAL_MIN_HALF || j->half_bytes % DISK_BLOCK ||
        j->half_bytes > (1ull << 40) || size != DISK_BLOCK + 2 * j->half_bytes)
        return err_set(e, -EIO, "its length is wrong");
    memcpy(j->store.b, h->store.b, sizeof j->store.b);
    return 0;
}

static int write_zeros(const struct file_ops *ops, int fd, uint64_t from, uint64_t end)
{
    AUTO(auto_free) char *zeros = calloc(1, 1u << 20);
    int rc = zeros ? 0 : -ENOMEM;

    for (uint64_t at = from; at < end && rc == 0; at += 1u << 20)
        rc = lay_write_all(ops, fd, zeros, end - at < 1u << 20 ? (size_t)(end - at) : 1u << 20, at);
    return rc;
}

/* Zeros first, then the header: all of it is synced before the file has its name. */
static int write_fresh(const struct file_ops *ops, int fd, uint64_t half_bytes)
{
    AUTO(auto_free) struct disk_journal_header *h = calloc(1, sizeof *h);

    if (!h)
        return -ENOMEM;
    int rc = write_zeros(ops, fd, 0, DISK_BLOCK + 2 * half_bytes);
    memcpy(h->magic, DISK_JOURNAL_MAGIC, sizeof h->magic);
    h->version = put_le32(DISK_VERSION);
    h->features = put_le32(DISK_FEATURE_DATA);
    h->half_bytes = put_le64(half_bytes);
    random_bytes(h->store.b, sizeof h->store.b);
    h->crc32c = put_le32(header_crc(h));
    if (rc == 0)
        rc = lay_write_all(ops, fd, h, sizeof *h, 0);
    return rc < 0 ? rc : ops->sync_data(ops->ctx, fd);
}

/* All bytes without room on the disk: counted, or made zeros that have it. */
static int each_hole(const struct journal *j, bool fill, uint64_t *ret_bytes)
{
    uint64_t end = DISK_BLOCK + 2 * j->half_bytes, from = 0, to;
    int rc;

    *ret_bytes = 0;
    while ((rc = j->ops->find_hole(j->ops->ctx, j->fd, &from, &to)) > 0 && from < end) {
        to = to < end ? to : end;
        rc = fill ? write_zeros(j->ops, j->fd, from, to) : 0;
        if (rc < 0)
            return rc;
        *ret_bytes += to - from;
        from = to;
    }
    return rc < 0 ? rc : 0;
}

/* One that was copied sparsely has holes: an append would have to find room, on a full disk too.
 * jnl_settle() syncs what is written here. */
static int fill_holes(const struct journal *j, int state_fd, struct err *e)
{
    struct statvfs fs;
    uint64_t missing;
    int rc = j->ops->find_hole ? each_hole(j, false, &missing) : -EOPNOTSUPP;

    if (rc == -EOPNOTSUPP || (rc == 0 && missing == 0))
        return 0;
    if (rc == 0 && fstatvfs(state_fd, &fs) == 0 && fs.f_bavail * fs.f_frsize / 2 < missing)
        rc = -ENOSPC;
    if (rc == 0)
        rc = each_hole(j, true, &missing);
    if (rc == -ENOSPC || rc == -EDQUOT) {
        log_warn("store journal: parts of it have no room on the disk, and there is too little to "
                 "give it to them: a flush may fail when the disk is full");
        return 0;
    }
    return rc < 0 ? err_set(e, rc, "journal: filling its holes: %s", strerror(-rc)) : 0;
}

/* A larger one is worth its room where there is plenty: its halves are changed less often. */
static uint64_t default_bytes(int state_fd)
{
    struct statvfs fs;
    uint64_t bytes = 0;

    if (fstatvfs(state_fd, &fs) == 0)
        bytes = fs.f_bavail / 256 * fs.f_frsize;
    if (bytes < JOURNAL_LEAST_BYTES)
        return JOURNAL_LEAST_BYTES;
    return bytes < JOURNAL_MOST_BYTES ? bytes : JOURNAL_MOST_BYTES;
}

static int make_journal(const struct file_ops *ops, int state_fd, uint64_t bytes, struct err *e)
{
    uint64_t half = round_down((bytes ? bytes : default_bytes(state_fd)) / 2, DISK_BLOCK);
    int rc;

    int fd = ops->open_at(ops->ctx, state_fd, "journal.new", O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return err_set(e, fd, "journal.new: %s", strerror(-fd));
    rc = write_fresh(ops, fd, half < JOURNAL_MIN_HALF ? JOURNAL_MIN_HALF : half);
    ops->close(ops->ctx, fd);
    if (rc == 0)
        rc = ops->rename_at(ops->ctx, state_fd, "journal.new", "journal");
    if (rc == 0)
        rc = ops->sync_dir(ops->ctx, state_fd);
    if (rc < 0) {
        ops->unlink_at(ops->ctx, state_fd, "journal.new");
        return err_set(e, rc, "make the journal (%llu bytes): %s", (unsigned long long)half * 2,
                       strerror(-rc));
    }
    return 0;
}

/* j->fd is open. */
static int load(struct journal *j, struct err *e)
{
    AUTO(auto_free) struct disk_batch *batch = malloc(DISK_BATCH_MAX);
    int rc;

    if (!batch)
        return err_set(e, -ENOMEM, "journal: out of memory");
    rc = read_header(j, e);
    for (unsigned half = 0; half < 2 && rc == 0; half++)
        rc = scan_half(j, half, batch, e);
    if (rc == 0)
        rc = find_end(j, e);
    return rc < 0 ? err_wrap(e, rc, "journal") : 0;
}

int jnl_open(struct journal *j, const struct file_ops *ops, int state_fd, uint64_t bytes,
             struct err *e)
{
    struct journal open = { .ops = ops };
    int rc;

    open.fd = ops->open_at(ops->ctx, state_fd, "journal", O_RDWR, 0);
    if (open.fd == -ENOENT) {
        rc = make_journal(ops, state_fd, bytes, e);
        if (rc < 0)
            return rc;
        open.made = true;
        open.fd = ops->open_at(ops->ctx, state_fd, "journal", O_RDWR, 0);
    }
    if (open.fd < 0)
        return err_set(e, open.fd, "journal: %s", strerror(-open.fd));
    rc = load(&open, e);
    if (rc == 0)
        rc = fill_holes(&open, state_fd, e);
    if (rc < 0) {
        jnl_close(&open);
        return rc;
    }
    *j = open;
    pthread_mutex_init(&j->lock, NULL);
    return 0;
}

void jnl_close(struct journal *j)
{
    for (unsigned half = 0; half < 2; half++)
        id_set_done(&j->half[half].layers);
    if (j->ops && j->fd >= 0)
        j->ops->close(j->ops->ctx, j->fd);
    j->ops = NULL;
}

/* ---- reading ----------------------------------------------------------------------------------*/

struct each {
    journal_record_fn fn;
    void *ctx;
    uint64_t seq;
};

static int each_record(void *ctx, const struct disk_record *record)
{
    const struct each *x = ctx;

    return x->fn(x->ctx, x->seq, record);
}

int jnl_each(const struct journal *j, const struct journal_view *view, journal_record_fn each,
             void *ctx, struct err *e)
{
    AUTO(auto_free) struct disk_batch *batch = malloc(DISK_BATCH_MAX);

    if (!batch)
        return err_set(e, -ENOMEM, "journal: out of memory");
    for (unsigned part = 0; part < view->parts; part++) {
        struct each x = { .fn = each, .ctx = ctx };
        uint64_t at = 0, seq, expected = view->part[part].first_seq;
        uint32_t length;

        for (; at < view->part[part].bytes; at += batch_room(length), expected++) {
            int rc = read_batch(j, view->part[part].half, at, view->part[part].bytes, batch, &seq,
                                &length);
            if (rc < 0 || seq != expected) /* it was there when the view was made */
                return err_set(e, -EIO, "journal: batch %llu cannot be read again: %s",
                               (unsigned long long)expected,
                               rc < 0 ? strerror(-rc) : "it is damaged");
            x.seq = seq;
            rc = batch_each(batch + 1, length, each_record, &x, e);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}
