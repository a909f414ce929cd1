/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_domain - the commands of domains. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/text.h"

#define MEMORY_MIB     ((struct args_range){ 32, 1u << 20 })
#define VCPUS          ((struct args_range){ 1, 128 })
#define STOP_SECONDS   60u
#define STOP_RANGE     ((struct args_range){ 1, 86400 })
#define START_WAIT     900 /* seconds that `start --wait` waits */
#define STOP_WAIT      120 /* seconds that `stop --wait` waits beyond the time for the shutdown */
#define FAILED_SECONDS 30  /* a domain that has failed for so long is given up by --wait */
#define EVENT_SECONDS  2u  /* how often --wait looks, if no event comes earlier */

/* ---- define, list, remove
 * -----------------------------------------------------------------------*/
int cmd_domain_define(struct cli *c, const struct cli_args *a, struct err *e)
{
    uint32_t memory_mib = 0, vcpus = 0;

    int rc = args_number(a, "memory", MEMORY_MIB, &memory_mib, e);
    if (rc == 0)
        rc = args_number(a, "vcpus", VCPUS, &vcpus, e);
    if (rc < 0)
        return rc;
    AUTO(auto_json)
    json_t *body = json_pack("{s:s, s:s, s:s, s:i, s:i}", "name", a->words[0], "host",
                             args_value(a, "host"), "image", args_value(a, "image"), "memory_mib",
                             (int)memory_mib, "vcpus", (int)vcpus);
    if (!body)
        return err_set(e, -ENOMEM, "out of memory");
    return cli_post_text(c, "/v1/domains", body, "name", e);
}

static void row(struct table *t, const json_t *domain)
{
    int64_t mib = client_number(domain, "memory_mib");
    char text[TEXT_SIZE];

    table_add(t, client_text(domain, "name"));
    table_add(t, client_text(domain, "host"));
    table_add(t, client_text(domain, "image"));
    table_add(t, text_bytes(mib > 0 ? (uint64_t)mib << 20 : 0, text));
    snprintf(text, sizeof text, "%lld", (long long)client_number(domain, "vcpus"));
    table_add(t, text);
    table_add(t, client_text(domain, "desired"));
    table_add(t, client_text(domain, "state"));
    table_add(t, client_text(domain, "detail"));
}

int cmd_domain_list(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return cli_list(c, "/v1/domains", "domains",
                    "DOMAIN|HOST|IMAGE|>MEMORY|>VCPUS|WANTED|STATE|DETAIL", row, e);
}

int cmd_domain_remove(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_each(c, a, "DELETE", "/v1/domains/",
                    args_value(a, "keep-volume") ? "?keep_volume=1" : "", e);
}

/* ---- start, stop
 * --------------------------------------------------------------------------------*/
struct wait {
    const char *state; /* what is waited for */
    int64_t limit_s;
};

static int get(struct cli *c, const char *name, struct client_reply *ret, struct err *e)
{
    char path[CLIENT_PATH_SIZE];

    int rc = client_path(path, "/v1/domains/", name, "", e);
    return rc < 0 ? rc : client_call(c->client, "GET", path, NULL, 0, ret, e);
}

/* Returns when something has happened on the server, or a little later. */
static int await_event(struct cli *c, int64_t *seq, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char path[80];

    if (*seq < 0)
        snprintf(path, sizeof path, "/v1/events");
    else
        snprintf(path, sizeof path, "/v1/events?after=%lld&wait=%u", (long long)*seq,
                 EVENT_SECONDS);
    int rc = client_call(c->client, "GET", path, NULL, EVENT_SECONDS, &r, e);
    if (rc < 0)
        return rc;
    if (*seq < 0)
        *seq = 0;
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(r.json, "events"), i, item)
    {
        if (client_number(item, "seq") > *seq)
            *seq = client_number(item, "seq");
    }
    return 0;
}

static int not_so(const char *name, const struct wait *w, const json_t *domain, struct err *e)
{
    const char *detail = client_text(domain, "detail");

    return err_set(e, -ETIMEDOUT, "domain '%s' is not %s but %s%s%s", name, w->state,
                   client_text(domain, "state"), detail[0] ? ": " : "", detail);
}

/* Until the host says that the domain is in the wanted state.  Fails early if it says "failed" and
 * stays so: the agent tries again by itself, but somebody should know why. */
static int await(struct cli *c, const char *name, const struct wait *w, struct err *e)
{
    int64_t start = clock_mono_ns(), failed_since = 0, seq = -1;

    for (;;) {
        AUTO(client_reply_done) struct client_reply r = { 0 };
        int rc = await_event(c, &seq, e);
        if (rc == 0)
            rc = get(c, name, &r, e);
        if (rc < 0)
            return rc;
        int64_t now = clock_mono_ns();
        const char *state = client_text(r.json, "state");
        if (strcmp(state, w->state) == 0) {
            if (c->json)
                cli_print_json(c, &r);
            return 0;
        }
        if (strcmp(state, "failed") != 0)
            failed_since = now;
        else if (failed_since == 0)
            failed_since = now;
        if (now - failed_since > FAILED_SECONDS * NS_PER_S || now - start > w->limit_s * NS_PER_S)
            return not_so(name, w, r.json, e);
    }
}

/* The order itself, for one domain. */
static int order(struct cli *c, const struct cli_args *a, const char *name, const json_t *body,
                 struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char path[CLIENT_PATH_SIZE], verb[16];

    snprintf(verb, sizeof verb, "/%s", a->command->verb);
    int rc = client_path(path, "/v1/domains/", name, verb, e);
    if (rc == 0)
        rc = client_call(c->client, "POST", path, body, 0, &r, e);
    if (rc == 0 && c->json && !args_value(a, "wait"))
        cli_print_json(c, &r);
    return rc;
}

/* All orders go out before the first is waited for. */
static int order_all(struct cli *c, const struct cli_args *a, const json_t *body,
                     const struct wait *w, struct err *e)
{
    bool wait = args_value(a, "wait") != NULL;
    int rc;

    for (unsigned i = 0; i < a->count; i++) {
        rc = order(c, a, a->words[i], body, e);
        if (rc < 0 && (a->count == 1 || rc == -ENOTCONN))
            return rc;
        if (rc < 0) {
            cli_complain(c, e);
            a->words[i] = NULL;
        }
    }
    for (unsigned i = 0; wait && i < a->count; i++) {
        rc = a->words[i] ? await(c, a->words[i], w, e) : 0;
        if (rc < 0 && (a->count == 1 || rc == -ENOTCONN))
            return rc;
        if (rc < 0)
            cli_complain(c, e);
    }
    return 0;
}

int cmd_domain_start(struct cli *c, const struct cli_args *a, struct err *e)
{
    struct wait w = { .state = "running", .limit_s = START_WAIT };

    return order_all(c, a, NULL, &w, e);
}

int cmd_domain_stop(struct cli *c, const struct cli_args *a, struct err *e)
{
    uint32_t seconds = STOP_SECONDS;

    int rc = args_number(a, "seconds", STOP_RANGE, &seconds, e);
    if (rc < 0)
        return rc;
    struct wait w = { .state = "stopped", .limit_s = (int64_t)seconds + STOP_WAIT };
    AUTO(auto_json) json_t *body = json_pack("{s:i}", "seconds", (int)seconds);
    if (!body)
        return err_set(e, -ENOMEM, "out of memory");
    return order_all(c, a, body, &w, e);
}
