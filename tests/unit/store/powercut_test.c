/* SPDX-License-Identifier: Apache-2.0 */
/* Power cuts: random overlapping writes, trims, zeroes and flushes on two volumes, and seals of
 * both, with jobs in random order; the power goes after a random file operation; any subset of what
 * was not synced is lost or torn.  After the restart every flushed write is there, every sector
 * holds an old or a new content of its own, and every volume that may have lost an answered write
 * is named. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/block/blkdev.h"
#include "tests/unit/store/fake_random.h"
#include "tests/unit/store/fake_shard.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/store/sim_ops.h"

#define SIZE     (160u << 10)
#define SECTORS  (SIZE / BLK_SECTOR)
#define VOLUMES  2
#define OPS_MAX  400
#define INFLIGHT 8
#define NOT_YET  UINT64_MAX
#define DEPTH    40 /* layers that a volume may stand on */

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
    struct layer_chain below[VOLUMES]; /* as the catalog has it, like top */
    bool seal_cut;                     /* it died in the middle of a seal */
    struct volume *v[VOLUMES];
    uint64_t epoch[VOLUMES];
    bool lost_power[VOLUMES];
    uint8_t *base[VOLUMES]; /* content when the round began: all of it durable */
    struct op ops[OPS_MAX];
    unsigned count, inflight;
    uint64_t flushed[VOLUMES]; /* what was answered up to then is durable */

    uint64_t died_at;    /* number of the operation; 0 = none yet */
    uint64_t died;       /* time */
    bool power;          /* it was lost since the work */
    bool whole[VOLUMES]; /* no answered write may be missing */
    void *live;          /* the live maps at that moment */
    size_t live_length;
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

/* Both tops at one instant.  The catalog's transaction is a moment in which the power stays. */
static void seal(struct world *w)
{
    struct seal_volume part[VOLUMES];
    struct store_seal *s;

    for (int i = 0; i < VOLUMES; i++)
        part[i] = (struct seal_volume){ .top = w->top[i], .new_top = rig_new_id() };
    if (store_seal_begin(w->rig.store, part, VOLUMES, 1000, &s, NULL) < 0) {
        assert_true(sim_is_cut(w->sim));
        w->seal_cut = true; /* some of them may be clean */
        return;
    }
    w->time++;
    for (int i = 0; i < VOLUMES; i++)
        w->flushed[i] = w->time; /* all that they show is durable */
    bool committed = !sim_is_cut(w->sim) && draw(w, 4);
    for (int i = 0; i < VOLUMES && committed; i++) {
        struct layer_chain *c = &w->below[i];
        if (part[i].empty)
            continue;
        memmove(c->id + 1, c->id, c->count++ * sizeof *c->id);
        c->id[0] = w->top[i];
        w->top[i] = part[i].new_top;
    }
    store_seal_end(s, committed);
}

static void work(struct world *w, unsigned requests)
{
    while (w->count < requests && !sim_is_cut(w->sim)) {
        if (draw(w, 150) == 0 && w->below[0].count < DEPTH && w->below[1].count < DEPTH)
            seal(w);
        else if (w->inflight < INFLIGHT && draw(w, 3) == 0)
            submit_one(w);
        else if (!fake_step() && w->inflight == 0)
            submit_one(w);
    }
}

/* ---- what is legal ----------------------------------------------------------------------------*/

/* Is it certain that y came after x, and y is durable? */
static bool supersedes(const struct world *w, const struct op *y, const struct op *x)
{
    return y->done && y->done <= w->died && y->error == 0 &&
           (w->whole[y->volume] || y->fua || y->done <= w->flushed[y->volume]) &&
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
    bool known = false;

    for (int i = 0; i < VOLUMES; i++) {
        known |= memcmp(&w->top[i], &id, sizeof id) == 0;
        for (unsigned n = 0; n < w->below[i].count; n++)
            known |= memcmp(&w->below[i].id[n], &id, sizeof id) == 0;
    }
    return known;
}

/* ---- crashes ----------------------------------------------------------------------------------*/

static void note_death(void *ctx, uint64_t number)
{
    struct world *w = ctx;

    if (w->live || number < w->died_at)
        return;
    if (w->died == NOT_YET)
        w->died = w->time;
    w->live = rig_live_copy(&w->rig, &w->live_length);
}

/* Before the operation of this number at the latest. */
static void die_at(struct world *w, uint64_t number)
{
    w->died_at = number;
    sim_cut_at(w->sim, number);
    sim_on_op(w->sim, note_death, w);
}

/* After everything is closed. */
static void crash(struct world *w, bool power)
{
    sim_on_op(w->sim, NULL, NULL);
    if (power) {
        w->power = true;
        sim_restore(w->sim);
    } else {
        sim_revive(w->sim);
    }
    rig_live_put(&w->rig, power ? NULL : w->live, w->live_length);
    free(w->live);
    w->live = NULL;
}

/* Opens the store; it may die again while it recovers. */
static void restart(struct world *w, unsigned times)
{
    const struct store_options o = rig_options(&w->rig);

    for (; times; times--) {
        struct store *s = NULL;

        if (store_open(&o, &s, NULL) == 0) {
            die_at(w, sim_count(w->sim) + draw(w, 12));
            if (draw(w, 2) && store_recover(s, note_open, w, NULL) == 0)
                (void)store_recovered(s, NULL);
            note_death(w, UINT64_MAX);
            sim_cut_at(w->sim, sim_count(w->sim));
            store_close(s);
            crash(w, draw(w, 2));
        }
    }
    CHECK(store_open(&o, &w->rig.store, &e));
}

static void open_volumes(struct world *w)
{
    for (int i = 0; i < VOLUMES; i++) {
        struct volume_spec spec = { .name = "vol",
                                    .top = w->top[i],
                                    .below = &w->below[i],
                                    .size_bytes = SIZE,
                                    .generation = 1,
                                    .epoch = w->epoch[i] };
        CHECK(volume_open(w->rig.store, &spec, NULL, &w->v[i], &e));
    }
}

static void close_volumes(struct world *w)
{
    for (int i = 0; i < VOLUMES; i++)
        rig_volume_close(w->v[i]);
}

/* again: a first recovery was cut off.  It may have brought to disk what a kill had left, or not:
 * who is not named has lost nothing. */
static void recover(struct world *w, bool again)
{
    CHECK(store_recover(w->rig.store, note_open, w, &e));
    if (!w->power)
        assert_int_equal(store_past(w->rig.store), STORE_PAST_KILLED);
    for (int i = 0; i < VOLUMES; i++) {
        /* Who is not named has lost nothing that was answered, though perhaps nobody knew yet. */
        w->whole[i] = (!again || w->whole[i]) && !w->lost_power[i];
        if (!w->power && w->lost_power[i])
            fail_msg("volume %d was named, though no power was lost", i);
        w->epoch[i] += w->lost_power[i];
    }
}

static void work_until_death(struct world *w)
{
    w->count = 0;
    memset(w->flushed, 0, sizeof w->flushed);
    w->died = NOT_YET;
    w->power = w->seal_cut = false;
    memset(w->whole, 0, sizeof w->whole);
    open_volumes(w);
    die_at(w, sim_count(w->sim) + 1 + draw(w, 150));
    work(w, 20 + (unsigned)draw(w, OPS_MAX - 20));
    note_death(w, UINT64_MAX); /* now at the latest */
    sim_cut_at(w->sim, sim_count(w->sim));
    fake_run();
    assert_int_equal(w->inflight, 0);
    close_volumes(w);
    rig_close(&w->rig);
}

static void one_round(struct world *w, bool crash_again)
{
    work_until_death(w);
    crash(w, draw(w, 2));
    restart(w, 0);
    memset(w->lost_power, 0, sizeof w->lost_power);
    recover(w, false);
    if (crash_again) { /* whoever was named, or is to be, must survive that */
        bool power = w->power;
        note_death(w, UINT64_MAX);
        sim_cut_at(w->sim, sim_count(w->sim));
        rig_close(&w->rig);
        crash(w, draw(w, 2));
        restart(w, 2);
        if (!power)
            recover(w, true);
    }
    CHECK(store_recovered(w->rig.store, &e));
    CHECK(store_sweep(w->rig.store, keep_known, w, &e));
    if (draw(w, 3) == 0) { /* nobody opens them for some time */
        fake_fire_timers();
        fake_run();
    }
    open_volumes(w);
    for (int i = 0; i < VOLUMES; i++)
        check_volume(w, i);
    close_volumes(w);
}

static void run_world(uint64_t seed, unsigned rounds)
{
    struct world *w = calloc(1, sizeof *w);

    fake_random(seed);
    w->seed = seed;
    w->sim = sim_new(seed * 77 + 1);
    w->rig.ops = sim_ops(w->sim);
    w->rig.journal_bytes = 2 * 64u << 10;
    w->rig.log_blocks = seed % 3 == 0 ? STORE_LOG_NONE : seed % 3 == 1 ? 2 : 0;
    w->rig.live_slots = 8;
    rig_init(&w->rig);
    restart(w, 0);
    CHECK(store_recovered(w->rig.store, &e));
    w->image = rig_image(&w->rig, SIZE);
    fake_reset(seed * 31 + 7);
    for (int i = 0; i < VOLUMES; i++) {
        w->top[i] = rig_new_id();
        w->below[i] = (struct layer_chain){ .count = 1, .id = { w->image } };
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

static void writes_survive_what_they_must(void **state)
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
        cmocka_unit_test(writes_survive_what_they_must),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
