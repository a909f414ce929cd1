/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_image - the commands of images, but for the import (cmd_import.c). */
#include <errno.h>
#include <stdio.h>

#include "server/base/auto.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/job.h"
#include "server/cli/text.h"

/* "debian-12@3" */
static const char *reference(const json_t *image, char *ret, size_t size)
{
    snprintf(ret, size, "%s@%lld", client_text(image, "name"),
             (long long)client_number(image, "version"));
    return ret;
}

static const char *bytes_of(const json_t *image, const char *key, char ret[static TEXT_SIZE])
{
    int64_t bytes = client_number(image, key);

    return text_bytes(bytes > 0 ? (uint64_t)bytes : 0, ret);
}

static void row(struct table *t, const json_t *image)
{
    char name[128], text[TEXT_SIZE];

    table_add(t, reference(image, name, sizeof name));
    table_add(t, bytes_of(image, "size_bytes", text));
    table_add(t, bytes_of(image, "data_bytes", text));
    snprintf(text, sizeof text, "%lld", (long long)client_number(image, "volumes"));
    table_add(t, text);
    table_add(t, client_text(image, "state"));
    table_add(t, text_time(client_number(image, "created_at"), text));
    table_add(t, client_text(image, "source"));
}

int cmd_image_list(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return cli_list(c, "/v1/images", "images", "IMAGE|>SIZE|>DATA|>VOLUMES|STATE|CREATED|SOURCE",
                    row, e);
}

static void show(struct cli *c, const json_t *image)
{
    char name[128], text[TEXT_SIZE];

    cli_field(c, "image", reference(image, name, sizeof name));
    cli_field(c, "size", bytes_of(image, "size_bytes", text));
    cli_field(c, "data", bytes_of(image, "data_bytes", text));
    cli_field(c, "sha256", client_text(image, "sha256"));
    cli_field(c, "state", client_text(image, "state"));
    cli_field(c, "source", client_text(image, "source"));
    cli_field(c, "format", client_text(image, "format"));
    cli_field(c, "created", text_time(client_number(image, "created_at"), text));
    snprintf(text, sizeof text, "%lld", (long long)client_number(image, "volumes"));
    cli_field(c, "volumes", text);
}

int cmd_image_show(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_show(c, "/v1/images/", a->words[0], show, e);
}

int cmd_image_attach(struct cli *c, const struct cli_args *a, struct err *e)
{
    char path[CLIENT_PATH_SIZE];

    int rc = client_path(path, "/v1/images/", a->words[0], "/attachments", e);
    return rc < 0 ? rc : cli_post_text(c, path, NULL, "uri", e);
}

/* ---- verify
 * -------------------------------------------------------------------------------------*/
static int verify_one(struct cli *c, const char *image, struct err *e)
{
    AUTO(client_reply_done) struct client_reply started = { 0 }, ended = { 0 };
    char path[CLIENT_PATH_SIZE], what[160], name[128], sum[80];

    snprintf(what, sizeof what, "verification of '%.120s'", image);
    int rc = client_path(path, "/v1/images/", image, "/verify", e);
    if (rc == 0)
        rc = client_call(c->client, "POST", path, NULL, 0, &started, e);
    if (rc == 0)
        rc = job_run(c, &started, image, what, &ended, e);
    if (rc < 0 || c->json)
        return rc;
    const json_t *result = json_object_get(ended.json, "result");
    fprintf(c->out, "%s is sound: sha256 %s\n",
            text_safe(client_text(result, "image"), name, sizeof name),
            text_safe(client_text(result, "sha256"), sum, sizeof sum));
    return 0;
}

int cmd_image_verify(struct cli *c, const struct cli_args *a, struct err *e)
{
    for (unsigned i = 0; i < a->count; i++) {
        int rc = verify_one(c, a->words[i], e);
        if (rc < 0 && (a->count == 1 || rc == -ENOTCONN || rc == -ECANCELED))
            return rc;
        if (rc < 0)
            cli_complain(c, e);
    }
    return 0;
}

int cmd_image_detach(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_each(c, a, "DELETE", "/v1/images/", "/attachments", e);
}

int cmd_image_remove(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_each(c, a, "DELETE", "/v1/images/", "", e);
}
