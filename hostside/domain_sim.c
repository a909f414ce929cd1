/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: domains that are files: same life, same marks, same ways to die half-way as real ones.
 * Must never know: the agent, the plan. */
#include "hostside/domain.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostside/sim_dir.h"

struct sim {
    struct domain_driver driver;
    pthread_mutex_t lock; /* of the files */
    struct sim_dir dir;
    bool stubborn; /* guests do not hear when they are asked to shut down */
};

#define HEAD_FORMAT                                                                                \
    "name=%63s domid=%" SCNu32 " run=%d end=%d made=%d incarnation=%" SCNu64 " stop=%" SCNd64      \
    " disks=%u"

static struct sim *sim_of(struct domain_driver *d)
{
    return (struct sim *)d;
}

/* ---- one domain as text ---- */

static int parse(const char *uuid, const char *text, struct domain_seen *ret)
{
    struct domain_seen d = { 0 };
    int run, end, made, used = 0;

    if (sscanf(text, HEAD_FORMAT "%n", d.name, &d.domid, &run, &end, &made, &d.incarnation,
               &d.stop_asked_ns, &d.disk_count, &used) != 8 ||
        d.disk_count > CONTRACT_DISKS_MAX || run > DOMAIN_DYING || end > DOMAIN_END_OTHER)
        return -EINVAL;
    text += used;
    for (unsigned i = 0; i < d.disk_count; i++) {
        char id[DISK_ID_SIZE];

        if (sscanf(text, " %111s%n", id, &used) != 1 || disk_id_parse(id, &d.disks[i]) < 0)
            return -EINVAL;
        text += used;
    }
    snprintf(d.uuid, sizeof d.uuid, "%s", uuid);
    d.run = (enum domain_run)run;
    d.end = (enum domain_end)end;
    d.made = made;
    d.stop_heard = d.stop_asked_ns != 0;
    d.marked = d.incarnation > 0; /* 0: somebody else's */
    *ret = d;
    return 0;
}

static int store(struct sim *s, const struct domain_seen *d, struct err *e)
{
    char text[SIM_TEXT_MAX];
    int used = snprintf(text, sizeof text,
                        "name=%s domid=%" PRIu32 " run=%d end=%d made=%d incarnation=%" PRIu64
                        " stop=%" PRId64 " disks=%u",
                        d->name, d->domid, d->run, d->end, d->made, d->incarnation,
                        d->stop_asked_ns, d->disk_count);

    for (unsigned i = 0; i < d->disk_count; i++) {
        char id[DISK_ID_SIZE];

        disk_id_text(&d->disks[i], id);
        used += snprintf(text + used, sizeof text - (size_t)used, " %s", id);
    }
    return sim_dir_write(&s->dir, d->uuid, text, e);
}

/* ---- looking ---- */

struct list {
    struct domain_seen *domains;
    unsigned count, max;
};

static int add_to_list(void *arg, const char *file, const char *text)
{
    struct list *l = arg;

    if (l->count < l->max && parse(file, text, &l->domains[l->count]) == 0)
        l->count++;
    return 0;
}

static int sim_list(struct domain_driver *d, struct domain_seen *ret, unsigned max,
                    unsigned *ret_count, struct err *e)
{
    struct sim *s = sim_of(d);
    struct list l = { .domains = ret, .max = max };
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = sim_dir_each(&s->dir, add_to_list, &l, e);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0)
        *ret_count = l.count;
    return rc;
}

struct search {
    const char *uuid; /* or NULL: by domid */
    uint32_t domid, highest;
    struct domain_seen *ret;
    bool found;
};

static int look(void *arg, const char *file, const char *text)
{
    struct search *q = arg;
    struct domain_seen d;

    if (parse(file, text, &d) < 0)
        return 0;
    if (d.domid > q->highest)
        q->highest = d.domid;
    if (q->uuid ? strcmp(q->uuid, d.uuid) == 0 : q->domid == d.domid) {
        q->found = true;
        *q->ret = d;
    }
    return 0;
}

/* Changes one domain under the lock: change() returns false to leave it as it is. */
static int with_domain(struct sim *s, uint32_t domid, bool (*change)(struct domain_seen *, int64_t),
                       int64_t arg, struct err *e)
{
    struct domain_seen d;
    struct search q = { .domid = domid, .ret = &d };
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = sim_dir_each(&s->dir, look, &q, e);
    if (rc == 0 && !q.found)
        rc = err_set(e, -ENOENT, "no domain %" PRIu32, domid);
    if (rc == 0 && change(&d, arg))
        rc = store(s, &d, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* ---- the calls ---- */

static int sim_machine(struct domain_driver *d, struct domain_machine *ret, struct err *e)
{
    (void)d, (void)e;
    *ret = (struct domain_machine){ .cpus = 4, .memory_mib = 16384, .hvm = true };
    return 0;
}

static int sim_create(struct domain_driver *d, const struct contract_domain *want,
                      char paths[][DOMAIN_PATH_SIZE], uint32_t *ret_domid, struct err *e)
{
    struct sim *s = sim_of(d);
    struct domain_seen made = { .run = DOMAIN_PAUSED };
    struct domain_seen other;
    struct search q = { .uuid = want->uuid, .ret = &other };
    int rc;

    for (unsigned i = 0; i < want->disk_count; i++)
        if (!paths[i][0])
            return err_set(e, -ENODEV, "disk '%s' has no device", want->disks[i].volume);
    memcpy(made.uuid, want->uuid, sizeof made.uuid);
    memcpy(made.name, want->name, sizeof made.name);
    made.incarnation = want->incarnation;
    made.disk_count = want->disk_count;
    for (unsigned i = 0; i < want->disk_count; i++)
        made.disks[i] = disk_id_of(&want->disks[i]);
    pthread_mutex_lock(&s->lock);
    rc = sim_dir_each(&s->dir, look, &q, e);
    if (rc == 0 && q.found)
        rc = err_set(e, -EEXIST, "domain with uuid %s already exists", want->uuid);
    made.domid = q.highest + 1;
    if (rc == 0)
        rc = store(s, &made, e);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0)
        *ret_domid = made.domid;
    return rc;
}

static bool change_start(struct domain_seen *d, int64_t arg)
{
    (void)arg;
    if (d->run != DOMAIN_PAUSED)
        return false;
    d->made = true;
    d->run = DOMAIN_RUNS;
    return true;
}

static int sim_start(struct domain_driver *d, uint32_t domid, struct err *e)
{
    return with_domain(sim_of(d), domid, change_start, 0, e);
}

static bool change_pause(struct domain_seen *d, int64_t arg)
{
    (void)arg;
    if (d->run != DOMAIN_RUNS)
        return false;
    d->run = DOMAIN_PAUSED;
    return true;
}

static int sim_pause(struct domain_driver *d, uint32_t domid, struct err *e)
{
    return with_domain(sim_of(d), domid, change_pause, 0, e);
}

static bool change_shutdown(struct domain_seen *d, int64_t now_ns)
{
    if (d->run != DOMAIN_RUNS || d->stop_asked_ns)
        return false;
    d->stop_asked_ns = now_ns; /* a stubborn guest hears, but does nothing */
    return true;
}

static bool change_end(struct domain_seen *d, int64_t end)
{
    d->run = DOMAIN_ENDED;
    d->end = (enum domain_end)end;
    return true;
}

static int sim_shutdown(struct domain_driver *d, uint32_t domid, int64_t now_ns, struct err *e)
{
    struct sim *s = sim_of(d);
    int rc = with_domain(s, domid, change_shutdown, now_ns, e);

    if (rc < 0 || s->stubborn)
        return rc;
    return with_domain(s, domid, change_end, DOMAIN_END_POWEROFF, e);
}

static int sim_destroy(struct domain_driver *d, uint32_t domid, struct err *e)
{
    struct sim *s = sim_of(d);
    struct domain_seen found;
    struct search q = { .domid = domid, .ret = &found };
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = sim_dir_each(&s->dir, look, &q, e);
    if (rc == 0 && q.found)
        sim_dir_remove(&s->dir, found.uuid);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int sim_event_fd(struct domain_driver *d)
{
    (void)d;
    return -1;
}

static void sim_drain(struct domain_driver *d)
{
    (void)d;
}

static void sim_free(struct domain_driver *d)
{
    pthread_mutex_destroy(&sim_of(d)->lock);
    free(d);
}

static const struct domain_ops ops = {
    .machine = sim_machine,
    .list = sim_list,
    .create = sim_create,
    .start = sim_start,
    .pause = sim_pause,
    .shutdown = sim_shutdown,
    .destroy = sim_destroy,
    .event_fd = sim_event_fd,
    .drain = sim_drain,
    .free = sim_free,
};

int domain_sim_new(const char *dir, struct domain_driver **ret, struct err *e)
{
    struct sim *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return err_set(e, -ENOMEM, "out of memory");
    s->driver.ops = &ops;
    pthread_mutex_init(&s->lock, NULL);
    rc = sim_dir_open(dir, "domains", &s->dir, e);
    if (rc < 0) {
        sim_free(&s->driver);
        return rc;
    }
    *ret = &s->driver;
    return 0;
}

int domain_sim_end(struct domain_driver *d, const char *uuid, enum domain_end end)
{
    struct sim *s = sim_of(d);
    struct domain_seen found;
    struct search q = { .uuid = uuid, .ret = &found };
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = sim_dir_each(&s->dir, look, &q, NULL);
    if (rc == 0 && !q.found)
        rc = -ENOENT;
    if (rc == 0) {
        change_end(&found, end);
        rc = store(s, &found, NULL);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void domain_sim_set_stubborn(struct domain_driver *d, bool stubborn)
{
    sim_of(d)->stubborn = stubborn;
}
