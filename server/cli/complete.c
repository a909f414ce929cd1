/* SPDX-License-Identifier: Apache-2.0 */
/* complete - candidates for the shell.  It knows the table, and where the names of things are
 * listed. */
#include "server/cli/complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/client.h"
#include "server/cli/top.h"

#define OUT_MAX        (1u << 20)
#define HURRY_SECONDS  2
#define REFERENCE_SIZE 128

/* ---- where the cursor is
 * -------------------------------------------------------------------------*/
static const struct cli_option *option_named(const struct cli_option *o, const char *name)
{
    while (o->name && strcmp(o->name, name) != 0)
        o++;
    return o->name ? o : NULL;
}

static void take_word(const struct cli_table *table, struct complete_ask *ask, const char *word)
{
    const struct cli_command *c;

    if (ask->command) {
        ask->operands++;
        return;
    }
    for (c = table->commands; c->verb; c++) {
        if (strcmp(c->group, ask->group ? ask->group : "") == 0 && strcmp(c->verb, word) == 0) {
            ask->command = c;
            return;
        }
        if (!ask->group && c->group[0] && strcmp(c->group, word) == 0) {
            ask->group = c->group;
            return;
        }
    }
    ask->group = "?"; /* no such command: nothing can follow */
}

void complete_read(const struct cli_table *table, int count, char *const *words,
                   struct complete_ask *ret)
{
    struct complete_ask ask = { .current = count > 0 ? words[count - 1] : "" };
    const struct cli_option *pending = NULL;

    for (int i = 0; i + 1 < count; i++) {
        const char *word = words[i];

        if (pending) {
            if (strcmp(pending->name, "server") == 0)
                ask.server = word;
            pending = NULL;
        } else if (!ask.words_only && strcmp(word, "--") == 0) {
            ask.words_only = true;
        } else if (!ask.words_only && strncmp(word, "--", 2) == 0) {
            const struct cli_option *o =
                ask.command ? option_named(ask.command->options, word + 2) : NULL;
            o = o ? o : option_named(table->globals, word + 2);
            pending = o && o->value ? o : NULL;
            if (strncmp(word, "--server=", 9) == 0)
                ask.server = word + 9;
        } else {
            take_word(table, &ask, word);
        }
    }
    if (pending) {
        ask.is_value = true;
        ask.kind = pending->kind;
    } else if (ask.command && ask.operands < ask.command->max_args) {
        ask.kind = ask.operands ? ask.command->others : ask.command->first;
    }
    *ret = ask;
}

/* ---- words of the table
 * ---------------------------------------------------------------------------*/
static void offer(struct buf *out, const struct complete_ask *ask, const char *head,
                  const char *word)
{
    char whole[REFERENCE_SIZE];

    int length = snprintf(whole, sizeof whole, "%s%s\n", head, word);
    if (length >= (int)sizeof whole || strncmp(whole, ask->current, strlen(ask->current)) != 0)
        return;
    /* An image is listed once for each version. */
    const char *text = buf_text(out), *at = text ? strstr(text, whole) : NULL;
    while (at && at != text && at[-1] != '\n')
        at = strstr(at + 1, whole);
    if (!at)
        buf_add(out, whole, (size_t)length);
}

static void offer_options(const struct cli_option *o, const struct complete_ask *ask,
                          struct buf *out)
{
    for (; o->name; o++)
        offer(out, ask, "--", o->name);
}

void complete_words(const struct cli_table *table, const struct complete_ask *ask, struct buf *out)
{
    const char *last = "";

    if (ask->is_value)
        return;
    if (!ask->words_only && ask->current[0] == '-') {
        if (ask->command)
            offer_options(ask->command->options, ask, out);
        offer_options(table->globals, ask, out);
        return;
    }
    if (ask->command)
        return;
    for (const struct cli_command *c = table->commands; c->verb; c++) {
        if (ask->group ? strcmp(ask->group, c->group) == 0 : !c->group[0])
            offer(out, ask, "", c->verb);
        else if (!ask->group && strcmp(last, c->group) != 0)
            offer(out, ask, "", c->group);
        last = c->group;
    }
}

/* ---- names of things
 * ------------------------------------------------------------------------------*/
static const struct {
    enum cli_kind kind;
    const char *path, *key;
} lists[] = {
    { CLI_IMAGE, "/v1/images", "images" },    { CLI_VOLUME, "/v1/volumes", "volumes" },
    { CLI_SOURCE, "/v1/volumes", "volumes" }, { CLI_SNAPSHOT, "/v1/snapshots", "snapshots" },
    { CLI_HOST, "/v1/hosts", "hosts" },       { CLI_DOMAIN, "/v1/domains", "domains" },
};

static void auto_client(struct client **a)
{
    client_free(*a);
}

/* An image is offered by its name, which means the newest version; with an '@' typed, by its
 * versions. */
static void offer_item(struct buf *out, const struct complete_ask *ask, const json_t *item)
{
    const char *name = client_text(item, "name"), *at = strchr(ask->current, '@');
    char version[32], volume[REFERENCE_SIZE];

    if (ask->kind == CLI_SOURCE && at) {
        snprintf(volume, sizeof volume, "%.*s@", (int)(at - ask->current), ask->current);
        offer(out, ask, volume, name);
        return;
    }
    if (ask->kind != CLI_IMAGE || !at) {
        offer(out, ask, "", name);
        return;
    }
    snprintf(version, sizeof version, "@%lld", (long long)client_number(item, "version"));
    offer(out, ask, name, version);
}

/* Where the names that may stand here are listed; *ret_key is the name of the list.  With an '@'
 * typed behind a volume: the snapshots that hold it. */
static bool find_list(const struct complete_ask *ask, char ret_path[static CLIENT_PATH_SIZE],
                      const char **ret_key)
{
    const char *at = strchr(ask->current, '@');
    char volume[REFERENCE_SIZE];

    if (ask->kind == CLI_SOURCE && at) {
        snprintf(volume, sizeof volume, "%.*s", (int)(at - ask->current), ask->current);
        *ret_key = "snapshots";
        return client_path(ret_path, "/v1/snapshots?volume=", volume, "", NULL) == 0;
    }
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        if (lists[l].kind != ask->kind)
            continue;
        snprintf(ret_path, CLIENT_PATH_SIZE, "%s", lists[l].path);
        *ret_key = lists[l].key;
        return true;
    }
    return false;
}

static void offer_names(const struct complete_ask *ask, struct buf *out)
{
    AUTO(auto_client) struct client *client = NULL;
    AUTO(client_reply_done) struct client_reply r = { 0 };
    struct cli_address address;
    const char *server = ask->server ? ask->server : getenv("GRIDBOX_SERVER"), *key;
    char path[CLIENT_PATH_SIZE];
    size_t i;
    json_t *item;

    if (!find_list(ask, path, &key) ||
        address_parse(server && server[0] ? server : ADDRESS_DEFAULT, &address, NULL) < 0 ||
        client_new(&address, getenv("GRIDBOX_TOKEN"), NULL, &client, NULL) < 0)
        return;
    client_hurry(client, HURRY_SECONDS);
    if (client_call(client, "GET", path, NULL, 0, &r, NULL) < 0)
        return;
    json_array_foreach(json_object_get(r.json, key), i, item) offer_item(out, ask, item);
}

void complete_print(const struct cli_table *table, int count, char *const *words)
{
    AUTO(buf_done) struct buf out = { 0 };
    struct complete_ask ask;

    buf_init(&out, OUT_MAX);
    complete_read(table, count, words, &ask);
    complete_words(table, &ask, &out);
    if (ask.is_value || ask.words_only || ask.current[0] != '-') {
        if (ask.kind == CLI_LOADER) {
            offer(&out, &ask, "", "auto");
            offer(&out, &ask, "", "undionly");
        } else if (ask.kind == CLI_SORT) {
            for (const char *const *key = top_keys; *key; key++)
                offer(&out, &ask, "", *key);
        } else if (ask.kind == CLI_FILE) {
            buf_addf(&out, ":file\n");
        } else {
            offer_names(&ask, &out);
        }
    }
    const char *text = buf_text(&out);
    if (text)
        fputs(text, stdout);
}
