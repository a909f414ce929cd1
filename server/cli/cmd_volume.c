/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_volume - the commands of volumes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/text.h"

#define COUNT_RANGE                                                                                \
    ((struct args_range){ 1, 100000 }) /* what the server allows is its business                   \
                                        */

/* ---- create, clone
 * ------------------------------------------------------------------------------*/
/* Makes the volumes `name`, or as many as --count says, and prints their names.  what: the operand
 * that the name was; body: what they are made from. */
static int make_volumes(struct cli *c, const struct cli_args *a, const char *what, const char *name,
                        json_t *body, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    uint32_t count = 0;
    size_t i;
    json_t *made;

    int rc = args_number(a, "count", COUNT_RANGE, &count, e);
    if (rc == 0)
        rc = cli_check_numbered(what, name, count, e);
    if (rc < 0)
        return rc;
    if (!body || json_object_set_new(body, "name", json_string(name)) < 0 ||
        (count && json_object_set_new(body, "count", json_integer(count)) < 0))
        return err_set(e, -ENOMEM, "out of memory");
    rc = cli_post(c, "/v1/volumes", body, &r, e);
    if (rc < 0)
        return rc;
    json_array_foreach(json_object_get(r.json, "volumes"), i, made)
        fprintf(c->out, "%s\n", json_string_value(made));
    return 0;
}

int cmd_volume_create(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(auto_json) json_t *body = json_pack("{s:s}", "image", args_value(a, "image"));

    return make_volumes(c, a, "NAME", a->words[0], body, e);
}

int cmd_volume_clone(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(auto_json) json_t *body = json_pack("{s:s}", "clone", a->words[0]);

    return make_volumes(c, a, "NEW", a->words[1], body, e);
}

/* ---- list
 * ---------------------------------------------------------------------------------------*/
/* "lab-1, in use", "command line", ""; "over" is one whose volume has a new epoch. */
static const char *attached_to(const json_t *volume, char *ret, size_t size)
{
    const json_t *attachment = json_object_get(volume, "attachment");
    const char *host = client_text(attachment, "host");

    if (!json_is_object(attachment))
        return "";
    const char *now = client_true(attachment, "connected")                    ? ", in use"
                      : json_is_false(json_object_get(attachment, "current")) ? ", over"
                                                                              : "";
    snprintf(ret, size, "%s%s", host[0] ? host : "command line", now);
    return ret;
}

/* "ok", "failed", "damaged", or "parked": its writes wait for room. */
static const char *state(const json_t *volume)
{
    const char *word = client_text(volume, "state");

    return client_true(volume, "parked") && strcmp(word, "ok") == 0 ? "parked" : word;
}

static void row(struct table *t, const json_t *volume)
{
    int64_t size = client_number(volume, "size_bytes"), data = client_number(volume, "data_bytes");
    char text[TEXT_SIZE], who[128];

    table_add(t, client_text(volume, "name"));
    table_add(t, client_text(volume, "image"));
    table_add(t, text_bytes(size > 0 ? (uint64_t)size : 0, text));
    table_add(t, text_bytes(data > 0 ? (uint64_t)data : 0, text));
    table_add(t, state(volume));
    table_add(t, attached_to(volume, who, sizeof who));
    table_add(t, client_text(volume, "domain"));
}

int cmd_volume_list(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return cli_list(c, "/v1/volumes", "volumes",
                    "VOLUME|IMAGE|>SIZE|>WRITTEN|STATE|ATTACHED TO|DOMAIN", row, e);
}

/* ---- show
 * ---------------------------------------------------------------------------------------*/
static void show_bytes(struct cli *c, const json_t *volume, const char *key, const char *title)
{
    int64_t bytes = client_number(volume, key);
    char text[TEXT_SIZE];

    cli_field(c, title, text_bytes(bytes > 0 ? (uint64_t)bytes : 0, text));
}

static void show_number(struct cli *c, const json_t *volume, const char *key, const char *title)
{
    char text[TEXT_SIZE];

    snprintf(text, sizeof text, "%lld", (long long)client_number(volume, key));
    cli_field(c, title, text);
}

static void show_state(struct cli *c, const json_t *volume)
{
    const char *word = state(volume);
    char text[500];

    snprintf(text, sizeof text, "%.20s%s%.300s", word,
             strcmp(word, "parked") == 0    ? ": its writes wait for room"
             : strcmp(word, "damaged") == 0 ? ": it cannot be opened; reset it, roll it back, or "
                                              "restore its files from a backup: "
                                            : "",
             strcmp(word, "damaged") == 0 ? client_text(volume, "damage") : "");
    cli_field(c, "state", text);
}

static void show(struct cli *c, const json_t *volume)
{
    char text[128];

    cli_field(c, "volume", client_text(volume, "name"));
    cli_field(c, "image", client_text(volume, "image"));
    show_bytes(c, volume, "size_bytes", "size");
    show_bytes(c, volume, "data_bytes", "written");
    if (json_is_integer(json_object_get(volume, "quota_bytes")))
        show_bytes(c, volume, "quota_bytes", "quota");
    else
        cli_field(c, "quota", "none");
    show_state(c, volume);
    show_number(c, volume, "below", "layers");
    show_number(c, volume, "snapshots", "snapshots");
    show_number(c, volume, "generation", "generation");
    show_number(c, volume, "epoch", "epoch");
    cli_field(c, "created", text_time(client_number(volume, "created_at"), text));
    cli_field(c, "attached", attached_to(volume, text, sizeof text));
    cli_field(c, "domain", client_text(volume, "domain"));
}

int cmd_volume_show(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_show(c, "/v1/volumes/", a->words[0], show, e);
}

/* ---- resize, quota
 * ------------------------------------------------------------------------------*/
/* POST /v1/volumes/VOLUME/VERB {key: bytes}; 0 bytes: null. */
static int set_bytes(struct cli *c, const struct cli_args *a, const char *key, uint64_t bytes,
                     struct client_reply *ret, struct err *e)
{
    AUTO(auto_json) json_t *body = json_object();
    char path[CLIENT_PATH_SIZE], verb[16];

    if (bytes > INT64_MAX)
        return err_set(e, -EINVAL, "BYTES '%.40s': larger than any disk", a->words[1]);
    if (json_object_set_new(body, key, bytes ? json_integer((json_int_t)bytes) : json_null()) < 0)
        return err_set(e, -ENOMEM, "out of memory");
    snprintf(verb, sizeof verb, "/%s", a->command->verb);
    int rc = client_path(path, "/v1/volumes/", a->words[0], verb, e);
    return rc < 0 ? rc : cli_post(c, path, body, ret, e);
}

int cmd_volume_resize(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char text[TEXT_SIZE], safe[160];
    uint64_t bytes;

    int rc = args_bytes("BYTES", a->words[1], &bytes, e);
    if (rc == 0 && bytes == 0)
        rc = err_set(e, -EINVAL, "BYTES '%.40s': a volume has at least 512 bytes", a->words[1]);
    if (rc == 0)
        rc = set_bytes(c, a, "size_bytes", bytes, &r, e);
    if (rc < 0 || c->json)
        return rc;
    bytes = (uint64_t)client_number(r.json, "size_bytes");
    fprintf(c->out, "volume %s has %s\n", text_safe(client_text(r.json, "name"), safe, sizeof safe),
            text_bytes(bytes, text));
    return 0;
}

int cmd_volume_quota(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char text[TEXT_SIZE], safe[160];
    uint64_t bytes = 0;
    int rc = 0;

    if (strcmp(a->words[1], "none") != 0)
        rc = args_bytes("BYTES", a->words[1], &bytes, e);
    if (rc == 0 && bytes == 0 && strcmp(a->words[1], "none") != 0)
        rc = err_set(e, -EINVAL, "BYTES '%.40s': use a size like 8G, or none", a->words[1]);
    if (rc == 0)
        rc = set_bytes(c, a, "quota_bytes", bytes, &r, e);
    if (rc < 0 || c->json)
        return rc;
    text_safe(client_text(r.json, "name"), safe, sizeof safe);
    if (bytes)
        fprintf(c->out, "volume %s may hold %s of its own\n", safe, text_bytes(bytes, text));
    else
        fprintf(c->out, "volume %s has no quota\n", safe);
    return 0;
}

/* ---- attach
 * -------------------------------------------------------------------------------------*/
int cmd_volume_attach(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    AUTO(auto_json) json_t *body = json_object();
    size_t i;
    json_t *item;

    int rc = cli_volumes(a, 0, body, e);
    if (rc < 0)
        return rc;
    if (args_value(a, "force") && json_object_set_new(body, "force", json_true()) < 0)
        return err_set(e, -ENOMEM, "out of memory");
    rc = cli_post(c, "/v1/attachments", body, &r, e);
    if (rc < 0)
        return rc;
    json_array_foreach(json_object_get(r.json, "attachments"), i, item)
        fprintf(c->out, "%s\n", client_text(item, "uri"));
    return 0;
}

/* ---- detach, remove
 * -----------------------------------------------------------------------------*/
static int detach_all(struct cli *c, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    int rc = client_call(c->client, "DELETE", "/v1/attachments", NULL, 0, &r, e);

    if (rc == 0 && c->json)
        cli_print_json(c, &r);
    return rc;
}

int cmd_volume_detach(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(auto_json) json_t *body = json_object();
    int rc = cli_volumes(a, 0, body, e);

    if (rc < 0)
        return rc;
    return args_value(a, "all") ? detach_all(c, e)
                                : cli_each(c, a, "DELETE", "/v1/volumes/", "/attachment", e);
}

int cmd_volume_remove(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_each(c, a, "DELETE", "/v1/volumes/",
                    args_value(a, "snapshots") ? "?snapshots=1" : "", e);
}
