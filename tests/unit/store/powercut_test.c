/* SPDX-License-Identifier: Apache-2.0 */
/* Power cuts: random overlapping writes, trims, zeroes and flushes on two volumes, with jobs in
 * random order; the power goes after a random file operation; any subset of what was not synced is
 * lost or torn.  After the restart every flushed write is there, every sector holds an old or a new
 * content of its own, and every volume that may have lost an answered write is named. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/block/blkdev.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/store/sim_ops.h"

#define SIZE     (160u << 10)
#define SECTORS  (SIZE / BLK_SECTOR)
#define VOLUMES  2
#define OPS_MAX  400
#define INFLIGHT 8

struct op {
    enum blk_op kind;
    bool fua;
    uint32_t first, count; /* sectors that it changes */
    uint32_t stamp;        /* of what it writes; 0 = zeros */
    uint64_t submitted, done;
    int error;
    int volume;
    struct blk_req r;
};

struct world {
    struct rig rig;
    struct sim *sim;
    uint64_t seed, time;
    struct layer_id image, top[VOLUMES];
    struct volume *v[VOLUMES];
    uint64_t epoch[VOLUMES];
    bool lost_power[VOLUMES];
    uint8_t *base[VOLUMES]; /* content when the round began: all of it durable */
    struct op ops[OPS_MAX];
    unsigned count, inflight;
    uint64_t flushed[VOLUMES]; /* what was answered up to then is durable */
};

static uint64_t draw(struct world *w, uint64_t limit)
{
    w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (w->seed >> 33) % limit;
}

/* ---- the work ---------------------------------------------------------------------------------*/

static void op_done(struct blk_req *r)
{
    struct op *op = (struct op *)((char *)r - offsetof(struct op, r));
    struct world *w = r->owner;

    op->done = ++w->time;
    op->error = r->error;
    w->inflight--;
    free(r->buf);
    r->buf = NULL;
    if (op->kind == BLK_FLUSH && r->error == 0 && op->submitted > w->flushed[op->volume])
        w->flushed[op->volume] = op->submitted;
}

static void stamp_sectors(struct op *op)
{
    uint32_t *words = malloc(op->count * BLK_SECTOR);

    for (uint32_t i = 0; i < op->count * BLK_SECTOR / 4; i++)
        words[i] = op->stamp;
    op->r.buf = words;
}

static void submit_one(struct world *w)
{
    static const enum blk_op kinds[] = { BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_WRITE,
                                         BLK_TRIM,  BLK_ZERO,  BLK_FLUSH };
    struct op *op = &w->ops[w->count++];

    *op = (struct op){ .kind = kinds[draw(w, 7)], .submitted = ++w->time };
    op->volume = (int)draw(w, VOLUMES);
    op->fua = draw(w, 8) == 0;
    op->r = (struct blk_req){
        .op = op->kind, .flags = op->fua ? BLK_FUA : 0, .done = op_done, .owner = w
    };
    if (op->kind != BLK_FLUSH) {
        op->first = (uint32_t)draw(w, SECTORS);
        op->count = 1 + (uint32_t)draw(w, draw(w, 4) ? 24 : 100);
        if (draw(w, 3) == 0)
            op->first &= ~7u, op->count = (op->count + 7) & ~7u;
        if (op->count > SECTORS - op->first)
            op->count = SECTORS - op->first;
        op->r.offset = (uint64_t)op->first * BLK_SECTOR;
        op->r.length = (uint64_t)op->count * BLK_SECTOR;
    }
    if (op->kind == BLK_WRITE) {
        op->stamp = 0x10000000u | (uint32_t)op->volume << 24 | (w->count + (uint32_t)w->time * 512);
        stamp_sectors(op);
    }
    if (op->kind == BLK_ZERO && draw(w, 4) == 0)
        op->r.flags |= BLK_NO_HOLE;
    if (op->kind == BLK_TRIM) { /* whole blocks alone */
        uint32_t end = (op->first + op->count) & ~7u;
        op->first = (op->first + 7) & ~7u;
        op->count = end > op->first ? end - op->first : 0;
    }
    w->inflight++;
    blk_submit(volume_device(w->v[op->volume]), &op->r);
}

static void work(struct world *w, unsigned requests)
{
    while (w->count < requests && !sim_is_cut(w->sim)) {
        if (w->inflight < INFLIGHT && draw(w, 3) == 0)
            submit_one(w);
        else if (!fake_step() && w->inflight == 0)
            submit_one(w);
    }
}

/* ---- what is legal ----------------------------------------------------------------------------*/

/* Is it certain that y came after x, and y is durable? */
static bool supersedes(const struct world *w, const struct op *y, const struct op *x)
{
    return y->done && y->error == 0 && (y->fua || y->done <= w->flushed[y->volume]) &&
           (!x || (x->done && y->submitted >= x->done));
}

static bool touches(const struct op *op, int volume, uint32_t sector)
{
    return op->volume == volume && op->kind != BLK_FLUSH && sector >= op->first &&
           sector - op->first < op->count;
}

/* May the sector hold what x wrote (NULL: what it held at the beginning)? */
static bool may_hold(const struct world *w, int volume, uint32_t sector, const struct op *x)
{
    for (unsigned i = 0; i < w->count; i++)
        if (touches(&w->ops[i], volume, sector) && supersedes(w, &w->ops[i], x))
            return false;
    return true;
}

static bool holds(const uint8_t *bytes, uint32_t stamp)
{
    for (uint32_t i = 0; i < BLK_SECTOR; i += 4)
        if (memcmp(bytes + i, &stamp, 4) != 0)
            return false;
    return true;
}

static void check_sector(const struct world *w, int volume, uint32_t sector, const uint8_t *bytes)
{
    const uint8_t *base = w->base[volume] + (size_t)sector * BLK_SECTOR;

    if (memcmp(bytes, base, BLK_SECTOR) == 0 && may_hold(w, volume, sector, NULL))
        return;
    for (unsigned i = 0; i < w->count; i++)
        if (touches(&w->ops[i], volume, sector) && holds(bytes, w->ops[i].stamp) &&
            may_hold(w, volume, sector, &w->ops[i]))
            return;
    fail_msg("volume %d sector %u holds %02x%02x%02x%02x, which it must not", volume, sector,
             bytes[3], bytes[2], bytes[1], bytes[0]);
}

/* A volume with an answered change that no flush has covered. */
static bool may_have_lost(const struct world *w, int volume)
{
    for (unsigned i = 0; i < w->count; i++) {
        const struct op *op = &w->ops[i];
        if (op->volume == volume && op->kind != BLK_FLUSH && op->count && op->done &&
            op->error == 0 && !supersedes(w, op, NULL))
            return true;
    }
    return false;
}

static void check_volume(struct world *w, int volume)
{
    uint8_t *now = malloc(SIZE);

    assert_int_equal(rig_io(volume_device(w->v[volume]), BLK_READ, 0, 0, SIZE, now), 0);
    for (uint32_t sector = 0; sector < SECTORS; sector++)
        check_sector(w, volume, sector, now + (size_t)sector * BLK_SECTOR);
    free(w->base[volume]);
    w->base[volume] = now;
}

/* ---- rounds -----------------------------------------------------------------------------------*/

static int note_open(void *ctx, struct layer_id id)
{
    struct world *w = ctx;

    for (int i = 0; i < VOLUMES; i++)
        if (memcmp(&w->top[i], &id, sizeof id) == 0)
            w->lost_power[i] = true;
    return 0;
}

static bool keep_known(void *ctx, struct layer_id id)
{
    struct world *w = ctx;

    return memcmp(&w->image, &id, sizeof id) == 0 || memcmp(&w->top[0], &id, sizeof id) == 0 ||
           memcmp(&w->top[1], &id, sizeof id) == 0;
}

/* Opens the store; the power may go again while it recovers. */
static void restart(struct world *w, unsigned cuts)
{
    const struct store_options o = { .dir = w->rig.dir,
                                     .ops = w->rig.ops,
                                     .journal_bytes = 2 * 64u << 10,
                                     .shard = fake_shard(),
                                     .read_pool = fake_read_pool(),
                                     .slow_pool = fake_slow_pool() };

    for (; cuts; cuts--) {
        struct store *s = NULL;
        sim_cut_at(w->sim, sim_count(w->sim) + 1 + draw(w, 20));
        if (store_open(&o, &s, NULL) == 0) {
            (void)store_recovered(s, NULL);
            store_close(s);
        }
        sim_restore(w->sim);
    }
    CHECK(store_open(&o, &w->rig.store, &e));
}

static void open_volumes(struct world *w)
{
    for (int i = 0; i < VOLUMES; i++)
        w->v[i] = rig_volume(&w->rig, w->top[i], w->image, SIZE, w->epoch[i]);
}

static void close_volumes(struct world *w)
{
    for (int i = 0; i < VOLUMES; i++)
        rig_volume_close(w->v[i]);
}

static void one_round(struct world *w, bool cut_recovery)
{
    w->count = 0;
    memset(w->flushed, 0, sizeof w->flushed);
    open_volumes(w);
    sim_cut_at(w->sim, sim_count(w->sim) + 1 + draw(w, 150));
    work(w, 20 + (unsigned)draw(w, OPS_MAX - 20));
    sim_cut_at(w->sim, sim_count(w->sim)); /* now at the latest */
    fake_run();
    assert_int_equal(w->inflight, 0);
    close_volumes(w);
    rig_close(&w->rig);
    sim_restore(w->sim);

    memset(w->lost_power, 0, sizeof w->lost_power);
    restart(w, 0);
    CHECK(store_recover(w->rig.store, note_open, w, &e));
    for (int i = 0; i < VOLUMES; i++) {
        if (may_have_lost(w, i) && !w->lost_power[i])
            fail_msg("volume %d may have lost a write and was not named", i);
        w->epoch[i] += w->lost_power[i];
    }
    if (cut_recovery) { /* the names of those that are open must survive that */
        store_close(w->rig.store);
        restart(w, 2);
    }
    CHECK(store_recovered(w->rig.store, &e));
    CHECK(store_sweep(w->rig.store, keep_known, w, &e));
    open_volumes(w);
    for (int i = 0; i < VOLUMES; i++)
        check_volume(w, i);
    close_volumes(w);
}

static void run_world(uint64_t seed, unsigned rounds)
{
    struct world *w = calloc(1, sizeof *w);

    w->seed = seed;
    w->sim = sim_new(seed * 77 + 1);
    w->rig.ops = sim_ops(w->sim);
    rig_init(&w->rig);
    restart(w, 0);
    w->image = rig_image(&w->rig, SIZE);
    fake_reset(seed * 31 + 7);
    for (int i = 0; i < VOLUMES; i++) {
        w->top[i] = rig_new_id();
        w->base[i] = malloc(SIZE);
        fill_image(w->base[i], 0, SIZE);
    }
    for (unsigned i = 0; i < rounds; i++) {
        if (getenv("SHOW"))
            printf("# seed %llu round %u\n", (unsigned long long)seed, i);
        one_round(w, draw(w, 3) == 0);
    }
    rig_close(&w->rig);
    rig_remove(&w->rig);
    for (int i = 0; i < VOLUMES; i++)
        free(w->base[i]);
    sim_free(w->sim);
    free(w);
}

static void flushed_writes_survive_a_power_cut(void **state)
{
    const char *worlds = getenv("WORLDS");
    const char *first = getenv("FIRST");
    uint64_t count = worlds ? strtoull(worlds, NULL, 10) : 60;

    (void)state;
    for (uint64_t seed = first ? strtoull(first, NULL, 10) : 1; count; count--, seed++)
        run_world(seed, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flushed_writes_survive_a_power_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
