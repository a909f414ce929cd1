/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: what a backend waits for: the disk's device number, the vif in its bridge.
 * Must never know: domains, the agent (a process of its own, run by libxl).
 *
 * That no two domains share a disk is the agent's book; one hotplug at a time is seen to here. */
#include "hostside/hotplug.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>
#include <xenstore.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/err.h"
#include "server/base/log.h"

#define LOCK_FILE   "/run/gridbox/hotplug.lock"
#define LOCK_WAIT_S 20 /* libxl gives up after 40 s */
#define PATH_SIZE   256u

struct helper {
    struct xs_handle *xs;
    const char *backend; /* XENBUS_PATH */
};

/* Heap text, or NULL. */
static char *read_node(struct helper *h, const char *node)
{
    char path[PATH_SIZE];
    unsigned length;

    if (snprintf(path, sizeof path, "%s/%s", h->backend, node) >= (int)sizeof path)
        return NULL;
    return xs_read(h->xs, XBT_NULL, path, &length);
}

static int write_node(struct helper *h, const char *node, const char *text, struct err *e)
{
    char path[PATH_SIZE];

    if (snprintf(path, sizeof path, "%s/%s", h->backend, node) >= (int)sizeof path)
        return err_set(e, -ENAMETOOLONG, "XENBUS_PATH is too long");
    if (!xs_write(h->xs, XBT_NULL, path, text, (unsigned)strlen(text)))
        return err_errno(e, "xenstore: write %s", path);
    return 0;
}

/* Held until the process ends. */
static int lock(struct err *e)
{
    int64_t deadline = clock_mono_ns() + LOCK_WAIT_S * NS_PER_S;
    int fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(e, "open %s", LOCK_FILE);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || clock_mono_ns() > deadline)
            return err_errno(e, "lock %s", LOCK_FILE);
        usleep(20000);
    }
    return 0;
}

/* ---- disks ---- */

static int add_disk(struct helper *h, struct err *e)
{
    AUTO(auto_free) char *device = read_node(h, "params");
    struct stat st;
    char number[32];
    int rc;

    if (!device)
        return err_set(e, -ENOENT, "xenstore names no device");
    if (stat(device, &st) < 0)
        return err_errno(e, "%s", device);
    if (!S_ISBLK(st.st_mode))
        return err_set(e, -ENOTBLK, "%s is not a block device", device);
    snprintf(number, sizeof number, "%x:%x", major(st.st_rdev), minor(st.st_rdev));
    rc = write_node(h, "physical-device", number, e);
    return rc < 0 ? rc : write_node(h, "hotplug-status", "connected", e);
}

/* ---- network cards ---- */

static int interface_up(int fd, const char *name, struct err *e)
{
    struct ifreq r = { 0 };

    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &r) < 0)
        return err_errno(e, "%s", name);
    r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &r) < 0 ? err_errno(e, "%s: set up", name) : 0;
}

static int interface_join(int fd, const char *name, const char *bridge, struct err *e)
{
    struct ifreq r = { 0 };
    unsigned index = if_nametoindex(name);

    if (!index)
        return err_errno(e, "%s", name);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%s", bridge);
    r.ifr_ifindex = (int)index;
    if (ioctl(fd, SIOCBRADDIF, &r) < 0 && errno != EBUSY) /* busy: it is in a bridge already */
        return err_errno(e, "%s: join bridge %s", name, bridge);
    return 0;
}

static int add_card(struct helper *h, const char *name, struct err *e)
{
    AUTO(auto_free) char *bridge = read_node(h, "bridge");
    AUTO(auto_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc;

    if (!bridge)
        return err_set(e, -ENOENT, "xenstore names no bridge");
    if (fd < 0)
        return err_errno(e, "socket");
    if (strlen(name) >= IFNAMSIZ || strlen(bridge) >= IFNAMSIZ)
        return err_set(e, -EINVAL, "interface name too long");
    rc = interface_join(fd, name, bridge, e);
    if (rc == 0)
        rc = interface_up(fd, name, e);
    return rc < 0 ? rc : write_node(h, "hotplug-status", "connected", e);
}

/* ---- what libxl asks ---- */

/* The kernel removes a vif from its bridge with the vif, and blkback lets its disk go: only coming
 * is work. */
static int handle(struct helper *h, const char *action, struct err *e)
{
    const char *vif = getenv("vif");
    bool disk = strstr(h->backend, "/vbd/") != NULL;
    int rc;

    if (strcmp(action, disk ? "add" : "online") != 0 && !(vif && strcmp(action, "add") == 0))
        return 0;
    if (!disk && !vif)
        return err_set(e, -EINVAL, "neither a disk nor a network card: %s", h->backend);
    rc = lock(e);
    if (rc < 0)
        return rc;
    return disk ? add_disk(h, e) : add_card(h, vif, e);
}

int hotplug_run(int argc, char **argv)
{
    struct helper h = { .backend = getenv("XENBUS_PATH") };
    struct err e = { 0 };

    if (argc < 2 || !h.backend) {
        log_error("hotplug: run by libxl with an action and XENBUS_PATH, not by hand");
        return 2;
    }
    h.xs = xs_open(0);
    if (!h.xs) {
        log_error("hotplug %s: cannot open xenstore: %s", h.backend, strerror(errno));
        return 1;
    }
    if (handle(&h, argv[1], &e) < 0) {
        log_error("hotplug %s: %s: %s", h.backend, argv[1], e.msg);
        write_node(&h, "hotplug-error", e.msg, NULL);
        write_node(&h, "hotplug-status", "error", NULL);
    }
    xs_close(h.xs);
    return e.code ? 1 : 0;
}
