/* SPDX-License-Identifier: Apache-2.0 */
/* rig - starts, stops and reaches into the service of a test. */
#include "tests/unit/nbd/rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/unit.h"

#include "server/base/clock.h"
#include "server/base/name.h"
#include "server/block/blkdev.h"

static int rig_open(void *ctx, const struct export_grant *g, const struct export_told *told,
                    struct export_device *ret, struct err *e)
{
    struct rig *r = ctx;
    struct rig_disk *d = &r->disks[g->layers.id[0].b[0]];

    (void)told;
    if (r->open_error < 0)
        return err_set(e, r->open_error, "the disk is upside down");
    d->opens++;
    d->fault->read_only = !g->writable;
    ret->blk = d->fault;
    ret->handle = d;
    return 0;
}

static void rig_close(void *ctx, struct export_device *dev, void (*closed)(void *), void *arg)
{
    (void)ctx;
    ((struct rig_disk *)dev->handle)->closes++;
    closed(arg);
}

struct rig *rig_start(const struct nbd_limits *limits)
{
    struct rig *r = calloc(1, sizeof *r);
    struct err e = { 0 };

    for (unsigned i = 0; i < RIG_DISKS; i++) {
        r->disks[i].mem = blk_mem_new(RIG_SIZE, false);
        r->disks[i].fault = blk_fault_new(r->disks[i].mem);
    }
    r->backend = (struct export_backend){ .ctx = r, .open = rig_open, .close = rig_close };
    assert_int_equal(shard_start("rig", &r->shard, &e), 0);
    assert_int_equal(export_table_new_over(r->shard, &r->backend, &r->exports, &e), 0);
    assert_int_equal(nbd_service_start(r->shard, r->exports, limits, &r->service, &e), 0);
    assert_int_equal(nbd_service_listen(r->service, "127.0.0.1:0", &e), 0);
    nbd_service_address(r->service, r->address);
    return r;
}

void rig_stop(struct rig *r)
{
    nbd_service_stop(r->service);
    export_table_free(r->exports);
    shard_stop(r->shard);
    for (unsigned i = 0; i < RIG_DISKS; i++) {
        assert_int_equal(r->disks[i].opens, r->disks[i].closes);
        assert_int_equal(blk_mem_loans(r->disks[i].mem), 0);
        blk_fault_free(r->disks[i].fault);
        blk_mem_free(r->disks[i].mem);
    }
    free(r);
}

void rig_grant(struct rig *r, unsigned n, bool writable, uint8_t token_byte)
{
    struct export_grant g = { .holder = "test", .writable = writable, .size_bytes = RIG_SIZE };
    struct err e = { 0 };

    snprintf(g.name, sizeof g.name, "disk-%u", n);
    memset(g.token, token_byte, sizeof g.token);
    g.layers.id[0].b[0] = (uint8_t)n;
    g.volume.size_bytes = RIG_SIZE;
    assert_int_equal(export_grant(r->exports, &g, &e), 0);
}

const char *rig_name(char *ret_name, unsigned n, uint8_t token_byte)
{
    uint8_t token[EXPORT_TOKEN_BYTES];
    int at = sprintf(ret_name, "disk-%u.", n);

    memset(token, token_byte, sizeof token);
    hex_encode(token, sizeof token, ret_name + at);
    return ret_name;
}

struct rig_call {
    struct blkdev *fault, *mem;
    unsigned op, count;
    bool on;
    int error;
    unsigned result;
};

static void run_nothing(void *arg)
{
    (void)arg;
}

uint8_t *rig_bytes(struct rig *r, unsigned n)
{
    shard_call(r->shard, run_nothing, NULL);
    return blk_mem_bytes(r->disks[n].mem);
}

uint64_t rig_count(struct rig *r, unsigned n, unsigned op)
{
    shard_call(r->shard, run_nothing, NULL);
    return blk_mem_count(r->disks[n].mem, op);
}

static void run_hold(void *arg)
{
    struct rig_call *c = arg;

    blk_fault_hold(c->fault, c->op, c->on);
}

static void run_fail(void *arg)
{
    struct rig_call *c = arg;

    blk_fault_fail(c->fault, c->op, 0, c->count, c->error);
}

static void run_release(void *arg)
{
    struct rig_call *c = arg;

    c->result = blk_fault_release(c->fault, c->count);
}

static void run_held(void *arg)
{
    struct rig_call *c = arg;

    c->result = blk_fault_held(c->fault);
}

static void run_lending(void *arg)
{
    struct rig_call *c = arg;

    blk_mem_lending(c->mem, c->on);
}

void rig_lending(struct rig *r, unsigned n, bool on)
{
    struct rig_call c = { .mem = r->disks[n].mem, .on = on };

    shard_call(r->shard, run_lending, &c);
}

unsigned rig_loans(struct rig *r, unsigned n)
{
    shard_call(r->shard, run_nothing, NULL);
    return blk_mem_loans(r->disks[n].mem);
}

void rig_hold(struct rig *r, unsigned n, unsigned op, bool on)
{
    struct rig_call c = { .fault = r->disks[n].fault, .op = op, .on = on };

    shard_call(r->shard, run_hold, &c);
}

void rig_fail(struct rig *r, unsigned n, unsigned op, unsigned times, int error)
{
    struct rig_call c = { .fault = r->disks[n].fault, .op = op, .count = times, .error = error };

    shard_call(r->shard, run_fail, &c);
}

unsigned rig_release(struct rig *r, unsigned n, unsigned count)
{
    struct rig_call c = { .fault = r->disks[n].fault, .count = count };

    shard_call(r->shard, run_release, &c);
    return c.result;
}

bool rig_holds(struct rig *r, unsigned n, unsigned count)
{
    struct rig_call c = { .fault = r->disks[n].fault };

    shard_call(r->shard, run_held, &c);
    return c.result >= count;
}

bool rig_wait_held(struct rig *r, unsigned n, unsigned count)
{
    int64_t end = clock_mono_ns() + 10 * NS_PER_S;

    while (clock_mono_ns() < end) {
        if (rig_holds(r, n, count))
            return true;
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    return false;
}
