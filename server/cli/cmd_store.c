/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_store - the commands of the store: what it holds, and whether it is sound. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/job.h"
#include "server/cli/text.h"

static const char *bytes_of(const json_t *object, const char *key, char ret[static TEXT_SIZE])
{
    int64_t bytes = client_number(object, key);

    return text_bytes(bytes > 0 ? (uint64_t)bytes : 0, ret);
}

/* ---- status
 * -------------------------------------------------------------------------------------*/
static const char *past(const char *word)
{
    if (strcmp(word, "none") == 0)
        return "the store is new";
    if (strcmp(word, "killed") == 0)
        return "the server before this one was killed; no answered write was lost";
    if (strcmp(word, "power") == 0)
        return "the machine lost power or restarted; volumes that were being written began an "
               "epoch";
    return "the server before this one stopped cleanly";
}

static void show_room(struct cli *c, const json_t *s)
{
    bool power = strcmp(client_text(s, "durability"), "power") == 0;
    char text[200], size[TEXT_SIZE], rest[TEXT_SIZE];

    snprintf(text, sizeof text, "%s free of %s; %s", bytes_of(s, "free_bytes", rest),
             bytes_of(s, "size_bytes", size),
             power ? "a power loss loses nothing that was flushed"
                   : "a power loss is NOT covered on this file system");
    cli_field(c, "store", text);
}

static void show_data(struct cli *c, const json_t *s)
{
    static const char *const keys[] = { "images", "volumes", "snapshots" };
    char text[TEXT_SIZE];

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        cli_field(c, keys[i], bytes_of(json_object_get(s, "data"), keys[i], text));
}

static void show_state(struct cli *c, const json_t *s)
{
    long long parked = client_number(s, "parked"), failed = client_number(s, "failed"),
              dead = client_number(s, "dead");
    char text[200];

    snprintf(text, sizeof text, "%lld", (long long)client_number(s, "layers"));
    if (dead)
        snprintf(text + strlen(text), sizeof text - strlen(text), "; %lld more are to be removed",
                 dead);
    cli_field(c, "layers", text);
    snprintf(text, sizeof text, "%lld volume%s wait%s for room", parked, parked == 1 ? "" : "s",
             parked == 1 ? "s" : "");
    cli_field(c, "parked", parked ? text : "none");
    snprintf(text, sizeof text, "%lld volume%s: see `gridbox volume list`", failed,
             failed == 1 ? "" : "s");
    cli_field(c, "failed", failed ? text : "none");
    cli_field(c, "live maps", client_text(s, "live"));
    cli_field(c, "start", past(client_text(s, "past")));
}

/* "merge of snapshot s1: 45 %", for each job that runs just now. */
static void show_jobs(struct cli *c, const json_t *jobs)
{
    char text[300];
    size_t i;
    json_t *job;

    json_array_foreach(json_object_get(jobs, "jobs"), i, job)
    {
        double done = (double)client_number(job, "done_bytes"),
               total = (double)client_number(job, "total_bytes");
        if (strcmp(client_text(job, "state"), "running") != 0)
            continue;
        int at = snprintf(text, sizeof text, "%.40s of %.120s: %.60s", client_text(job, "kind"),
                          client_text(job, "object"), client_text(job, "phase"));
        if (total > 0 && at > 0)
            snprintf(text + at, sizeof text - (size_t)at, ", %.0f %%", done * 100 / total);
        cli_field(c, "job", text);
    }
}

int cmd_store_status(struct cli *c, const struct cli_args *a, struct err *e)
{
    AUTO(client_reply_done) struct client_reply r = { 0 }, jobs = { 0 };
    int rc = client_call(c->client, "GET", "/v1/store", NULL, 0, &r, e);

    (void)a;
    if (rc == 0 && !c->json)
        rc = client_call(c->client, "GET", "/v1/jobs", NULL, 0, &jobs, e);
    if (rc < 0)
        return rc;
    if (c->json) {
        cli_print_json(c, &r);
        return 0;
    }
    show_room(c, r.json);
    show_data(c, r.json);
    show_state(c, r.json);
    show_jobs(c, jobs.json);
    return 0;
}

/* ---- check, scrub
 * -------------------------------------------------------------------------------*/
static void print_problems(struct cli *c, const json_t *problems)
{
    char of[160], layer[64], what[400];
    size_t i;
    json_t *p;

    json_array_foreach(problems, i, p)
        fprintf(c->out, "%s: layer %s: %s\n", text_safe(client_text(p, "of"), of, sizeof of),
                text_safe(client_text(p, "layer"), layer, sizeof layer),
                text_safe(client_text(p, "what"), what, sizeof what));
}

static int examine(struct cli *c, bool deep, struct err *e)
{
    AUTO(client_reply_done) struct client_reply started = { 0 }, ended = { 0 };
    AUTO(auto_json) json_t *body = json_pack("{s:b}", "deep", deep);
    const char *what = deep ? "scrub of the store" : "check of the store";
    char read[TEXT_SIZE];

    if (!body)
        return err_set(e, -ENOMEM, "out of memory");
    int rc = client_call(c->client, "POST", "/v1/store/check", body, 0, &started, e);
    if (rc == 0)
        rc = job_run(c, &started, deep ? "scrub" : "check", what, &ended, e);
    if (rc < 0)
        return rc;
    const json_t *result = json_object_get(ended.json, "result"),
                 *problems = json_object_get(result, "problems");
    size_t count = json_array_size(problems);
    long long layers = client_number(result, "layers");
    if (!c->json)
        print_problems(c, problems);
    if (count)
        return err_set(e, -EREMOTEIO,
                       "%zu of %lld layers %s damaged: restore %s from a backup, "
                       "or remove what stands on %s",
                       count, layers, count == 1 ? "is" : "are", count == 1 ? "it" : "them",
                       count == 1 ? "it" : "them");
    if (!c->json)
        fprintf(c->out, "%lld layer%s sound; %s%s\n", layers, layers == 1 ? " is" : "s are",
                deep ? bytes_of(result, "checked_bytes", read) : "`gridbox store scrub` also reads",
                deep ? " read" : " their data");
    return 0;
}

int cmd_store_check(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return examine(c, false, e);
}

int cmd_store_scrub(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)a;
    return examine(c, true, e);
}
