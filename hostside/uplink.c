/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the order of calls to the server, and the delays between them.
 * Must never know: sockets, curl, domains. */
#include "hostside/uplink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/name.h"

#define DELAY_MAX_S   30u
#define REFUSED_S     60u /* a boot token that was refused once hardly ever works later */
#define FIRST_DELAY_S 1u

void uplink_init(struct uplink *u, const char *token, const char *session)
{
    *u = (struct uplink){ 0 };
    snprintf(u->token, sizeof u->token, "%s", token);
    snprintf(u->session, sizeof u->session, "%s", session);
}

void uplink_done(struct uplink *u)
{
    free(u->report);
    *u = (struct uplink){ 0 };
}

/* Between 3/4 and 5/4 of it. */
static int64_t jittered_ns(unsigned seconds)
{
    int64_t ns = seconds * NS_PER_S;
    uint32_t random;

    random_bytes(&random, sizeof random);
    return ns - ns / 4 + (int64_t)(random % 1024) * (ns / 2 / 1024);
}

static int64_t delay_ns(unsigned failures)
{
    unsigned seconds = failures > 5 ? DELAY_MAX_S : FIRST_DELAY_S << (failures - 1);

    return jittered_ns(seconds > DELAY_MAX_S ? DELAY_MAX_S : seconds);
}

/* ---- what is due ---- */

static void wake_at(int64_t *wake_ns, int64_t ns)
{
    if (ns < *wake_ns)
        *wake_ns = ns;
}

enum uplink_call uplink_next(struct uplink *u, int64_t now_ns, int64_t *ret_wake_ns)
{
    *ret_wake_ns = now_ns + DELAY_MAX_S * NS_PER_S;
    if (!u->asking && (u->session[0] || u->token[0])) {
        if (now_ns >= u->ask_ns) {
            u->asking = true;
            return u->session[0] && !u->try_token ? UPLINK_SPEC : UPLINK_REGISTER;
        }
        wake_at(ret_wake_ns, u->ask_ns);
    }
    if (!u->reporting && u->report && u->session[0]) {
        if (now_ns >= u->report_ns) {
            u->reporting = true;
            u->report_fresh = false;
            return UPLINK_REPORT;
        }
        wake_at(ret_wake_ns, u->report_ns);
    }
    return UPLINK_NONE;
}

void uplink_path(const struct uplink *u, enum uplink_call call, char *ret, size_t size)
{
    if (call == UPLINK_SPEC) /* revision 0: whatever it is, at once */
        snprintf(ret, size, "/v1/agent/spec?revision=%llu&wait=%u", (unsigned long long)u->revision,
                 UPLINK_WAIT_S);
    else
        snprintf(ret, size, "/v1/agent/%s", call == UPLINK_REGISTER ? "register" : "report");
}

const char *uplink_bearer(const struct uplink *u, enum uplink_call call)
{
    return call == UPLINK_REGISTER ? u->token : u->session;
}

void uplink_set_report(struct uplink *u, char *text, int64_t now_ns)
{
    if (!text)
        return;
    if (u->report && strcmp(u->report, text) == 0) {
        free(text);
        return;
    }
    free(u->report);
    u->report = text;
    u->report_fresh = true;
    if (u->report_failures == 0)
        u->report_ns = now_ns;
}

/* ---- answers ---- */

/* A few words of the refusal's "detail", without anything that could forge a log line. */
static int refused(const struct uplink_answer *a, const char *what, struct err *e)
{
    const char *detail = NULL;

    if (a->status < 0)
        return err_set(e, a->status, "%s: %.*s", what, (int)a->length, a->body ? a->body : "");
    if (a->body && a->length > 0)
        detail = memmem(a->body, a->length, "\"detail\":", 9);
    return err_set(e, -EPROTO, "%s: the server answers %d%s%.*s", what, a->status,
                   detail ? ": " : "", detail ? (int)(a->length - (size_t)(detail - a->body)) : 0,
                   detail ? detail : "");
}

static void ask_later(struct uplink *u, int64_t now_ns)
{
    u->failures++;
    u->ask_ns = now_ns + delay_ns(u->failures);
}

static enum uplink_news on_registered(struct uplink *u, const struct uplink_answer *a,
                                      int64_t now_ns, struct err *e)
{
    struct contract_registered r;
    int rc;

    if (a->status == 401 || a->status == 403) {
        u->failures++;
        u->try_token = false; /* perhaps the server knows the session again */
        u->ask_ns = now_ns + jittered_ns(REFUSED_S);
        refused(a, "register", e);
        return UPLINK_NO_NEWS;
    }
    if (a->status != 200 && a->status != 201) {
        refused(a, "register", e);
        ask_later(u, now_ns);
        return UPLINK_NO_NEWS;
    }
    rc = contract_registered_parse(a->body, a->length, &r, e);
    if (rc < 0) {
        err_wrap(e, rc, "register: the server's answer");
        ask_later(u, now_ns);
        return UPLINK_NO_NEWS;
    }
    memcpy(u->session, r.session, sizeof u->session);
    memcpy(u->host, r.host, sizeof u->host);
    u->try_token = false;
    u->failures = 0;
    u->report_ns = now_ns;
    return UPLINK_REGISTERED;
}

static enum uplink_news on_spec(struct uplink *u, const struct uplink_answer *a, int64_t now_ns,
                                struct contract_spec *ret_spec, struct err *e)
{
    int rc;

    if (a->status == 304) {
        u->failures = 0;
        return UPLINK_NO_NEWS;
    }
    if (a->status == 401) {
        refused(a, "spec", e);
        u->try_token = u->token[0] != '\0';
        u->ask_ns = now_ns + (u->failures == 0 && u->try_token ? 0 : jittered_ns(REFUSED_S));
        u->failures++;
        return UPLINK_NO_NEWS;
    }
    if (a->status != 200) {
        refused(a, "spec", e);
        u->revision = 0; /* another server may answer next, one that knows less: ask it for all */
        ask_later(u, now_ns);
        return UPLINK_NO_NEWS;
    }
    rc = contract_spec_parse(a->body, a->length, ret_spec, e);
    if (rc < 0) {
        err_wrap(e, rc, "spec: the server's answer");
        ask_later(u, now_ns);
        return UPLINK_NO_NEWS;
    }
    u->failures = 0;
    u->revision = ret_spec->revision;
    return UPLINK_NEW_SPEC;
}

static void on_reported(struct uplink *u, const struct uplink_answer *a, int64_t now_ns,
                        struct err *e)
{
    if (a->status == 204 || a->status == 200) {
        u->report_failures = 0;
        u->report_ns = u->report_fresh ? now_ns : now_ns + UPLINK_REPORT_EVERY * NS_PER_S;
        return;
    }
    /* 401: the question for the spec will hear the same, and see to it */
    refused(a, "report", e);
    u->report_failures++;
    u->report_ns = now_ns + delay_ns(u->report_failures);
}

enum uplink_news uplink_answer(struct uplink *u, enum uplink_call call,
                               const struct uplink_answer *a, int64_t now_ns,
                               struct contract_spec *ret_spec, struct err *e)
{
    if (call == UPLINK_REPORT) {
        u->reporting = false;
        on_reported(u, a, now_ns, e);
        return UPLINK_NO_NEWS;
    }
    u->asking = false;
    return call == UPLINK_REGISTER ? on_registered(u, a, now_ns, e)
                                   : on_spec(u, a, now_ns, ret_spec, e);
}
