/* SPDX-License-Identifier: Apache-2.0 */
/* volume_file - bytes into the data file of a top: on the shard's own thread as long as that is a
 * copy into the page cache, on the pool when the kernel holds writers up.
 *
 * On the pool a volume has one job at a time, which takes all writes that wait: a file has one
 * lock, and threads that fight for it cost five times the work (docs/speed.md). */
#include <stdio.h>
#include <unistd.h>

#include "server/io/file_ops.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

#define LATE_NS    (20 * NS_PER_MS)  /* a write that took longer was held up by the disk */
#define AVOID_NS   (100 * NS_PER_MS) /* so writes go to the pool after such a one */
#define INLINE_MAX (1u << 20)        /* bytes that are written on the shard's own thread */

#define UNSYNCED_LEAST (32ull << 20)

/* ---- how much may lie in the page cache ------------------------------------------------------ */

static uint64_t read_setting(const char *path)
{
    unsigned long long value = 0;
    FILE *f = fopen(path, "re");

    if (f) {
        if (fscanf(f, "%llu", &value) != 1)
            value = 0;
        fclose(f);
    }
    return value;
}

uint64_t vol_unsynced_limit(void)
{
    uint64_t limit = read_setting("/proc/sys/vm/dirty_background_bytes");

    if (limit == 0) {
        uint64_t percent = read_setting("/proc/sys/vm/dirty_background_ratio");
        uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
        limit = memory / 100 * percent;
    }
    limit /= 2;
    return limit > UNSYNCED_LEAST ? limit : UNSYNCED_LEAST;
}

/* ---- writing --------------------------------------------------------------------------------- */

static int write_zeros(const struct file_ops *ops, int fd, uint64_t length, uint64_t offset)
{
    static const char zeros[64u << 10];
    int rc = 0;

    while (length && rc == 0) {
        uint64_t part = length < sizeof zeros ? length : sizeof zeros;
        rc = lay_write_all(ops, fd, zeros, part, offset);
        offset += part;
        length -= part;
    }
    return rc;
}

/* On a pool or inline. */
static void run_write(struct vol_op *op)
{
    const struct file_ops *ops = op->v->store->ops;
    int fd = op->v->top->data_fd;

    op->error = 0;
    for (unsigned i = 0; i < op->segment_count && op->error == 0; i++) {
        const struct vol_segment *s = &op->segments[i];
        op->error = s->buf ? lay_write_all(ops, fd, s->buf, s->length, s->offset)
                           : write_zeros(ops, fd, s->length, s->offset);
    }
}

static struct volume *writing(struct pool_job *j)
{
    return (struct volume *)((char *)j - offsetof(struct volume, writer.job));
}

/* On the pool: uses segments and error of the operations in writer.running, and top->data_fd. */
static void run_writes(struct pool_job *j)
{
    for (struct vol_op *op = writing(j)->writer.running; op; op = op->next)
        run_write(op);
}

static void writes_done(struct pool_job *j);

/* What waits goes to the pool; the writer is busy, or nothing waits. */
static void send_off(struct volume *v)
{
    v->writer.running = v->writer.waiting.first;
    vol_list_init(&v->writer.waiting);
    v->writer.busy = v->writer.running;
    if (!v->writer.busy)
        return;
    v->writer.job =
        (struct pool_job){ .run = run_writes, .done = writes_done, .home = v->store->shard };
    pool_submit(v->store->read_pool, &v->writer.job);
}

static void writes_done(struct pool_job *j)
{
    struct volume *v = writing(j);
    struct vol_op *op = v->writer.running;

    v->running++; /* stays until all are told */
    while (op) {
        struct vol_op *next = op->next;
        vol_written(op); /* may be freed, or wait here again */
        op = next;
    }
    send_off(v);
    v->running--;
    vol_idle(v);
}

void vol_put_segments(struct vol_op *op)
{
    struct volume *v = op->v;
    struct store *s = v->store;
    int64_t begin = shard_now(s->shard);

    if (!v->writer.busy && op->piece_end - op->at <= INLINE_MAX &&
        s->unsynced_bytes <= s->unsynced_limit && begin >= s->slow_until_ns) {
        run_write(op);
        int64_t now = shard_tick(s->shard);
        if (now - begin > LATE_NS)
            s->slow_until_ns = now + AVOID_NS;
        vol_written(op);
        return;
    }
    if (!v->writer.busy)
        vol_list_init(&v->writer.waiting);
    vol_list_add(&v->writer.waiting, op);
    if (!v->writer.busy)
        send_off(v);
}
