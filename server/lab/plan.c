/* SPDX-License-Identifier: Apache-2.0 */
/* plan - rows to spec. */
#include "server/lab/plan.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/crc32c.h"

static_assert(CAT_DOMAINS_OF_A_HOST <= CONTRACT_DOMAINS_MAX, "all domains of a host fit a spec");
static_assert(CAT_TOKEN_BYTES == 16, "an export name ends with 32 hex digits");

bool lab_has_disk(const struct lab_domain *d)
{
    return cat_volume_attached(&d->volume) && !d->volume.failed &&
           d->volume.attachment.host_id == d->domain.host_id;
}

/* The three only ever grow, so their sum is never the same again; the UUID tells apart a domain
 * that was removed and defined anew.  53 bits: exact also where JSON numbers are doubles. */
uint64_t lab_incarnation(const struct lab_domain *d)
{
    uint64_t sum = d->domain.definition + d->volume.generation + d->volume.epoch;
    uint64_t who = crc32c(0, d->domain.uuid, strlen(d->domain.uuid)) >> 12;

    return 1ull << 52 | who << 32 | (sum & UINT32_MAX);
}

static void plan_disk(const struct lab_domain *d, const char *nbd_address, uint16_t nbd_port,
                      struct contract_disk *ret)
{
    const struct cat_attachment *a = &d->volume.attachment;
    char token[2 * CAT_TOKEN_BYTES + 1];

    *ret = (struct contract_disk){ .vdev = "xvda",
                                   .port = nbd_port,
                                   .size_bytes = d->volume.size_bytes,
                                   .generation = a->generation,
                                   .epoch = a->epoch };
    hex_encode(a->token, sizeof a->token, token);
    snprintf(ret->volume, sizeof ret->volume, "%s", d->volume.name);
    snprintf(ret->address, sizeof ret->address, "%s", nbd_address);
    snprintf(ret->export_name, sizeof ret->export_name, "%s.%s", d->volume.name, token);
}

static void plan_domain(const struct lab_domain *d, const char *nbd_address, uint16_t nbd_port,
                        struct contract_domain *ret)
{
    *ret = (struct contract_domain){ .memory_mib = d->domain.memory_mib,
                                     .vcpus = d->domain.vcpus,
                                     .stop_seconds = d->domain.stop_seconds,
                                     .incarnation = lab_incarnation(d) };
    snprintf(ret->name, sizeof ret->name, "%s", d->domain.name);
    snprintf(ret->uuid, sizeof ret->uuid, "%s", d->domain.uuid);
    snprintf(ret->mac, sizeof ret->mac, "%s", d->domain.mac);
    if (!lab_has_disk(d))
        return;
    ret->running = d->domain.running;
    ret->paused = d->domain.running && d->parked;
    ret->disk_count = 1;
    plan_disk(d, nbd_address, nbd_port, &ret->disks[0]);
}

int lab_plan(const struct cat_host *host, const struct lab_domain *domains, size_t count,
             const char *nbd_address, uint16_t nbd_port, struct contract_spec *ret, struct err *e)
{
    struct contract_spec s = { .revision = host->revision, .approved = host->approved };

    if (count > CONTRACT_DOMAINS_MAX)
        return err_set(e, -E2BIG, "host %s has %zu domains, more than %u", host->name, count,
                       CONTRACT_DOMAINS_MAX);
    if (host->approved && count) {
        s.domains = calloc(count, sizeof *s.domains);
        if (!s.domains)
            return err_set(e, -ENOMEM, "spec of host %s: out of memory", host->name);
        s.domain_count = (unsigned)count;
        for (size_t i = 0; i < count; i++)
            plan_domain(&domains[i], nbd_address, nbd_port, &s.domains[i]);
    }
    *ret = s;
    return 0;
}

void lab_domain_mac(char ret_mac[static CONTRACT_MAC_SIZE])
{
    uint8_t b[3];

    random_bytes(b, sizeof b);
    snprintf(ret_mac, CONTRACT_MAC_SIZE, "00:16:3e:%02x:%02x:%02x", b[0] & 0x7f, b[1], b[2]);
}

/* RFC 4122, 4.4. */
void lab_domain_uuid(char ret_uuid[static CONTRACT_UUID_SIZE])
{
    uint8_t b[16];
    char hex[33];

    random_bytes(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    hex_encode(b, sizeof b, hex);
    snprintf(ret_uuid, CONTRACT_UUID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
             hex + 16, hex + 20);
}
