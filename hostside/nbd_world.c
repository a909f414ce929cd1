/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the real world: which sysfs, which netlink family, which delays.
 * Must never know: why something is asked. */
#include "hostside/nbd_world.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/base/auto.h"

#define SYS_BLOCK       "/sys/block"
#define DIAL_TIMEOUT_MS 10000
#define IO_TIMEOUT_MS   2000

struct linux_world {
    struct nbd_world world;
    struct nbdnl netlink;
    int listener;
};

static struct linux_world *linux_of(struct nbd_world *w)
{
    return (struct linux_world *)w;
}

static int linux_dial(struct nbd_world *w, const struct contract_disk *disk, struct nbd_dialed *ret,
                      struct err *e)
{
    (void)w;
    return nbd_dial(disk, DIAL_TIMEOUT_MS, ret, e);
}

static bool linux_alive(struct nbd_world *w, int fd)
{
    (void)w;
    return nbd_dialed_alive(fd);
}

static uint64_t linux_sent(struct nbd_world *w, int fd)
{
    (void)w;
    return nbd_dialed_sent(fd);
}

static int linux_connect(struct nbd_world *w, const struct nbdnl_link *link, unsigned *ret_index,
                         struct err *e)
{
    return nbdnl_connect(&linux_of(w)->netlink, link, ret_index, e);
}

static int linux_reconfigure(struct nbd_world *w, unsigned index, const struct nbdnl_link *link,
                             struct err *e)
{
    return nbdnl_reconfigure(&linux_of(w)->netlink, index, link, e);
}

static int linux_disconnect(struct nbd_world *w, unsigned index, struct err *e)
{
    return nbdnl_disconnect(&linux_of(w)->netlink, index, e);
}

static int linux_list(struct nbd_world *w, struct nbd_sysfs_device *ret, unsigned max,
                      unsigned *ret_count, struct err *e)
{
    (void)w;
    return nbd_sysfs_list(SYS_BLOCK, ret, max, ret_count, e);
}

static int linux_flags(struct nbd_world *w, unsigned index, uint64_t *ret_flags, struct err *e)
{
    (void)w;
    return nbd_sysfs_flags(SYS_BLOCK, index, ret_flags, e);
}

static int linux_set_io_timeout(struct nbd_world *w, unsigned index, struct err *e)
{
    (void)w;
    return nbd_sysfs_set_io_timeout(SYS_BLOCK, index, IO_TIMEOUT_MS, e);
}

static bool linux_busy(struct nbd_world *w, unsigned index)
{
    (void)w;
    return nbd_sysfs_busy(SYS_BLOCK, index);
}

static int linux_next_dead(struct nbd_world *w, unsigned *ret_index, unsigned max)
{
    struct linux_world *l = linux_of(w);
    struct pollfd p = { .fd = l->listener, .events = POLLIN };
    int rc = poll(&p, 1, 1000);

    if (rc <= 0)
        return rc < 0 && errno != EINTR ? -errno : 0;
    return nbdnl_read_dead(&l->netlink, l->listener, ret_index, max);
}

static void linux_free(struct nbd_world *w)
{
    close(linux_of(w)->listener);
    free(w);
}

static const struct nbd_world linux_calls = {
    .dial = linux_dial,
    .alive = linux_alive,
    .sent = linux_sent,
    .connect = linux_connect,
    .reconfigure = linux_reconfigure,
    .disconnect = linux_disconnect,
    .list = linux_list,
    .flags = linux_flags,
    .set_io_timeout = linux_set_io_timeout,
    .busy = linux_busy,
    .next_dead = linux_next_dead,
    .free = linux_free,
    .retry_ms = 100,
    .check_ms = 2000,
    .dead_wait_ms = 1000,
};

int nbd_world_linux(struct nbd_world **ret, struct err *e)
{
    AUTO(auto_free) struct linux_world *l = calloc(1, sizeof *l);
    int rc;

    if (!l)
        return err_set(e, -ENOMEM, "out of memory");
    l->world = linux_calls;
    rc = nbdnl_open(&l->netlink, e);
    if (rc < 0)
        return rc;
    rc = nbdnl_listen(&l->netlink, &l->listener, e); /* before the first device: none is missed */
    if (rc < 0)
        return rc;
    *ret = &TAKE(l)->world;
    return 0;
}
