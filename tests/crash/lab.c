/* SPDX-License-Identifier: Apache-2.0 */
/* lab - a server's storage on a simulated disk: started, stopped, and its clients. */
#include "tests/crash/lab.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/name.h"
#include "server/catalog/catalog.h"
#include "server/catalog/layers.h"
#include "tests/crash/sim_vfs.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/unit.h"

#define JOURNAL_BYTES (2 * 64u << 10) /* small: it is full now and then */

/* ---- life -------------------------------------------------------------------------------------*/

void lab_init(struct lab *l, uint64_t seed)
{
    /* Nothing is really synced, so memory will do; it is quicker. */
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");

    *l = (struct lab){ .sim = sim_new(seed * 2 + 1) };
    if (seed % 4 < 2) /* else flushes go by the journal as long as they are small enough */
        l->log_blocks = seed % 4 ? STORE_LOG_NONE : 2;
    snprintf(l->dir, sizeof l->dir, "%s/gbcrash.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(l->dir));
    snprintf(l->live_dir, sizeof l->live_dir, "%s/live", l->dir);
    sim_vfs_use(sim_ops(l->sim), seed);
    for (int i = 0; i < LAB_SEATS; i++)
        l->seats[i].lab = l;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void lab_done(struct lab *l)
{
    lab_memory_forget(l);
    sim_free(l->sim);
    nftw(l->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Epochs, leftovers, exports. */
static int recover(struct lab *l, struct err *e)
{
    int rc = lifecycle_recover(&l->life, &l->raised, e);

    if (rc == 0)
        rc = export_table_new(fake_shard(), l->store, &l->exports, e);
    l->life.exports = l->exports;
    if (rc == 0)
        rc = lifecycle_regrant(&l->life, e);
    if (rc == 0)
        lifecycle_sweep(&l->life);
    return rc;
}

int lab_start(struct lab *l, struct err *e)
{
    struct store_options o = { .dir = l->dir,
                               .ops = sim_ops(l->sim),
                               .journal_bytes = JOURNAL_BYTES,
                               .log_blocks = l->log_blocks,
                               .shard = fake_shard(),
                               .read_pool = fake_read_pool(),
                               .slow_pool = fake_slow_pool(),
                               .live_dir = l->live_dir };
    char path[192];
    int rc = store_open(&o, &l->store, e);

    if (rc < 0)
        return rc;
    snprintf(path, sizeof path, "%s/catalog.db", l->dir);
    rc = cat_open(path, &l->catalog, e);
    l->catalog_up = sim_count(l->sim);
    l->life = (struct lifecycle){ .catalog = l->catalog, .store = l->store, .quota_least = 1 };
    return rc == 0 ? recover(l, e) : rc;
}

void lab_stop(struct lab *l)
{
    export_table_free(l->exports);
    l->exports = NULL;
    fake_run();
    store_close(l->store);
    l->store = NULL;
    cat_close(l->catalog);
    l->catalog = NULL;
    fake_run();
    for (int i = 0; i < LAB_SEATS; i++)
        assert_int_equal(l->seats[i].running, 0);
}

/* ---- clients ----------------------------------------------------------------------------------*/

static void close_seat(struct lab_seat *s)
{
    struct export_session *session = s->session;

    s->session = NULL;
    s->device = NULL;
    export_closed(session);
}

static void on_cut(struct export_peer *p)
{
    struct lab_seat *s = (struct lab_seat *)((char *)p - offsetof(struct lab_seat, peer));

    s->cut = true;
    s->running++; /* not before blk_drop has returned */
    blk_drop(s->device);
    lab_request_over(s);
}

void lab_request_begins(struct lab_seat *s)
{
    s->running++;
}

void lab_request_over(struct lab_seat *s)
{
    if (--s->running == 0 && s->cut && s->session)
        close_seat(s);
}

static void on_ready(struct export_peer *p, struct export_session *session, struct blkdev *device,
                     int error, const char *why)
{
    struct lab_seat *s = (struct lab_seat *)((char *)p - offsetof(struct lab_seat, peer));

    (void)why;
    s->asked = false;
    s->session = session;
    s->device = device;
    s->refused = error;
}

int lab_connect(struct lab *l, unsigned seat, const char *uri)
{
    struct lab_seat *s = &l->seats[seat];

    assert_null(s->session);
    snprintf(s->uri, sizeof s->uri, "%s", uri);
    s->peer.cut = on_cut;
    s->cut = false;
    s->asked = true;
    export_open(l->exports, s->uri, &s->peer, on_ready);
    while (s->asked)
        if (!fake_step())
            fail_msg("no answer to a client of %s", uri);
    return s->refused;
}

void lab_uri(const struct cat_volume *v, char ret[static EXPORT_NAME_SIZE])
{
    char hex[2 * CAT_TOKEN_BYTES + 1];

    hex_encode(v->attachment.token, CAT_TOKEN_BYTES, hex);
    snprintf(ret, EXPORT_NAME_SIZE, "%s.%s", v->name, hex);
}

void lab_leave(struct lab *l, unsigned seat)
{
    struct lab_seat *s = &l->seats[seat];

    if (!s->session)
        return;
    on_cut(&s->peer);
    while (s->session)
        if (!fake_step())
            fail_msg("a client of %s cannot leave", s->uri);
}

/* ---- reading ----------------------------------------------------------------------------------*/

static void note_done(struct blk_req *r)
{
    *(bool *)r->owner = true;
}

static void read_part(struct blkdev *d, uint64_t offset, uint64_t length, void *ret)
{
    bool done = false;
    struct blk_req r = { .op = BLK_READ,
                         .offset = offset,
                         .length = length,
                         .buf = ret,
                         .done = note_done,
                         .owner = &done };

    blk_submit(d, &r);
    while (!done)
        if (!fake_step())
            fail_msg("a read does not end");
    assert_int_equal(r.error, 0);
}

void lab_read(struct blkdev *d, const struct lab_parts *parts, void *ret)
{
    uint8_t *to = ret;

    for (unsigned i = 0; i < parts->count; i++) {
        read_part(d, parts->part[i].offset, parts->part[i].length, to);
        to += parts->part[i].length;
    }
}

int lab_read_chain(struct lab *l, const struct layer_chain *chain, uint64_t size_bytes,
                   const struct lab_parts *parts, void *ret, struct err *e)
{
    struct blkdev *d;
    int rc = image_open(l->store, chain, size_bytes, &d, e);

    if (rc < 0)
        return rc;
    lab_read(d, parts, ret);
    image_close(d);
    fake_run();
    return 0;
}

int lab_read_layer(struct lab *l, const uint8_t id[static 16], uint64_t size_bytes,
                   const struct lab_parts *parts, void *ret, struct err *e)
{
    struct cat_chain chain;
    struct layer_chain layers;
    int rc = cat_layer_chain(l->catalog, id, &chain, e);

    if (rc < 0)
        return rc;
    layers.count = chain.count;
    for (unsigned i = 0; i < chain.count; i++)
        memcpy(layers.id[i].b, chain.id[i], sizeof layers.id[i].b);
    return lab_read_chain(l, &layers, size_bytes, parts, ret, e);
}

static void note_drained(void *ctx)
{
    *(bool *)ctx = true;
}

int lab_read_volume(struct lab *l, const struct cat_volume *v, const struct lab_parts *parts,
                    void *ret, struct err *e)
{
    struct export_grant g;
    struct volume *device;
    bool drained = false;
    int rc = lifecycle_volume_grant(&l->life, v, &g, e);

    if (rc < 0)
        return rc;
    g.volume.below = &g.layers;
    rc = volume_open(l->store, &g.volume, NULL, &device, e);
    if (rc < 0)
        return rc;
    lab_read(volume_device(device), parts, ret);
    volume_close(device, note_drained, &drained);
    fake_run();
    assert_true(drained);
    return 0;
}

struct layer_id lab_import(struct lab *l, uint64_t size_bytes)
{
    struct layer_writer *writer;
    uint64_t data_bytes;
    uint8_t *bytes = malloc(size_bytes);

    assert_non_null(bytes);
    fill_image(bytes, 0, size_bytes);
    CHECK(layer_create(l->store, size_bytes, &writer, &e));
    CHECK(layer_write(writer, 0, bytes, size_bytes, &e));
    CHECK(layer_seal(writer, &data_bytes, &e));
    struct layer_id id = layer_writer_id(writer);
    layer_writer_free(writer);
    free(bytes);
    return id;
}

void lab_room(struct lab *l)
{
    sim_full(l->sim, 0, 0);
}

unsigned lab_count_files(const struct lab *l, const char *folder)
{
    char path[256];
    struct dirent *entry;
    unsigned count = 0;

    snprintf(path, sizeof path, "%s/%s", l->dir, folder);
    DIR *dir = opendir(path);
    while (dir && (entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}
