/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: domains by libxenlight: their configuration, and each call's place in libxl.
 * Must never know: the plan, NBD, HTTP.
 *
 * This is the only file that includes libxl.h.  The agent's thread looks over a context of its own;
 * every slow call has another, because a context is locked while a domain is built. */
#include "hostside/domain.h"

#define LIBXL_API_VERSION 0x041400 /* the newest that the headers of Xen 4.17 accept */
#include <errno.h>
#include <inttypes.h>
#include <libxl.h>
#include <libxl_utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xentoollog.h>

#include "hostside/domain_libxl_marks.h"
#include "server/base/auto.h"
#include "server/base/log.h"

#define GRUB_PVH     "/usr/lib/grub-xen/grub-i386-xen_pvh.bin"
#define GRUB_PV      "/usr/lib/grub-xen/grub-x86_64-xen.bin"
#define BRIDGE       "br0"
#define OVERHEAD_KIB (8u * 1024) /* what a domain costs besides its memory, roughly */

struct logger {
    xentoollog_logger xtl; /* first: libxl calls back with its address */
    char last[240];        /* the last error, for the words of a failure */
};

/* One libxl context with its logger. */
struct context {
    struct logger logger;
    libxl_ctx *ctx;
};

struct driver {
    struct domain_driver driver;
    struct context look; /* the agent's thread's */
    struct marks *marks;
    bool hvm; /* guests are PVH, else PV */
};

static struct driver *driver_of(struct domain_driver *d)
{
    return (struct driver *)d;
}

/* ---- contexts ---- */

static void take_message(xentoollog_logger *xtl, xentoollog_level level, int errnoval,
                         const char *context, const char *format, va_list al)
    __attribute__((format(printf, 5, 0)));

static void take_message(xentoollog_logger *xtl, xentoollog_level level, int errnoval,
                         const char *context, const char *format, va_list al)
{
    struct logger *l = (struct logger *)xtl;
    char text[sizeof l->last];

    if (level < XTL_WARN)
        return;
    vsnprintf(text, sizeof text, format, al);
    log_warn("%s: %s%s%s", context ? context : "xen", text, errnoval > 0 ? ": " : "",
             errnoval > 0 ? strerror(errnoval) : "");
    if (level >= XTL_ERROR)
        memcpy(l->last, text, sizeof l->last);
}

static const libxl_childproc_hooks child_hooks = {
    .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
};

static int context_open(struct context *c, struct err *e)
{
    *c = (struct context){ .logger.xtl.vmessage = take_message };
    if (libxl_ctx_alloc(&c->ctx, LIBXL_VERSION, 0, &c->logger.xtl) != 0)
        return err_set(e, -EIO, "libxl: %s",
                       c->logger.last[0] ? c->logger.last : "no context; is this a Xen dom0?");
    libxl_childproc_setmode(c->ctx, &child_hooks, NULL);
    return 0;
}

static void context_close(struct context *c)
{
    if (c->ctx)
        libxl_ctx_free(c->ctx);
    c->ctx = NULL;
}

static int failed(const struct context *c, int rc, const char *what, struct err *e)
{
    return err_set(e, -EIO, "%s: libxl error %d%s%s", what, rc, c->logger.last[0] ? ": " : "",
                   c->logger.last);
}

/* ---- looking ---- */

static int xl_machine(struct domain_driver *d, struct domain_machine *ret, struct err *e)
{
    struct driver *x = driver_of(d);
    libxl_physinfo info;
    int rc;

    libxl_physinfo_init(&info);
    rc = libxl_get_physinfo(x->look.ctx, &info);
    if (rc != 0)
        return failed(&x->look, rc, "ask Xen about the machine", e);
    ret->cpus = info.nr_cpus;
    ret->memory_mib = info.total_pages / 256; /* pages of 4 KiB */
    ret->hvm = info.cap_hvm && info.cap_hap;
    x->hvm = ret->hvm;
    libxl_physinfo_dispose(&info);
    return 0;
}

static enum domain_end end_of(const libxl_dominfo *info)
{
    if (info->shutdown_reason == LIBXL_SHUTDOWN_REASON_POWEROFF)
        return DOMAIN_END_POWEROFF;
    if (info->shutdown_reason == LIBXL_SHUTDOWN_REASON_REBOOT)
        return DOMAIN_END_REBOOT;
    if (info->shutdown_reason == LIBXL_SHUTDOWN_REASON_CRASH ||
        info->shutdown_reason == LIBXL_SHUTDOWN_REASON_WATCHDOG)
        return DOMAIN_END_CRASH;
    return DOMAIN_END_OTHER;
}

static void describe(struct driver *x, const libxl_dominfo *info, struct domain_seen *ret)
{
    *ret = (struct domain_seen){ .domid = info->domid, .end = end_of(info) };
    ret->run = info->dying      ? DOMAIN_DYING
               : info->shutdown ? DOMAIN_ENDED
               : info->paused   ? DOMAIN_PAUSED
                                : DOMAIN_RUNS;
    snprintf(ret->uuid, sizeof ret->uuid, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(info->uuid));
    marks_read(x->marks, ret);
}

static int xl_list(struct domain_driver *d, struct domain_seen *ret, unsigned max,
                   unsigned *ret_count, struct err *e)
{
    struct driver *x = driver_of(d);
    int all = 0;
    libxl_dominfo *info = libxl_list_domain(x->look.ctx, &all);
    unsigned count = 0;

    if (!info)
        return failed(&x->look, 0, "list domains", e);
    for (int i = 0; i < all && count < max; i++)
        if (info[i].domid != 0)
            describe(x, &info[i], &ret[count++]);
    libxl_dominfo_list_free(info, all);
    *ret_count = count;
    return 0;
}

/* ---- making ---- */

static int configure_build(struct context *c, libxl_domain_config *config,
                           const struct contract_domain *want, libxl_domain_type type)
{
    libxl_domain_build_info *b = &config->b_info;

    libxl_domain_build_info_init(b);
    libxl_domain_build_info_init_type(b, type);
    b->max_vcpus = (int)want->vcpus;
    if (libxl_cpu_bitmap_alloc(c->ctx, &b->avail_vcpus, (int)want->vcpus) != 0)
        return -ENOMEM;
    libxl_bitmap_set_any(&b->avail_vcpus);
    b->max_memkb = want->memory_mib * UINT64_C(1024);
    b->target_memkb = b->max_memkb;
    b->kernel = strdup(type == LIBXL_DOMAIN_TYPE_PVH ? GRUB_PVH : GRUB_PV);
    return b->kernel ? 0 : -ENOMEM;
}

static int configure_disks(libxl_domain_config *config, const struct contract_domain *want,
                           char paths[][DOMAIN_PATH_SIZE])
{
    if (want->disk_count == 0)
        return 0;
    config->disks = calloc(want->disk_count, sizeof *config->disks);
    if (!config->disks)
        return -ENOMEM;
    config->num_disks = (int)want->disk_count;
    for (unsigned i = 0; i < want->disk_count; i++) {
        libxl_device_disk *disk = &config->disks[i];

        libxl_device_disk_init(disk);
        disk->pdev_path = strdup(paths[i]);
        disk->vdev = strdup(want->disks[i].vdev);
        disk->backend = LIBXL_DISK_BACKEND_PHY; /* blkback */
        disk->format = LIBXL_DISK_FORMAT_RAW;
        disk->readwrite = 1;
        if (!disk->pdev_path || !disk->vdev)
            return -ENOMEM;
    }
    return 0;
}

static int configure_nic(libxl_domain_config *config, const struct contract_domain *want)
{
    unsigned mac[6];

    config->nics = calloc(1, sizeof *config->nics);
    if (!config->nics)
        return -ENOMEM;
    config->num_nics = 1;
    libxl_device_nic_init(config->nics);
    config->nics[0].nictype = LIBXL_NIC_TYPE_VIF;
    config->nics[0].bridge = strdup(BRIDGE);
    if (!config->nics[0].bridge)
        return -ENOMEM;
    if (sscanf(want->mac, "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
               &mac[5]) != 6)
        return -EINVAL;
    for (int i = 0; i < 6; i++)
        config->nics[0].mac[i] = (uint8_t)mac[i];
    return 0;
}

/* What libxl is to do when the guest ends is nothing: the agent sees it and decides. */
static int configure(struct context *c, libxl_domain_config *config,
                     const struct contract_domain *want, char paths[][DOMAIN_PATH_SIZE], bool pvh)
{
    libxl_domain_type type = pvh ? LIBXL_DOMAIN_TYPE_PVH : LIBXL_DOMAIN_TYPE_PV;
    int rc;

    config->c_info.type = type;
    config->c_info.name = strdup(want->name);
    config->c_info.xsdata = marks_of_birth(want);
    if (!config->c_info.name || !config->c_info.xsdata)
        return -ENOMEM;
    if (libxl_uuid_from_string(&config->c_info.uuid, want->uuid) != 0)
        return -EINVAL;
    config->on_poweroff = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    config->on_reboot = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    config->on_crash = LIBXL_ACTION_ON_SHUTDOWN_PRESERVE;
    if ((rc = configure_build(c, config, want, type)) < 0 ||
        (rc = configure_disks(config, want, paths)) < 0)
        return rc;
    return configure_nic(config, want);
}

static int check_memory(struct context *c, const struct contract_domain *want, struct err *e)
{
    uint64_t free_kib;
    int rc = libxl_get_free_memory(c->ctx, &free_kib);

    if (rc != 0)
        return failed(c, rc, "ask Xen for free memory", e);
    if (free_kib < want->memory_mib * UINT64_C(1024) + OVERHEAD_KIB)
        return err_set(e, -ENOMEM,
                       "needs %" PRIu32 " MiB of memory, this host has %" PRIu64 " free",
                       want->memory_mib, free_kib / 1024);
    return 0;
}

static int make(struct driver *x, struct context *c, const struct contract_domain *want,
                char paths[][DOMAIN_PATH_SIZE], uint32_t *ret_domid, struct err *e)
{
    libxl_domain_config config;
    uint32_t domid = 0;
    int rc = check_memory(c, want, e);

    if (rc < 0)
        return rc;
    libxl_domain_config_init(&config);
    rc = configure(c, &config, want, paths, x->hvm);
    if (rc < 0) {
        err_set(e, rc, "configure: %s", strerror(-rc));
    } else {
        rc = libxl_domain_create_new(c->ctx, &config, &domid, NULL, NULL);
        if (rc != 0) /* what it may leave is found half made, and goes */
            rc = failed(c, rc, "make the domain", e);
    }
    libxl_domain_config_dispose(&config);
    if (rc == 0)
        *ret_domid = domid;
    return rc;
}

static int xl_create(struct domain_driver *d, const struct contract_domain *want,
                     char paths[][DOMAIN_PATH_SIZE], uint32_t *ret_domid, struct err *e)
{
    struct context c;
    int rc = context_open(&c, e);

    if (rc == 0)
        rc = make(driver_of(d), &c, want, paths, ret_domid, e);
    context_close(&c);
    return rc < 0 ? err_wrap(e, rc, "create '%s'", want->name) : 0;
}

/* ---- the rest of its life ---- */

enum order { START, PAUSE, SHUTDOWN, DESTROY };

static int give_order(struct context *c, enum order order, uint32_t domid)
{
    switch (order) {
    case START:
        return libxl_domain_unpause(c->ctx, domid, NULL);
    case PAUSE:
        return libxl_domain_pause(c->ctx, domid, NULL);
    case SHUTDOWN:
        return libxl_domain_shutdown(c->ctx, domid, NULL);
    case DESTROY:
        break;
    }
    return libxl_domain_destroy(c->ctx, domid, NULL);
}

static int command(enum order order, uint32_t domid, struct err *e)
{
    static const char *const words[] = { "let it run", "pause it", "shut it down", "destroy it" };
    struct context c;
    int rc = context_open(&c, e);

    if (rc < 0) {
        context_close(&c);
        return rc;
    }
    rc = give_order(&c, order, domid);
    if (rc == ERROR_DOMAIN_NOTFOUND && order == DESTROY)
        rc = 0;
    else if (rc == ERROR_NOPARAVIRT)
        rc = err_set(e, -EAGAIN, "%s: its guest does not listen yet", words[order]);
    else if (rc != 0)
        rc = failed(&c, rc, words[order], e);
    context_close(&c);
    return rc;
}

static int xl_start(struct domain_driver *d, uint32_t domid, struct err *e)
{
    int rc = marks_set_made(driver_of(d)->marks, domid, e);

    return rc < 0 ? rc : command(START, domid, e);
}

static int xl_pause(struct domain_driver *d, uint32_t domid, struct err *e)
{
    (void)d;
    return command(PAUSE, domid, e);
}

static int xl_shutdown(struct domain_driver *d, uint32_t domid, int64_t now_ns, struct err *e)
{
    struct marks *marks = driver_of(d)->marks;
    int rc = marks_set_stop(marks, domid, now_ns, e);

    if (rc == 0)
        rc = command(SHUTDOWN, domid, e);
    return rc < 0 ? rc : marks_set_stop_heard(marks, domid, e);
}

static int xl_destroy(struct domain_driver *d, uint32_t domid, struct err *e)
{
    (void)d;
    return command(DESTROY, domid, e);
}

static int xl_event_fd(struct domain_driver *d)
{
    return marks_fd(driver_of(d)->marks);
}

static void xl_drain(struct domain_driver *d)
{
    marks_drain(driver_of(d)->marks);
}

static void xl_free(struct domain_driver *d)
{
    struct driver *x = driver_of(d);

    marks_close(x->marks);
    context_close(&x->look);
    free(x);
}

static const struct domain_ops ops = {
    .machine = xl_machine,
    .list = xl_list,
    .create = xl_create,
    .start = xl_start,
    .pause = xl_pause,
    .shutdown = xl_shutdown,
    .destroy = xl_destroy,
    .event_fd = xl_event_fd,
    .drain = xl_drain,
    .free = xl_free,
};

int domain_libxl_new(struct domain_driver **ret, struct err *e)
{
    struct driver *x = calloc(1, sizeof *x);
    struct domain_machine machine;
    int rc;

    if (!x)
        return err_set(e, -ENOMEM, "out of memory");
    x->driver.ops = &ops;
    rc = context_open(&x->look, e);
    if (rc == 0)
        rc = marks_open(&x->marks, e);
    if (rc == 0)
        rc = xl_machine(&x->driver, &machine, e); /* PVH or PV is known from now on */
    if (rc < 0) {
        xl_free(&x->driver);
        return rc;
    }
    *ret = &x->driver;
    return 0;
}
