/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* sources: server/contract/field.c server/contract/register.c server/contract/spec.c server/contract/report.c server/base/err.c server/base/name.c */
/* clang-format on */
/* Any bytes as each of the four texts; what is accepted must go out and come in again the same. */
#include "server/contract/contract.h"

#include <stdlib.h>
#include <string.h>

/* Both texts are ours: the second must be the first again. */
static void same(char *first, char *second)
{
    if (!first || !second || strcmp(first, second) != 0)
        abort();
    free(first);
    free(second);
}

static void fuzz_spec(const char *text, size_t size)
{
    struct contract_spec a = { 0 }, b = { 0 };
    struct err e;
    char *again;

    if (contract_spec_parse(text, size, &a, &e) < 0)
        return;
    again = contract_spec_text(&a);
    if (!again || contract_spec_parse(again, strlen(again), &b, &e) < 0)
        abort();
    same(again, contract_spec_text(&b));
    contract_spec_done(&a);
    contract_spec_done(&b);
}

static void fuzz_report(const char *text, size_t size)
{
    struct contract_report a = { 0 }, b = { 0 };
    struct err e;
    char *again;

    if (contract_report_parse(text, size, &a, &e) < 0)
        return;
    again = contract_report_text(&a);
    if (!again || contract_report_parse(again, strlen(again), &b, &e) < 0)
        abort();
    same(again, contract_report_text(&b));
    contract_report_done(&a);
    contract_report_done(&b);
}

static void fuzz_register(const char *text, size_t size)
{
    struct contract_register a, b;
    struct err e;
    char *again;

    if (contract_register_parse(text, size, &a, &e) < 0)
        return;
    again = contract_register_text(&a);
    if (!again || contract_register_parse(again, strlen(again), &b, &e) < 0)
        abort();
    same(again, contract_register_text(&b));
}

static void fuzz_registered(const char *text, size_t size)
{
    struct contract_registered a, b;
    struct err e;
    char *again;

    if (contract_registered_parse(text, size, &a, &e) < 0)
        return;
    again = contract_registered_text(&a);
    if (!again || contract_registered_parse(again, strlen(again), &b, &e) < 0)
        abort();
    same(again, contract_registered_text(&b));
}

/* jansson is not instrumented, so the fuzzer would never find a key by itself: a byte from 0x80 on
 * stands for a word. */
static const char *const words[] = {
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "true",
    "false",
    "null",
    "0",
    "-1",
    "1",
    "512",
    "65536",
    "9223372036854775807",
    "1e999",
    "\"revision\":1,",
    "\"approved\":true,",
    "\"domains\":[",
    "\"name\":\"a\",",
    "\"name\":\"b\",",
    "\"uuid\":\"00112233-4455-6677-8899-aabbccddeeff\",",
    "\"uuid\":\"00112233-4455-6677-8899-aabbccddee00\",",
    "\"uuid\":\"\",",
    "\"memory_mib\":256,",
    "\"vcpus\":1,",
    "\"mac\":\"52:54:00:12:34:56\",",
    "\"running\":true,",
    "\"stop_seconds\":60,",
    "\"incarnation\":7,",
    "\"disks\":[",
    "{\"volume\":\"v\",\"vdev\":\"xvda\",\"address\":\"::1\",\"port\":1,"
    "\"export_name\":\"v.0\",\"size_bytes\":512,\"generation\":1,\"epoch\":1}",
    "\"volume\":\"w\"",
    "\"vdev\":\"xvdb\"",
    "\"address\":\"1.2.3.4\"",
    "\"export_name\":",
    "\"size_bytes\":",
    "\"generation\":",
    "\"epoch\":",
    "\"port\":",
    "\"state\":\"running\",",
    "\"state\":\"failed\",",
    "\"domid\":3,",
    "\"detail\":\"\"",
    "\"macs\":[\"52:54:00:12:34:56\"],",
    "\"cpu\":\"c\",",
    "\"cpus\":1,",
    "\"hvm\":true,",
    "\"agent_version\":\"1\"",
    "\"session\":\"00112233445566778899aabbccddeeff\",",
    "\"host\":\"pc1\",",
    "\\u0000",
    "\\u001b",
    "\xc3\xa9",
};

static size_t expand(const uint8_t *data, size_t size, char *ret, size_t room)
{
    size_t used = 0;

    for (size_t i = 0; i < size; i++) {
        const char *from = (const char *)&data[i];
        size_t length = 1;

        if (data[i] >= 0x80) {
            from = words[(data[i] - 0x80u) % (sizeof words / sizeof words[0])];
            length = strlen(from);
        }
        if (length > room - used)
            break;
        memcpy(ret + used, from, length);
        used += length;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const target[])(const char *, size_t) = { fuzz_spec, fuzz_report, fuzz_register,
                                                            fuzz_registered };
    static char text[65536];

    if (size == 0)
        return 0;
    if (data[0] & 0x80) /* as it came, UTF-8 and all */
        target[data[0] % 4]((const char *)data + 1, size - 1);
    else
        target[data[0] % 4](text, expand(data + 1, size - 1, text, sizeof text));
    return 0;
}
