/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_volume - the commands of volumes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/text.h"

#define COUNT_MAX 100000 /* what the server allows is its own business */

static void auto_json(json_t **j)
{
    json_decref(*j);
}

/* ---- create
 * -------------------------------------------------------------------------------------*/
int cmd_volume_create(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    uint32_t count = 0;

    int rc = args_number(a, "count", COUNT_MAX, &count, e);
    if (rc < 0)
        return rc;
    AUTO(auto_json)
    json_t *body = json_pack("{s:s, s:s}", "name", a->words[0], "image", args_value(a, "image"));
    if (!body || (count && json_object_set_new(body, "count", json_integer(count)) < 0))
        return err_set(e, -ENOMEM, "out of memory");
    rc = client_call(c->client, "POST", "/v1/volumes", body, 0, &r, e);
    if (rc < 0)
        return rc;
    if (c->json) {
        cli_print_json(c, &r);
        return 0;
    }
    size_t i;
    json_t *name;
    json_array_foreach(json_object_get(r.json, "volumes"), i, name)
        fprintf(c->out, "%s\n", json_string_value(name));
    return 0;
}

/* ---- list
 * ---------------------------------------------------------------------------------------*/
static bool by_command_line(const json_t *volume)
{
    const json_t *attachment = json_object_get(volume, "attachment");

    return json_is_object(attachment) && !json_is_string(json_object_get(attachment, "host"));
}

/* "lab-1, in use", "command line", "-"; "over" is one whose volume has a new epoch. */
static void add_attachment(struct table *t, const json_t *volume)
{
    const json_t *attachment = json_object_get(volume, "attachment");
    const char *host = client_text(attachment, "host");
    char text[128];

    if (!json_is_object(attachment)) {
        table_add(t, "");
        return;
    }
    const char *now = client_true(attachment, "connected")                    ? ", in use"
                      : json_is_false(json_object_get(attachment, "current")) ? ", over"
                                                                              : "";
    snprintf(text, sizeof text, "%s%s", host[0] ? host : "command line", now);
    table_add(t, text);
}

static void row(struct table *t, const json_t *volume)
{
    int64_t size = client_number(volume, "size_bytes"), data = client_number(volume, "data_bytes");
    char text[TEXT_SIZE];

    table_add(t, client_text(volume, "name"));
    table_add(t, client_text(volume, "image"));
    table_add(t, text_bytes(size > 0 ? (uint64_t)size : 0, text));
    table_add(t, text_bytes(data > 0 ? (uint64_t)data : 0, text));
    table_add(t, client_text(volume, "state"));
    add_attachment(t, volume);
    table_add(t, client_text(volume, "domain"));
}

int cmd_volume_list(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return cli_list(c, "/v1/volumes", "volumes",
                    "VOLUME|IMAGE|>SIZE|>WRITTEN|STATE|ATTACHED TO|DOMAIN", row, e);
}

/* ---- attach
 * -------------------------------------------------------------------------------------*/
static int names_or_all(const struct cli_args *a, struct err *e)
{
    bool all = args_value(a, "all") != NULL;

    if (all && a->count)
        return err_set(e, -EINVAL, "volume %s: give names or --all, not both", a->command->verb);
    if (!all && !a->count)
        return err_set(e, -EINVAL, "volume %s: give the names of volumes, or --all",
                       a->command->verb);
    return 0;
}

static json_t *attach_body(const struct cli_args *a)
{
    AUTO(auto_json) json_t *body = json_object();
    AUTO(auto_json) json_t *names = json_array();
    int rc = 0;

    for (unsigned i = 0; i < a->count; i++)
        rc |= json_array_append_new(names, json_string(a->words[i]));
    if (a->count)
        rc |= json_object_set(body, "volumes", names);
    else
        rc |= json_object_set_new(body, "all", json_true());
    if (args_value(a, "force"))
        rc |= json_object_set_new(body, "force", json_true());
    return rc ? NULL : TAKE(body);
}

int cmd_volume_attach(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };

    int rc = names_or_all(a, e);
    if (rc < 0)
        return rc;
    AUTO(auto_json) json_t *body = attach_body(a);
    if (!body)
        return err_set(e, -ENOMEM, "out of memory");
    rc = client_call(c->client, "POST", "/v1/attachments", body, 0, &r, e);
    if (rc < 0)
        return rc;
    if (c->json) {
        cli_print_json(c, &r);
        return 0;
    }
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(r.json, "attachments"), i, item)
        fprintf(c->out, "%s\n", client_text(item, "uri"));
    return 0;
}

/* ---- detach, remove
 * -----------------------------------------------------------------------------*/
static int detach_all(struct cli *c, struct err *e)
{
    AUTO(client_reply_done) struct client_reply list = { 0 };
    int rc = client_call(c->client, "GET", "/v1/volumes", NULL, 0, &list, e);

    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(list.json, "volumes"), i, item)
    {
        AUTO(client_reply_done) struct client_reply r = { 0 };
        char path[CLIENT_PATH_SIZE];

        if (!by_command_line(item))
            continue;
        rc = client_path(path, "/v1/volumes/", client_text(item, "name"), "/attachment", e);
        if (rc == 0)
            rc = client_call(c->client, "DELETE", path, NULL, 0, &r, e);
        if (rc < 0)
            return rc;
    }
    return rc;
}

int cmd_volume_detach(struct cli *c, const struct cli_args *a, struct err *e)
{
    int rc = names_or_all(a, e);

    if (rc < 0)
        return rc;
    return args_value(a, "all") ? detach_all(c, e)
                                : cli_each(c, a, "DELETE", "/v1/volumes/", "/attachment", e);
}

int cmd_volume_remove(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_each(c, a, "DELETE", "/v1/volumes/", "", e);
}
