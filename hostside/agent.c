/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the book of what each domain's queue is doing, delays after failures, the report.
 * Must never know: HTTP, threads, libxl, NBD. */
#include "hostside/agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"

#define SEEN_MAX      256u /* domains of this host, ours or not */
#define ENTRIES_MAX   (CONTRACT_DOMAINS_MAX + SEEN_MAX + ATTACH_MAX)
#define IDLE_NS       (30 * NS_PER_S) /* looks around although nothing has told it to */
#define CHANGING_NS   (2 * NS_PER_S)  /* the same while something is on its way */
#define RETRY_MAX_S   30u
#define RESTART_MAX_S 60u
#define SHORT_LIFE_NS (60 * NS_PER_S) /* a domain that ends sooner is restarted with a delay */

/* One queue: a domain of the spec, a domain that is not desired, or a device without a domain. */
struct entry {
    char key[CONTRACT_UUID_SIZE]; /* uuid, or "nbdN"; "" = free */
    char name[NAME_SIZE];         /* for log lines */
    bool present;                 /* in this look around */
    const struct step *step;      /* under way; borrowed from who does it; only `want` is read */
    unsigned failures;            /* in a row */
    int64_t retry_ns;
    struct plan last; /* what it is doing, for the report */
    char error[200];  /* of the last step; "" = none */
    unsigned short_lives;
    int64_t started_ns, create_after_ns;
    uint64_t incarnation; /* of what is there */
    uint32_t domid;
};

struct agent {
    struct agent_config config;
    struct contract_spec spec;
    bool has_spec, looked;
    bool blind; /* the last look around failed; told once */
    unsigned running;
    int64_t wake_ns;
    struct domain_seen *domains; /* SEEN_MAX */
    unsigned domain_count;
    struct attach_seen *devices; /* ATTACH_MAX */
    unsigned device_count;
    struct entry *entries; /* ENTRIES_MAX */
};

int agent_new(const struct agent_config *config, struct agent **ret, struct err *e)
{
    struct agent *a = calloc(1, sizeof *a);

    if (!a)
        return err_set(e, -ENOMEM, "out of memory");
    a->config = *config;
    a->domains = calloc(SEEN_MAX, sizeof *a->domains);
    a->devices = calloc(ATTACH_MAX, sizeof *a->devices);
    a->entries = calloc(ENTRIES_MAX, sizeof *a->entries);
    if (!a->domains || !a->devices || !a->entries) {
        agent_free(a);
        return err_set(e, -ENOMEM, "out of memory");
    }
    *ret = a;
    return 0;
}

void agent_free(struct agent *a)
{
    if (!a)
        return;
    contract_spec_done(&a->spec);
    free(a->domains);
    free(a->devices);
    free(a->entries);
    free(a);
}

void agent_set_spec(struct agent *a, struct contract_spec *spec)
{
    contract_spec_done(&a->spec);
    a->spec = *spec;
    *spec = (struct contract_spec){ 0 };
    a->has_spec = true;
    for (unsigned i = 0; i < a->spec.domain_count; i++)
        for (unsigned k = 0; k < a->spec.domains[i].disk_count; k++)
            a->config.disks->ops->refresh(a->config.disks, &a->spec.domains[i].disks[k]);
    for (unsigned i = 0; i < ENTRIES_MAX; i++) { /* what failed may work now */
        a->entries[i].retry_ns = 0;
        a->entries[i].failures = 0;
    }
}

unsigned agent_steps_running(const struct agent *a)
{
    return a->running;
}

/* ---- the book ---- */

static struct entry *entry_of(struct agent *a, const char *key, const char *name)
{
    struct entry *free_one = NULL;
    struct entry *found = NULL;

    for (unsigned i = 0; i < ENTRIES_MAX && !found; i++) {
        if (strcmp(a->entries[i].key, key) == 0)
            found = &a->entries[i];
        else if (!a->entries[i].key[0] && !free_one)
            free_one = &a->entries[i];
    }
    if (!found) {
        found = free_one; /* there is one: ENTRIES_MAX covers all there can be, see forget_absent */
        if (!found)
            return NULL;
        *found = (struct entry){ 0 };
        snprintf(found->key, sizeof found->key, "%s", key);
    }
    snprintf(found->name, sizeof found->name, "%s", name[0] ? name : key);
    found->present = true;
    return found;
}

static void forget_absent(struct agent *a)
{
    for (unsigned i = 0; i < ENTRIES_MAX; i++)
        if (!a->entries[i].present && !a->entries[i].step)
            a->entries[i].key[0] = '\0';
}

static void wake_at(struct agent *a, int64_t ns)
{
    if (ns < a->wake_ns)
        a->wake_ns = ns;
}

/* ---- looking around ---- */

static int observe(struct agent *a, struct err *e)
{
    struct domain_driver *domains = a->config.domains;
    struct attach_driver *disks = a->config.disks;
    int rc = domains->ops->list(domains, a->domains, SEEN_MAX, &a->domain_count, e);

    if (rc < 0)
        return err_wrap(e, rc, "list domains");
    rc = disks->ops->list(disks, a->devices, ATTACH_MAX, &a->device_count, e);
    return rc < 0 ? err_wrap(e, rc, "list devices") : 0;
}

static const struct domain_seen *seen_by_uuid(const struct agent *a, const char *uuid)
{
    const struct domain_seen *found = NULL;

    /* While a destroyed one is dying a new one of the same UUID may be there: that one counts. */
    for (unsigned i = 0; i < a->domain_count; i++)
        if (strcmp(a->domains[i].uuid, uuid) == 0 && (!found || found->run == DOMAIN_DYING))
            found = &a->domains[i];
    return found;
}

static const struct domain_seen *user_of(const struct agent *a, const char *volume)
{
    for (unsigned i = 0; i < a->domain_count; i++)
        for (unsigned d = 0; a->domains[i].marked && d < a->domains[i].disk_count; d++)
            if (strcmp(a->domains[i].disks[d].volume, volume) == 0)
                return &a->domains[i];
    return NULL;
}

static bool wants_volume(const struct contract_domain *want, const char *volume)
{
    for (unsigned i = 0; want && i < want->disk_count; i++)
        if (strcmp(want->disks[i].volume, volume) == 0)
            return true;
    return false;
}

/* A device belongs to the domain that uses its volume, else to the one that is to have it. */
static unsigned devices_of(const struct agent *a, const struct contract_domain *want,
                           const struct domain_seen *have, struct attach_seen *ret, unsigned max)
{
    unsigned count = 0;

    for (unsigned i = 0; i < a->device_count && count < max; i++) {
        const struct domain_seen *user = user_of(a, a->devices[i].id.volume);

        if (user ? user == have : wants_volume(want, a->devices[i].id.volume))
            ret[count++] = a->devices[i];
    }
    return count;
}

/* A step ordered for an earlier spec may be about to use the volume, not yet visible. */
static const struct step *step_with_volume(const struct agent *a, const char *volume,
                                           const char *but_uuid)
{
    for (unsigned i = 0; i < ENTRIES_MAX; i++) {
        const struct step *s = a->entries[i].step;

        if (s && (s->kind == PLAN_ATTACH || s->kind == PLAN_KEEP || s->kind == PLAN_CREATE) &&
            strcmp(s->want.uuid, but_uuid) != 0 && wants_volume(&s->want, volume))
            return s;
    }
    return NULL;
}

/* Why a domain cannot be made now, or NULL. */
static const char *obstacle(const struct agent *a, const struct contract_domain *want, char *room,
                            size_t size)
{
    for (unsigned i = 0; i < a->domain_count; i++)
        if (strcmp(a->domains[i].name, want->name) == 0 &&
            strcmp(a->domains[i].uuid, want->uuid) != 0) {
            snprintf(room, size, "another domain bears its name%s",
                     a->domains[i].marked ? ", and is on its way out"
                                          : " and is not Gridbox's: destroy or rename that one");
            return room;
        }
    for (unsigned i = 0; i < want->disk_count; i++) {
        const char *volume = want->disks[i].volume;
        const struct domain_seen *user = user_of(a, volume);
        const struct step *busy = step_with_volume(a, volume, want->uuid);
        const char *by = user && strcmp(user->uuid, want->uuid) != 0 ? user->name
                         : busy                                      ? busy->want.name
                                                                     : NULL;

        if (by) {
            snprintf(room, size, "volume '%.63s' is still in use by domain '%.63s'", volume, by);
            return room;
        }
    }
    return NULL;
}

/* ---- steps ---- */

static struct step *step_new(const struct agent *a, const struct entry *t,
                             const struct plan_input *in, const struct plan *p)
{
    struct step *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->slot = (unsigned)(t - a->entries);
    s->kind = p->step;
    s->disk = p->disk;
    s->now_ns = in->now_ns;
    if (in->want)
        s->want = *in->want;
    if (in->have)
        s->domid = in->have->domid;
    if (p->step == PLAN_KEEP || p->step == PLAN_DISCONNECT)
        s->device = in->devices[p->device].index;
    for (unsigned d = 0; p->step == PLAN_CREATE && d < in->want->disk_count; d++)
        for (unsigned i = 0; i < in->device_count; i++)
            if (strcmp(in->devices[i].id.volume, in->want->disks[d].volume) == 0)
                memcpy(s->paths[d], in->devices[i].path, sizeof s->paths[d]);
    return s;
}

/* A guest that ended is started again: at once, then with a delay if its lives are short. */
static void note_end_of_life(struct entry *t, const struct plan_input *in)
{
    unsigned delay_s = 0;

    if (in->have->run != DOMAIN_ENDED || !in->want || !in->want->running)
        return;
    if (t->started_ns && in->now_ns - t->started_ns < SHORT_LIFE_NS)
        t->short_lives++;
    else
        t->short_lives = 0;
    if (t->short_lives > 0)
        delay_s = t->short_lives > 6 ? RESTART_MAX_S : 1u << (t->short_lives - 1);
    t->create_after_ns = in->now_ns + (int64_t)delay_s * NS_PER_S;
    log_info("domain %s: guest ended: %s", t->name, t->last.detail);
}

static void order(struct agent *a, struct entry *t, const struct plan_input *in)
{
    struct step *s;

    if (t->last.step == PLAN_NOTHING || t->last.step == PLAN_WAIT) {
        t->failures = 0;
        t->error[0] = '\0';
    }
    if (t->last.step == PLAN_NOTHING)
        return;
    wake_at(a, in->now_ns + CHANGING_NS);
    if (t->last.step == PLAN_WAIT) {
        if (t->last.wake_ns)
            wake_at(a, t->last.wake_ns);
        return;
    }
    s = step_new(a, t, in, &t->last);
    if (!s)
        return; /* out of memory: again at the next look */
    if (s->kind == PLAN_DESTROY)
        note_end_of_life(t, in);
    t->step = s;
    a->running++;
    a->config.submit(a->config.arg, s);
}

static void consider(struct agent *a, struct entry *t, const struct contract_domain *want,
                     const struct domain_seen *have, int64_t now_ns)
{
    struct attach_seen devices[CONTRACT_DISKS_MAX * 2];
    char room[200];
    struct plan_input in = { .want = want, .have = have, .devices = devices, .now_ns = now_ns };

    if (!t)
        return;
    t->incarnation = have && have->made ? have->incarnation : 0;
    t->domid = have ? have->domid : 0;
    if (t->step)
        return;
    if (now_ns < t->retry_ns) {
        wake_at(a, t->retry_ns);
        return;
    }
    in.device_count = devices_of(a, want, have, devices, CONTRACT_DISKS_MAX * 2);
    in.in_the_way = want && !have ? obstacle(a, want, room, sizeof room) : NULL;
    in.create_after_ns = t->create_after_ns;
    t->last = plan_next(&in);
    order(a, t, &in);
}

static void consider_orphan(struct agent *a, const struct attach_seen *d, int64_t now_ns)
{
    struct plan_input in = { .devices = d, .device_count = 1, .now_ns = now_ns };
    struct entry *t;
    char key[CONTRACT_UUID_SIZE];

    snprintf(key, sizeof key, "nbd%u", d->index);
    t = entry_of(a, key, d->id.volume);
    if (!t || t->step || now_ns < t->retry_ns)
        return;
    t->last = plan_next(&in);
    order(a, t, &in);
}

static const struct contract_domain *wanted(const struct agent *a, const char *uuid)
{
    for (unsigned i = 0; i < a->spec.domain_count; i++)
        if (strcmp(a->spec.domains[i].uuid, uuid) == 0)
            return &a->spec.domains[i];
    return NULL;
}

static bool claimed(const struct agent *a, const struct attach_seen *d)
{
    if (user_of(a, d->id.volume))
        return true;
    for (unsigned i = 0; i < a->spec.domain_count; i++)
        if (wants_volume(&a->spec.domains[i], d->id.volume))
            return true;
    return false;
}

int64_t agent_tick(struct agent *a, int64_t now_ns)
{
    struct err e = { 0 };

    if (!a->has_spec || !a->spec.approved)
        return now_ns + IDLE_NS;
    if (observe(a, &e) < 0) {
        if (!a->blind)
            log_error("agent: cannot look around, tries again: %s", e.msg);
        a->blind = true;
        return now_ns + NS_PER_S;
    }
    a->blind = false;
    a->wake_ns = now_ns + IDLE_NS;
    for (unsigned i = 0; i < ENTRIES_MAX; i++)
        a->entries[i].present = false;
    for (unsigned i = 0; i < a->spec.domain_count; i++) {
        const struct contract_domain *want = &a->spec.domains[i];

        consider(a, entry_of(a, want->uuid, want->name), want, seen_by_uuid(a, want->uuid), now_ns);
    }
    for (unsigned i = 0; i < a->domain_count; i++) {
        const struct domain_seen *have = &a->domains[i];

        if (have->marked && !wanted(a, have->uuid))
            consider(a, entry_of(a, have->uuid, have->name), NULL, have, now_ns);
    }
    for (unsigned i = 0; i < a->device_count; i++)
        if (!claimed(a, &a->devices[i]))
            consider_orphan(a, &a->devices[i], now_ns);
    forget_absent(a);
    a->looked = true;
    return a->wake_ns;
}

/* ---- results ---- */

static void tell_stage(const struct agent *a, const struct step *s)
{
    char text[NAME_SIZE + 16];

    if (!a->config.stage)
        return;
    if (s->kind == PLAN_ATTACH)
        snprintf(text, sizeof text, "attach %.63s", s->want.disks[s->disk].volume);
    else if (s->kind == PLAN_CREATE)
        snprintf(text, sizeof text, "create %.63s", s->want.name);
    else
        return;
    a->config.stage(a->config.arg, text);
}

static void step_failed(struct entry *t, const struct step *s, int64_t now_ns)
{
    unsigned delay_s = t->failures > 4 ? RETRY_MAX_S : 1u << t->failures;
    char text[sizeof t->error];

    t->failures++;
    t->retry_ns = now_ns + (int64_t)delay_s * NS_PER_S;
    snprintf(text, sizeof text, "%s: %.180s", plan_step_name(s->kind), s->err.msg);
    if (strcmp(text, t->error) != 0)
        log_warn("domain %s: %s: tried again in %u s", t->name, s->err.msg, delay_s);
    memcpy(t->error, text, sizeof text);
}

void agent_finish(struct agent *a, struct step *s, int64_t now_ns)
{
    struct entry *t = &a->entries[s->slot];

    a->running--;
    t->step = NULL;
    if (s->rc < 0) {
        step_failed(t, s, now_ns);
    } else {
        t->failures = 0;
        t->retry_ns = 0;
        t->error[0] = '\0';
        if (s->kind == PLAN_CREATE || s->kind == PLAN_START)
            t->started_ns = now_ns;
        log_info("domain %s: %s: done", t->name, plan_step_name(s->kind));
        tell_stage(a, s);
    }
    free(s);
}

/* A domain that runs is not called failed because something about it has to be tried again. */
static void report_entry(const struct entry *t, struct contract_domain_report *ret)
{
    ret->state = t->last.state;
    memcpy(ret->detail, t->last.detail, sizeof ret->detail);
    if (t->failures > 0) {
        if (ret->state != CONTRACT_RUNNING)
            ret->state = CONTRACT_FAILED;
        memcpy(ret->detail, t->error, sizeof ret->detail);
    }
    ret->incarnation = t->incarnation;
    ret->domid = t->domid;
}

static const struct entry *find_entry(const struct agent *a, const char *key)
{
    for (unsigned i = 0; i < ENTRIES_MAX; i++)
        if (strcmp(a->entries[i].key, key) == 0)
            return &a->entries[i];
    return NULL;
}

char *agent_report(const struct agent *a)
{
    AUTO(contract_report_done) struct contract_report r = { .revision = a->spec.revision };

    if (!a->looked)
        return NULL;
    r.domains = calloc(a->spec.domain_count + 1, sizeof *r.domains);
    if (!r.domains)
        return NULL;
    for (unsigned i = 0; i < a->spec.domain_count; i++) {
        const struct contract_domain *want = &a->spec.domains[i];
        const struct entry *t = find_entry(a, want->uuid);

        if (!t)
            continue; /* the spec is newer than the last look around */
        memcpy(r.domains[r.domain_count].name, want->name, sizeof want->name);
        report_entry(t, &r.domains[r.domain_count++]);
    }
    return contract_report_text(&r);
}
