/* SPDX-License-Identifier: Apache-2.0 */
/* agent - the calls of the agents: register, spec.  (Reports: agent_report.c.)
 *
 * A boot token is good for one session.  The answer that brings the session can get lost, so the
 * same token may register again, from the same address, until the session has been used once; the
 * session before is void then. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/log.h"
#include "server/catalog/catalog.h"
#include "server/contract/contract.h"
#include "server/control/agent.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/lab.h"
#include "server/lab/plan.h"
#include "server/lab/rule.h"

static_assert(CONTRACT_MAC_SIZE == CAT_MAC_SIZE, "MAC addresses are copied");

#define NAME_TRIES 100 /* pc-525400123456, pc-525400123456-2, … */

/* ---- who asks ---------------------------------------------------------------------------------
 */

int agent_host(struct http_request *r, struct cat_host *ret)
{
    struct control *c = http_context(r);
    uint8_t hash[CAT_HASH_BYTES];
    const char *session = http_bearer(r);
    struct err e = { 0 };

    lab_hash(session, hash);
    int rc = *session ? cat_host_by_session(c->catalog, hash, ret, &e) : -ENOENT;
    if (rc == -ENOENT)
        http_answer_problem(r, 401, "this session is not valid (any more): register again");
    else if (rc < 0)
        http_answer_err(r, &e);
    if (rc < 0 || ret->session_used)
        return rc;

    rc = cat_host_use_session(c->catalog, ret->id, &e);
    if (rc < 0)
        http_answer_err(r, &e);
    return rc;
}

/* ---- register ---------------------------------------------------------------------------------
 */

/* UUIDs that makers leave on thousands of boards identify nobody. */
static bool uuid_is_credible(const char *uuid)
{
    static const char *const common[] = {
        "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009", "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
    };

    for (size_t i = 0; i < sizeof common / sizeof common[0]; i++)
        if (strcmp(uuid, common[i]) == 0)
            return false;
    return *uuid != '\0';
}

/* The card that the PC was booted from is the one thing that was verified (boot.c); what the agent
 * says of others is not taken as proof of who it is. */
static int find_known(struct control *c, const struct cat_boot_token *t, const char *uuid,
                      struct cat_host *ret, struct err *e)
{
    if (t->host_id)
        return cat_host_by_id(c->catalog, t->host_id, ret, e);
    int rc = cat_host_by_mac(c->catalog, t->mac, ret, e);
    if (rc != -ENOENT || !uuid_is_credible(uuid))
        return rc;
    /* Its network card was replaced; unless that host is there, with its own card. */
    rc = cat_host_by_uuid(c->catalog, uuid, ret, e);
    return rc == 0 && lab_online(c, ret) ? -ENOENT : rc;
}

static int add_unknown(struct control *c, const char *mac, struct cat_host *ret, struct err *e)
{
    struct cat_host h = { .approved = lab_rule_approves(lab_rule_of(c), mac) };
    char name[NAME_SIZE];

    lab_host_name(mac, name);
    snprintf(h.name, sizeof h.name, "%s", name);
    for (int i = 2; i < NAME_TRIES && cat_host_get(c->catalog, h.name, ret, NULL) == 0; i++)
        snprintf(h.name, sizeof h.name, "%.50s-%d", name, i);
    h.mac_count = 1;
    snprintf(h.macs[0], sizeof h.macs[0], "%s", mac);
    int rc = cat_host_add(c->catalog, &h, e);
    if (rc == 0)
        *ret = h;
    return rc;
}

static int approve_by_rule(struct control *c, struct cat_host *h, const char *mac, struct err *e)
{
    if (h->approved || !lab_rule_approves(lab_rule_of(c), mac))
        return 0;
    h->approved = true;
    int rc = cat_host_set(c->catalog, h, e);
    return rc < 0 ? rc : cat_host_raise(c->catalog, h->id, e);
}

/* The verified MAC address first, then the others that the agent names. */
static void take_facts(const struct contract_register *in, const struct cat_boot_token *t,
                       struct cat_host *h)
{
    h->mac_count = 1;
    snprintf(h->macs[0], sizeof h->macs[0], "%s", t->mac);
    for (unsigned i = 0; i < in->mac_count && h->mac_count < CAT_MACS_MAX; i++)
        if (strcmp(in->macs[i], t->mac) != 0)
            memcpy(h->macs[h->mac_count++], in->macs[i], CAT_MAC_SIZE);
    snprintf(h->uuid, sizeof h->uuid, "%s", in->uuid);
    snprintf(h->cpu, sizeof h->cpu, "%s", in->cpu);
    h->cpus = in->cpus;
    h->memory_mib = in->memory_mib;
    h->hvm = in->hvm;
    snprintf(h->agent_version, sizeof h->agent_version, "%s", in->agent_version);
    snprintf(h->address, sizeof h->address, "%s", t->address);
}

/* Nothing is known of what runs there until the agent reports. */
static int forget_state(void *ctx, const struct cat_domain *d)
{
    struct control *c = ctx;
    struct cat_domain unknown = *d;

    if (strcmp(d->state, "unknown") == 0)
        return 0;
    snprintf(unknown.state, sizeof unknown.state, "unknown");
    unknown.detail[0] = '\0';
    unknown.domid = 0;
    return cat_domain_set_state(c->catalog, &unknown, NULL);
}

struct registration {
    struct contract_register in;
    struct cat_boot_token token;
    struct cat_host host;
    char session[65];
};

static int store_registration(struct control *c, struct registration *g, struct err *e)
{
    uint8_t secret[32], hash[CAT_HASH_BYTES];
    struct cat_host *h = &g->host;
    int rc = find_known(c, &g->token, g->in.uuid, h, e);
    bool again = rc == 0;

    if (rc == -ENOENT)
        rc = add_unknown(c, g->token.mac, h, e);
    if (rc == 0)
        rc = approve_by_rule(c, h, g->token.mac, e);
    if (rc < 0)
        return rc;

    random_bytes(secret, sizeof secret);
    hex_encode(secret, sizeof secret, g->session);
    lab_hash(g->session, hash);
    take_facts(&g->in, &g->token, h);
    rc = cat_host_register(c->catalog, h, hash, e);
    if (rc == 0)
        rc = cat_boot_token_bind(c->catalog, g->token.mac, h->id, e);
    if (rc == 0)
        rc = cat_domain_list(c->catalog, h->id, forget_state, c, e);
    if (rc == 0)
        rc = control_event(c, e, "host-registered", h->name, "%s from %s: %s, %u CPUs, %llu MiB%s",
                           again ? "known" : "new", h->address, h->cpu, h->cpus,
                           (unsigned long long)h->memory_mib,
                           h->approved ? "" : "; it waits for approval");
    return rc;
}

static void answer_registered(struct http_request *r, const struct registration *g)
{
    struct contract_registered out = { .approved = g->host.approved };

    snprintf(out.session, sizeof out.session, "%s", g->session);
    snprintf(out.host, sizeof out.host, "%s", g->host.name);
    AUTO(auto_free) char *text = contract_registered_text(&out);
    if (!text)
        http_answer_problem(r, 500, "out of memory");
    else
        http_answer_text(r, 200, "application/json", text, strlen(text));
}

/* False: it is refused, and answered. */
static bool check_token(struct http_request *r, struct cat_boot_token *ret)
{
    struct control *c = http_context(r);
    struct cat_boot_clock clock;
    uint8_t hash[CAT_HASH_BYTES];
    struct err e = { 0 };

    lab_clock(c, &clock);
    lab_hash(http_bearer(r), hash);
    int rc = cat_boot_token_find(c->catalog, hash, &clock, ret, &e);
    if (rc == 0 && strcmp(ret->address, http_peer(r)) == 0)
        return true;
    if (rc < 0 && rc != -ENOENT)
        http_answer_err(r, &e);
    else
        http_answer_problem(r, 401,
                            "this boot token is not valid: it works once, within %d minutes, from "
                            "the address that it was given to: boot the PC again",
                            CAT_TOKEN_SECONDS / 60);
    return false;
}

static void on_register(struct http_request *r)
{
    struct control *c = http_context(r);
    struct registration g = { 0 };
    struct err e = { 0 };
    size_t length;

    if (!check_token(r, &g.token))
        return;
    const char *body = http_body(r, &length);
    int rc = contract_register_parse(body, length, &g.in, &e);
    if (rc == 0)
        rc = cat_begin(c->catalog, &e);
    if (rc == 0)
        rc = cat_end(c->catalog, store_registration(c, &g, &e), &e);
    if (rc < 0) {
        http_answer_err(r, &e);
        return;
    }
    log_info("host %s: registered from %s%s", g.host.name, g.host.address,
             g.host.approved ? "" : ": it waits for approval");
    lab_seen(c, &g.host, g.host.applied_revision);
    lab_tell(c, g.host.id);
    answer_registered(r, &g);
}

/* ---- spec -------------------------------------------------------------------------------------
 */

/* Splits "ADDR:PORT" or "[ADDR]:PORT". */
static bool split(const char *text, char ret_host[static 64], uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;

    if (length && text[0] == '[') {
        text++;
        length -= 2;
    }
    if (length == 0 || length >= 64)
        return false;
    memcpy(ret_host, text, length);
    ret_host[length] = '\0';
    *ret_port = (uint16_t)strtoul(colon + 1, NULL, 10);
    return true;
}

/* Where this host finds our NBD server: at the address where it found us, if NBD listens there. */
static void nbd_for(const struct control *c, const char *local, char ret_host[static 64],
                    uint16_t *ret_port)
{
    for (int i = 0; i < CONTROL_NBD_MAX && c->nbd[i][0] && *local; i++) {
        if (!split(c->nbd[i], ret_host, ret_port))
            continue;
        if (strcmp(ret_host, local) != 0 && strcmp(ret_host, "0.0.0.0") != 0 &&
            strcmp(ret_host, "::") != 0)
            continue;
        snprintf(ret_host, 64, "%s", local);
        return;
    }
    control_nbd_host(c, ret_host);
    *ret_port = control_nbd_port(c);
}

static int make_spec(struct control *c, const struct cat_host *h, const char *local,
                     struct contract_spec *ret, struct err *e)
{
    AUTO(auto_free) struct lab_domain *domains = NULL;
    char host[64];
    uint16_t port;
    size_t count;
    int rc = lab_domains_of(c, h->id, &domains, &count, e);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        struct export_info info;
        export_query(c->exports, domains[i].volume.name, &info);
        domains[i].parked = info.parked;
    }
    nbd_for(c, local, host, &port);
    return lab_plan(h, domains, count, host, port, ret, e);
}

static void answer_spec(struct http_request *r, const struct cat_host *h)
{
    AUTO(contract_spec_done) struct contract_spec spec = { 0 };
    struct err e = { 0 };

    if (make_spec(http_context(r), h, http_local_host(r), &spec, &e) < 0) {
        http_answer_err(r, &e);
        return;
    }
    AUTO(auto_free) char *text = contract_spec_text(&spec);
    if (!text)
        http_answer_problem(r, 500, "out of memory");
    else
        http_answer_text(r, 200, "application/json", text, strlen(text));
}

static void on_spec(struct http_request *r)
{
    struct control *c = http_context(r);
    struct cat_host h;
    uint64_t revision, seconds;
    struct err e = { 0 };

    if (agent_host(r, &h) < 0)
        return;
    lab_seen(c, &h, h.applied_revision);
    if (http_query_u64(r, "revision", 0, &revision, &e) < 0 ||
        http_query_u64(r, "wait", 0, &seconds, &e) < 0) {
        http_answer_err(r, &e);
        return;
    }
    /* Any other revision is news: a catalog that was put back from a copy has a lower one. */
    if (h.revision != revision)
        answer_spec(r, &h);
    else if (seconds == 0 || http_waited(r))
        http_answer_empty(r, 304);
    else
        http_wait(r, http_topic(HTTP_TOPIC_HOST, (uint64_t)h.id),
                  seconds < HTTP_WAIT_MAX ? seconds : HTTP_WAIT_MAX);
}

static const struct http_route routes[] = {
    { "POST", "/v1/agent/register", HTTP_SELF, on_register, false },
    { "GET", "/v1/agent/spec", HTTP_SELF, on_spec, false },
    { "POST", "/v1/agent/report", HTTP_SELF, agent_on_report, false },
};

int lab_agent_routes(struct http *h, struct err *e)
{
    return http_routes(h, routes, sizeof routes / sizeof routes[0], e);
}
