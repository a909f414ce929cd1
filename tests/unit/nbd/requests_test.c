/* SPDX-License-Identifier: Apache-2.0 */
/* requests_test - which requests are allowed, and what each is to the device. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "server/nbd/errors.h"
#include "server/nbd/requests.h"

#define SIZE (1ull << 30)
#define WRITABLE                                                                                   \
    (NBDW_TX_HAS_FLAGS | NBDW_TX_SEND_FLUSH | NBDW_TX_SEND_FUA | NBDW_TX_SEND_TRIM |               \
     NBDW_TX_SEND_WRITE_ZEROES | NBDW_TX_SEND_DF | NBDW_TX_SEND_CACHE)
#define IMAGE (NBDW_TX_HAS_FLAGS | NBDW_TX_READ_ONLY | NBDW_TX_CAN_MULTI_CONN | NBDW_TX_SEND_CACHE)

enum { RW = 1, SIMPLE = 2, NO_CONTEXT = 4 }; /* terms */
enum { RUNS, ANSWERED };

#define FUA     NBDW_CMD_FLAG_FUA
#define NO_HOLE NBDW_CMD_FLAG_NO_HOLE
#define DF      NBDW_CMD_FLAG_DF
#define REQ_ONE NBDW_CMD_FLAG_REQ_ONE

static const struct {
    const char *name;
    unsigned terms;
    uint16_t type, flags;
    uint64_t offset;
    uint32_t length;
    int outcome;
    uint32_t error; /* if ANSWERED */
    enum blk_op op; /* if RUNS */
    uint32_t op_flags;
} cases[] = {
    { "read", RW, NBDW_CMD_READ, 0, 4096, 4096, RUNS, 0, BLK_READ, 0 },
    { "read of an image", 0, NBDW_CMD_READ, 0, 0, 512, RUNS, 0, BLK_READ, 0 },
    { "read up to the end", RW, NBDW_CMD_READ, 0, SIZE - 512, 512, RUNS, 0, BLK_READ, 0 },
    { "read one sector beyond", RW, NBDW_CMD_READ, 0, SIZE - 512, 1024, ANSWERED, NBDW_EINVAL, 0,
      0 },
    { "read at the end", RW, NBDW_CMD_READ, 0, SIZE, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "read, sum overflows", RW, NBDW_CMD_READ, 0, UINT64_MAX - 511, 1024, ANSWERED, NBDW_EINVAL, 0,
      0 },
    { "read of nothing", RW, NBDW_CMD_READ, 0, 4096, 0, ANSWERED, 0, 0, 0 },
    { "read, offset not aligned", RW, NBDW_CMD_READ, 0, 1, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "read, length not aligned", RW, NBDW_CMD_READ, 0, 0, 513, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "read of 32 MiB", RW, NBDW_CMD_READ, 0, 0, 32u << 20, RUNS, 0, BLK_READ, 0 },
    { "read of more", RW, NBDW_CMD_READ, 0, 0, (32u << 20) + 512, ANSWERED, NBDW_EOVERFLOW, 0, 0 },
    { "read of more, simple replies", RW | SIMPLE, NBDW_CMD_READ, 0, 0, (32u << 20) + 512, ANSWERED,
      NBDW_EINVAL, 0, 0 },
    { "read DF", RW, NBDW_CMD_READ, DF, 0, 65536, RUNS, 0, BLK_READ, 0 },
    { "read DF, simple replies", RW | SIMPLE, NBDW_CMD_READ, DF, 0, 512, ANSWERED, NBDW_EINVAL, 0,
      0 },
    { "read FUA", RW, NBDW_CMD_READ, FUA, 0, 512, RUNS, 0, BLK_READ, 0 },
    { "read FUA of an image", 0, NBDW_CMD_READ, FUA, 0, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "read NO_HOLE", RW, NBDW_CMD_READ, NO_HOLE, 0, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "read, unknown flag", RW, NBDW_CMD_READ, 0x8000, 0, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "write", RW, NBDW_CMD_WRITE, 0, 512, 512, RUNS, 0, BLK_WRITE, 0 },
    { "write FUA", RW, NBDW_CMD_WRITE, FUA, 512, 512, RUNS, 0, BLK_WRITE, BLK_FUA },
    { "write to an image", 0, NBDW_CMD_WRITE, 0, 0, 512, ANSWERED, NBDW_EPERM, 0, 0 },
    { "write beyond the end", RW, NBDW_CMD_WRITE, 0, SIZE, 512, ANSWERED, NBDW_ENOSPC, 0, 0 },
    { "write of nothing", RW, NBDW_CMD_WRITE, 0, 0, 0, ANSWERED, 0, 0, 0 },
    { "write, not aligned", RW, NBDW_CMD_WRITE, 0, 0, 100, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "write too large", RW, NBDW_CMD_WRITE, 0, 0, (32u << 20) + 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "write DF", RW, NBDW_CMD_WRITE, DF, 0, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "flush", RW, NBDW_CMD_FLUSH, 0, 0, 0, RUNS, 0, BLK_FLUSH, 0 },
    { "flush FUA", RW, NBDW_CMD_FLUSH, FUA, 0, 0, RUNS, 0, BLK_FLUSH, 0 },
    { "flush of an image", 0, NBDW_CMD_FLUSH, 0, 0, 0, RUNS, 0, BLK_FLUSH, 0 },
    { "flush with a range", RW, NBDW_CMD_FLUSH, 0, 0, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "flush with an offset", RW, NBDW_CMD_FLUSH, 0, 512, 0, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "trim", RW, NBDW_CMD_TRIM, 0, 0, 512u << 20, RUNS, 0, BLK_TRIM, 0 },
    { "trim FUA", RW, NBDW_CMD_TRIM, FUA, 0, 4096, RUNS, 0, BLK_TRIM, BLK_FUA },
    { "trim beyond the end", RW, NBDW_CMD_TRIM, 0, SIZE - 512, 4096, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "trim of an image", 0, NBDW_CMD_TRIM, 0, 0, 4096, ANSWERED, NBDW_EPERM, 0, 0 },
    { "trim of nothing", RW, NBDW_CMD_TRIM, 0, 0, 0, ANSWERED, 0, 0, 0 },
    { "zeroes", RW, NBDW_CMD_WRITE_ZEROES, 0, 0, 1u << 30, RUNS, 0, BLK_ZERO, 0 },
    { "zeroes, no hole, FUA", RW, NBDW_CMD_WRITE_ZEROES, NO_HOLE | FUA, 0, 4096, RUNS, 0, BLK_ZERO,
      BLK_NO_HOLE | BLK_FUA },
    { "zeroes, fast", RW, NBDW_CMD_WRITE_ZEROES, 0x10, 0, 4096, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "zeroes beyond the end", RW, NBDW_CMD_WRITE_ZEROES, 0, SIZE, 512, ANSWERED, NBDW_ENOSPC, 0,
      0 },
    { "zeroes to an image", 0, NBDW_CMD_WRITE_ZEROES, 0, 0, 512, ANSWERED, NBDW_EPERM, 0, 0 },
    { "cache", RW, NBDW_CMD_CACHE, 0, 0, 4096, RUNS, 0, BLK_CACHE, 0 },
    { "cache beyond the end", RW, NBDW_CMD_CACHE, 0, SIZE, 4096, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "cache with a flag", RW, NBDW_CMD_CACHE, DF, 0, 4096, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "status", RW, NBDW_CMD_BLOCK_STATUS, 0, 0, 1u << 30, RUNS, 0, BLK_STATUS, 0 },
    { "status, one", RW, NBDW_CMD_BLOCK_STATUS, REQ_ONE, 0, 512, RUNS, 0, BLK_STATUS, BLK_ONE },
    { "status, no context", RW | NO_CONTEXT, NBDW_CMD_BLOCK_STATUS, 0, 0, 512, ANSWERED,
      NBDW_EINVAL, 0, 0 },
    { "status of nothing", RW, NBDW_CMD_BLOCK_STATUS, 0, 0, 0, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "status beyond the end", RW, NBDW_CMD_BLOCK_STATUS, 0, SIZE, 512, ANSWERED, NBDW_EINVAL, 0,
      0 },
    { "resize", RW, 8, 0, 0, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
    { "number 65535", RW, 65535, 0, 0, 512, ANSWERED, NBDW_EINVAL, 0, 0 },
};

static struct nbds_terms terms_of(unsigned t)
{
    struct nbds_terms terms = { .size_bytes = SIZE,
                                .flags = t & RW ? WRITABLE : IMAGE,
                                .structured = !(t & SIMPLE),
                                .status = !(t & NO_CONTEXT) };

    if (t & SIMPLE)
        terms.flags &= (uint16_t)~NBDW_TX_SEND_DF;
    return terms;
}

static void each_request_is_judged_by_the_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct nbds_terms terms = terms_of(cases[i].terms);
        struct nbdw_request wire = { .magic = put_be32(NBDW_REQUEST_MAGIC),
                                     .flags = put_be16(cases[i].flags),
                                     .type = put_be16(cases[i].type),
                                     .cookie = put_be64(0x1122334455667788),
                                     .offset = put_be64(cases[i].offset),
                                     .length = put_be32(cases[i].length) };
        struct nbds_request r;
        print_message("# %s\n", cases[i].name);
        nbdr_check(&wire, &terms, &r);
        assert_true(r.cookie == 0x1122334455667788);
        assert_true(r.offset == cases[i].offset && r.length == cases[i].length);
        assert_int_equal(r.run, cases[i].outcome == RUNS);
        assert_int_equal(r.error, cases[i].error);
        if (r.run) {
            assert_int_equal(r.op, cases[i].op);
            assert_int_equal(r.op_flags, cases[i].op_flags);
        }
        assert_int_equal(r.error != 0, r.why != NULL);
    }
}

static void device_errors_become_nbd_errors(void **state)
{
    static const struct {
        int error;
        uint32_t nbd;
    } errors[] = { { 0, 0 },        { -EPERM, 1 },   { -EROFS, 1 },
                   { -EIO, 5 },     { -EINVAL, 22 }, { -ENOSPC, 28 },
                   { -EDQUOT, 28 }, { -EFBIG, 28 },  { -ESHUTDOWN, 108 },
                   { -ENOMEM, 5 },  { -4095, 5 } };

    (void)state;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        assert_int_equal(nbd_error(errors[i].error), errors[i].nbd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_is_judged_by_the_rules),
        cmocka_unit_test(device_errors_become_nbd_errors),
    };
    return cmocka_run_group_tests_name("nbd requests", tests, NULL, NULL);
}
