/* SPDX-License-Identifier: Apache-2.0 */
/* Integers of a fixed byte order: the bytes themselves, and back. */
#include "tests/unit/unit.h"

#include "server/base/be.h"

static void big_endian_has_the_high_byte_first(void **state)
{
    struct be16 a = put_be16(0x0102);
    struct be32 b = put_be32(0x01020304);
    struct be64 c = put_be64(0x0102030405060708);

    (void)state;
    assert_memory_equal(a.b, "\1\2", 2);
    assert_memory_equal(b.b, "\1\2\3\4", 4);
    assert_memory_equal(c.b, "\1\2\3\4\5\6\7\10", 8);
}

static void little_endian_has_the_low_byte_first(void **state)
{
    struct le16 a = put_le16(0x0102);
    struct le32 b = put_le32(0x01020304);
    struct le64 c = put_le64(0x0102030405060708);

    (void)state;
    assert_memory_equal(a.b, "\2\1", 2);
    assert_memory_equal(b.b, "\4\3\2\1", 4);
    assert_memory_equal(c.b, "\10\7\6\5\4\3\2\1", 8);
}

static void what_was_put_is_got(void **state)
{
    (void)state;
    assert_int_equal(get_be16(put_be16(0xfedc)), 0xfedc);
    assert_int_equal(get_be32(put_be32(0xfedcba98)), 0xfedcba98);
    assert_true(get_be64(put_be64(0xfedcba9876543210)) == 0xfedcba9876543210);
    assert_int_equal(get_le16(put_le16(0xfedc)), 0xfedc);
    assert_int_equal(get_le32(put_le32(0xfedcba98)), 0xfedcba98);
    assert_true(get_le64(put_le64(0xfedcba9876543210)) == 0xfedcba9876543210);
}

/* Structures of them have no holes and may lie anywhere in a buffer. */
static void they_need_no_alignment(void **state)
{
    struct odd {
        uint8_t first;
        struct be64 wide;
        struct le16 small;
    };

    (void)state;
    assert_int_equal(sizeof(struct odd), 11);
    assert_int_equal(_Alignof(struct odd), 1);
    assert_int_equal(offsetof(struct odd, wide), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(big_endian_has_the_high_byte_first),
        cmocka_unit_test(little_endian_has_the_low_byte_first),
        cmocka_unit_test(what_was_put_is_got),
        cmocka_unit_test(they_need_no_alignment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
