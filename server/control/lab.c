/* SPDX-License-Identifier: Apache-2.0 */
/* lab - what hosts.c, domains.c, agent.c and boot.c share: who is online, secrets, changes of the
 * desired state, the disk of a domain. */
#include "server/control/lab.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/base/log.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/export/export.h"
#include "server/lab/rule.h"

#define WRITE_SEEN_NS (60 * NS_PER_S)

struct presence {
    int64_t host_id;
    int64_t seen_ns, seen_at; /* monotonic; seconds since 1970 */
    int64_t written_ns;       /* when the catalog got it */
};

struct control_lab {
    struct lab_rule rule;
    char boot_id[40];
    struct presence *present;
    size_t present_count, present_room;
    struct lab_boot *boot;
};

/* ---- life -------------------------------------------------------------------------------------
 */

int control_lab_new(struct control *c, const struct control_lab_options *o,
                    struct control_lab **ret, struct err *e)
{
    AUTO(auto_free) char *boot_id = NULL;
    struct lab_rule rule;
    int rc = lab_rule_read(o->approve, &rule, e);

    (void)c;
    if (rc == 0)
        rc = file_read("/proc/sys/kernel/random/boot_id", 64, &boot_id, NULL, e);
    if (rc < 0)
        return rc;
    struct control_lab *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, -ENOMEM, "out of memory");
    l->rule = rule;
    snprintf(l->boot_id, sizeof l->boot_id, "%.36s", boot_id);
    *ret = l;
    return 0;
}

void control_lab_free(struct control_lab *l)
{
    if (!l)
        return;
    assert(!l->boot); /* control_boot_stop() came first */
    free(l->present);
    free(l);
}

int control_lab_routes(struct http *h, struct err *e)
{
    int rc = lab_host_routes(h, e);

    if (rc == 0)
        rc = lab_domain_routes(h, e);
    if (rc == 0)
        rc = lab_agent_routes(h, e);
    return rc < 0 ? rc : lab_boot_routes(h, e);
}

const struct lab_rule *lab_rule_of(const struct control *c)
{
    return &c->lab->rule;
}

struct lab_boot *lab_boot_of(const struct control *c)
{
    return c->lab->boot;
}

void lab_boot_set(struct control *c, struct lab_boot *b)
{
    c->lab->boot = b;
}

/* ---- secrets ----------------------------------------------------------------------------------
 */

void lab_clock(const struct control *c, struct cat_boot_clock *ret)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t); /* goes on while the machine sleeps */
    *ret = (struct cat_boot_clock){ .boot_id = c->lab->boot_id, .now_s = t.tv_sec };
}

void lab_hash(const char *secret, uint8_t ret_hash[static CAT_HASH_BYTES])
{
    int rc = EVP_Digest(secret, strlen(secret), ret_hash, NULL, EVP_sha256(), NULL);

    assert(rc == 1); /* SHA-256 needs nothing that could be missing */
    (void)rc;
}

/* ---- who is online ----------------------------------------------------------------------------
 */

static struct presence *find_presence(const struct control *c, int64_t host_id)
{
    struct control_lab *l = c->lab;

    for (size_t i = 0; i < l->present_count; i++)
        if (l->present[i].host_id == host_id)
            return &l->present[i];
    return NULL;
}

static struct presence *add_presence(struct control_lab *l, int64_t host_id)
{
    if (l->present_count == l->present_room) {
        size_t room = l->present_room ? 2 * l->present_room : 64;
        struct presence *p = reallocarray(l->present, room, sizeof *p);
        if (!p)
            return NULL;
        l->present = p;
        l->present_room = room;
    }
    l->present[l->present_count] = (struct presence){ .host_id = host_id };
    return &l->present[l->present_count++];
}

void lab_seen(struct control *c, struct cat_host *h, uint64_t applied_revision)
{
    struct presence *p = find_presence(c, h->id);
    int64_t now = clock_mono_ns();
    struct err e = { 0 };

    if (!p)
        p = add_presence(c->lab, h->id);
    if (!p)
        return; /* out of memory: it shows as offline */
    p->seen_ns = now;
    p->seen_at = clock_wall_s();
    if (applied_revision == h->applied_revision && p->written_ns &&
        now - p->written_ns < WRITE_SEEN_NS)
        return;
    if (cat_host_seen(c->catalog, h->id, p->seen_at, applied_revision, &e) < 0) {
        log_warn("host %s: when it was seen is not written down: %s", h->name, e.msg);
        return;
    }
    p->written_ns = now;
    h->applied_revision = applied_revision;
}

void lab_forget(struct control *c, int64_t host_id)
{
    struct presence *p = find_presence(c, host_id);

    if (p)
        *p = c->lab->present[--c->lab->present_count];
}

bool lab_online(const struct control *c, const struct cat_host *h)
{
    const struct presence *p = find_presence(c, h->id);

    return p && clock_mono_ns() - p->seen_ns < LAB_ONLINE_SECONDS * NS_PER_S;
}

int64_t lab_seen_at(const struct control *c, const struct cat_host *h)
{
    const struct presence *p = find_presence(c, h->id);

    return p ? p->seen_at : h->seen_at;
}

/* ---- changes ----------------------------------------------------------------------------------
 */

int lab_raise(struct control *c, int64_t host_id, struct err *e)
{
    return cat_host_raise(c->catalog, host_id, e);
}

void lab_tell(struct control *c, int64_t host_id)
{
    if (c->http) /* before the server listens nobody waits */
        http_wake(c->http, http_topic(HTTP_TOPIC_HOST, (uint64_t)host_id));
}

/* ---- domains and their disks ------------------------------------------------------------------
 */

int lab_domain_get(struct control *c, const char *name, struct lab_domain *ret, struct err *e)
{
    int rc = cat_domain_get(c->catalog, name, &ret->domain, e);

    return rc < 0 ? rc : cat_volume_get(c->catalog, ret->domain.volume, &ret->volume, e);
}

struct collect {
    struct control *control;
    struct lab_domain *domains;
    size_t count, room;
    struct err *e;
};

static int collect_domain(void *ctx, const struct cat_domain *d)
{
    struct collect *l = ctx;

    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 16;
        struct lab_domain *grown = reallocarray(l->domains, room, sizeof *grown);
        if (!grown)
            return err_set(l->e, -ENOMEM, "list domains: out of memory");
        l->domains = grown;
        l->room = room;
    }
    struct lab_domain *new = &l->domains[l->count];
    new->domain = *d;
    int rc = cat_volume_get(l->control->catalog, d->volume, &new->volume, l->e);
    if (rc == 0)
        l->count++;
    return rc;
}

int lab_domains_of(struct control *c, int64_t host_id, struct lab_domain **ret, size_t *ret_count,
                   struct err *e)
{
    struct collect l = { .control = c, .e = e };
    int rc = cat_domain_list(c->catalog, host_id, collect_domain, &l, e);

    if (rc < 0) {
        free(l.domains);
        return rc;
    }
    *ret = l.domains;
    *ret_count = l.count;
    return 0;
}

int lab_detach(struct control *c, const struct lab_domain *d, const char *why, struct err *e)
{
    if (!d->volume.attachment.id || d->volume.attachment.host_id != d->domain.host_id)
        return 0;
    int rc = cat_volume_detach(c->catalog, &d->volume, e);
    if (rc == 0)
        export_revoke(c->exports, d->volume.name, why);
    return rc;
}

/* An attachment of the host's that does not fit any more, or none, while nobody else has it. */
static bool needs_new_attachment(const struct lab_domain *d)
{
    const struct cat_attachment *a = &d->volume.attachment;

    if (!d->domain.running || d->volume.failed || lab_has_disk(d))
        return false;
    return a->id && a->host_id == d->domain.host_id;
}

static int renew_one(struct control *c, struct lab_domain *d, struct err *e)
{
    int rc = cat_volume_attach(c->catalog, &d->volume, d->domain.host_id, e);

    if (rc == 0)
        rc = lab_raise(c, d->domain.host_id, e);
    if (rc == 0)
        rc = control_event(c, e, "domain-renewed", d->domain.name,
                           "epoch %llu of its disk begins: host %s starts it anew",
                           (unsigned long long)d->volume.epoch, d->domain.host);
    return rc < 0 ? err_wrap(e, rc, "domain %s", d->domain.name) : 0;
}

int control_lab_renew(struct control *c, struct err *e)
{
    AUTO(auto_free) struct lab_domain *domains = NULL;
    size_t count = 0;
    int rc = lab_domains_of(c, 0, &domains, &count, e);

    if (rc == 0)
        rc = cat_begin(c->catalog, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count && rc == 0; i++)
        if (needs_new_attachment(&domains[i]))
            rc = renew_one(c, &domains[i], e);
    rc = cat_end(c->catalog, rc, e);
    for (size_t i = 0; i < count && rc == 0; i++)
        lab_tell(c, domains[i].domain.host_id);
    return rc;
}

int control_lab_restart(struct control *c, struct cat_volume *v, struct err *e)
{
    struct cat_domain d;

    if (!v->domain[0])
        return 0;
    int rc = cat_domain_get(c->catalog, v->domain, &d, e);
    if (rc == 0 && d.running && v->attachment.id && v->attachment.host_id == d.host_id)
        rc = cat_volume_attach(c->catalog, v, d.host_id, e);
    if (rc == 0)
        rc = lab_raise(c, d.host_id, e);
    if (rc == 0)
        lab_tell(c, d.host_id); /* its handler runs when the transaction is over */
    return rc;
}

int control_lab_disk_moved(struct control *c, const struct cat_volume *v, struct err *e)
{
    struct cat_domain d;

    if (!v->domain[0])
        return 0;
    int rc = cat_domain_get(c->catalog, v->domain, &d, e);
    if (rc == 0)
        rc = lab_raise(c, d.host_id, e);
    if (rc == 0)
        lab_tell(c, d.host_id); /* its handler runs when the transaction is over */
    return rc;
}
