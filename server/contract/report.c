/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the actual state of one host as JSON.
 * Must never know: what the server makes of it. */
#include "server/contract/contract.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/contract/field.h"

static const char *const state_names[CONTRACT_STATE_COUNT] = {
    [CONTRACT_STOPPED] = "stopped",   [CONTRACT_ATTACHING] = "attaching",
    [CONTRACT_CREATING] = "creating", [CONTRACT_RUNNING] = "running",
    [CONTRACT_STOPPING] = "stopping", [CONTRACT_FAILED] = "failed",
};

const char *contract_state_name(enum contract_state s)
{
    return (unsigned)s < CONTRACT_STATE_COUNT ? state_names[s] : "unknown";
}

static int state_parse(const json_t *o, enum contract_state *ret, struct err *e)
{
    char text[16];
    int rc = field_text(o, "state", text, sizeof text, e);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < CONTRACT_STATE_COUNT; i++)
        if (strcmp(text, state_names[i]) == 0) {
            *ret = (enum contract_state)i;
            return 0;
        }
    return err_set(e, -EPROTO, "state: unknown state '%s'", text);
}

static int domain_parse(const json_t *o, struct contract_domain_report *d, struct err *e)
{
    int rc;

    if (!json_is_object(o))
        return err_set(e, -EPROTO, "must be an object");
    if ((rc = field_name(o, "name", d->name, e)) < 0 || (rc = state_parse(o, &d->state, e)) < 0 ||
        (rc = field_u64(o, "incarnation", 0, INT64_MAX, &d->incarnation, e)) < 0 ||
        (rc = field_u32(o, "domid", 0, UINT16_MAX, &d->domid, e)) < 0 ||
        (rc = field_text(o, "detail", d->detail, sizeof d->detail, e)) < 0)
        return rc;
    return 0;
}

int contract_report_parse(const char *json, size_t length, struct contract_report *ret,
                          struct err *e)
{
    AUTO(field_unref) json_t *o = NULL;
    AUTO(contract_report_done) struct contract_report r = { 0 };
    json_t *list;
    int rc = field_object(json, length, &o, e);

    if (rc < 0 || (rc = field_u64(o, "revision", 0, INT64_MAX, &r.revision, e)) < 0 ||
        (rc = field_array(o, "domains", CONTRACT_DOMAINS_MAX, &list, e)) < 0)
        return rc;
    if (json_array_size(list) > 0) {
        r.domains = calloc(json_array_size(list), sizeof *r.domains);
        if (!r.domains)
            return err_set(e, -ENOMEM, "out of memory");
    }
    for (unsigned i = 0; i < json_array_size(list); i++) {
        rc = domain_parse(json_array_get(list, i), &r.domains[i], e);
        if (rc < 0)
            return err_wrap(e, rc, "domains[%u]", i);
        for (unsigned j = 0; j < i; j++)
            if (strcmp(r.domains[i].name, r.domains[j].name) == 0)
                return err_set(e, -EPROTO, "domains[%u]: same name as domains[%u]", i, j);
    }
    r.domain_count = (unsigned)json_array_size(list);
    *ret = r;
    r = (struct contract_report){ 0 };
    return 0;
}

static json_t *domain_json(const struct contract_domain_report *d)
{
    json_t *o = json_object();

    if (field_put(o, "name", field_new_text(d->name)) < 0 ||
        field_put(o, "state", field_new_text(contract_state_name(d->state))) < 0 ||
        field_put(o, "incarnation", field_new_u64(d->incarnation)) < 0 ||
        field_put(o, "domid", field_new_u64(d->domid)) < 0 ||
        field_put(o, "detail", field_new_text(d->detail)) < 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}

char *contract_report_text(const struct contract_report *r)
{
    json_t *o = json_object();
    json_t *domains = json_array();
    bool failed = !o || !domains;

    for (unsigned i = 0; !failed && i < r->domain_count; i++)
        failed = json_array_append_new(domains, domain_json(&r->domains[i])) < 0;
    failed = field_put(o, "domains", domains) < 0 || failed ||
             field_put(o, "revision", field_new_u64(r->revision)) < 0;
    if (failed) {
        json_decref(o);
        return NULL;
    }
    return field_dump(o);
}

void contract_report_done(struct contract_report *r)
{
    free(r->domains);
    *r = (struct contract_report){ 0 };
}
