/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the table of this host's NBD devices: which are kept, which are on their way out.
 * Must never know: domains, the plan, how a connection is made again. */
#include "hostside/attach_nbd.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "hostside/nbd_keeper.h"
#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"

#define SIZE_WAIT_MS 5000 /* for the device to show its size after CONNECT */

struct kept {
    bool used;
    bool leaving; /* disconnected; `keeper` is NULL */
    unsigned index;
    struct disk_id id;
    struct nbd_keeper *keeper;
};

struct attach {
    struct attach_driver driver;
    struct nbd_world *world;
    int event_fd;
    pthread_t listener;
    pthread_mutex_t lock; /* of what follows; never held while something blocks */
    bool stop;
    struct kept kept[ATTACH_MAX];
};

static struct attach *attach_of(struct attach_driver *a)
{
    return (struct attach *)a;
}

/* ---- the table, with the lock held ---- */

static struct kept *find(struct attach *a, unsigned index)
{
    for (unsigned i = 0; i < ATTACH_MAX; i++)
        if (a->kept[i].used && a->kept[i].index == index)
            return &a->kept[i];
    return NULL;
}

static struct kept *find_free(struct attach *a)
{
    for (unsigned i = 0; i < ATTACH_MAX; i++)
        if (!a->kept[i].used)
            return &a->kept[i];
    return NULL;
}

/* ---- events ---- */

static void link_changed(void *arg)
{
    struct attach *a = arg;
    uint64_t one = 1;

    if (write(a->event_fd, &one, sizeof one) < 0)
        return; /* the counter is full: it is readable already */
}

static void tell_dead(struct attach *a, unsigned index)
{
    pthread_mutex_lock(&a->lock);
    struct kept *k = find(a, index);

    if (k && k->keeper)
        nbd_keeper_link_dead(k->keeper);
    pthread_mutex_unlock(&a->lock);
}

static bool stopping(struct attach *a)
{
    bool stop;

    pthread_mutex_lock(&a->lock);
    stop = a->stop;
    pthread_mutex_unlock(&a->lock);
    return stop;
}

/* What is missed here the keepers find out by themselves, only later. */
static void *listen_for_dead(void *arg)
{
    struct attach *a = arg;

    while (!stopping(a)) {
        unsigned index[64];
        int count = a->world->next_dead(a->world, index, 64);

        for (int i = 0; i < count; i++)
            tell_dead(a, index[i]);
    }
    return NULL;
}

/* ---- looking ---- */

static void describe(struct attach *a, const struct nbd_sysfs_device *d, struct attach_seen *ret)
{
    const struct kept *k = find(a, d->index);

    *ret = (struct attach_seen){ .id = d->id, .index = d->index, .link = ATTACH_FOUND };
    snprintf(ret->path, sizeof ret->path, "/dev/nbd%u", d->index);
    if (!k || !disk_id_equal(&k->id, &d->id))
        return;
    if (k->keeper)
        ret->link = nbd_keeper_link(k->keeper, ret->why, sizeof ret->why);
    else if (k->leaving)
        ret->link = ATTACH_LEAVING;
}

/* Those that were on their way out and have gone are forgotten. */
static void forget_gone(struct attach *a, const struct nbd_sysfs_device *found, unsigned count)
{
    for (unsigned i = 0; i < ATTACH_MAX; i++) {
        bool there = false;

        for (unsigned n = 0; n < count; n++)
            there |= found[n].index == a->kept[i].index;
        if (a->kept[i].used && a->kept[i].leaving && !there)
            a->kept[i] = (struct kept){ 0 };
    }
}

static int nbd_list(struct attach_driver *driver, struct attach_seen *ret, unsigned max,
                    unsigned *ret_count, struct err *e)
{
    struct attach *a = attach_of(driver);
    AUTO(auto_free) struct nbd_sysfs_device *found = calloc(ATTACH_MAX, sizeof *found);
    unsigned count;
    int rc;

    if (!found)
        return err_set(e, -ENOMEM, "out of memory");
    rc = a->world->list(a->world, found, ATTACH_MAX, &count, e);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&a->lock);
    forget_gone(a, found, count);
    for (unsigned i = 0; i < count && i < max; i++)
        describe(a, &found[i], &ret[i]);
    pthread_mutex_unlock(&a->lock);
    *ret_count = count < max ? count : max;
    return 0;
}

/* -ENODEV: no connected device of ours has this index. */
static int look_up(struct attach *a, unsigned index, struct nbd_sysfs_device *ret, struct err *e)
{
    AUTO(auto_free) struct nbd_sysfs_device *found = calloc(ATTACH_MAX, sizeof *found);
    unsigned count;
    int rc;

    if (!found)
        return err_set(e, -ENOMEM, "out of memory");
    rc = a->world->list(a->world, found, ATTACH_MAX, &count, e);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < count; i++)
        if (found[i].index == index) {
            *ret = found[i];
            return 0;
        }
    return err_set(e, -ENODEV, "nbd%u is not connected", index);
}

/* ---- keeping ---- */

/* Takes start->fd over, also when it fails. */
static int add_keeper(struct attach *a, struct nbd_keeper_start *start, struct err *e)
{
    struct nbd_keeper *keeper;
    struct kept *k;
    int rc;

    start->world = a->world;
    start->changed = link_changed;
    start->arg = a;
    rc = nbd_keeper_new(start, &keeper, e);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&a->lock);
    k = find(a, start->index); /* a leaving one whose index the kernel gave out again */
    if (!k)
        k = find_free(a);
    if (k)
        *k = (struct kept){
            .used = true, .index = start->index, .id = disk_id_of(&start->disk), .keeper = keeper
        };
    pthread_mutex_unlock(&a->lock);
    if (!k) {
        nbd_keeper_stop(keeper);
        return err_set(e, -ENOSPC, "more than %u devices", ATTACH_MAX);
    }
    return 0;
}

static int wait_for_size(struct attach *a, unsigned index, uint64_t size_bytes, struct err *e)
{
    int64_t deadline = clock_mono_ns() + SIZE_WAIT_MS * NS_PER_MS;
    struct nbd_sysfs_device d;

    while (look_up(a, index, &d, NULL) < 0 || d.size_bytes != size_bytes) {
        if (clock_mono_ns() > deadline)
            return err_set(e, -ETIMEDOUT, "nbd%u does not show its %llu bytes", index,
                           (unsigned long long)size_bytes);
        usleep(10000);
    }
    return 0;
}

static int dial(struct attach *a, const struct contract_disk *disk, struct nbd_dialed *ret,
                struct err *e)
{
    int rc = a->world->dial(a->world, disk, ret, e);

    if (rc < 0)
        return rc;
    if (ret->size_bytes == disk->size_bytes)
        return 0;
    close(ret->fd);
    return err_set(e, -EPROTO, "the server's disk has %llu bytes, %llu were announced",
                   (unsigned long long)ret->size_bytes, (unsigned long long)disk->size_bytes);
}

static int connect_device(struct attach *a, const struct contract_disk *disk, struct err *e)
{
    struct nbd_dialed d = { .fd = -1 };
    struct disk_id id = disk_id_of(disk);
    char identifier[DISK_ID_SIZE];
    struct nbdnl_link link = { .identifier = identifier };
    struct nbd_keeper_start start = { .disk = *disk };
    int rc;

    disk_id_text(&id, identifier);
    rc = dial(a, disk, &d, e);
    if (rc < 0)
        return rc;
    AUTO(auto_close) int fd = d.fd;

    link.fd = fd;
    link.size_bytes = start.size_bytes = d.size_bytes;
    link.flags = start.flags = d.flags;
    rc = a->world->connect(a->world, &link, &start.index, e);
    if (rc < 0)
        return rc;
    rc = a->world->set_io_timeout(a->world, start.index, e);
    if (rc == 0)
        rc = wait_for_size(a, start.index, d.size_bytes, e);
    if (rc < 0)
        goto undo_connect;
    start.fd = take_fd(&fd);
    rc = add_keeper(a, &start, e);
    if (rc < 0)
        goto undo_connect;
    return 0;

undo_connect:;
    struct err e2 = { 0 };
    if (a->world->disconnect(a->world, start.index, &e2) < 0)
        log_warn("disk %s: left connected after a failure: %s", disk->volume, e2.msg);
    return rc;
}

static int nbd_connect_disk(struct attach_driver *driver, const struct contract_disk *disk,
                            struct err *e)
{
    int rc = connect_device(attach_of(driver), disk, e);

    return rc < 0 ? err_wrap(e, rc, "attach '%s'", disk->volume) : 0;
}

static int nbd_keep(struct attach_driver *driver, unsigned index, const struct contract_disk *disk,
                    struct err *e)
{
    struct attach *a = attach_of(driver);
    struct nbd_keeper_start start = { .index = index, .disk = *disk, .fd = -1 };
    struct disk_id id = disk_id_of(disk);
    struct nbd_sysfs_device d;
    bool known;
    int rc;

    pthread_mutex_lock(&a->lock);
    struct kept *k = find(a, index);

    known = k && k->keeper && disk_id_equal(&k->id, &id);
    if (known)
        nbd_keeper_set_disk(k->keeper, disk);
    pthread_mutex_unlock(&a->lock);
    if (known)
        return 0;
    rc = look_up(a, index, &d, e);
    if (rc < 0)
        return rc;
    if (!disk_id_equal(&d.id, &id))
        return err_set(e, -ESTALE, "nbd%u is another life of '%s'", index, disk->volume);
    start.size_bytes = d.size_bytes;
    rc = a->world->flags(a->world, index, &start.flags, e);
    if (rc < 0)
        return rc;
    return add_keeper(a, &start, e);
}

static void nbd_refresh(struct attach_driver *driver, const struct contract_disk *disk)
{
    struct attach *a = attach_of(driver);
    struct disk_id id = disk_id_of(disk);

    pthread_mutex_lock(&a->lock);
    for (unsigned i = 0; i < ATTACH_MAX; i++)
        if (a->kept[i].keeper && disk_id_equal(&a->kept[i].id, &id))
            nbd_keeper_set_disk(a->kept[i].keeper, disk);
    pthread_mutex_unlock(&a->lock);
}

/* A link that is not good is cut first: the kernel would wait to say goodbye over it. */
static int nbd_disconnect(struct attach_driver *driver, unsigned index, struct err *e)
{
    struct attach *a = attach_of(driver);
    struct nbd_keeper *keeper = NULL;
    struct nbd_sysfs_device d;
    char why[8];
    struct kept *k;
    int rc;

    if (look_up(a, index, &d, NULL) == -ENODEV)
        return 0;
    pthread_mutex_lock(&a->lock);
    k = find(a, index);
    if (!k && (k = find_free(a)))
        *k = (struct kept){ .used = true, .index = index, .id = d.id };
    if (k) {
        keeper = TAKE(k->keeper);
        k->leaving = true;
    }
    pthread_mutex_unlock(&a->lock);
    if (keeper && nbd_keeper_link(keeper, why, sizeof why) != ATTACH_LIVE)
        nbd_keeper_cut(keeper);
    rc = a->world->disconnect(a->world, index, e);
    nbd_keeper_stop(keeper);
    if (rc < 0) { /* it shows as found again, and is tried again */
        pthread_mutex_lock(&a->lock);
        if ((k = find(a, index)) && !k->keeper)
            *k = (struct kept){ 0 };
        pthread_mutex_unlock(&a->lock);
    }
    return rc;
}

/* ---- life ---- */

static int nbd_event_fd(struct attach_driver *driver)
{
    return attach_of(driver)->event_fd;
}

static void nbd_drain(struct attach_driver *driver)
{
    uint64_t count;

    if (read(attach_of(driver)->event_fd, &count, sizeof count) < 0)
        return; /* it was quiet already */
}

static void nbd_free(struct attach_driver *driver)
{
    struct attach *a = attach_of(driver);

    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->listener, NULL);
    for (unsigned i = 0; i < ATTACH_MAX; i++)
        nbd_keeper_stop(a->kept[i].keeper);
    a->world->free(a->world);
    close(a->event_fd);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static const struct attach_ops ops = {
    .list = nbd_list,
    .connect = nbd_connect_disk,
    .keep = nbd_keep,
    .refresh = nbd_refresh,
    .disconnect = nbd_disconnect,
    .event_fd = nbd_event_fd,
    .drain = nbd_drain,
    .free = nbd_free,
};

int attach_nbd_over(struct nbd_world *world, struct attach_driver **ret, struct err *e)
{
    AUTO(auto_free) struct attach *a = calloc(1, sizeof *a);
    int rc;

    if (!a) {
        world->free(world);
        return err_set(e, -ENOMEM, "out of memory");
    }
    a->driver.ops = &ops;
    a->world = world;
    a->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->event_fd < 0) {
        world->free(world);
        return err_errno(e, "eventfd");
    }
    pthread_mutex_init(&a->lock, NULL);
    rc = pthread_create(&a->listener, NULL, listen_for_dead, a);
    if (rc != 0) {
        world->free(world);
        close(a->event_fd);
        return err_set(e, -rc, "start a thread: %s", strerror(rc));
    }
    *ret = &TAKE(a)->driver;
    return 0;
}

int attach_nbd_new(struct attach_driver **ret, struct err *e)
{
    struct nbd_world *world;
    int rc = nbd_world_linux(&world, e);

    return rc < 0 ? rc : attach_nbd_over(world, ret, e);
}
