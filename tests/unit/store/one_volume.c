/* SPDX-License-Identifier: Apache-2.0 */
/* one_volume - a store on a simulated disk, an image in it, and one volume on that. */
#include "tests/unit/store/one_volume.h"

#include <stdlib.h>
#include <string.h>

#include "server/store/volume.h"

#define BLOCK 4096u

/* ---- set up and tear down ---------------------------------------------------------------------*/

struct one_volume *one_new(uint64_t size_bytes)
{
    struct one_volume *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->size_bytes = size_bytes;
    f->epoch = 1;
    f->sim = sim_new(7);
    f->rig.ops = sim_ops(f->sim);
    rig_init(&f->rig);
    return f;
}

void one_start(struct one_volume *f)
{
    assert_int_equal(one_start_again(f), 0);
    f->image = rig_image(&f->rig, f->size_bytes);
    f->top = rig_new_id();
}

int one_set_up_small_journal(void **state)
{
    struct one_volume *f = *state = one_new(1u << 20);

    f->rig.journal_bytes = 2 * 128u << 10;
    one_start(f);
    sim_be_plain(f->sim);
    one_open(f);
    return 0;
}

int one_tear_down(void **state)
{
    struct one_volume *f = *state;

    fake_hold(fake_slow_pool(), false);
    fake_hold(fake_read_pool(), false);
    sim_full(f->sim, 0, 0);
    one_stop(f);
    rig_remove(&f->rig);
    sim_free(f->sim);
    free(f);
    return 0;
}

/* ---- its life ---------------------------------------------------------------------------------*/

void one_open(struct one_volume *f)
{
    f->v = rig_volume(&f->rig, f->top, f->image, f->size_bytes, f->epoch);
    f->d = volume_device(f->v);
}

void one_close(struct one_volume *f)
{
    struct volume *v = f->v;

    f->v = NULL;
    if (v)
        rig_volume_close(v);
}

static int note_named(void *ctx, struct layer_id id)
{
    struct one_volume *f = ctx;

    assert_memory_equal(&id, &f->top, sizeof id);
    f->named++;
    return 0;
}

unsigned one_start_again(struct one_volume *f)
{
    f->named = 0;
    rig_open(&f->rig);
    CHECK(store_recover(f->rig.store, note_named, f, &e));
    CHECK(store_recovered(f->rig.store, &e));
    f->epoch += f->named;
    return f->named;
}

void one_stop(struct one_volume *f)
{
    one_close(f);
    if (f->other)
        rig_volume_close(f->other);
    f->other = NULL;
    if (f->rig.store)
        rig_close(&f->rig);
}

void one_reopen(struct one_volume *f)
{
    one_stop(f);
    assert_int_equal(one_start_again(f), 0);
    one_open(f);
}

void one_die(struct one_volume *f)
{
    size_t length;
    void *live = rig_live_copy(&f->rig, &length);

    sim_cut_at(f->sim, sim_count(f->sim));
    fake_fire_timers(); /* what waits for a full journal hears of it */
    fake_run();
    one_stop(f);
    sim_revive(f->sim);
    rig_live_put(&f->rig, live, length);
    free(live);
}

void one_be_killed(struct one_volume *f)
{
    one_die(f);
    one_start_again(f);
    assert_int_equal(store_past(f->rig.store), STORE_PAST_KILLED);
    one_open(f);
}

void one_cut(struct one_volume *f)
{
    sim_cut_at(f->sim, sim_count(f->sim));
    one_stop(f);
    sim_restore(f->sim);
    rig_live_put(&f->rig, NULL, 0);
}

void one_lose_power(struct one_volume *f)
{
    one_cut(f);
    one_start_again(f);
    one_open(f);
}

/* ---- its use ----------------------------------------------------------------------------------*/

void one_put(struct one_volume *f, uint64_t block, unsigned count, uint8_t fill)
{
    uint8_t *buf = malloc(count * BLOCK);

    memset(buf, fill, count * BLOCK);
    assert_int_equal(rig_io(f->d, BLK_WRITE, 0, block * BLOCK, count * BLOCK, buf), 0);
    free(buf);
}

void one_flush(struct one_volume *f)
{
    assert_int_equal(rig_io(f->d, BLK_FLUSH, 0, 0, 0, NULL), 0);
}

void one_begin_put(struct one_volume *f, uint64_t block, unsigned i)
{
    static uint8_t buf[sizeof f->error / sizeof *f->error][BLOCK];

    memset(buf[i], (int)(0xA0 + i), BLOCK);
    rig_begin(f->d, BLK_WRITE, 0, block * BLOCK, BLOCK, buf[i], &f->error[i]);
    fake_run();
}

void one_be_quiet(struct volume *v)
{
    v->last_mutation_ns -= VOL_CLEAN_AFTER_NS;
    for (unsigned i = 0; i < 3; i++) {
        fake_fire_timers();
        fake_run();
    }
}

void one_others_flush(struct one_volume *f, unsigned times)
{
    struct volume *v = rig_volume(&f->rig, rig_new_id(), f->image, f->size_bytes, 1);
    uint8_t buf[BLOCK] = { 9 };

    for (unsigned i = 0; i < times; i++) {
        uint64_t at = i * BLOCK % f->size_bytes;
        assert_int_equal(rig_io(volume_device(v), BLK_WRITE, 0, at, BLOCK, buf), 0);
        assert_int_equal(rig_io(volume_device(v), BLK_FLUSH, 0, 0, 0, NULL), 0);
    }
    rig_volume_close(v);
}

uint64_t one_syncs(const struct one_volume *f)
{
    return sim_count_of(f->sim, SIM_SYNC);
}
