/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_host - the commands of hosts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "server/base/auto.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/text.h"

/* "12 s ago"; the server's clock is taken to be ours, so what lies ahead is just now. */
static const char *seen(const json_t *host, char ret[static TEXT_SIZE])
{
    int64_t at = client_number(host, "seen_at");
    char text[TEXT_SIZE];

    if (client_true(host, "online"))
        return "online";
    if (at <= 0)
        return "never";
    snprintf(ret, TEXT_SIZE, "%.24s ago", text_duration((int64_t)time(NULL) - at, text));
    return ret;
}

static void row(struct table *t, const json_t *host)
{
    const char *mac = json_string_value(json_array_get(json_object_get(host, "macs"), 0));
    int64_t cpus = client_number(host, "cpus"), mib = client_number(host, "memory_mib");
    char text[TEXT_SIZE];

    table_add(t, client_text(host, "name"));
    table_add(t, client_text(host, "state"));
    table_add(t, mac);
    table_add(t, client_text(host, "address"));
    /* A PC that has not been seen yet has neither as far as anybody knows. */
    snprintf(text, sizeof text, "%lld", (long long)cpus);
    table_add(t, cpus > 0 ? text : "");
    table_add(t, mib > 0 ? text_bytes((uint64_t)mib << 20, text) : "");
    table_add(t, client_text(host, "loader"));
    snprintf(text, sizeof text, "%lld", (long long)client_number(host, "domains"));
    table_add(t, text);
    table_add(t, seen(host, text));
}

int cmd_host_list(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return cli_list(c, "/v1/hosts", "hosts",
                    "HOST|STATE|MAC|ADDRESS|>CPUS|>MEMORY|LOADER|>DOMAINS|SEEN", row, e);
}

int cmd_host_approve(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(auto_json) json_t *body = json_object();
    const char *name = args_value(a, "name"), *loader = args_value(a, "loader");
    char path[CLIENT_PATH_SIZE];

    if (loader && strcmp(loader, "auto") != 0 && strcmp(loader, "undionly") != 0)
        return err_set(e, -EINVAL, "--loader '%.40s': use auto or undionly", loader);
    if (!body || (name && json_object_set_new(body, "name", json_string(name)) < 0) ||
        (loader && json_object_set_new(body, "loader", json_string(loader)) < 0))
        return err_set(e, -ENOMEM, "out of memory");
    int rc = client_path(path, "/v1/hosts/", a->words[0], "/approve", e);
    return rc < 0 ? rc : cli_post_text(c, path, body, "name", e);
}

int cmd_host_forget(struct cli *c, const struct cli_args *a, struct err *e)
{
    return cli_each(c, a, "DELETE", "/v1/hosts/", "", e);
}
