/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_status - how the server is, and what has happened there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/text.h"

#define FOLLOW_SECONDS 50u

/* ---- status
 * -------------------------------------------------------------------------------------*/
static void show_server(struct cli *c, const json_t *s)
{
    char text[160], up[TEXT_SIZE];

    snprintf(text, sizeof text, "gridboxd %s, %s, up %s", client_text(s, "version"),
             client_true(s, "healthy") ? "healthy" : "NOT HEALTHY",
             text_duration(client_number(s, "uptime_seconds"), up));
    cli_field(c, "server", text);
}

static void show_store(struct cli *c, const json_t *s)
{
    const json_t *store = json_object_get(s, "store");
    bool power = strcmp(client_text(store, "durability"), "power") == 0;
    int64_t size = client_number(store, "size_bytes"),
            free_bytes = client_number(store, "free_bytes");
    char text[1024], of[TEXT_SIZE], rest[TEXT_SIZE];

    cli_field(c, "state", client_text(s, "state_dir"));
    snprintf(text, sizeof text, "%s free of %s; %s",
             text_bytes(free_bytes > 0 ? (uint64_t)free_bytes : 0, rest),
             text_bytes(size > 0 ? (uint64_t)size : 0, of),
             power ? "a power loss loses nothing that was flushed"
                   : "a power loss is NOT covered on this file system");
    cli_field(c, "store", text);
}

static void show_counts(struct cli *c, const json_t *s)
{
    static const char *const keys[] = { "images", "volumes", "hosts", "domains" };
    const json_t *counts = json_object_get(s, "counts");
    char text[TEXT_SIZE];

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(text, sizeof text, "%lld", (long long)client_number(counts, keys[i]));
        cli_field(c, keys[i], text);
    }
}

static void show_addresses(struct cli *c, const json_t *s, const char *key)
{
    AUTO(buf_done) struct buf b = { 0 };
    size_t i;
    json_t *item;

    buf_init(&b, 4096);
    json_array_foreach(json_object_get(s, key), i, item)
        buf_addf(&b, "%s%s", i ? ", " : "", json_is_string(item) ? json_string_value(item) : "?");
    const char *text = buf_text(&b);
    cli_field(c, key, text ? text : "?");
}

static void show_boot(struct cli *c, const json_t *s)
{
    const json_t *boot = json_object_get(s, "boot");
    char text[300];

    if (!json_is_object(boot)) {
        cli_field(c, "boot", "off");
        return;
    }
    snprintf(text, sizeof text, "%s %s, dnsmasq %s", client_text(boot, "interface"),
             client_text(boot, "address"), client_text(boot, "dnsmasq"));
    cli_field(c, "boot", text);
}

int cmd_status(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    int rc = client_call(c->client, "GET", "/v1/status", NULL, 0, &r, e);

    (void)a;
    if (rc < 0)
        return rc;
    if (c->json) {
        cli_print_json(c, &r);
    } else {
        show_server(c, r.json);
        show_store(c, r.json);
        show_counts(c, r.json);
        show_addresses(c, r.json, "http");
        show_addresses(c, r.json, "nbd");
        show_boot(c, r.json);
    }
    const char *problem = client_text(r.json, "problem");
    if (!client_true(r.json, "healthy") && problem[0])
        return err_set(e, -EREMOTEIO, "the server is not healthy: %s", problem);
    if (!client_true(r.json, "healthy"))
        return err_set(e, -EREMOTEIO,
                       "the server answers, but is not healthy: see `gridbox events` "
                       "and its log");
    return 0;
}

/* ---- events
 * -------------------------------------------------------------------------------------*/
static void print_event(struct cli *c, const json_t *event)
{
    char at[TEXT_SIZE], kind[64], object[128], text[512];

    if (c->json) {
        json_dumpf(event, c->out, JSON_COMPACT);
        fputc('\n', c->out);
        return;
    }
    fprintf(c->out, "%s  %-18s  %-20s  %s\n", text_time(client_number(event, "at"), at),
            text_safe(client_text(event, "kind"), kind, sizeof kind),
            text_safe(client_text(event, "object"), object, sizeof object),
            text_safe(client_text(event, "text"), text, sizeof text));
}

/* Prints what an answer brought, and moves *seq to its last event. */
static void print_events(struct cli *c, const struct client_reply *r, int64_t *seq)
{
    size_t i;
    json_t *event;

    json_array_foreach(json_object_get(r->json, "events"), i, event)
    {
        print_event(c, event);
        if (client_number(event, "seq") > *seq)
            *seq = client_number(event, "seq");
    }
}

static int follow(struct cli *c, int64_t seq, struct err *e)
{
    while (fflush(c->out) == 0) {
        AUTO(client_reply_done) struct client_reply r = { 0 };
        char path[80];

        snprintf(path, sizeof path, "/v1/events?after=%lld&wait=%u", (long long)seq,
                 FOLLOW_SECONDS);
        int rc = client_call(c->client, "GET", path, NULL, FOLLOW_SECONDS, &r, e);
        if (rc < 0)
            return rc;
        print_events(c, &r, &seq);
    }
    return 0; /* the end of the program says that nothing can be written */
}

int cmd_events(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    bool more = args_value(a, "follow") != NULL;
    int64_t seq = 0;

    int rc = client_call(c->client, "GET", "/v1/events", NULL, 0, &r, e);
    if (rc < 0)
        return rc;
    if (c->json && !more)
        cli_print_json(c, &r);
    else
        print_events(c, &r, &seq);
    return more ? follow(c, seq, e) : 0;
}
