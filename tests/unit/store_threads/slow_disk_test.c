/* SPDX-License-Identifier: Apache-2.0 */
/* slow_disk_test - a disk that hangs holds up the volumes on it and nobody else: another store, on
 * a shard and pools of its own, serves as if nothing were. */
#include <stdlib.h>
#include <string.h>

#include "server/io/file_ops.h"
#include "tests/unit/store_threads/rig.h"

#define ROUNDS 300

/* The kernel's operations, but while `hangs` syncs and writes do not come back. */
struct disk {
    struct file_ops ops;
    pthread_mutex_t lock;
    pthread_cond_t well;
    bool hangs;
    unsigned hanging;
};

static void hang(struct disk *d)
{
    pthread_mutex_lock(&d->lock);
    d->hanging++;
    while (d->hangs)
        pthread_cond_wait(&d->well, &d->lock);
    d->hanging--;
    pthread_mutex_unlock(&d->lock);
}

static int slow_sync(void *ctx, int fd)
{
    hang(ctx);
    return file_ops_real.sync_data(file_ops_real.ctx, fd);
}

static ssize_t slow_write(void *ctx, int fd, const void *buf, size_t length, uint64_t offset)
{
    hang(ctx);
    return file_ops_real.write_at(file_ops_real.ctx, fd, buf, length, offset);
}

static void set_hangs(struct disk *d, bool hangs)
{
    pthread_mutex_lock(&d->lock);
    d->hangs = hangs;
    pthread_cond_broadcast(&d->well);
    pthread_mutex_unlock(&d->lock);
}

static uint8_t block[BLK_BLOCK]; /* what is written */

/* Writes and flushes in turn. */
struct client {
    struct volume *v;
    struct blk_req r;
    unsigned left, failed;
    struct event finished;
};

static void next_request(struct client *c);

static void request_done(struct blk_req *r)
{
    struct client *c = r->owner;

    c->failed += r->error != 0;
    if (--c->left)
        next_request(c);
    else
        event_add(&c->finished);
}

static void next_request(struct client *c)
{
    c->r = (struct blk_req){ .op = c->left % 3 ? BLK_WRITE : BLK_FLUSH,
                             .offset = (uint64_t)(c->left % BLOCKS) * BLK_BLOCK,
                             .length = BLK_BLOCK,
                             .buf = block,
                             .done = request_done,
                             .owner = c };
    if (c->r.op == BLK_FLUSH)
        c->r.offset = c->r.length = 0;
    blk_submit(volume_device(c->v), &c->r);
}

struct start {
    struct shard_msg msg;
    struct client *c;
};

static void start_client(struct shard_msg *m)
{
    next_request(((struct start *)m)->c);
}

static void run_client(struct rig *g, struct client *c, struct start *s, unsigned requests)
{
    c->left = requests;
    *s = (struct start){ .msg.fn = start_client, .c = c };
    shard_post(g->shard, &s->msg); /* not shard_call(): the shard may hang */
}

static void hanging_disk_of_one_store_holds_up_no_other(void **state)
{
    struct disk disk = { .ops = file_ops_real,
                         .lock = PTHREAD_MUTEX_INITIALIZER,
                         .well = PTHREAD_COND_INITIALIZER };
    struct rig sick = { .ops = &disk.ops }, well = { 0 };
    struct client a = { .finished = EVENT }, b = { .finished = EVENT };
    struct start start[2];

    (void)state;
    disk.ops.sync_data = slow_sync;
    disk.ops.write_at = slow_write;
    disk.ops.ctx = &disk;
    rig_start(&sick);
    rig_start(&well);
    a.v = open_volume(&sick, new_id(), SIZE);
    b.v = open_volume(&well, new_id(), SIZE);

    set_hangs(&disk, true);
    run_client(&sick, &a, &start[0], ROUNDS);
    run_client(&well, &b, &start[1], ROUNDS);
    event_wait(&b.finished, 1);
    assert_int_equal(b.failed, 0);
    assert_int_equal(event_count(&a.finished), 0);
    close_volume(&well, b.v);

    set_hangs(&disk, false);
    event_wait(&a.finished, 1);
    assert_int_equal(a.failed, 0);
    close_volume(&sick, a.v);
    rig_stop(&sick);
    rig_stop(&well);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hanging_disk_of_one_store_holds_up_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
