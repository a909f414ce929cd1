/* SPDX-License-Identifier: Apache-2.0 */
/* blk_fault - a device that fails or holds requests on order. */
#include "server/block/blk_fault.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "server/block/blkdev.h"

struct rule {
    unsigned skip, times;
    int error;
    bool hold;
};

struct blk_fault {
    struct blkdev dev;
    struct blkdev *under;
    struct rule rules[BLK_OP_COUNT];
    struct blk_req *held, **held_end; /* linked by blk_req.next, which is the device's own */
    unsigned held_count;
};

static struct blk_fault *fault_of(struct blkdev *d)
{
    return (struct blk_fault *)((char *)d - offsetof(struct blk_fault, dev));
}

static void pass(struct blk_fault *f, struct blk_req *r)
{
    struct rule *rule = &f->rules[r->op];

    if (rule->times && rule->skip) {
        rule->skip--;
    } else if (rule->times) {
        rule->times--;
        r->error = rule->error;
        r->done(r);
        return;
    }
    blk_submit(f->under, r);
}

static void fault_submit(struct blkdev *d, struct blk_req *r)
{
    struct blk_fault *f = fault_of(d);

    if (!f->rules[r->op].hold) {
        pass(f, r);
        return;
    }
    r->next = NULL;
    *f->held_end = r;
    f->held_end = &r->next;
    f->held_count++;
}

static void fault_drop(struct blkdev *d)
{
    blk_drop(fault_of(d)->under); /* what is held here stays: it stands for what runs */
}

static bool fault_lend(struct blkdev *d, uint64_t offset, uint64_t length, struct blk_loan *ret)
{
    return blk_lend(fault_of(d)->under, offset, length, ret);
}

static void fault_give_back(struct blkdev *d, struct blk_loan *loan)
{
    blk_give_back(fault_of(d)->under, loan);
}

struct blkdev *blk_fault_new(struct blkdev *under)
{
    static const struct blk_ops ops = {
        .submit = fault_submit, .drop = fault_drop, .lend = fault_lend, .give_back = fault_give_back
    };

    struct blk_fault *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->dev = (struct blkdev){ .ops = &ops,
                              .size_bytes = under->size_bytes,
                              .read_only = under->read_only };
    f->under = under;
    f->held_end = &f->held;
    return &f->dev;
}

void blk_fault_free(struct blkdev *d)
{
    if (!d)
        return;
    assert(!fault_of(d)->held);
    free(fault_of(d));
}

void blk_fault_fail(struct blkdev *d, unsigned op, unsigned skip, unsigned times, int error)
{
    assert(op < BLK_OP_COUNT && error < 0);
    struct rule *rule = &fault_of(d)->rules[op];

    rule->skip = skip;
    rule->times = times;
    rule->error = error;
}

void blk_fault_hold(struct blkdev *d, unsigned op, bool on)
{
    assert(op < BLK_OP_COUNT);
    fault_of(d)->rules[op].hold = on;
}

unsigned blk_fault_release(struct blkdev *d, unsigned count)
{
    struct blk_fault *f = fault_of(d);
    unsigned released = 0;

    while (released < count && f->held) {
        struct blk_req *r = f->held;
        f->held = r->next;
        if (!f->held)
            f->held_end = &f->held;
        f->held_count--;
        released++;
        pass(f, r);
    }
    return released;
}

unsigned blk_fault_held(const struct blkdev *d)
{
    const struct blk_fault *f =
        (const struct blk_fault *)((const char *)d - offsetof(struct blk_fault, dev));

    return f->held_count;
}
