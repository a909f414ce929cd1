/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: block devices that are files, and links that break when a rehearsal says so.
 * Must never know: the agent, the plan, networks. */
#include "hostside/attach.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostside/sim_dir.h"
#include "server/contract/contract.h"

struct sim {
    struct attach_driver driver;
    pthread_mutex_t lock;
    struct sim_dir devices;
    struct sim_dir domains; /* to see who still holds a device */
    bool kept[ATTACH_MAX];  /* by this process */
    int refuse;
};

static struct sim *sim_of(struct attach_driver *a)
{
    return (struct sim *)a;
}

/* A file is "ID LINK" with LINK 'L' connected, 'B' broken, 'S' stale, 'X' disconnected. */
static int parse(const char *file, const char *text, struct attach_seen *ret, char *ret_link)
{
    struct attach_seen d = { 0 };
    char id[DISK_ID_SIZE];

    if (sscanf(file, "nbd%u", &d.index) != 1 || d.index >= ATTACH_MAX ||
        sscanf(text, "%111s %c", id, ret_link) != 2 || disk_id_parse(id, &d.id) < 0)
        return -EINVAL;
    snprintf(d.path, sizeof d.path, "/dev/nbd%u", d.index);
    *ret = d;
    return 0;
}

static int store(struct sim *s, unsigned index, const struct disk_id *id, char link, struct err *e)
{
    char file[16], text[DISK_ID_SIZE + 4], name[DISK_ID_SIZE];

    disk_id_text(id, name);
    snprintf(file, sizeof file, "nbd%u", index);
    snprintf(text, sizeof text, "%s %c", name, link);
    return sim_dir_write(&s->devices, file, text, e);
}

/* ---- looking ---- */

struct holder {
    char id[DISK_ID_SIZE];
    bool held;
};

static int look_for_holder(void *arg, const char *file, const char *text)
{
    struct holder *h = arg;
    size_t length = strlen(h->id);

    (void)file;
    for (const char *at = strstr(text, h->id); at && !h->held; at = strstr(at + 1, h->id))
        h->held = at > text && at[-1] == ' ' && (at[length] == ' ' || !at[length]);
    return 0;
}

static bool held_open(struct sim *s, const struct disk_id *id)
{
    struct holder h = { .held = false };

    disk_id_text(id, h.id);
    return sim_dir_each(&s->domains, look_for_holder, &h, NULL) == 0 && h.held;
}

struct list {
    struct sim *sim;
    struct attach_seen *devices;
    unsigned count, max;
    uint64_t used[ATTACH_MAX / 64]; /* a bit per index */
};

static int add_to_list(void *arg, const char *file, const char *text)
{
    struct list *l = arg;
    struct attach_seen d;
    char link;

    if (parse(file, text, &d, &link) < 0)
        return 0;
    if (link == 'X' && !held_open(l->sim, &d.id)) {
        sim_dir_remove(&l->sim->devices, file);
        return 0;
    }
    d.link = link == 'X'              ? ATTACH_LEAVING
             : !l->sim->kept[d.index] ? ATTACH_FOUND
             : link == 'L'            ? ATTACH_LIVE
             : link == 'B'            ? ATTACH_BROKEN
                                      : ATTACH_STALE;
    l->used[d.index / 64] |= UINT64_C(1) << (d.index % 64);
    if (l->count < l->max)
        l->devices[l->count++] = d;
    return 0;
}

static int list_locked(struct sim *s, struct list *l, struct err *e)
{
    l->sim = s;
    return sim_dir_each(&s->devices, add_to_list, l, e);
}

static int sim_list(struct attach_driver *a, struct attach_seen *ret, unsigned max,
                    unsigned *ret_count, struct err *e)
{
    struct sim *s = sim_of(a);
    struct list l = { .devices = ret, .max = max };
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = list_locked(s, &l, e);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0)
        *ret_count = l.count;
    return rc;
}

/* ---- the calls ---- */

static int connect_locked(struct sim *s, const struct contract_disk *disk, struct err *e)
{
    struct list l = { 0 };
    struct disk_id id = disk_id_of(disk);
    int rc = list_locked(s, &l, e);
    unsigned index = 0;

    if (rc < 0)
        return rc;
    if (s->refuse < 0)
        return err_set(e, s->refuse, "volume '%s': the server refuses", disk->volume);
    while (index < ATTACH_MAX && l.used[index / 64] & UINT64_C(1) << (index % 64))
        index++;
    if (index == ATTACH_MAX)
        return err_set(e, -ENOSPC, "no device is free");
    s->kept[index] = true;
    return store(s, index, &id, 'L', e);
}

static int sim_connect(struct attach_driver *a, const struct contract_disk *disk, struct err *e)
{
    struct sim *s = sim_of(a);
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = connect_locked(s, disk, e);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int sim_keep(struct attach_driver *a, unsigned index, const struct contract_disk *disk,
                    struct err *e)
{
    struct sim *s = sim_of(a);

    (void)disk;
    if (index >= ATTACH_MAX)
        return err_set(e, -EINVAL, "no device %u", index);
    pthread_mutex_lock(&s->lock);
    s->kept[index] = true;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static void sim_refresh(struct attach_driver *a, const struct contract_disk *disk)
{
    (void)a, (void)disk;
}

static int sim_disconnect(struct attach_driver *a, unsigned index, struct err *e)
{
    struct sim *s = sim_of(a);
    char file[16], text[SIM_TEXT_MAX], link;
    struct attach_seen d;
    int rc;

    snprintf(file, sizeof file, "nbd%u", index);
    pthread_mutex_lock(&s->lock);
    rc = sim_dir_read(&s->devices, file, text, e);
    if (rc == 0)
        rc = parse(file, text, &d, &link);
    if (rc == 0)
        rc = store(s, index, &d.id, 'X', e);
    if (index < ATTACH_MAX)
        s->kept[index] = false;
    pthread_mutex_unlock(&s->lock);
    return rc == -ENOENT ? 0 : rc;
}

static int sim_event_fd(struct attach_driver *a)
{
    (void)a;
    return -1;
}

static void sim_drain(struct attach_driver *a)
{
    (void)a;
}

static void sim_free(struct attach_driver *a)
{
    pthread_mutex_destroy(&sim_of(a)->lock);
    free(a);
}

static const struct attach_ops ops = {
    .list = sim_list,
    .connect = sim_connect,
    .keep = sim_keep,
    .refresh = sim_refresh,
    .disconnect = sim_disconnect,
    .event_fd = sim_event_fd,
    .drain = sim_drain,
    .free = sim_free,
};

int attach_sim_new(const char *dir, struct attach_driver **ret, struct err *e)
{
    struct sim *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return err_set(e, -ENOMEM, "out of memory");
    s->driver.ops = &ops;
    pthread_mutex_init(&s->lock, NULL);
    rc = sim_dir_open(dir, "devices", &s->devices, e);
    if (rc == 0)
        rc = sim_dir_open(dir, "domains", &s->domains, e);
    if (rc < 0) {
        sim_free(&s->driver);
        return rc;
    }
    *ret = &s->driver;
    return 0;
}

/* ---- for rehearsals ---- */

int attach_sim_set_link(struct attach_driver *a, const char *volume, enum attach_link link)
{
    struct sim *s = sim_of(a);
    struct attach_seen devices[16];
    struct list l = { .devices = devices, .max = 16 };
    int rc;

    pthread_mutex_lock(&s->lock);
    rc = list_locked(s, &l, NULL);
    for (unsigned i = 0; rc == 0 && i < l.count; i++)
        if (strcmp(devices[i].id.volume, volume) == 0)
            rc = store(s, devices[i].index, &devices[i].id,
                       link == ATTACH_BROKEN  ? 'B'
                       : link == ATTACH_STALE ? 'S'
                                              : 'L',
                       NULL);
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void attach_sim_refuse(struct attach_driver *a, int rc)
{
    struct sim *s = sim_of(a);

    pthread_mutex_lock(&s->lock);
    s->refuse = rc;
    pthread_mutex_unlock(&s->lock);
}
