/* SPDX-License-Identifier: Apache-2.0 */
/* agent_report - what the agents say of their domains, and what follows from it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/catalog/catalog.h"
#include "server/contract/contract.h"
#include "server/control/agent.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/json.h"
#include "server/control/lab.h"

/* A domain whose stop was ordered, was heard and is done gives its disk back: from now on anybody
 * can attach the volume. */
static bool gives_disk_back(const struct cat_domain *d, const struct contract_report *report,
                            enum contract_state state)
{
    return !d->running && state == CONTRACT_STOPPED && report->revision >= d->desired_revision;
}

static int store_state(struct control *c, struct cat_domain *d,
                       const struct contract_domain_report *in, struct err *e)
{
    const char *state = contract_state_name(in->state);
    char detail[sizeof in->detail];

    snprintf(detail, sizeof detail, "%s", in->detail);
    json_text_clean(detail);
    if (strcmp(d->state, state) == 0 && strcmp(d->detail, detail) == 0 && d->domid == in->domid)
        return 0;

    bool moved = strcmp(d->state, state) != 0;
    snprintf(d->state, sizeof d->state, "%s", state);
    snprintf(d->detail, sizeof d->detail, "%s", detail);
    d->domid = in->domid;
    int rc = cat_begin(c->catalog, e);
    if (rc < 0)
        return rc;
    rc = cat_domain_set_state(c->catalog, d, e);
    if (rc == 0 && moved)
        rc = control_event(c, e, "domain-state", d->name, "%s on host %s%s%s", state, d->host,
                           *detail ? ": " : "", detail);
    return cat_end(c->catalog, rc, e);
}

static int take_one(struct control *c, const struct cat_host *h,
                    const struct contract_report *report, const struct contract_domain_report *in,
                    struct err *e)
{
    struct lab_domain d;
    int rc = lab_domain_get(c, in->name, &d, e);

    /* Removed meanwhile, or another host's: nothing that this agent could say something of. */
    if (rc == -ENOENT || (rc == 0 && d.domain.host_id != h->id))
        return 0;
    if (rc == 0)
        rc = store_state(c, &d.domain, in, e);
    if (rc == 0 && gives_disk_back(&d.domain, report, in->state))
        rc = lab_detach(c, &d, "the domain was stopped", e);
    return rc;
}

void agent_on_report(struct http_request *r)
{
    AUTO(contract_report_done) struct contract_report report = { 0 };
    struct control *c = http_context(r);
    struct cat_host h;
    struct err e = { 0 };
    size_t length;

    if (agent_host(r, &h) < 0)
        return;
    const char *body = http_body(r, &length);
    int rc = contract_report_parse(body, length, &report, &e);
    if (rc == 0 && report.revision > h.revision)
        rc = err_set(&e, -EPROTO, "revision: %llu was never given out",
                     (unsigned long long)report.revision);
    for (unsigned i = 0; i < report.domain_count && rc == 0; i++)
        rc = take_one(c, &h, &report, &report.domains[i], &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    lab_seen(c, &h, report.revision);
    http_answer_empty(r, 204);
}
