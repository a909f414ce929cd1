/* SPDX-License-Identifier: Apache-2.0 */
/* agent_rig - an agent that can be dropped at any step and born again, and looks at what is there.
 */
#include "tests/unit/unit.h"

#include "tests/unit/hostside/agent_rig.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/clock.h"
#include "server/base/log.h"

/* ---- the world ---- */

static void submit(void *arg, struct step *s)
{
    struct world *w = arg;
    struct step **end = &w->queue;

    while (*end)
        end = &(*end)->next;
    *end = s;
}

static void stage(void *arg, const char *text)
{
    struct world *w = arg;

    strcat(strcat(w->stages, text), ";");
}

void give_spec(struct world *w)
{
    struct contract_spec spec = { .revision = 1, .approved = w->approved };

    spec.domains = calloc(w->want_count + 1, sizeof *spec.domains);
    memcpy(spec.domains, w->want, w->want_count * sizeof *spec.domains);
    spec.domain_count = w->want_count;
    agent_set_spec(w->agent, &spec);
}

void agent_is_born(struct world *w)
{
    struct agent_config config = { .submit = submit, .stage = stage, .arg = w };

    assert_int_equal(domain_sim_new(w->dir, &w->domains, NULL), 0);
    assert_int_equal(attach_sim_new(w->dir, &w->disks, NULL), 0);
    config.domains = w->domains;
    config.disks = w->disks;
    assert_int_equal(agent_new(&config, &w->agent, NULL), 0);
    give_spec(w);
}

void agent_dies(struct world *w)
{
    while (w->queue) {
        struct step *s = w->queue;

        w->queue = s->next;
        free(s);
    }
    agent_free(w->agent);
    w->domains->ops->free(w->domains);
    w->disks->ops->free(w->disks);
}

struct contract_domain domain(const char *name, const char *uuid, const char *volume)
{
    struct contract_domain d = {
        .memory_mib = 256, .vcpus = 1, .running = true, .stop_seconds = 60, .incarnation = 1
    };

    strcpy(d.name, name);
    strcpy(d.uuid, uuid);
    strcpy(d.mac, "52:54:00:00:00:01");
    strcpy(d.disks[0].volume, volume);
    strcpy(d.disks[0].vdev, "xvda");
    d.disks[0].epoch = 1;
    d.disk_count = 1;
    return d;
}

void world_begins(struct world *w)
{
    *w = (struct world){ .now_ns = 1000 * NS_PER_S, .approved = true, .want_count = 1 };
    log_set_level(LOG_LEVEL_ERROR);
    strcpy(w->dir, "/tmp/agent_test.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->want[0] = domain("a", UUID_A, "va");
    w->want[1] = domain("b", UUID_B, "vb");
    agent_is_born(w);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void world_ends(struct world *w)
{
    agent_dies(w);
    nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void do_step(struct world *w)
{
    struct step *s = w->queue;

    w->queue = s->next;
    s->next = NULL;
    step_run(s, w->domains, w->disks);
    strcat(strcat(w->done, plan_step_name(s->kind)), ";");
    w->steps++;
    agent_finish(w->agent, s, w->now_ns);
}

void settle(struct world *w)
{
    for (int i = 0; i < 100; i++) {
        agent_tick(w->agent, w->now_ns);
        if (!w->queue)
            return;
        do_step(w);
    }
    fail_msg("the agent does not come to rest");
}

/* ---- looking at it ---- */

unsigned domains_of(struct world *w, struct domain_seen ret[8])
{
    unsigned count;

    assert_int_equal(w->domains->ops->list(w->domains, ret, 8, &count, NULL), 0);
    return count;
}

unsigned domain_count(struct world *w)
{
    struct domain_seen all[8];

    return domains_of(w, all);
}

struct domain_seen domain_of(struct world *w, const char *uuid)
{
    struct domain_seen all[8];
    unsigned count = domains_of(w, all);

    for (unsigned i = 0; i < count; i++)
        if (strcmp(all[i].uuid, uuid) == 0)
            return all[i];
    fail_msg("no domain %s", uuid);
    return all[0];
}

unsigned device_count(struct world *w)
{
    struct attach_seen all[8];
    unsigned count;

    assert_int_equal(w->disks->ops->list(w->disks, all, 8, &count, NULL), 0);
    return count;
}

struct contract_domain_report report_of(struct world *w, unsigned n)
{
    struct contract_report r;
    struct contract_domain_report d;
    char *text = agent_report(w->agent);

    assert_non_null(text);
    assert_int_equal(contract_report_parse(text, strlen(text), &r, NULL), 0);
    assert_in_range(n, 0, r.domain_count - 1);
    d = r.domains[n];
    contract_report_done(&r);
    free(text);
    return d;
}

void expect_running(struct world *w, const char *uuid, uint64_t incarnation)
{
    struct domain_seen d = domain_of(w, uuid);

    assert_int_equal(d.run, DOMAIN_RUNS);
    assert_true(d.made);
    assert_int_equal(d.incarnation, incarnation);
}

void expect_nothing_there(struct world *w)
{
    struct domain_seen all[8];

    assert_int_equal(domains_of(w, all), 0);
    assert_int_equal(device_count(w), 0);
}
