/* SPDX-License-Identifier: Apache-2.0 */
/* cli - what the commands share.  It knows no command. */
#include "server/cli/cli.h"

#include <errno.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/text.h"

void cli_complain(struct cli *c, const struct err *e)
{
    char safe[sizeof e->msg];

    fflush(c->out);
    fprintf(stderr, "gridbox: %s\n", text_safe(e->msg, safe, sizeof safe));
    c->failed = true;
}

void cli_print_json(struct cli *c, const struct client_reply *r)
{
    if (!r->text)
        return;
    size_t length = strlen(r->text);
    fputs(r->text, c->out);
    if (length == 0 || r->text[length - 1] != '\n')
        fputc('\n', c->out);
}

static void auto_table(struct table **t)
{
    table_free(*t);
}

int cli_list(struct cli *c, const char *path, const char *key, const char *headings,
             cli_row_fn *row, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    int rc = client_call(c->client, "GET", path, NULL, 0, &r, e);

    if (rc < 0)
        return rc;
    if (c->json) {
        cli_print_json(c, &r);
        return 0;
    }
    AUTO(auto_table) struct table *t = table_new(headings);
    if (!t)
        return err_set(e, -ENOMEM, "out of memory");
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(r.json, key), i, item) row(t, item);
    rc = table_print(t, c->out);
    return rc < 0 ? err_set(e, rc, "out of memory") : 0;
}

void cli_field(struct cli *c, const char *key, const char *value)
{
    char safe[1024];

    fprintf(c->out, "%-10s  %s\n", key, value[0] ? text_safe(value, safe, sizeof safe) : "-");
}

int cli_volumes(const struct cli_args *a, unsigned from, json_t *body, struct err *e)
{
    bool all = args_value(a, "all") != NULL;
    const char *verb = a->command->verb;
    int rc = 0;

    if (all && a->count > from)
        return err_set(e, -EINVAL, "volume %s: give names or --all, not both", verb);
    if (!all && a->count <= from)
        return err_set(e, -EINVAL, "volume %s: give the names of volumes, or --all", verb);
    if (all)
        return json_object_set_new(body, "all", json_true()) < 0
                   ? err_set(e, -ENOMEM, "out of memory")
                   : 0;
    AUTO(auto_json) json_t *names = json_array();
    for (unsigned i = from; i < a->count; i++)
        rc |= json_array_append_new(names, json_string(a->words[i]));
    rc |= json_object_set(body, "volumes", names);
    return rc ? err_set(e, -ENOMEM, "out of memory") : 0;
}

int cli_check_numbered(const char *what, const char *name, uint32_t count, struct err *e)
{
    char safe[100];

    if (count || !strstr(name, "%d"))
        return 0;
    return err_set(e, -EINVAL, "%s '%s': a %%d stands for a number: say how many with --count N",
                   what, text_safe(name, safe, sizeof safe));
}

int cli_post(struct cli *c, const char *path, const json_t *body, struct client_reply *ret,
             struct err *e)
{
    if (!body)
        return err_set(e, -ENOMEM, "out of memory");
    int rc = client_call(c->client, "POST", path, body, 0, ret, e);
    if (rc < 0 || !c->json)
        return rc;
    cli_print_json(c, ret);
    int status = ret->status;
    client_reply_done(ret);
    ret->status = status;
    return 0;
}

int cli_show(struct cli *c, const char *prefix, const char *name,
             void (*show)(struct cli *c, const json_t *object), struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char path[CLIENT_PATH_SIZE];

    int rc = client_path(path, prefix, name, "", e);
    if (rc == 0)
        rc = client_call(c->client, "GET", path, NULL, 0, &r, e);
    if (rc < 0)
        return rc;
    if (c->json)
        cli_print_json(c, &r);
    else
        show(c, r.json);
    return 0;
}

int cli_post_text(struct cli *c, const char *path, const json_t *body, const char *key,
                  struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    int rc = client_call(c->client, "POST", path, body, 0, &r, e);

    if (rc < 0)
        return rc;
    if (c->json)
        cli_print_json(c, &r);
    else
        fprintf(c->out, "%s\n", client_text(r.json, key));
    return 0;
}

static int call_one(struct cli *c, const char *method, const char *prefix, const char *name,
                    const char *suffix, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 };
    char path[CLIENT_PATH_SIZE];

    int rc = client_path(path, prefix, name, suffix, e);
    if (rc == 0)
        rc = client_call(c->client, method, path, NULL, 0, &r, e);
    if (rc == 0 && c->json)
        cli_print_json(c, &r);
    return rc;
}

int cli_each(struct cli *c, const struct cli_args *a, const char *method, const char *prefix,
             const char *suffix, struct err *e)
{
    for (unsigned i = 0; i < a->count; i++) {
        int rc = call_one(c, method, prefix, a->words[i], suffix, e);
        if (rc < 0 && (a->count == 1 || rc == -ENOTCONN))
            return rc; /* no server: the others would fail in the same words */
        if (rc < 0)
            cli_complain(c, e);
    }
    return 0;
}

static int check_word(const char *word, struct err *e)
{
    json_t *text = json_string(word);

    json_decref(text);
    if (!text)
        return err_set(e, -EINVAL, "one of the words is not UTF-8");
    return 0;
}

int cli_check_words(const struct cli_args *a, struct err *e)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < a->count; i++)
        rc = check_word(a->words[i], e);
    for (size_t i = 0; rc == 0 && i < CLI_OPTIONS_MAX; i++)
        if (a->values[i])
            rc = check_word(a->values[i], e);
    return rc;
}
