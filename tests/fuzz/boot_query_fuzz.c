/* SPDX-License-Identifier: Apache-2.0 */
/* sources: server/boot/script.c server/boot/dnsmasq.c server/lab/rule.c */
/* sources: server/base/buf.c server/base/err.c server/base/name.c */
/* What a PC says of itself, and what an operator writes of ranges and rules: four texts, with NULs
 * between them. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/boot/dnsmasq.h"
#include "server/boot/interface.h"
#include "server/boot/script.h"
#include "server/lab/rule.h"

static void try_request(const char *mac, const char *chip, const char *platform)
{
    static const struct boot_server server = { .address = "10.77.0.1", .http_port = 8420 };
    struct boot_request r;
    struct buf b;

    if (boot_request_read(mac, chip, platform, &r, NULL) < 0)
        return;
    assert(strlen(r.mac) == BOOT_MAC_SIZE - 1);
    buf_init(&b, BOOT_SCRIPT_MAX);
    boot_script(boot_decide(&r, BOOT_LOADER_UNDIONLY), &server, &r, "00", &b);
    assert(!b.failed && strlen(buf_text(&b)) == b.length);
    buf_done(&b);
}

/* A refusal is three lines, whatever it says. */
static void try_refusal(const char *why)
{
    struct buf b;
    size_t lines = 0;

    buf_init(&b, BOOT_SCRIPT_MAX);
    boot_script_refusal(why, &b);
    for (const char *p = buf_text(&b); p && *p; p++)
        lines += *p == '\n';
    assert(b.failed || lines == 3);
    buf_done(&b);
}

static void try_settings(const char *text)
{
    struct boot_interface i = { .name = "lab0", .prefix = 24, .text = "10.77.0.1" };
    struct boot_range range;
    struct lab_rule rule;
    char mac[18];

    i.address.s_addr = htonl(0x0a4d0001);
    if (boot_range_read(text, &i, &range, NULL) == 0)
        assert(ntohl(range.first.s_addr) <= ntohl(range.last.s_addr) &&
               ntohl(range.first.s_addr) > 0x0a4d0001);
    if (lab_rule_read(text, &rule, NULL) == 0)
        lab_rule_approves(&rule, "52:54:00:12:34:56");
    lab_mac_read(text, mac);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text[4] = { "", "", "", "" };
    char *copy = malloc(size + 1);

    if (!copy || size > 4096) {
        free(copy);
        return 0;
    }
    memcpy(copy, data, size);
    copy[size] = '\0';
    size_t at = 0;
    for (int n = 0; n < 4 && at < size; n++) {
        text[n] = copy + at;
        at += strlen(text[n]) + 1;
    }
    try_request(text[0], text[1], text[2]);
    try_refusal(text[0]);
    try_settings(text[3]);
    try_settings(text[0]);
    free(copy);
    return 0;
}
