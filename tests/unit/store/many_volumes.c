/* SPDX-License-Identifier: Apache-2.0 */
/* many_volumes - some volumes on one image, on a simulated disk, that are sealed together. */
#include "tests/unit/store/many_volumes.h"

#include <stdlib.h>
#include <string.h>

#define SOME_MS 1000

int many_set_up(void **state)
{
    struct many_volumes *f = calloc(1, sizeof *f);

    rig_init(&f->rig);
    f->sim = sim_new(1);
    f->rig.ops = sim_ops(f->sim);
    rig_open(&f->rig);
    f->image = rig_image(&f->rig, MANY_SIZE);
    for (int i = 0; i < 4; i++)
        memset(f->buf[i], 0xA0 + i, MANY_BLOCK);
    *state = f;
    return 0;
}

int many_tear_down(void **state)
{
    struct many_volumes *f = *state;

    fake_hold(fake_slow_pool(), false);
    sim_full(f->sim, 0, 0);
    many_close(f);
    rig_close(&f->rig);
    rig_remove(&f->rig);
    sim_free(f->sim);
    free(f);
    return 0;
}

void many_open_one(struct many_volumes *f, unsigned i)
{
    struct volume_spec spec = { .name = "vol",
                                .top = f->part[i].top,
                                .below = &f->chain[i],
                                .size_bytes = MANY_SIZE,
                                .generation = 1,
                                .epoch = 1,
                                .quota_bytes = f->rig.quota_bytes };

    CHECK(volume_open(f->rig.store, &spec, NULL, &f->v[i], &e));
    f->d[i] = volume_device(f->v[i]);
}

void many_open(struct many_volumes *f, unsigned count)
{
    f->count = count;
    for (unsigned i = 0; i < count; i++) {
        f->part[i] = (struct seal_volume){ .top = rig_new_id(), .new_top = rig_new_id() };
        f->chain[i] = (struct layer_chain){ .count = 1, .id = { f->image } };
        many_open_one(f, i);
    }
}

void many_close_one(struct many_volumes *f, unsigned i)
{
    struct volume *v = f->v[i];

    f->v[i] = NULL;
    if (v)
        rig_volume_close(v);
}

void many_close(struct many_volumes *f)
{
    for (unsigned i = 0; i < f->count; i++)
        many_close_one(f, i);
}

int many_seal(struct many_volumes *f)
{
    return store_seal_begin(f->rig.store, f->part, f->count, SOME_MS, &f->seal, NULL);
}

void many_seal_end(struct many_volumes *f, bool committed)
{
    store_seal_end(f->seal, committed);
    for (unsigned i = 0; committed && i < f->count; i++) {
        struct layer_chain *c = &f->chain[i];
        if (f->part[i].empty)
            continue;
        memmove(c->id + 1, c->id, c->count * sizeof *c->id);
        c->id[0] = f->part[i].top;
        c->count++;
        f->part[i].top = f->part[i].new_top;
        f->part[i].new_top = rig_new_id();
    }
}

struct blkdev *many_sealed(struct many_volumes *f, unsigned i)
{
    struct blkdev *d;

    CHECK(image_open(f->rig.store, &f->chain[i], MANY_SIZE, &d, &e));
    return d;
}

void many_begin_put(struct many_volumes *f, unsigned v, unsigned b, int i)
{
    rig_begin(f->d[v], BLK_WRITE, 0, (uint64_t)b * MANY_BLOCK, MANY_BLOCK, f->buf[i], &f->error[i]);
    fake_run();
}
