/* SPDX-License-Identifier: Apache-2.0 */
/* replies_test - the heads of replies, byte by byte. */
#include "tests/unit/unit.h"

#include <string.h>

#include "server/nbd/replies.h"

#define COOKIE 0x1122334455667788u

static const struct nbds_terms simple = { .size_bytes = 1 << 20 };
static const struct nbds_terms structured = { .size_bytes = 1 << 20, .structured = true };

static struct nbds_request request(uint16_t type)
{
    return (struct nbds_request){ .cookie = COOKIE, .offset = 8192, .length = 4096, .type = type };
}

static void expect(const uint8_t *got, size_t length, const char *want, size_t want_length)
{
    assert_int_equal(length, want_length);
    assert_memory_equal(got, want, want_length);
}

#define COOKIE_BYTES "\x11\x22\x33\x44\x55\x66\x77\x88"

static void simple_replies(void **state)
{
    struct nbds_request r = request(NBDW_CMD_READ);
    uint8_t head[NBDR_HEAD_MAX];

    (void)state;
    expect(head, nbdr_head(&simple, &r, 0, NULL, 4096, head),
           "\x67\x44\x66\x98\0\0\0\0" COOKIE_BYTES, 16);
    expect(head, nbdr_head(&simple, &r, NBDW_EIO, NULL, 4096, head),
           "\x67\x44\x66\x98\0\0\0\5" COOKIE_BYTES, 16);
}

static void a_structured_read_is_one_chunk_of_data(void **state)
{
    struct nbds_request r = request(NBDW_CMD_READ);
    uint8_t head[NBDR_HEAD_MAX];

    (void)state;
    expect(head, nbdr_head(&structured, &r, 0, NULL, 4096, head),
           "\x66\x8e\x33\xef\0\1\0\1" COOKIE_BYTES "\0\0\x10\x08\0\0\0\0\0\0\x20\0", 28);
}

static void a_structured_read_of_nothing_has_no_data_chunk(void **state)
{
    struct nbds_request r = request(NBDW_CMD_READ);
    uint8_t head[NBDR_HEAD_MAX];

    (void)state;
    expect(head, nbdr_head(&structured, &r, 0, NULL, 0, head),
           "\x66\x8e\x33\xef\0\1\0\0" COOKIE_BYTES "\0\0\0\0", 20);
}

static void replies_without_data_stay_simple(void **state)
{
    static const uint16_t types[] = { NBDW_CMD_WRITE, NBDW_CMD_FLUSH, NBDW_CMD_TRIM,
                                      NBDW_CMD_WRITE_ZEROES, NBDW_CMD_CACHE };
    uint8_t head[NBDR_HEAD_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct nbds_request r = request(types[i]);
        expect(head, nbdr_head(&structured, &r, 0, NULL, 0, head),
               "\x67\x44\x66\x98\0\0\0\0" COOKIE_BYTES, 16);
    }
}

static void a_structured_error_says_why(void **state)
{
    struct nbds_request r = request(NBDW_CMD_READ);
    uint8_t head[NBDR_HEAD_MAX];

    (void)state;
    expect(head, nbdr_head(&structured, &r, NBDW_EINVAL, "too far", 4096, head),
           "\x66\x8e\x33\xef\0\1\x80\1" COOKIE_BYTES "\0\0\0\x0d\0\0\0\x16\0\x07too far", 33);
}

static void a_long_message_is_cut(void **state)
{
    struct nbds_request r = request(NBDW_CMD_WRITE);
    uint8_t head[NBDR_HEAD_MAX];
    char why[300];

    (void)state;
    memset(why, 'x', sizeof why - 1);
    why[sizeof why - 1] = '\0';
    assert_int_equal(nbdr_head(&structured, &r, NBDW_EIO, why, 0, head), NBDR_HEAD_MAX);
}

static void block_status_names_its_context(void **state)
{
    struct nbds_request r = request(NBDW_CMD_BLOCK_STATUS);
    uint8_t head[NBDR_HEAD_MAX];

    (void)state;
    expect(head, nbdr_head(&structured, &r, 0, NULL, 16, head),
           "\x66\x8e\x33\xef\0\1\0\5" COOKIE_BYTES "\0\0\0\x14\0\0\0\1", 24);
}

static void extents_are_cut_to_the_request(void **state)
{
    struct blk_extent e[3] = { { .length = 4096, .state = BLK_EXT_DATA },
                               { .length = 8192, .state = BLK_EXT_HOLE | BLK_EXT_ZERO },
                               { .length = 1ull << 40, .state = BLK_EXT_DATA } };

    (void)state;
    assert_int_equal(nbdr_extents(e, 3, 10240), 16);
    assert_memory_equal(e, "\0\0\x10\0\0\0\0\0\0\0\x18\0\0\0\0\3", 16);
}

static void an_extent_beyond_32_bits_is_cut(void **state)
{
    struct blk_extent e = { .length = 1ull << 40, .state = BLK_EXT_HOLE };

    (void)state;
    assert_int_equal(nbdr_extents(&e, 1, 0xfffffe00u), 8);
    assert_memory_equal(&e, "\xff\xff\xfe\0\0\0\0\1", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple_replies),
        cmocka_unit_test(a_structured_read_is_one_chunk_of_data),
        cmocka_unit_test(a_structured_read_of_nothing_has_no_data_chunk),
        cmocka_unit_test(replies_without_data_stay_simple),
        cmocka_unit_test(a_structured_error_says_why),
        cmocka_unit_test(a_long_message_is_cut),
        cmocka_unit_test(block_status_names_its_context),
        cmocka_unit_test(extents_are_cut_to_the_request),
        cmocka_unit_test(an_extent_beyond_32_bits_is_cut),
    };
    return cmocka_run_group_tests_name("nbd replies", tests, NULL, NULL);
}
