/* SPDX-License-Identifier: Apache-2.0 */
/* boot - the calls under /boot, and the life of the boot service within the server.
 *
 * There is no token in front of these.  What is one PC's alone (its script with its one-time token)
 * is given only to the address behind which the kernel's neighbour table has that PC's MAC. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/boot/boot.h"
#include "server/boot/interface.h"
#include "server/boot/neigh.h"
#include "server/boot/script.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/lab.h"
#include "server/control/loop.h"
#include "server/lab/rule.h"

struct lab_boot {
    struct control *control;
    struct boot_service *service;
    struct loop_watch *watch; /* NULL: nothing to watch */
    struct loop_timer tick;
    bool debug;
};

/* ---- life -------------------------------------------------------------------------------------
 */

static void on_readable(void *arg)
{
    struct lab_boot *b = arg;

    boot_service_tick(b->service);
}

static void on_tick(struct loop_timer *t)
{
    struct lab_boot *b = (struct lab_boot *)((char *)t - offsetof(struct lab_boot, tick));

    boot_service_tick(b->service);
    loop_timer_set(b->control->loop, t, clock_mono_ns() + NS_PER_S);
}

static void boot_free(struct lab_boot *b)
{
    loop_unwatch(b->watch);
    loop_timer_cancel(b->control->loop, &b->tick);
    boot_service_stop(b->service);
    free(b);
}

static int start_service(struct lab_boot *b, const struct control_boot_options *o, struct err *e)
{
    struct boot_interface i;
    int rc = boot_interface_read(o->interface, &i, e);

    if (rc < 0)
        return err_wrap(e, rc, "boot service");
    struct boot_options options = { .interface = &i,
                                    .proxy = o->proxy,
                                    .state_dir = o->state_dir,
                                    .files_dir = o->files_dir,
                                    .http_port = o->http_port,
                                    .range = o->range,
                                    .lease_seconds = o->lease_seconds,
                                    .router = o->router,
                                    .dns = o->dns };
    return boot_service_start(&options, &b->service, e);
}

int control_boot_start(struct control *c, const struct control_boot_options *o, struct err *e)
{
    struct lab_boot *b = calloc(1, sizeof *b);

    if (!b)
        return err_set(e, -ENOMEM, "boot service: out of memory");
    *b = (struct lab_boot){ .control = c, .debug = o->debug, .tick = { .fn = on_tick } };
    int rc = start_service(b, o, e);
    if (rc == 0 && boot_service_fd(b->service) >= 0)
        rc = loop_watch(c->loop, boot_service_fd(b->service), on_readable, b, &b->watch, e);
    if (rc < 0) {
        boot_free(b);
        return rc;
    }
    on_tick(&b->tick);
    lab_boot_set(c, b);
    log_info("boot %s: serving PCs at %s%s", o->interface, boot_service_interface(b->service)->text,
             o->proxy ? " beside another DHCP server" : "");
    return 0;
}

void control_boot_stop(struct control *c)
{
    struct lab_boot *b = lab_boot_of(c);

    if (!b)
        return;
    lab_boot_set(c, NULL);
    boot_free(b);
}

json_t *control_boot_status(const struct control *c)
{
    const struct lab_boot *b = lab_boot_of(c);

    if (!b)
        return json_null();
    const struct boot_interface *i = boot_service_interface(b->service);
    return json_pack("{s:s, s:s, s:s}", "interface", i->name, "address", i->text, "dnsmasq",
                     boot_service_running(b->service) ? "running" : "stopped");
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static void answer_text(struct http_request *r, int status, struct buf *b)
{
    const char *text = buf_text(b);

    if (text)
        http_answer_text(r, status, "text/plain", text, b->length);
    else
        http_answer_problem(r, 500, "out of memory");
}

/* As a script: iPXE shows the status, and a person who asks by hand sees the words. */
static void refuse(struct http_request *r, int status, const struct err *why)
{
    AUTO(buf_done) struct buf b = { 0 };

    buf_init(&b, BOOT_SCRIPT_MAX);
    boot_script_refusal(why->msg, &b);
    answer_text(r, status, &b);
}

/* NULL: there is no boot service; answered. */
static struct lab_boot *boot_of(struct http_request *r)
{
    struct lab_boot *b = lab_boot_of(http_context(r));

    if (!b)
        http_answer_problem(r, 404,
                            "there is no boot service: start gridboxd with --boot INTERFACE");
    return b;
}

/* False: whoever asks is not the PC with this MAC; answered. */
static bool check_neighbour(struct http_request *r, const struct lab_boot *b, const char *mac)
{
    const struct boot_interface *i = boot_service_interface(b->service);
    const char *peer = http_peer(r);
    char found[NEIGH_MAC_SIZE] = "no neighbour";
    struct err e = { 0 };

    if (*peer && neigh_find(i->index, peer, found, &e) == 0 && strcmp(found, mac) == 0)
        return true;
    log_info("boot %s: refused the script of %s to %s (%s)", i->name, mac,
             *peer ? peer : "the Unix socket", found);
    err_set(&e, -EPERM, "the script of %s is for that PC alone, and you are not it", mac);
    refuse(r, 403, &e);
    return false;
}

static void fill_server(const struct lab_boot *b, struct boot_server *ret)
{
    *ret = (struct boot_server){ .address = boot_service_interface(b->service)->text,
                                 .http_port = boot_service_http_port(b->service),
                                 .debug = b->debug };
}

static void on_start_script(struct http_request *r)
{
    const struct lab_boot *b = boot_of(r);
    AUTO(buf_done) struct buf out = { 0 };
    struct boot_server server;

    if (!b)
        return;
    buf_init(&out, BOOT_SCRIPT_MAX);
    fill_server(b, &server);
    boot_script_start(&server, &out);
    answer_text(r, 200, &out);
}

/* ---- the script of one PC ---------------------------------------------------------------------
 */

/* A new token; the one before is void. */
static int issue_token(struct control *c, const struct boot_request *q, const char *name,
                       const char *peer, char ret_token[static BOOT_TOKEN_SIZE], struct err *e)
{
    uint8_t secret[(BOOT_TOKEN_SIZE - 1) / 2], hash[CAT_HASH_BYTES];
    struct cat_boot_clock clock;
    int rc = cat_begin(c->catalog, e);

    if (rc < 0)
        return rc;
    random_bytes(secret, sizeof secret);
    hex_encode(secret, sizeof secret, ret_token);
    lab_hash(ret_token, hash);
    lab_clock(c, &clock);
    rc = cat_boot_token_put(c->catalog, q->mac, peer, hash, &clock, e);
    if (rc == 0)
        rc = control_event(c, e, "host-boot", name, "%s loads Xen from address %s (%s)", q->mac,
                           peer, q->efi ? "UEFI" : "BIOS");
    return cat_end(c->catalog, rc, e);
}

static int make_script(struct http_request *r, const struct lab_boot *b,
                       const struct boot_request *q, struct buf *out, struct err *e)
{
    struct control *c = b->control;
    struct boot_server server;
    struct cat_host h;
    char token[BOOT_TOKEN_SIZE] = "", name[NAME_SIZE];
    int rc = cat_host_by_mac(c->catalog, q->mac, &h, e);

    if (rc < 0 && rc != -ENOENT)
        return rc;
    bool known = rc == 0;
    lab_host_name(q->mac, name);
    enum boot_kind kind =
        boot_decide(q, known && h.undionly ? BOOT_LOADER_UNDIONLY : BOOT_LOADER_AUTO);
    if (kind != BOOT_CHAIN) {
        rc = issue_token(c, q, known ? h.name : name, http_peer(r), token, e);
        if (rc < 0)
            return rc;
    }
    fill_server(b, &server);
    boot_script(kind, &server, q, token, out);
    return 0;
}

static void on_script(struct http_request *r)
{
    AUTO(buf_done) struct buf out = { 0 };
    struct lab_boot *b = boot_of(r);
    struct boot_request q;
    struct err e = { 0 };

    buf_init(&out, BOOT_SCRIPT_MAX);
    if (!b)
        return;
    if (boot_request_read(http_query(r, "mac"), http_query(r, "chip"), http_query(r, "platform"),
                          &q, &e) < 0) {
        refuse(r, 400, &e);
        return;
    }
    if (!check_neighbour(r, b, q.mac))
        return;
    if (make_script(r, b, &q, &out, &e) < 0) {
        log_error("boot %s: no script for %s: %s", boot_service_interface(b->service)->name, q.mac,
                  e.msg);
        refuse(r, 503, &e);
        return;
    }
    answer_text(r, 200, &out);
}

/* xen.efi's configuration, for the token that the script has just brought; it is not used up. */
static void on_xen_cfg(struct http_request *r)
{
    AUTO(buf_done) struct buf out = { 0 };
    struct lab_boot *b = boot_of(r);
    const char *secret = http_query(r, "token");
    struct cat_boot_token token;
    struct cat_boot_clock clock;
    struct boot_server server;
    struct boot_request q;
    uint8_t hash[CAT_HASH_BYTES];
    struct err e = { 0 };

    buf_init(&out, BOOT_SCRIPT_MAX);
    if (!b)
        return;
    if (boot_request_read(http_query(r, "mac"), NULL, "efi", &q, &e) < 0) {
        refuse(r, 400, &e);
        return;
    }
    if (!check_neighbour(r, b, q.mac))
        return;
    lab_hash(secret ? secret : "", hash);
    lab_clock(b->control, &clock);
    if (cat_boot_token_find(b->control->catalog, hash, &clock, &token, &e) < 0 ||
        strcmp(token.mac, q.mac) != 0 || strcmp(token.address, http_peer(r)) != 0) {
        err_set(&e, -EPERM, "this boot token is not valid: ask for a new script");
        refuse(r, 403, &e);
        return;
    }
    fill_server(b, &server);
    boot_xen_cfg(&server, &q, secret, &out);
    answer_text(r, 200, &out);
}

/* ---- files ------------------------------------------------------------------------------------
 */

static void on_file(struct http_request *r)
{
    static const char *const files[] = { "xen",      "xen.efi",       "vmlinuz",
                                         "dom0.img", "undionly.kpxe", "ipxe.efi" };
    const struct lab_boot *b = boot_of(r);
    const char *name = http_arg(r, 0);
    char path[PATH_MAX];

    if (!b)
        return;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (strcmp(name, files[i]) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", boot_service_files(b->service), name);
        http_answer_file(r, path, "application/octet-stream");
        return;
    }
    http_answer_problem(r, 404, "there is no such boot file");
}

static const struct http_route routes[] = {
    { "GET", "/boot/start.ipxe", HTTP_PUBLIC, on_start_script, false },
    { "GET", "/boot/ipxe", HTTP_PUBLIC, on_script, false },
    { "GET", "/boot/xen.cfg", HTTP_PUBLIC, on_xen_cfg, false },
    { "GET", "/boot/{}", HTTP_PUBLIC, on_file, false },
};

int lab_boot_routes(struct http *h, struct err *e)
{
    return http_routes(h, routes, sizeof routes / sizeof routes[0], e);
}
