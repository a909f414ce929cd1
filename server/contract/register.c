/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: what a PC says of itself when it registers, and what it is answered.
 * Must never know: who may register, HTTP. */
#include "server/contract/contract.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/contract/field.h"

#define CPUS_MAX       4096u
#define MEMORY_MIB_MAX (1u << 26) /* 64 TiB */
#define SESSION_MIN    32u        /* hex digits */

static int parse_macs(const json_t *object, struct contract_register *r, struct err *e)
{
    json_t *list;
    int rc = field_array(object, "macs", CONTRACT_MACS_MAX, &list, e);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *mac = json_string_value(json_array_get(list, i));

        if (!mac || !field_is_mac(mac))
            return err_set(e, -EPROTO,
                           "macs[%zu]: not a MAC address like 52:54:00:12:34:56 in lower case", i);
        memcpy(r->macs[i], mac, CONTRACT_MAC_SIZE);
    }
    r->mac_count = (unsigned)json_array_size(list);
    if (r->mac_count == 0)
        return err_set(e, -EPROTO, "macs: empty, a PC has at least one");
    return 0;
}

static int register_fill(const json_t *o, struct contract_register *r, struct err *e)
{
    uint32_t cpus;
    int rc;

    if ((rc = parse_macs(o, r, e)) < 0 ||
        (rc = field_text(o, "uuid", r->uuid, sizeof r->uuid, e)) < 0 ||
        (rc = field_text(o, "cpu", r->cpu, sizeof r->cpu, e)) < 0 ||
        (rc = field_u32(o, "cpus", 1, CPUS_MAX, &cpus, e)) < 0 ||
        (rc = field_u64(o, "memory_mib", 1, MEMORY_MIB_MAX, &r->memory_mib, e)) < 0 ||
        (rc = field_bool(o, "hvm", &r->hvm, e)) < 0 ||
        (rc = field_text(o, "agent_version", r->agent_version, sizeof r->agent_version, e)) < 0)
        return rc;
    r->cpus = cpus;
    if (r->uuid[0] && !field_is_uuid(r->uuid))
        return err_set(e, -EPROTO, "uuid: must be empty or 8-4-4-4-12 lower-case hex digits");
    return 0;
}

int contract_register_parse(const char *json, size_t length, struct contract_register *ret,
                            struct err *e)
{
    AUTO(field_unref) json_t *o = NULL;
    struct contract_register r = { 0 };
    int rc = field_object(json, length, &o, e);

    if (rc < 0 || (rc = register_fill(o, &r, e)) < 0)
        return rc;
    *ret = r;
    return 0;
}

char *contract_register_text(const struct contract_register *r)
{
    json_t *o = json_object();
    json_t *macs = json_array();
    bool failed = !o || !macs;

    for (unsigned i = 0; !failed && i < r->mac_count; i++)
        failed = json_array_append_new(macs, field_new_text(r->macs[i])) < 0;
    failed = field_put(o, "macs", macs) < 0 || failed ||
             field_put(o, "uuid", field_new_text(r->uuid)) < 0 ||
             field_put(o, "cpu", field_new_text(r->cpu)) < 0 ||
             field_put(o, "cpus", field_new_u64(r->cpus)) < 0 ||
             field_put(o, "memory_mib", field_new_u64(r->memory_mib)) < 0 ||
             field_put(o, "hvm", json_boolean(r->hvm)) < 0 ||
             field_put(o, "agent_version", field_new_text(r->agent_version)) < 0;
    if (failed) {
        json_decref(o);
        return NULL;
    }
    return field_dump(o);
}

int contract_registered_parse(const char *json, size_t length, struct contract_registered *ret,
                              struct err *e)
{
    AUTO(field_unref) json_t *o = NULL;
    struct contract_registered r = { 0 };
    int rc = field_object(json, length, &o, e);

    if (rc < 0 || (rc = field_text(o, "session", r.session, sizeof r.session, e)) < 0 ||
        (rc = field_name(o, "host", r.host, e)) < 0 ||
        (rc = field_bool(o, "approved", &r.approved, e)) < 0)
        return rc;
    size_t digits = strlen(r.session);

    if (digits < SESSION_MIN || strspn(r.session, "0123456789abcdef") != digits)
        return err_set(e, -EPROTO, "session: must be 32 to 64 lower-case hex digits");
    *ret = r;
    return 0;
}

char *contract_registered_text(const struct contract_registered *r)
{
    json_t *o = json_object();

    if (field_put(o, "session", field_new_text(r->session)) < 0 ||
        field_put(o, "host", field_new_text(r->host)) < 0 ||
        field_put(o, "approved", json_boolean(r->approved)) < 0) {
        json_decref(o);
        return NULL;
    }
    return field_dump(o);
}
