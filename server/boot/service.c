/* SPDX-License-Identifier: Apache-2.0 */
/* service - makes the directories and files that dnsmasq needs, and owns its process. */
#include "server/boot/boot.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/base/child.h"
#include "server/base/crc32c.h"
#include "server/base/file.h"
#include "server/base/log.h"
#include "server/boot/dnsmasq.h"
#include "server/boot/interface.h"
#include "server/boot/radv.h"

#define CONF_MAX      8192
#define LEASE_DEFAULT 3600u
#define LEASE_LEAST   120u /* dnsmasq's own limit */
#define LEASE_MOST    (30u * 86400)

static const char *const loaders[] = { "undionly.kpxe", "ipxe.efi" };
static const char *const files[] = {
    "undionly.kpxe", "ipxe.efi", "xen", "xen.efi", "vmlinuz", "dom0.img",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct boot_service {
    struct boot_interface interface;
    uint16_t http_port;
    char files_dir[PATH_MAX];
    char tftp_dir[PATH_MAX];
    struct child *dnsmasq;
    struct boot_radv *radv; /* NULL: the interface has no IPv6 */
};

/* ---- files ------------------------------------------------------------------------------------
 */

static int join(char *ret, const char *dir, const char *name, struct err *e)
{
    if (snprintf(ret, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        return err_set(e, -ENAMETOOLONG, "%.100s…/%s: path too long", dir, name);
    return 0;
}

int boot_files_check(const char *dir, struct err *e)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < COUNT(files); i++) {
        int rc = join(path, dir, files[i], e);
        if (rc < 0)
            return rc;
        if (access(path, R_OK) == 0)
            continue;
        if (errno != ENOENT)
            return err_errno(e, "boot file %s", path);
        return err_set(e, -ENOENT,
                       "the boot files in %s are not complete: %s is missing: make them with `make "
                       "boot-files`",
                       dir, files[i]);
    }
    return 0;
}

/* Copies a file of one directory into another. */
static int copy_file(int from_dir, int to_dir, const char *name, struct err *e)
{
    AUTO(auto_close) int in = openat(from_dir, name, O_RDONLY | O_CLOEXEC);
    AUTO(auto_close)
    int out = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (in < 0 || out < 0)
        return err_errno(e, "copy %s for TFTP", name);

    for (;;) {
        ssize_t put = sendfile(out, in, NULL, 1 << 20);
        if (put == 0)
            return fchmod(out, 0644) < 0 ? err_errno(e, "copy %s for TFTP", name) : 0;
        if (put < 0)
            return err_errno(e, "copy %s for TFTP", name);
    }
}

/* Only what is ours is removed: the two loaders, then the directory. */
static void remove_tftp_dir(const char *dir)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < COUNT(loaders); i++)
        if (join(path, dir, loaders[i], NULL) == 0)
            unlink(path);
    rmdir(dir);
}

/* One state directory has one such place, so that a new server clears up what a killed one left. */
static int name_tftp_dir(const char *state_dir, char *ret, struct err *e)
{
    const char *runtime = getenv("RUNTIME_DIRECTORY");
    AUTO(auto_free) char *real = realpath(state_dir, NULL);

    if (!real)
        return err_errno(e, "%s", state_dir);
    if (runtime && *runtime == '/' && !strchr(runtime, ':'))
        return join(ret, runtime, "tftp", e);
    snprintf(ret, PATH_MAX, "/run/gridbox-tftp.%08x", crc32c(0, real, strlen(real)));
    return 0;
}

static int make_tftp_dir(struct boot_service *b, const char *state_dir, struct err *e)
{
    int rc = name_tftp_dir(state_dir, b->tftp_dir, e);

    if (rc < 0)
        return rc;
    remove_tftp_dir(b->tftp_dir);
    if (mkdir(b->tftp_dir, 0755) < 0 || chmod(b->tftp_dir, 0755) < 0)
        return err_errno(e, "make the TFTP directory %s", b->tftp_dir);
    AUTO(auto_close) int from = open(b->files_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(auto_close) int to = open(b->tftp_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (from < 0 || to < 0)
        return err_errno(e, "open %s or %s", b->files_dir, b->tftp_dir);
    for (size_t i = 0; i < COUNT(loaders) && rc == 0; i++)
        rc = copy_file(from, to, loaders[i], e);
    return rc;
}

/* ---- dnsmasq ----------------------------------------------------------------------------------
 */

static int check_address(const char *what, const char *text, struct err *e)
{
    struct in_addr a;

    if (text && inet_pton(AF_INET, text, &a) != 1)
        return err_set(e, -EINVAL, "%s '%.60s' is not an IPv4 address", what, text);
    return 0;
}

/* The paths of one start; the strings live as long as it. */
struct paths {
    char dir[PATH_MAX], conf[PATH_MAX], pid[PATH_MAX], leases[PATH_MAX];
};

static int make_paths(const char *state_dir, struct paths *p, struct err *e)
{
    int rc = join(p->dir, state_dir, "boot", e);

    if (rc == 0)
        rc = join(p->conf, p->dir, "dnsmasq.conf", e);
    if (rc == 0)
        rc = join(p->pid, p->dir, "dnsmasq.pid", e);
    if (rc == 0)
        rc = join(p->leases, p->dir, "leases", e);
    if (rc == 0 && mkdir(p->dir, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "create %s", p->dir);
    return rc;
}

static int write_conf(const struct boot_service *b, const struct boot_options *o,
                      const struct paths *p, struct err *e)
{
    AUTO(buf_done) struct buf text = { 0 };
    struct boot_dnsmasq d = {
        .interface = &b->interface,
        .proxy = o->proxy,
        .lease_seconds = o->lease_seconds ? o->lease_seconds : LEASE_DEFAULT,
        .router = o->router,
        .dns = o->dns,
        .http_port = o->http_port,
        .user = getpwnam("dnsmasq") ? "dnsmasq" : "nobody",
        .pid_file = p->pid,
        .lease_file = p->leases,
        .tftp_dir = b->tftp_dir,
    };
    int rc = o->proxy ? 0 : boot_range_read(o->range, &b->interface, &d.range, e);

    if (rc == 0)
        rc = check_address("the router", o->router, e);
    if (rc == 0)
        rc = check_address("the DNS server", o->dns, e);
    if (rc == 0 && (d.lease_seconds < LEASE_LEAST || d.lease_seconds > LEASE_MOST))
        rc = err_set(e, -EINVAL, "a lease of %u s is not valid: it must be %u to %u s",
                     d.lease_seconds, LEASE_LEAST, LEASE_MOST);
    if (rc < 0)
        return rc;

    buf_init(&text, CONF_MAX);
    rc = boot_dnsmasq_conf(&d, &text, e);
    return rc < 0 ? rc : file_replace(p->conf, text.data, text.length, 0600, e);
}

static int run(struct boot_service *b, const struct paths *p, struct err *e)
{
    char conf[PATH_MAX + 16];
    char name[] = "dnsmasq", foreground[] = "--keep-in-foreground";
    char *argv[] = { name, foreground, conf, NULL };
    struct child_spec spec = {
        .name = "dnsmasq", .argv = argv, .pid_file = p->pid, .leftover_arg = conf
    };

    snprintf(conf, sizeof conf, "--conf-file=%s", p->conf);
    int rc = child_start(&spec, &b->dnsmasq, e);
    if (rc == -ENOENT)
        return err_set(e, rc, "dnsmasq is not there: install the package dnsmasq-base");
    return rc;
}

/* dnsmasq writes its pid file when its sockets are open and its ids are changed.  What it cannot do
 * it says on standard error, and ends.  True: it lives. */
static bool came_up(struct boot_service *b, const struct paths *p)
{
    for (int i = 0; i < 300; i++) {
        struct pollfd end = { .fd = child_pidfd(b->dnsmasq), .events = POLLIN };
        if (poll(&end, 1, 10) > 0)
            return false;
        if (access(p->pid, F_OK) == 0)
            return true;
    }
    return true; /* a slow machine: its supervision goes on anyway */
}

/* ---- life -------------------------------------------------------------------------------------
 */

void boot_service_stop(struct boot_service *b)
{
    if (!b)
        return;
    child_stop(b->dnsmasq);
    boot_radv_close(b->radv);
    if (b->tftp_dir[0])
        remove_tftp_dir(b->tftp_dir);
    free(b);
}

static void auto_service(struct boot_service **b)
{
    boot_service_stop(*b);
}

int boot_service_start(const struct boot_options *o, struct boot_service **ret, struct err *e)
{
    AUTO(auto_service) struct boot_service *b = calloc(1, sizeof *b);
    AUTO(auto_free) struct paths *p = calloc(1, sizeof *p);
    if (!b || !p)
        return err_set(e, -ENOMEM, "boot service: out of memory");

    b->interface = *o->interface;
    b->http_port = o->http_port;
    snprintf(b->files_dir, sizeof b->files_dir, "%s", o->files_dir);
    int rc = boot_files_check(o->files_dir, e);
    if (rc == 0)
        rc = make_paths(o->state_dir, p, e);
    if (rc == 0)
        rc = make_tftp_dir(b, o->state_dir, e);
    if (rc == 0)
        rc = write_conf(b, o, p, e);
    if (rc == 0)
        rc = run(b, p, e);
    if (rc == 0 && !came_up(b, p))
        rc = err_set(e, -EADDRINUSE,
                     "dnsmasq did not start; its own line above says why (is another DHCP server "
                     "running on this machine?)");
    if (rc < 0)
        return err_wrap(e, rc, "boot service on %s", o->interface->name);

    struct err why = { 0 };
    if (boot_radv_open(&b->interface, &b->radv, &why) < 0)
        log_warn("boot %s: PCs wait 15 s for an IPv6 router: %s", b->interface.name, why.msg);
    *ret = TAKE(b);
    return 0;
}

void boot_service_tick(struct boot_service *b)
{
    child_tick(b->dnsmasq);
    if (b->radv)
        boot_radv_answer(b->radv);
}

int boot_service_fd(const struct boot_service *b)
{
    return b->radv ? boot_radv_fd(b->radv) : -1;
}

bool boot_service_running(const struct boot_service *b)
{
    return child_running(b->dnsmasq);
}

const struct boot_interface *boot_service_interface(const struct boot_service *b)
{
    return &b->interface;
}

const char *boot_service_files(const struct boot_service *b)
{
    return b->files_dir;
}

uint16_t boot_service_http_port(const struct boot_service *b)
{
    return b->http_port;
}
