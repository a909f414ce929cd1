/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: one device's connection: when it is dead, and how it is made again.
 * Must never know: domains, other devices, what is on the disk. */
#include "hostside/nbd_keeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/name.h"

#define REFUSALS_TO_BELIEVE 3  /* in a row, so that a server in a hurry is asked again */
#define REFUSAL_PAUSE       8  /* times retry_ms between them */
#define BACKOFF_MAX         16 /* times retry_ms */
#define SHORT_LIFE          20 /* times retry_ms: a link that breaks sooner counts as a failure */
#define UNUSED_CHECKS       3  /* checks with waiting requests and nothing sent */

struct nbd_keeper {
    struct nbd_world *world;
    unsigned index;
    uint64_t size_bytes, flags;
    void (*changed)(void *arg);
    void *arg;
    pthread_t thread;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stop;
    bool dead;       /* the kernel told of a dead link since the last RECONFIGURE */
    bool fresh_disk; /* another address or export name has come */
    struct contract_disk disk;
    enum attach_link link;
    char why[160];

    /* The thread's own. */
    int fd;                 /* also read under the lock by nbd_keeper_cut; changed under the lock */
    uint64_t sent_at_first; /* of fd when it was offered */
    bool used;              /* somebody has sent over it since */
    unsigned idle_checks;
    unsigned failures, refusals;
    int64_t live_since_ns;
};

/* ---- waiting, with the lock held ---- */

static void wait_ms(struct nbd_keeper *k, int ms)
{
    int64_t until = clock_mono_ns() + ms * NS_PER_MS;
    struct timespec t = { .tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S };

    pthread_cond_timedwait(&k->wake, &k->lock, &t);
}

/* Until the time is over, or something but `dead` happens. */
static void pause_ms(struct nbd_keeper *k, int ms)
{
    int64_t until = clock_mono_ns() + ms * NS_PER_MS;

    while (!k->stop && !k->fresh_disk && clock_mono_ns() < until)
        wait_ms(k, (int)((until - clock_mono_ns()) / NS_PER_MS) + 1);
}

static void set_link(struct nbd_keeper *k, enum attach_link link, const char *why)
{
    bool changed = k->link != link;

    k->link = link;
    snprintf(k->why, sizeof k->why, "%s", why);
    if (changed)
        k->changed(k->arg);
}

/* ---- a new connection ---- */

static int check_same(const struct nbd_keeper *k, const struct nbd_dialed *d, struct err *e)
{
    if (d->size_bytes != k->size_bytes)
        return err_set(e, -ESTALE, "the server's disk has %llu bytes now, it had %llu",
                       (unsigned long long)d->size_bytes, (unsigned long long)k->size_bytes);
    if (nbd_sysfs_visible(d->flags) != nbd_sysfs_visible(k->flags))
        return err_set(e, -ESTALE, "the server's disk promises something else now");
    return 0;
}

/* Takes *fd over and closes the former one. */
static void replace_fd(struct nbd_keeper *k, int *fd)
{
    int former;

    pthread_mutex_lock(&k->lock);
    former = k->fd;
    k->fd = take_fd(fd);
    pthread_mutex_unlock(&k->lock);
    if (former >= 0)
        close(former);
}

static int offer(struct nbd_keeper *k, const struct contract_disk *disk, struct err *e)
{
    struct disk_id id = disk_id_of(disk);
    char identifier[DISK_ID_SIZE];
    struct nbdnl_link link = { .fd = k->fd, .identifier = identifier };

    disk_id_text(&id, identifier);
    pthread_mutex_lock(&k->lock);
    k->dead = false;
    pthread_mutex_unlock(&k->lock);
    return k->world->reconfigure(k->world, k->index, &link, e);
}

/* The kernel learns of the old link's end by our shutdown, or by the server's, who ends it when the
 * new one opens the same export. */
static void wait_for_dead(struct nbd_keeper *k)
{
    int64_t until = clock_mono_ns() + k->world->dead_wait_ms * NS_PER_MS;

    pthread_mutex_lock(&k->lock);
    while (!k->stop && !k->dead && clock_mono_ns() < until)
        wait_ms(k, (int)((until - clock_mono_ns()) / NS_PER_MS) + 1);
    pthread_mutex_unlock(&k->lock);
}

static int connect_anew(struct nbd_keeper *k, const struct contract_disk *disk, struct err *e)
{
    struct nbd_dialed d = { .fd = -1 };
    int rc;

    if (k->fd >= 0)
        shutdown(k->fd, SHUT_RDWR);
    rc = k->world->dial(k->world, disk, &d, e);
    if (rc < 0)
        return rc;
    AUTO(auto_close) int fd = d.fd;

    rc = check_same(k, &d, e);
    if (rc < 0)
        return rc;
    wait_for_dead(k);
    replace_fd(k, &fd);
    k->sent_at_first = k->world->sent(k->world, k->fd);
    k->used = false;
    k->idle_checks = 0;
    rc = offer(k, disk, e);
    if (rc == -EINVAL || rc == -ENODEV || rc == -ENOENT)
        return err_wrap(e, -ESTALE, "the device is over");
    if (rc < 0)
        return rc;
    return k->world->set_io_timeout(k->world, k->index, e);
}

/* ---- the three states of the thread ---- */

/* Offers the socket that the kernel should be using once more: it takes it if it did not before. */
static void offer_again(struct nbd_keeper *k)
{
    struct contract_disk disk = k->disk;
    struct err e = { 0 };
    int rc;

    pthread_mutex_unlock(&k->lock);
    rc = offer(k, &disk, &e);
    if (rc < 0)
        log_warn("disk %s: nbd%u: %s", disk.volume, k->index, e.msg);
    else
        log_info("disk %s: nbd%u: offered its connection to the kernel again", disk.volume,
                 k->index);
    pthread_mutex_lock(&k->lock);
}

/* Requests wait, and the kernel sends nothing over our socket: it dropped it. */
static bool seems_unused(struct nbd_keeper *k)
{
    if (k->used)
        return false;
    k->used = k->world->sent(k->world, k->fd) > k->sent_at_first;
    if (k->used || !k->world->busy(k->world, k->index)) {
        k->idle_checks = 0;
        return false;
    }
    k->idle_checks++;
    if (k->idle_checks < UNUSED_CHECKS)
        return false;
    k->idle_checks = 0;
    return true;
}

/* Twice the delay each time, and a random bit, so that many hosts do not knock at once. */
static void back_off(struct nbd_keeper *k)
{
    int factor = k->failures > 4 ? BACKOFF_MAX : 1 << k->failures;
    uint16_t jitter;

    random_bytes(&jitter, sizeof jitter);
    if (k->refusals > 0)
        factor = REFUSAL_PAUSE;
    pause_ms(k, k->world->retry_ms * factor + jitter % (k->world->retry_ms + 1));
}

static void lose_link(struct nbd_keeper *k)
{
    log_warn("disk %s: nbd%u: connection lost", k->disk.volume, k->index);
    set_link(k, ATTACH_BROKEN, "");
    if (clock_mono_ns() - k->live_since_ns > SHORT_LIFE * k->world->retry_ms * NS_PER_MS) {
        k->failures = 0;
        return;
    }
    k->failures++;
    back_off(k);
}

static void while_live(struct nbd_keeper *k)
{
    if (!k->dead && !k->stop)
        wait_ms(k, k->world->check_ms);
    if (k->stop)
        return;
    k->fresh_disk = false; /* for the next connection */
    if (!k->world->alive(k->world, k->fd)) {
        lose_link(k);
    } else if (k->dead || seems_unused(k)) {
        offer_again(k); /* the dead one was the one before */
    }
}

static void note_failure(struct nbd_keeper *k, int rc, const struct err *e)
{
    if (!k->why[0]) /* the first time */
        log_warn("disk %s: nbd%u: %s: tried again", k->disk.volume, k->index, e->msg);
    k->failures++;
    k->refusals = rc == -ESTALE ? k->refusals + 1 : 0;
    if (k->refusals >= REFUSALS_TO_BELIEVE) {
        log_error("disk %s: nbd%u: %s: given up", k->disk.volume, k->index, e->msg);
        set_link(k, ATTACH_STALE, e->msg);
        return;
    }
    set_link(k, ATTACH_BROKEN, e->msg);
    back_off(k);
}

static void while_broken(struct nbd_keeper *k)
{
    struct contract_disk disk = k->disk;
    int64_t begun = clock_mono_ns();
    struct err e = { 0 };
    int rc;

    k->fresh_disk = false;
    pthread_mutex_unlock(&k->lock);
    rc = connect_anew(k, &disk, &e);
    pthread_mutex_lock(&k->lock);
    if (rc < 0) {
        note_failure(k, rc, &e);
        return;
    }
    log_info("disk %s: nbd%u: connected again after %lld ms", disk.volume, k->index,
             (long long)((clock_mono_ns() - begun) / NS_PER_MS));
    k->refusals = 0;
    k->live_since_ns = clock_mono_ns();
    set_link(k, ATTACH_LIVE, "");
}

/* Until somebody gives it up, or another export name comes. */
static void while_stale(struct nbd_keeper *k)
{
    while (!k->stop && !k->fresh_disk)
        pthread_cond_wait(&k->wake, &k->lock);
    if (k->stop)
        return;
    k->failures = 0;
    k->refusals = 0;
    set_link(k, ATTACH_BROKEN, "");
}

static void *keep(void *arg)
{
    struct nbd_keeper *k = arg;

    pthread_mutex_lock(&k->lock);
    while (!k->stop) {
        if (k->link == ATTACH_LIVE)
            while_live(k);
        else if (k->link == ATTACH_STALE)
            while_stale(k);
        else
            while_broken(k);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* ---- life ---- */

int nbd_keeper_new(const struct nbd_keeper_start *start, struct nbd_keeper **ret, struct err *e)
{
    AUTO(auto_close) int fd = start->fd;
    struct nbd_keeper *k = calloc(1, sizeof *k);
    pthread_condattr_t monotonic;
    int rc;

    if (!k)
        return err_set(e, -ENOMEM, "out of memory");
    k->world = start->world;
    k->index = start->index;
    k->size_bytes = start->size_bytes;
    k->flags = start->flags;
    k->changed = start->changed;
    k->arg = start->arg;
    k->disk = start->disk;
    k->fd = take_fd(&fd);
    k->used = true; /* CONNECT takes every socket */
    k->link = k->fd >= 0 ? ATTACH_LIVE : ATTACH_BROKEN;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    rc = pthread_create(&k->thread, NULL, keep, k);
    if (rc != 0) {
        if (k->fd >= 0)
            close(k->fd);
        free(k);
        return err_set(e, -rc, "start a thread: %s", strerror(rc));
    }
    *ret = k;
    return 0;
}

void nbd_keeper_stop(struct nbd_keeper *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stop = true;
    pthread_cond_broadcast(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    if (k->fd >= 0)
        close(k->fd);
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

void nbd_keeper_link_dead(struct nbd_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    k->dead = true;
    pthread_cond_broadcast(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

void nbd_keeper_set_disk(struct nbd_keeper *k, const struct contract_disk *disk)
{
    pthread_mutex_lock(&k->lock);
    if (strcmp(k->disk.address, disk->address) != 0 || k->disk.port != disk->port ||
        strcmp(k->disk.export_name, disk->export_name) != 0) {
        k->disk = *disk;
        k->fresh_disk = true;
        pthread_cond_broadcast(&k->wake);
    }
    pthread_mutex_unlock(&k->lock);
}

void nbd_keeper_cut(struct nbd_keeper *k)
{
    pthread_mutex_lock(&k->lock);
    if (k->fd >= 0)
        shutdown(k->fd, SHUT_RDWR);
    pthread_mutex_unlock(&k->lock);
}

enum attach_link nbd_keeper_link(struct nbd_keeper *k, char *ret_why, size_t size)
{
    enum attach_link link;

    pthread_mutex_lock(&k->lock);
    link = k->link;
    snprintf(ret_why, size, "%s", k->why);
    pthread_mutex_unlock(&k->lock);
    return link;
}
