/* SPDX-License-Identifier: Apache-2.0 */
/* crc32c - Castagnoli CRC by instruction or by table. */
#include "server/base/crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, bit-reversed */

/* One step of the CRC over four bits: 16 words, built by the compiler, so there is no set-up and no
 * shared state.  Slow is fine: x86 has had the instruction since 2008. */
#define BIT_STEP(c) (((c) >> 1) ^ ((c)&1 ? POLYNOMIAL : 0))
#define NIBBLE(n)   BIT_STEP(BIT_STEP(BIT_STEP(BIT_STEP((uint32_t)(n)))))

uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t length)
{
    static const uint32_t nibble[16] = {
        NIBBLE(0),  NIBBLE(1),  NIBBLE(2),  NIBBLE(3),  NIBBLE(4),  NIBBLE(5),
        NIBBLE(6),  NIBBLE(7),  NIBBLE(8),  NIBBLE(9),  NIBBLE(10), NIBBLE(11),
        NIBBLE(12), NIBBLE(13), NIBBLE(14), NIBBLE(15),
    };
    const uint8_t *p = bytes;

    crc = ~crc;
    while (length--) {
        crc ^= *p++;
        crc = (crc >> 4) ^ nibble[crc & 15];
        crc = (crc >> 4) ^ nibble[crc & 15];
    }
    return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p,
                                                               size_t length)
{
    uint64_t state = ~crc;

    for (; length >= 8; length -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        state = __builtin_ia32_crc32di(state, word);
    }
    uint32_t last = (uint32_t)state;
    for (; length; length--)
        last = __builtin_ia32_crc32qi(last, *p++);
    return ~last;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t length)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return crc32c_sse42(crc, bytes, length);
#endif
    return crc32c_table(crc, bytes, length);
}
