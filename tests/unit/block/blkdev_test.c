/* SPDX-License-Identifier: Apache-2.0 */
/* What blk_submit refuses, and that the small devices do what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "server/block/blk_fault.h"
#include "server/block/blk_mem.h"
#include "server/block/blkdev.h"

#define SIZE (64u << 10)

static void count_done(struct blk_req *r)
{
    ++*(int *)r->owner;
}

static int submit(struct blkdev *d, struct blk_req *r)
{
    int done = 0;

    r->done = count_done;
    r->owner = &done;
    blk_submit(d, r);
    assert_int_equal(done, 1);
    return r->error;
}

static void refuses_what_breaks_the_rules(void **state)
{
    static uint8_t buf[BLK_BLOCK];
    static const struct {
        const char *name;
        unsigned op;
        uint64_t offset, length;
        int want;
    } cases[] = {
        { "whole block", BLK_READ, 0, 4096, 0 },
        { "one sector", BLK_WRITE, 512, 512, 0 },
        { "last sector", BLK_READ, SIZE - 512, 512, 0 },
        { "no length", BLK_READ, 0, 0, -EINVAL },
        { "flush has no range", BLK_FLUSH, 77, 0, 0 },
        { "odd offset", BLK_READ, 1, 512, -EINVAL },
        { "odd length", BLK_WRITE, 0, 513, -EINVAL },
        { "beyond the end", BLK_READ, SIZE, 512, -EINVAL },
        { "over the end", BLK_TRIM, SIZE - 512, 1024, -EINVAL },
        { "wraps around", BLK_ZERO, 512, UINT64_MAX - 511, -EINVAL },
        { "too much", BLK_READ, 0, BLK_MAX_IO + 512ull, -EINVAL },
        { "no such op", BLK_OP_COUNT, 0, 512, -EINVAL },
        { "status without room", BLK_STATUS, 0, 512, -EINVAL },
    };
    struct blkdev *d = blk_mem_new(SIZE, false);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct blk_req r = { .op = (enum blk_op)cases[i].op,
                             .offset = cases[i].offset,
                             .length = cases[i].length,
                             .buf = buf };
        if (submit(d, &r) != cases[i].want)
            fail_msg("%s: %d, not %d", cases[i].name, r.error, cases[i].want);
    }
    blk_mem_free(d);
}

static void read_only_device_refuses_mutators(void **state)
{
    static uint8_t buf[512];
    struct blkdev *d = blk_mem_new(SIZE, true);

    (void)state;
    for (unsigned op = 0; op < BLK_STATUS; op++) {
        struct blk_req r = { .op = (enum blk_op)op, .length = 512, .buf = buf };
        assert_int_equal(submit(d, &r), blk_op_mutates(r.op) ? -EPERM : 0);
    }
    blk_mem_free(d);
}

static void memory_device_keeps_what_is_written(void **state)
{
    struct blkdev *d = blk_mem_new(SIZE, false);
    uint8_t out[1024], in[1024];
    struct blk_extent extents[4];

    (void)state;
    memset(out, 0xA5, sizeof out);
    struct blk_req w = { .op = BLK_WRITE, .offset = 8192, .length = sizeof out, .buf = out };
    assert_int_equal(submit(d, &w), 0);
    struct blk_req r = { .op = BLK_READ, .offset = 8192, .length = sizeof in, .buf = in };
    assert_int_equal(submit(d, &r), 0);
    assert_memory_equal(in, out, sizeof in);

    struct blk_req s = { .op = BLK_STATUS, .length = SIZE, .extents = extents, .extent_count = 4 };
    assert_int_equal(submit(d, &s), 0);
    assert_int_equal(s.extent_count, 3);
    assert_int_equal(extents[0].length, 8192);
    assert_int_equal(extents[1].state, BLK_EXT_DATA);
    assert_int_equal(extents[1].length, 4096);

    struct blk_req t = { .op = BLK_TRIM, .offset = 8192, .length = 512 };
    assert_int_equal(submit(d, &t), 0);
    assert_int_equal(submit(d, &r), 0);
    assert_int_equal(in[0], 0);
    assert_int_equal(in[512], 0xA5);
    blk_mem_free(d);
}

static void fault_device_fails_the_request_it_was_told_to(void **state)
{
    struct blkdev *m = blk_mem_new(SIZE, false);
    struct blkdev *d = blk_fault_new(m);
    uint8_t buf[512] = { 0 };
    struct blk_req r = { .op = BLK_WRITE, .length = 512, .buf = buf };

    (void)state;
    blk_fault_fail(d, BLK_WRITE, 1, 1, -EIO);
    assert_int_equal(submit(d, &r), 0);
    assert_int_equal(submit(d, &r), -EIO);
    assert_int_equal(submit(d, &r), 0);
    assert_int_equal(blk_mem_count(m, BLK_WRITE), 2);
    blk_fault_free(d);
    blk_mem_free(m);
}

static void fault_device_holds_requests_until_released(void **state)
{
    struct blkdev *m = blk_mem_new(SIZE, false);
    struct blkdev *d = blk_fault_new(m);
    uint8_t buf[512] = { 0 };
    int done = 0;
    struct blk_req r[2];

    (void)state;
    blk_fault_hold(d, BLK_READ, true);
    for (int i = 0; i < 2; i++) {
        r[i] = (struct blk_req){
            .op = BLK_READ, .length = 512, .buf = buf, .done = count_done, .owner = &done
        };
        blk_submit(d, &r[i]);
    }
    assert_int_equal(done, 0);
    assert_int_equal(blk_fault_held(d), 2);
    assert_int_equal(blk_fault_release(d, 1), 1);
    assert_int_equal(done, 1);
    assert_int_equal(blk_fault_release(d, 9), 1);
    assert_int_equal(done, 2);
    blk_fault_free(d);
    blk_mem_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_breaks_the_rules),
        cmocka_unit_test(read_only_device_refuses_mutators),
        cmocka_unit_test(memory_device_keeps_what_is_written),
        cmocka_unit_test(fault_device_fails_the_request_it_was_told_to),
        cmocka_unit_test(fault_device_holds_requests_until_released),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
