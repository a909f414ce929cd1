/* SPDX-License-Identifier: Apache-2.0 */
/* rig - store, catalog, exports and clients, for the tests of the verbs. */
#include "tests/unit/lifecycle/rig.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/name.h"
#include "server/catalog/db.h"
#include "server/io/pool.h"
#include "server/io/shard.h"

/* ---- a slow disk ------------------------------------------------------------------------------*/

static _Atomic int fast_syncs = INT_MAX; /* that are left */

static int sync_data(void *ctx, int fd)
{
    const struct timespec slow = { .tv_nsec = 100 * NS_PER_MS };

    if (atomic_load(&fast_syncs) != INT_MAX && atomic_fetch_sub(&fast_syncs, 1) <= 0)
        nanosleep(&slow, NULL);
    return file_ops_real.sync_data(ctx, fd);
}

void rig_slow(int after)
{
    atomic_store(&fast_syncs, after);
}

void rig_fast(void)
{
    atomic_store(&fast_syncs, INT_MAX);
}

/* ---- life -------------------------------------------------------------------------------------*/

static void open_all(struct rig *r)
{
    const struct store_options o = { .dir = r->dir,
                                     .ops = &r->ops,
                                     .journal_bytes = 1u << 20,
                                     .shard = r->shard,
                                     .read_pool = r->read_pool,
                                     .slow_pool = r->slow_pool,
                                     .live_dir = r->live };

    CHECK(store_open(&o, &r->l.store, &e));
    CHECK(cat_open(r->db, &r->l.catalog, &e));
    CHECK(lifecycle_recover(&r->l, NULL, &e));
    CHECK(export_table_new(r->shard, r->l.store, &r->l.exports, &e));
    CHECK(lifecycle_regrant(&r->l, &e));
}

static void close_all(struct rig *r)
{
    export_table_free(r->l.exports);
    store_close(r->l.store);
    cat_close(r->l.catalog);
}

static void add_image(struct rig *r)
{
    uint8_t *buf = malloc(RIG_IMAGE_BYTES);
    struct layer_writer *w;
    struct cat_image *i = &r->image;

    for (unsigned b = 0; b < RIG_IMAGE_BYTES / BLOCK; b++)
        memset(buf + (size_t)b * BLOCK, (int)(1 + b), BLOCK);
    CHECK(layer_create(r->l.store, RIG_IMAGE_BYTES, &w, &e));
    CHECK(layer_write(w, 0, buf, RIG_IMAGE_BYTES, &e));
    CHECK(layer_seal(w, &i->data_bytes, &e));
    struct layer_id id = layer_writer_id(w);
    layer_writer_free(w);
    free(buf);
    strcpy(i->name, "deb");
    memcpy(i->layer, id.b, sizeof i->layer);
    i->size_bytes = RIG_IMAGE_BYTES;
    i->state = CAT_IMAGE_UNVERIFIED; /* nobody has hashed it */
    strcpy(i->source, "a test");
    strcpy(i->format, "raw");
    CHECK(cat_image_add(r->l.catalog, i, &e));
}

int rig_start(void **state)
{
    struct rig *r = calloc(1, sizeof *r);

    strcpy(r->dir, "/tmp/lifecycle.XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->live, sizeof r->live, "%s/live", r->dir);
    snprintf(r->db, sizeof r->db, "%s/catalog.db", r->dir);
    r->ops = file_ops_real;
    r->ops.sync_data = sync_data;
    CHECK(shard_start("test", &r->shard, &e));
    CHECK(pool_start("read", 2, &r->read_pool, &e));
    CHECK(pool_start("slow", 4, &r->slow_pool, &e));
    open_all(r);
    add_image(r);
    *state = r;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

int rig_stop(void **state)
{
    struct rig *r = *state;

    rig_fast();
    close_all(r);
    pool_stop(r->read_pool);
    pool_stop(r->slow_pool);
    shard_stop(r->shard);
    nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(r);
    return 0;
}

void rig_restart(struct rig *r)
{
    close_all(r);
    open_all(r);
}

/* ---- asking -----------------------------------------------------------------------------------*/

struct cat_volume rig_get(struct rig *r, const char *name)
{
    struct cat_volume v = { 0 };

    CHECK(cat_volume_get(r->l.catalog, name, &v, &e));
    return v;
}

struct cat_volume rig_volume(struct rig *r, const char *name)
{
    CHECK(lifecycle_create(&r->l, &r->image, &name, 1, &e));
    return rig_get(r, name);
}

struct lifecycle_set rig_set(struct rig *r, const char *names)
{
    char copy[256];
    const char *list[16];
    unsigned count = 0;
    struct lifecycle_set set = { 0 };

    snprintf(copy, sizeof copy, "%s", names);
    for (char *save, *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save))
        list[count++] = name;
    CHECK(lifecycle_set_named(&r->l, list, count, &set, &e));
    return set;
}

void rig_snapshot(struct rig *r, const char *name, const char *volumes)
{
    struct lifecycle_set set = rig_set(r, volumes);
    struct cat_snapshot s;

    CHECK(lifecycle_snapshot(&r->l, name, &set, &s, &e));
    lifecycle_set_done(&set);
}

struct cat_counts rig_counts(struct rig *r)
{
    struct cat_counts n = { 0 };

    CHECK(cat_count(r->l.catalog, &n, &e));
    return n;
}

unsigned rig_files(const struct rig *r, const char *folder)
{
    char path[128];
    unsigned count = 0;

    snprintf(path, sizeof path, "%s/%s", r->dir, folder);
    DIR *d = opendir(path);
    for (struct dirent *f; d && (f = readdir(d));)
        count += f->d_name[0] != '.';
    if (d)
        closedir(d);
    return count;
}

bool rig_has(const struct rig *r, struct layer_id id)
{
    char hex[LAYER_ID_TEXT], path[160];

    hex_encode(id.b, sizeof id.b, hex);
    snprintf(path, sizeof path, "%s/layers/%s.data", r->dir, hex);
    return access(path, F_OK) == 0;
}

void rig_refuse(struct rig *r, const char *what)
{
    char text[256];

    if (!what) {
        CHECK(db_run(r->l.catalog, &e, "DROP TRIGGER refuse", ""));
        return;
    }
    snprintf(text, sizeof text,
             "CREATE TRIGGER refuse BEFORE %s BEGIN SELECT RAISE(ABORT, 'refused'); END", what);
    CHECK(db_run(r->l.catalog, &e, text, ""));
}

/* ---- clients ----------------------------------------------------------------------------------*/

struct on_shard {
    struct client *c;
    struct blk_req req;
};

static void on_cut(struct export_peer *p)
{
    struct client *c = (struct client *)((char *)p - offsetof(struct client, peer));

    c->cut = c->closed = true;
    export_closed(c->session);
}

static void on_ready(struct export_peer *p, struct export_session *session, struct blkdev *device,
                     int error, const char *why)
{
    struct client *c = (struct client *)((char *)p - offsetof(struct client, peer));

    c->session = session;
    c->device = device;
    c->error = error;
    snprintf(c->why, sizeof c->why, "%s", why ? why : "");
    sem_post(&c->event);
}

static void ask(void *arg)
{
    struct client *c = arg;

    export_open(c->rig->l.exports, c->export_name, &c->peer, on_ready);
}

int client_again(struct client *c)
{
    c->closed = c->cut = false;
    c->session = NULL;
    shard_call(c->rig->shard, ask, c);
    while (sem_wait(&c->event) < 0)
        ;
    return c->error;
}

void client_open(struct rig *r, struct client *c, const char *volume)
{
    struct cat_volume v = rig_get(r, volume);
    char hex[2 * CAT_TOKEN_BYTES + 1];

    *c = (struct client){ .rig = r, .peer = { .cut = on_cut } };
    sem_init(&c->event, 0, 0);
    CHECK(cat_volume_attach(r->l.catalog, &v, 0, &e));
    CHECK(lifecycle_grant_volume(&r->l, &v, &e));
    hex_encode(v.attachment.token, CAT_TOKEN_BYTES, hex);
    snprintf(c->export_name, sizeof c->export_name, "%s.%s", volume, hex);
    if (client_again(c) != 0)
        fail_msg("open %s: %s", volume, c->why);
}

static void leave(void *arg)
{
    struct client *c = arg;

    if (!c->closed && c->session)
        export_closed(c->session);
    c->closed = true;
}

void client_close(struct client *c)
{
    shard_call(c->rig->shard, leave, c);
    sem_destroy(&c->event);
}

static void on_done(struct blk_req *q)
{
    struct client *c = q->owner;

    sem_post(&c->event);
}

static void submit(void *arg)
{
    struct on_shard *s = arg;

    if (s->c->closed) {
        s->req.error = -ESHUTDOWN;
        sem_post(&s->c->event);
    } else {
        blk_submit(s->c->device, &s->req);
    }
}

static int run(struct client *c, enum blk_op op, unsigned block, void *buf)
{
    struct on_shard s = { .c = c,
                          .req = { .op = op,
                                   .offset = (uint64_t)block * BLOCK,
                                   .length = op == BLK_FLUSH ? 0 : BLOCK,
                                   .buf = buf,
                                   .done = on_done,
                                   .owner = c } };

    shard_call(c->rig->shard, submit, &s);
    while (sem_wait(&c->event) < 0)
        ;
    return s.req.error;
}

int client_write(struct client *c, unsigned block, uint8_t byte)
{
    uint8_t buf[BLOCK];

    memset(buf, byte, sizeof buf);
    return run(c, BLK_WRITE, block, buf);
}

int client_flush(struct client *c)
{
    return run(c, BLK_FLUSH, 0, NULL);
}

uint8_t client_read(struct client *c, unsigned block)
{
    uint8_t buf[BLOCK];

    assert_int_equal(run(c, BLK_READ, block, buf), 0);
    for (unsigned i = 1; i < BLOCK; i++)
        assert_int_equal(buf[i], buf[0]);
    return buf[0];
}

static void detach(struct rig *r, const char *volume)
{
    struct cat_volume v = rig_get(r, volume);

    CHECK(cat_volume_detach(r->l.catalog, &v, &e));
    export_revoke(r->l.exports, volume, "the test is done with it");
}

void rig_write(struct rig *r, const char *volume, unsigned block, uint8_t byte)
{
    struct client c;

    client_open(r, &c, volume);
    assert_int_equal(client_write(&c, block, byte), 0);
    client_close(&c);
    detach(r, volume);
}

uint8_t rig_read(struct rig *r, const char *volume, unsigned block)
{
    struct client c;

    client_open(r, &c, volume);
    uint8_t byte = client_read(&c, block);
    client_close(&c);
    detach(r, volume);
    return byte;
}
