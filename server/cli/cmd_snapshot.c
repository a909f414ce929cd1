/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_snapshot - the commands that take volumes through time: snapshot, rollback, reset, promote,
 * and those of snapshots themselves.  How it is done without copying is the server's
 * business. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/text.h"

#define LISTED_MAX 8 /* names of domains that one line tells; then "and 12 more" */

/* ---- what was done, in one line
 * -----------------------------------------------------------------*/
/* Prints up to LISTED_MAX texts of an array: "a, b, c and 4 more". */
static void print_some(const json_t *list, FILE *out)
{
    size_t count = json_array_size(list), i;
    json_t *item;
    char safe[160];

    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        if (i == LISTED_MAX)
            break;
        fprintf(out, "%s%s", i ? ", " : "", text_safe(text ? text : "?", safe, sizeof safe));
    }
    if (count > LISTED_MAX)
        fprintf(out, " and %zu more", count - LISTED_MAX);
}

/* "75 at debian-12@3, 5 at tiny@1": where the volumes of an answer are now.  NULL: out of memory.
 */
static json_t *destinations(const json_t *volumes)
{
    AUTO(auto_json) json_t *counts = json_object();
    size_t i;
    json_t *item;

    json_array_foreach(volumes, i, item)
    {
        const char *to = client_text(item, "to");
        if (json_object_set_new(counts, to, json_integer(client_number(counts, to) + 1)) < 0)
            return NULL;
    }
    return TAKE(counts);
}

/* "volume pc-7 is back at debian-12@3", "75 volumes are back at snapshot before-exam". */
static int print_back(struct cli *c, const json_t *answer, const char *kind, struct err *e)
{
    const json_t *volumes = json_object_get(answer, "volumes"),
                 *restarted = json_object_get(answer, "restarted");
    AUTO(auto_json) json_t *counts = destinations(volumes);
    size_t count = json_array_size(volumes), left;
    char safe[160];
    const char *to;
    json_t *n;

    if (!counts)
        return err_set(e, -ENOMEM, "out of memory");
    if (count == 1)
        fprintf(c->out, "volume %s is back at",
                text_safe(client_text(json_array_get(volumes, 0), "volume"), safe, sizeof safe));
    else
        fprintf(c->out, "%zu volumes are back%s", count, count ? " at" : "");
    left = json_object_size(counts);
    bool several = left > 1;
    json_object_foreach(counts, to, n)
    {
        fprintf(c->out, " %s%s", kind, text_safe(to, safe, sizeof safe));
        if (several)
            fprintf(c->out, " (%lld)%s", (long long)json_integer_value(n), --left ? "," : "");
    }
    if (json_array_size(restarted)) {
        fprintf(c->out,
                "; domain%s that start%s anew: ", json_array_size(restarted) == 1 ? "" : "s",
                json_array_size(restarted) == 1 ? "s" : "");
        print_some(restarted, c->out);
    }
    fputc('\n', c->out);
    return 0;
}

/* ---- snapshot, rollback, reset
 * ------------------------------------------------------------------*/
int cmd_volume_snapshot(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    AUTO(auto_json) json_t *body = json_pack("{s:s}", "name", a->words[0]);
    char safe[160];

    int rc = cli_volumes(a, 1, body, e);
    if (rc == 0)
        rc = cli_post(c, "/v1/snapshots", body, &r, e);
    if (rc < 0 || c->json)
        return rc;
    size_t count = json_array_size(json_object_get(r.json, "volumes"));
    fprintf(c->out, "snapshot %s holds %zu volume%s\n",
            text_safe(client_text(r.json, "name"), safe, sizeof safe), count,
            count == 1 ? "" : "s");
    return 0;
}

int cmd_volume_rollback(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    AUTO(auto_json) json_t *body = json_pack("{s:s}", "snapshot", a->words[0]);

    int rc = cli_volumes(a, 1, body, e);
    if (rc == 0)
        rc = cli_post(c, "/v1/rollbacks", body, &r, e);
    return rc < 0 || c->json ? rc : print_back(c, r.json, "snapshot ", e);
}

int cmd_volume_reset(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    AUTO(auto_json) json_t *body = json_object();

    int rc = cli_volumes(a, 0, body, e);
    if (rc == 0)
        rc = cli_post(c, "/v1/resets", body, &r, e);
    return rc < 0 || c->json ? rc : print_back(c, r.json, "", e);
}

/* ---- promote
 * -----------------------------------------------------------------------------*/
int cmd_volume_promote(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(auto_json) json_t *body = json_pack("{s:s}", "image", a->words[1]);
    char path[CLIENT_PATH_SIZE];

    int rc = client_path(path, "/v1/volumes/", a->words[0], "/promote", e);
    if (rc == 0 && !body)
        rc = err_set(e, -ENOMEM, "out of memory");
    return rc < 0 ? rc : cli_post_text(c, path, body, "image", e);
}

/* ---- snapshots
 * ----------------------------------------------------------------------------------*/
static void snapshot_row(struct table *t, const json_t *snapshot)
{
    char text[TEXT_SIZE];

    table_add(t, client_text(snapshot, "name"));
    snprintf(text, sizeof text, "%lld", (long long)client_number(snapshot, "volumes"));
    table_add(t, text);
    table_add(t, text_time(client_number(snapshot, "created_at"), text));
}

int cmd_snapshot_list(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return cli_list(c, "/v1/snapshots", "snapshots", "SNAPSHOT|>VOLUMES|CREATED", snapshot_row, e);
}

static void volume_row(struct table *t, const json_t *volume)
{
    int64_t size = client_number(volume, "size_bytes"), data = client_number(volume, "data_bytes");
    char text[TEXT_SIZE];

    table_add(t, client_text(volume, "volume"));
    table_add(t, text_bytes(size > 0 ? (uint64_t)size : 0, text));
    table_add(t, text_bytes(data > 0 ? (uint64_t)data : 0, text));
}

int cmd_snapshot_show(struct cli *c, const struct cli_args *a, struct err *e)
{
    char path[CLIENT_PATH_SIZE];

    int rc = client_path(path, "/v1/snapshots/", a->words[0], "", e);
    return rc < 0 ? rc : cli_list(c, path, "volumes", "VOLUME|>SIZE|>KEPT", volume_row, e);
}

int cmd_snapshot_remove(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_each(c, a, "DELETE", "/v1/snapshots/", "", e);
}
