/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the desired state of one host as JSON: domains and their disks.
 * Must never know: how a domain is made or a disk attached. */
#include "server/contract/contract.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/contract/field.h"

#define MEMORY_MIB_MIN   32u
#define MEMORY_MIB_MAX   1048576u
#define VCPUS_MAX        128u
#define STOP_SECONDS_MAX 86400u
#define DISK_BYTES_MAX   (UINT64_C(1) << 50)
#define SECTOR_BYTES     512u

static bool is_address(const char *text)
{
    struct in6_addr a;

    return inet_pton(AF_INET, text, &a) == 1 || inet_pton(AF_INET6, text, &a) == 1;
}

static bool is_vdev(const char *text)
{
    return strlen(text) == 4 && memcmp(text, "xvd", 3) == 0 && text[3] >= 'a' && text[3] <= 'p';
}

static int disk_parse(const json_t *o, struct contract_disk *d, struct err *e)
{
    uint32_t port;
    int rc;

    if (!json_is_object(o))
        return err_set(e, -EPROTO, "must be an object");
    if ((rc = field_name(o, "volume", d->volume, e)) < 0 ||
        (rc = field_text(o, "vdev", d->vdev, sizeof d->vdev, e)) < 0 ||
        (rc = field_text(o, "address", d->address, sizeof d->address, e)) < 0 ||
        (rc = field_u32(o, "port", 1, 65535, &port, e)) < 0 ||
        (rc = field_text(o, "export_name", d->export_name, sizeof d->export_name, e)) < 0 ||
        (rc = field_u64(o, "size_bytes", SECTOR_BYTES, DISK_BYTES_MAX, &d->size_bytes, e)) < 0 ||
        (rc = field_u64(o, "generation", 0, INT64_MAX, &d->generation, e)) < 0 ||
        (rc = field_u64(o, "epoch", 0, INT64_MAX, &d->epoch, e)) < 0)
        return rc;
    d->port = (uint16_t)port;
    if (!is_vdev(d->vdev))
        return err_set(e, -EPROTO, "vdev: must be xvda to xvdp");
    if (!is_address(d->address))
        return err_set(e, -EPROTO, "address: must be a numeric IPv4 or IPv6 address");
    if (!d->export_name[0])
        return err_set(e, -EPROTO, "export_name: empty");
    if (d->size_bytes % SECTOR_BYTES != 0)
        return err_set(e, -EPROTO, "size_bytes: must be a multiple of %u", SECTOR_BYTES);
    return 0;
}

static int disks_parse(const json_t *o, struct contract_domain *d, struct err *e)
{
    json_t *list;
    int rc = field_array(o, "disks", CONTRACT_DISKS_MAX, &list, e);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < json_array_size(list); i++) {
        rc = disk_parse(json_array_get(list, i), &d->disks[i], e);
        if (rc < 0)
            return err_wrap(e, rc, "disks[%u]", i);
        for (unsigned j = 0; j < i; j++)
            if (strcmp(d->disks[j].vdev, d->disks[i].vdev) == 0 ||
                strcmp(d->disks[j].volume, d->disks[i].volume) == 0)
                return err_set(e, -EPROTO, "disks[%u]: same vdev or volume as disks[%u]", i, j);
    }
    d->disk_count = (unsigned)json_array_size(list);
    return 0;
}

static int domain_parse(const json_t *o, struct contract_domain *d, struct err *e)
{
    int rc;

    if (!json_is_object(o))
        return err_set(e, -EPROTO, "must be an object");
    if ((rc = field_name(o, "name", d->name, e)) < 0 ||
        (rc = field_text(o, "uuid", d->uuid, sizeof d->uuid, e)) < 0 ||
        (rc = field_u32(o, "memory_mib", MEMORY_MIB_MIN, MEMORY_MIB_MAX, &d->memory_mib, e)) < 0 ||
        (rc = field_u32(o, "vcpus", 1, VCPUS_MAX, &d->vcpus, e)) < 0 ||
        (rc = field_text(o, "mac", d->mac, sizeof d->mac, e)) < 0 ||
        (rc = field_bool(o, "running", &d->running, e)) < 0 ||
        (rc = field_flag(o, "paused", &d->paused, e)) < 0 ||
        (rc = field_u32(o, "stop_seconds", 0, STOP_SECONDS_MAX, &d->stop_seconds, e)) < 0 ||
        (rc = field_u64(o, "incarnation", 1, INT64_MAX, &d->incarnation, e)) < 0 ||
        (rc = disks_parse(o, d, e)) < 0)
        return rc;
    if (!field_is_uuid(d->uuid))
        return err_set(e, -EPROTO, "uuid: must be 8-4-4-4-12 lower-case hex digits");
    if (!field_is_mac(d->mac))
        return err_set(e, -EPROTO, "mac: must be like 52:54:00:12:34:56 in lower case");
    return 0;
}

/* Two domains of one name, UUID or volume would make the agent fight itself. */
static int check_apart(const struct contract_domain *a, const struct contract_domain *b,
                       struct err *e)
{
    if (strcmp(a->name, b->name) == 0)
        return err_set(e, -EPROTO, "same name as an earlier domain");
    if (strcmp(a->uuid, b->uuid) == 0)
        return err_set(e, -EPROTO, "same uuid as domain '%s'", a->name);
    for (unsigned i = 0; i < a->disk_count; i++)
        for (unsigned j = 0; j < b->disk_count; j++)
            if (strcmp(a->disks[i].volume, b->disks[j].volume) == 0)
                return err_set(e, -EPROTO, "same volume as domain '%s'", a->name);
    return 0;
}

static int domains_parse(json_t *list, struct contract_spec *s, struct err *e)
{
    for (unsigned i = 0; i < json_array_size(list); i++) {
        int rc = domain_parse(json_array_get(list, i), &s->domains[i], e);

        for (unsigned j = 0; rc == 0 && j < i; j++)
            rc = check_apart(&s->domains[j], &s->domains[i], e);
        if (rc < 0)
            return err_wrap(e, rc, "domains[%u]", i);
        s->domain_count = i + 1;
    }
    return 0;
}

int contract_spec_parse(const char *json, size_t length, struct contract_spec *ret, struct err *e)
{
    AUTO(field_unref) json_t *o = NULL;
    AUTO(contract_spec_done) struct contract_spec s = { 0 };
    json_t *list;
    int rc = field_object(json, length, &o, e);

    if (rc < 0 || (rc = field_u64(o, "revision", 0, INT64_MAX, &s.revision, e)) < 0 ||
        (rc = field_bool(o, "approved", &s.approved, e)) < 0 ||
        (rc = field_array(o, "domains", CONTRACT_DOMAINS_MAX, &list, e)) < 0)
        return rc;
    if (json_array_size(list) > 0) {
        s.domains = calloc(json_array_size(list), sizeof *s.domains);
        if (!s.domains)
            return err_set(e, -ENOMEM, "out of memory");
    }
    rc = domains_parse(list, &s, e);
    if (rc < 0)
        return rc;
    *ret = s;
    s = (struct contract_spec){ 0 };
    return 0;
}

static json_t *disk_json(const struct contract_disk *d)
{
    json_t *o = json_object();

    if (field_put(o, "volume", field_new_text(d->volume)) < 0 ||
        field_put(o, "vdev", field_new_text(d->vdev)) < 0 ||
        field_put(o, "address", field_new_text(d->address)) < 0 ||
        field_put(o, "port", field_new_u64(d->port)) < 0 ||
        field_put(o, "export_name", field_new_text(d->export_name)) < 0 ||
        field_put(o, "size_bytes", field_new_u64(d->size_bytes)) < 0 ||
        field_put(o, "generation", field_new_u64(d->generation)) < 0 ||
        field_put(o, "epoch", field_new_u64(d->epoch)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static json_t *domain_json(const struct contract_domain *d)
{
    json_t *o = json_object();
    json_t *disks = json_array();
    bool failed = !o || !disks;

    for (unsigned i = 0; !failed && i < d->disk_count; i++)
        failed = json_array_append_new(disks, disk_json(&d->disks[i])) < 0;
    failed = field_put(o, "disks", disks) < 0 || failed ||
             field_put(o, "name", field_new_text(d->name)) < 0 ||
             field_put(o, "uuid", field_new_text(d->uuid)) < 0 ||
             field_put(o, "memory_mib", field_new_u64(d->memory_mib)) < 0 ||
             field_put(o, "vcpus", field_new_u64(d->vcpus)) < 0 ||
             field_put(o, "mac", field_new_text(d->mac)) < 0 ||
             field_put(o, "running", json_boolean(d->running)) < 0 ||
             field_put(o, "paused", json_boolean(d->paused)) < 0 ||
             field_put(o, "stop_seconds", field_new_u64(d->stop_seconds)) < 0 ||
             field_put(o, "incarnation", field_new_u64(d->incarnation)) < 0;
    if (failed) {
        json_decref(o);
        return NULL;
    }
    return o;
}

char *contract_spec_text(const struct contract_spec *s)
{
    json_t *o = json_object();
    json_t *domains = json_array();
    bool failed = !o || !domains;

    for (unsigned i = 0; !failed && i < s->domain_count; i++)
        failed = json_array_append_new(domains, domain_json(&s->domains[i])) < 0;
    failed = field_put(o, "domains", domains) < 0 || failed ||
             field_put(o, "revision", field_new_u64(s->revision)) < 0 ||
             field_put(o, "approved", json_boolean(s->approved)) < 0;
    if (failed) {
        json_decref(o);
        return NULL;
    }
    return field_dump(o);
}

void contract_spec_done(struct contract_spec *s)
{
    free(s->domains);
    *s = (struct contract_spec){ 0 };
}
