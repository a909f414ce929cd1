/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C against the vectors of RFC 3720 B.4, and the two ways to compute it against each other. */
#include "tests/unit/unit.h"

#include <string.h>

#include "server/base/crc32c.h"

typedef uint32_t crc_fn(uint32_t crc, const void *bytes, size_t length);

static void rfc_vectors(crc_fn *crc)
{
    static const uint8_t scsi_read[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
        0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    };
    uint8_t bytes[32];

    memset(bytes, 0x00, sizeof bytes);
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x62a8ab43u);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x46dd794eu);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(crc(0, bytes, sizeof bytes), 0x113fdb5cu);
    assert_int_equal(crc(0, scsi_read, sizeof scsi_read), 0xd9963a56u);
    assert_int_equal(crc(0, "123456789", 9), 0xe3069283u);
}

static void vectors_of_the_rfc(void **state)
{
    (void)state;
    rfc_vectors(crc32c);
}

static void vectors_of_the_rfc_by_table(void **state)
{
    (void)state;
    rfc_vectors(crc32c_table);
}

static void nothing_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0x12345678, "", 0), 0x12345678);
}

/* Every length and alignment that the eight-byte steps can meet, split at every place. */
static void parts_and_ways_agree(void **state)
{
    uint8_t bytes[80];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t start = 0; start < 8; start++)
        for (size_t length = 0; length <= 64; length++) {
            uint32_t whole = crc32c(0, bytes + start, length);

            assert_int_equal(crc32c_table(0, bytes + start, length), whole);
            for (size_t cut = 0; cut <= length; cut++) {
                uint32_t first = crc32c(0, bytes + start, cut);
                assert_int_equal(crc32c(first, bytes + start + cut, length - cut), whole);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_the_rfc),
        cmocka_unit_test(vectors_of_the_rfc_by_table),
        cmocka_unit_test(nothing_changes_nothing),
        cmocka_unit_test(parts_and_ways_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
