/* SPDX-License-Identifier: Apache-2.0 */
/* server - the order in which the parts start and stop.
 *
 * Start: store (its lock says that nobody else is here) -> catalog -> epochs of what was being
 * written -> sweep -> exports -> NBD's ports -> HTTP's -> boot service.  No port is open before the
 * epochs and grants are in place. */
#include "server/main/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/base/log.h"
#include "server/base/name.h"
#include "server/base/net.h"
#include "server/boot/interface.h"
#include "server/catalog/catalog.h"
#include "server/control/control.h"
#include "server/control/http.h"
#include "server/control/lab.h"
#include "server/control/loop.h"
#include "server/export/export.h"
#include "server/io/pool.h"
#include "server/io/shard.h"
#include "server/main/notify.h"
#include "server/main/options.h"
#include "server/nbd/service.h"
#include "server/nbd/tls.h"
#include "server/store/store.h"

#define READ_THREADS 16
#define SLOW_THREADS 16
#define TOKEN_BYTES  32
#define STATE_PATH   256 /* a socket's path is far shorter, and the state directory with it */

struct server {
    const struct options *options;
    struct loop *loop;
    struct shard *shard;
    struct pool *read_pool, *slow_pool, *journal_pool;
    struct store *store;
    struct catalog *catalog;
    struct export_table *exports;
    struct nbd_tls *tls;
    struct nbd_service *nbd;
    struct http *http;
    struct control control;
    bool boot_started;
    struct boot_interface interface;
    char token[2 * TOKEN_BYTES + 1];
    char socket_path[STATE_PATH], scratch[STATE_PATH], boot_files[PATH_MAX + 32];
    int signal_fd;
    struct loop_watch *signal_watch;
};

static int path_in(const struct server *s, const char *name, char ret[static STATE_PATH],
                   struct err *e)
{
    if (snprintf(ret, STATE_PATH, "%s/%s", s->options->state, name) >= STATE_PATH)
        return err_set(e, -ENAMETOOLONG, "%s: the path of the state directory is too long",
                       s->options->state);
    return 0;
}

/* ---- the state directory ------------------------------------------------------------------------
 */

/* What an earlier life left in the scratch directory is of no use to anybody. */
static int clear_scratch(struct server *s, struct err *e)
{
    int rc = path_in(s, "tmp", s->scratch, e);

    if (rc < 0)
        return rc;
    if (mkdir(s->scratch, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "%s", s->scratch);
    AUTO(auto_closedir) DIR *dir = opendir(s->scratch);
    if (!dir)
        return err_errno(e, "%s", s->scratch);
    for (struct dirent *d; (d = readdir(dir));)
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
            unlinkat(dirfd(dir), d->d_name, 0) < 0)
            log_warn("main %s/%s: cannot be removed: %s", s->scratch, d->d_name, strerror(errno));
    return 0;
}

/* The administrator's token over TCP; made once. */
static int read_token(struct server *s, struct err *e)
{
    AUTO(auto_free) char *text = NULL;
    char path[STATE_PATH], line[sizeof s->token + 1];
    uint8_t secret[TOKEN_BYTES];
    int rc = path_in(s, "token", path, e);

    if (rc < 0)
        return rc;
    rc = file_read(path, 4096, &text, NULL, e);
    if (rc == -ENOENT) {
        random_bytes(secret, sizeof secret);
        hex_encode(secret, sizeof secret, s->token);
        snprintf(line, sizeof line, "%s\n", s->token);
        return file_replace(path, line, strlen(line), 0600, e);
    }
    if (rc < 0)
        return rc;
    text[strcspn(text, "\n")] = '\0';
    if (hex_decode(text, secret, sizeof secret) < 0)
        return err_set(e, -EINVAL, "%s: must hold %d hex digits: remove it, and a new one is made",
                       path, 2 * TOKEN_BYTES);
    if (chmod(path, 0600) < 0)
        return err_errno(e, "%s", path);
    memcpy(s->token, text, sizeof s->token);
    return 0;
}

static int open_store(struct server *s, struct err *e)
{
    int rc = shard_start("shard", &s->shard, e);

    if (rc == 0)
        rc = pool_start("read", READ_THREADS, &s->read_pool, e);
    if (rc == 0)
        rc = pool_start("slow", SLOW_THREADS, &s->slow_pool, e);
    if (rc == 0)
        rc = pool_start("journal", 1, &s->journal_pool, e);
    if (rc < 0)
        return rc;
    pool_go_first(s->journal_pool);
    struct store_options o = { .dir = s->options->state,
                               .live_dir = s->options->live,
                               .shard = s->shard,
                               .read_pool = s->read_pool,
                               .slow_pool = s->slow_pool,
                               .journal_pool = s->journal_pool };
    return store_open(&o, &s->store, e);
}

static int open_catalog(struct server *s, struct err *e)
{
    char path[STATE_PATH];
    int rc = path_in(s, "catalog.db", path, e);

    if (rc == 0)
        rc = cat_open(path, &s->catalog, e);
    if (rc == 0)
        rc = clear_scratch(s, e);
    if (rc == 0)
        rc = read_token(s, e);
    return rc;
}

/* ---- the ports ----------------------------------------------------------------------------------
 */

/* The boot interface's address with the port of `like`; "" if it is listened on already. */
static void interface_address(const struct server *s, char *const *list, char *ret, size_t size)
{
    snprintf(ret, size, "%s:%s", s->interface.text, strrchr(list[0], ':') + 1);
    for (unsigned i = 0; i < OPTIONS_LISTEN_MAX && list[i]; i++) {
        struct net_address a;
        const struct sockaddr_in *in = (const struct sockaddr_in *)&a.sa;
        if (strcmp(list[i], ret) == 0 ||
            (net_parse(list[i], &a, NULL) == 0 && a.sa.ss_family == AF_INET &&
             in->sin_addr.s_addr == INADDR_ANY))
            ret[0] = '\0';
    }
}

static int listen_nbd_on(struct server *s, unsigned n, const char *address, struct err *e)
{
    int rc = nbd_service_listen(s->nbd, address, e);

    if (rc == 0 && n < CONTROL_NBD_MAX)
        nbd_service_address(s->nbd, s->control.nbd[n]);
    return rc < 0 ? err_wrap(e, rc, "NBD") : 0;
}

static int read_tls(struct server *s, struct err *e)
{
    const struct options *o = s->options;
    struct nbd_tls_files files = { .certificate = o->nbd_tls_cert,
                                   .key = o->nbd_tls_key,
                                   .ca = o->nbd_tls_ca,
                                   .psk = o->nbd_tls_psk };
    int rc = o->nbd_tls == NBD_TLS_OFF ? 0 : nbd_tls_new(&files, &s->tls, e);

    return rc < 0 ? err_wrap(e, rc, "NBD's TLS") : 0;
}

static int listen_nbd(struct server *s, struct err *e)
{
    char *const *list = s->options->nbd;
    char extra[64] = "";
    unsigned n = 0;
    int rc = read_tls(s, e);
    struct nbd_limits limits = { .tls = s->tls,
                                 .tls_required = s->options->nbd_tls == NBD_TLS_REQUIRE };

    if (rc == 0)
        rc = nbd_service_start(s->shard, s->exports, &limits, &s->nbd, e);

    for (; rc == 0 && n < OPTIONS_LISTEN_MAX && list[n]; n++)
        rc = listen_nbd_on(s, n, list[n], e);
    if (rc == 0 && s->options->boot)
        interface_address(s, list, extra, sizeof extra);
    return rc == 0 && extra[0] ? listen_nbd_on(s, n, extra, e) : rc;
}

static int listen_http(struct server *s, struct err *e)
{
    char *const *list = s->options->http;
    char extra[64] = "";
    int rc = http_listen_unix(s->http, s->socket_path, e);

    for (unsigned n = 0; rc == 0 && n < OPTIONS_LISTEN_MAX && list[n]; n++)
        rc = http_listen(s->http, list[n], e);
    if (rc == 0 && s->options->boot)
        interface_address(s, list, extra, sizeof extra);
    if (rc == 0 && extra[0])
        rc = http_listen(s->http, extra, e);
    return rc < 0 ? err_wrap(e, rc, "HTTP") : 0;
}

/* ---- control ------------------------------------------------------------------------------------
 */

/* Epochs, leftovers, exports: what must be in place before a port opens. */
static int make_exports(struct server *s, struct err *e)
{
    struct control_lab_options lab = { .approve = s->options->approve };
    int rc = control_recover(&s->control, e);

    if (rc < 0)
        return err_wrap(e, rc, "start");
    rc = export_table_new(s->shard, s->store, &s->exports, e);
    s->control.exports = s->exports;
    if (rc == 0)
        rc = control_lab_new(&s->control, &lab, &s->control.lab, e);
    if (rc == 0)
        rc = control_lab_renew(&s->control, e);
    if (rc == 0)
        rc = control_regrant(&s->control, e);
    return rc;
}

static int make_http(struct server *s, struct err *e)
{
    struct http_options o = { .loop = s->loop, .context = &s->control, .admin_token = s->token };
    int rc = http_new(&o, &s->http, e);

    s->control.http = s->http;
    if (rc == 0)
        rc = control_init(&s->control, e);
    if (rc == 0)
        rc = control_lab_routes(s->http, e);
    return rc;
}

/* ---- the boot service ---------------------------------------------------------------------------
 */

/* Beside the program, as make leaves it, or where `make install` puts it. */
static void find_boot_files(struct server *s)
{
    static const char *const places[] = { "boot", "../share/gridbox/boot" };
    char exe[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);

    exe[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(exe, '/');
    for (size_t i = 0; slash && i < sizeof places / sizeof *places; i++) {
        snprintf(s->boot_files, sizeof s->boot_files, "%.*s/%s", (int)(slash - exe), exe,
                 places[i]);
        if (access(s->boot_files, X_OK) == 0)
            return;
    }
    snprintf(s->boot_files, sizeof s->boot_files, "/usr/share/gridbox/boot");
}

static int start_boot(struct server *s, struct err *e)
{
    const struct options *o = s->options;
    const char *port = strrchr(o->http[0], ':');

    if (!o->boot)
        return 0;
    find_boot_files(s);
    struct control_boot_options boot = {
        .interface = o->boot,
        .state_dir = o->state,
        .files_dir = o->boot_files ? o->boot_files : s->boot_files,
        .range = o->dhcp_range,
        .router = o->dhcp_router,
        .dns = o->dhcp_dns,
        .lease_seconds = o->dhcp_lease_seconds,
        .http_port = (uint16_t)strtoul(port + 1, NULL, 10),
        .proxy = o->boot_proxy,
        .debug = o->boot_debug,
    };
    int rc = control_boot_start(&s->control, &boot, e);
    s->boot_started = rc == 0;
    return rc;
}

/* ---- start, run, stop ---------------------------------------------------------------------------
 */

static void on_signal(void *arg)
{
    struct server *s = arg;
    struct signalfd_siginfo info;

    if (read(s->signal_fd, &info, sizeof info) != sizeof info)
        return;
    log_info("main: stopping on signal %u", info.ssi_signo);
    loop_stop(s->loop);
}

static int watch_signals(struct server *s, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0)
        return err_errno(e, "signalfd");
    return loop_watch(s->loop, s->signal_fd, on_signal, s, &s->signal_watch, e);
}

/* What can be wrong with the options is found before anything is made. */
static int check_first(struct server *s, struct err *e)
{
    int rc = path_in(s, "control.sock", s->socket_path, e);

    if (rc == 0)
        rc = http_check_unix_path(s->socket_path, e);
    if (rc == 0 && s->options->boot)
        rc = boot_interface_read(s->options->boot, &s->interface, e);
    return rc;
}

static int start(struct server *s, struct err *e)
{
    int rc = check_first(s, e);

    if (rc == 0)
        rc = loop_new(&s->loop, e);
    if (rc == 0)
        rc = watch_signals(s, e);
    if (rc == 0)
        rc = open_store(s, e);
    if (rc == 0)
        rc = open_catalog(s, e);
    if (rc < 0)
        return rc;
    s->control = (struct control){
        .loop = s->loop,
        .catalog = s->catalog,
        .store = s->store,
        .state_dir = s->options->state,
        .scratch_dir = s->scratch,
        .advertise = s->options->advertise,
        .nbd_secure = s->options->nbd_tls == NBD_TLS_REQUIRE,
        .boot_address = s->options->boot ? s->interface.text : NULL,
        .image_limit_bytes = s->options->image_limit_bytes,
        .started_ns = clock_mono_ns(),
    };
    rc = make_exports(s, e);
    if (rc == 0)
        rc = listen_nbd(s, e);
    if (rc == 0)
        rc = make_http(s, e);
    if (rc == 0)
        rc = listen_http(s, e);
    return rc < 0 ? rc : start_boot(s, e);
}

int server_start(const struct options *o, struct server **ret, struct err *e)
{
    struct server *s = calloc(1, sizeof *s);

    if (!s)
        return err_set(e, -ENOMEM, "out of memory");
    s->options = o;
    s->signal_fd = -1;
    int rc = start(s, e);
    if (rc < 0) {
        server_stop(s);
        return rc;
    }
    if (strcmp(store_durability(s->store), "power") != 0)
        log_warn("main %s: this file system does not cover a loss of power (durability: %s)",
                 o->state, store_durability(s->store));
    log_info("main: gridboxd %s serves %s http=%s nbd=%s", GRIDBOX_VERSION, o->state,
             http_address(s->http, 0), s->control.nbd[0]);
    *ret = s;
    return 0;
}

void server_run(struct server *s)
{
    notify("READY=1");
    loop_run(s->loop);
    notify("STOPPING=1");
}

void server_stop(struct server *s)
{
    if (!s)
        return;
    if (s->boot_started)
        control_boot_stop(&s->control);
    if (s->http)
        http_close(s->http);
    control_done(&s->control);
    nbd_service_stop(s->nbd);
    nbd_tls_free(s->tls);
    export_table_free(s->exports);
    control_lab_free(s->control.lab);
    http_free(s->http);
    store_close(s->store);
    cat_close(s->catalog);
    pool_stop(s->read_pool);
    pool_stop(s->slow_pool);
    pool_stop(s->journal_pool);
    shard_stop(s->shard);
    loop_unwatch(s->signal_watch);
    loop_free(s->loop);
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    free(s);
}
