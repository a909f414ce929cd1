/* SPDX-License-Identifier: Apache-2.0 */
/* volume_make - the first write of a top's life: its data file made and locked, and both made
 * durable.
 *
 *   1 the data files of all tops that ask at about the same time are made     slow pool
 *   2 one sync of their directory
 *   3 MAKE and OPEN in one record each, which go together, too                committer
 *   4 what waited goes on
 * So the first writes of many volumes cost two syncs in all, and nothing is written to a data file
 * that the journal does not know.  The map file comes with the next checkpoint.
 * Must never know what the requests want. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "server/io/file_ops.h"
#include "server/store/batch.h"
#include "server/store/store_state.h"
#include "server/store/volume.h"

static bool is_full(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

static struct maker *maker_of(struct pool_job *j)
{
    return (struct maker *)((char *)j - offsetof(struct maker, job));
}

static struct store *store_of(struct maker *m)
{
    return (struct store *)((char *)m - offsetof(struct store, maker));
}

/* On the slow pool: the volumes of the group wait, so their tops are nobody else's. */
static void run_make(struct pool_job *j)
{
    struct maker *m = maker_of(j);
    const struct layer_dir *d = &store_of(m)->dir;
    bool any = false;

    for (struct volume *v = m->group; v; v = v->make.next) {
        v->make.error = lay_make_data(d, &v->top->info, &v->top->data_fd, &v->make.err);
        any = any || v->make.error == 0;
    }
    m->error = any ? d->ops->sync_dir(d->ops->ctx, d->fd) : 0;
}

static void close_data(struct volume *v)
{
    const struct file_ops *ops = v->store->ops;

    if (v->top->data_fd >= 0)
        ops->close(ops->ctx, v->top->data_fd);
    v->top->data_fd = -1;
}

/* The files are not there, or nobody would know of them after a crash. */
static void give_up(struct volume *v, int error, const char *why)
{
    close_data(v);
    v->files = FILES_NONE;
    if (is_full(error))
        vol_op_ungate(v, -ENOSPC);
    else
        vol_fail(v, why);
}

static void made_one(struct volume *v, int sync_error)
{
    v->running++;
    if (v->failed)
        give_up(v, -EIO, NULL); /* told already */
    else if (v->make.error < 0)
        give_up(v, v->make.error, v->make.err.msg);
    else if (sync_error < 0)
        give_up(v, sync_error, strerror(-sync_error));
    else
        vol_mark_made(v);
    v->running--;
    vol_idle(v);
}

static void start_group(struct maker *m);

static void made(struct pool_job *j)
{
    struct maker *m = maker_of(j);
    struct volume *v = m->group;

    m->group = NULL;
    committer_cork(&store_of(m)->committer, true);
    while (v) {
        struct volume *next = v->make.next;
        made_one(v, m->error); /* it may be gone afterwards */
        v = next;
    }
    committer_cork(&store_of(m)->committer, false);
    start_group(m);
}

static void start_group(struct maker *m)
{
    if (m->group || !m->waiting)
        return;
    m->group = m->waiting;
    m->waiting = NULL;
    m->job = (struct pool_job){ .run = run_make, .done = made, .home = store_of(m)->shard };
    pool_submit(store_of(m)->slow_pool, &m->job);
}

/* At the end of what the shard does at present: whoever asked by then. */
static void start_task(struct shard_task *t)
{
    start_group((struct maker *)((char *)t - offsetof(struct maker, task)));
}

void vol_make_init(struct store *s)
{
    s->maker.task.fn = start_task;
}

void vol_make_files(struct volume *v)
{
    struct maker *m = &v->store->maker;

    assert(v->files == FILES_NONE);
    v->files = FILES_MAKING;
    v->make.next = m->waiting;
    m->waiting = v;
    shard_defer(v->store->shard, &m->task);
}

void vol_made(struct volume *v, int error)
{
    if (error < 0) {
        close_data(v);
        v->files = FILES_NONE;
        return;
    }
    v->files = FILES_READY;
    v->dirty = true; /* the size of the file is not durable yet */
    vol_op_ungate(v, 0);
}
