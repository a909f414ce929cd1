/* SPDX-License-Identifier: Apache-2.0 */
/* loop - descriptors, timers and messages on libwebsockets' event loop.  Knows no HTTP. */
#include "server/control/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/log.h"

struct loop {
    struct lws_context *lws;
    struct lws_vhost *vhost; /* of watched descriptors */
    lws_sorted_usec_list_t sul;
    struct loop_timer *timers; /* soonest first */
    struct loop_watch *wake;
    int wake_fd; /* eventfd: messages are there */
    atomic_bool stopping;

    pthread_mutex_t lock; /* guards the two below; a leaf: nothing is called under it */
    struct loop_msg *first, **last;
};

struct loop_watch {
    struct lws *wsi;
    void (*fn)(void *arg); /* NULL: unwatched, freed when libwebsockets lets go */
    void *arg;
};

static int on_watch(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t length)
{
    struct loop_watch *w = lws_get_opaque_user_data(wsi);

    (void)user, (void)in, (void)length;
    if (reason == LWS_CALLBACK_RAW_RX_FILE)
        return w && w->fn ? (w->fn(w->arg), 0) : -1;
    if (reason == LWS_CALLBACK_RAW_CLOSE_FILE && w) {
        lws_set_opaque_user_data(wsi, NULL);
        w->wsi = NULL;
        if (!w->fn)
            free(w);
    }
    return 0;
}

/* libwebsockets keeps a pointer to it for as long as a context lives. */
static const struct lws_protocols protocols[] = {
    { .name = "watch", .callback = on_watch },
    { .name = NULL },
};

static void on_lws_log(int level, const char *line)
{
    int length = (int)strcspn(line, "\n");

    if (level == LLL_ERR || level == LLL_WARN)
        log_debug("http libwebsockets: %.*s", length, line);
}

static void auto_loop(struct loop **l)
{
    loop_free(*l);
}

static void on_wake(void *arg)
{
    struct loop *l = arg;
    uint64_t count;

    if (read(l->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("control loop: read of its eventfd: %s", strerror(errno));

    pthread_mutex_lock(&l->lock);
    struct loop_msg *m = l->first;
    l->first = NULL;
    l->last = &l->first;
    pthread_mutex_unlock(&l->lock);

    while (m) {
        struct loop_msg *next = m->next;
        m->fn(m);
        m = next;
    }
}

static void wake_up(struct loop *l)
{
    static const uint64_t one = 1;

    /* It can only fail when the counter is full, and then the loop is awake. */
    if (write(l->wake_fd, &one, sizeof one) < 0)
        return;
}

static int make_lws(struct loop *l, struct err *e)
{
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .max_http_header_data2 = 8192 + 1024, /* the head that we accept, and what lws adds */
        .max_http_header_pool2 = 1024,
        .pt_serv_buf_size = 16384,
    };
    struct lws_context_creation_info vhost = {
        .vhost_name = "watch",
        /* Another one than http.c's: a request's Host header picks among vhosts of one port. */
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
    };

    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    l->lws = lws_create_context(&info);
    if (!l->lws)
        return err_set(e, -ENOMEM, "libwebsockets cannot start");
    l->vhost = lws_create_vhost(l->lws, &vhost);
    return l->vhost ? 0 : err_set(e, -ENOMEM, "libwebsockets cannot start");
}

int loop_new(struct loop **ret, struct err *e)
{
    AUTO(auto_loop) struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(e, -ENOMEM, "control loop: out of memory");

    pthread_mutex_init(&l->lock, NULL);
    l->last = &l->first;
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        return err_errno(e, "control loop: eventfd");
    int rc = make_lws(l, e);
    if (rc == 0)
        rc = loop_watch(l, l->wake_fd, on_wake, l, &l->wake, e);
    if (rc < 0)
        return err_wrap(e, rc, "control loop");

    *ret = TAKE(l);
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    loop_unwatch(l->wake);
    if (l->lws) {
        lws_sul_cancel(&l->sul);
        lws_context_destroy(l->lws);
    }
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void loop_run(struct loop *l)
{
    /* Taken back at the end: a stop that comes before the run counts. */
    while (!atomic_load(&l->stopping))
        if (lws_service(l->lws, 0) < 0)
            break;
    atomic_store(&l->stopping, false);
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    wake_up(l);
}

void loop_post(struct loop *l, struct loop_msg *m)
{
    m->next = NULL;
    pthread_mutex_lock(&l->lock);
    *l->last = m;
    l->last = &m->next;
    pthread_mutex_unlock(&l->lock);
    wake_up(l);
}

void loop_unpost(struct loop *l, struct loop_msg *m)
{
    pthread_mutex_lock(&l->lock);
    for (struct loop_msg **at = &l->first; *at; at = &(*at)->next)
        if (*at == m) {
            *at = m->next;
            if (!*at)
                l->last = at;
            break;
        }
    pthread_mutex_unlock(&l->lock);
}

int loop_watch(struct loop *l, int fd, void (*fn)(void *arg), void *arg, struct loop_watch **ret,
               struct err *e)
{
    AUTO(auto_free) struct loop_watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(e, -ENOMEM, "watch a descriptor: out of memory");

    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return err_errno(e, "watch a descriptor");
    w->fn = fn;
    w->arg = arg;
    lws_adopt_desc_t adopt = { .vh = l->vhost,
                               .type = LWS_ADOPT_RAW_FILE_DESC,
                               .fd.filefd = copy,
                               .vh_prot_name = "watch",
                               .opaque = w };
    w->wsi = lws_adopt_descriptor_vhost_via_info(&adopt);
    if (!w->wsi) {
        close(copy);
        return err_set(e, -ENOMEM, "watch a descriptor: libwebsockets does not take it");
    }

    *ret = TAKE(w);
    return 0;
}

void loop_unwatch(struct loop_watch *w)
{
    if (!w)
        return;
    w->fn = NULL;
    if (w->wsi)
        lws_set_timeout(w->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
    else
        free(w);
}

/* ---- timers -------------------------------------------------------------------------------------
 */

static void arm(struct loop *l);

static void on_sul(lws_sorted_usec_list_t *sul)
{
    struct loop *l = lws_container_of(sul, struct loop, sul);
    int64_t now = clock_mono_ns();

    while (l->timers && l->timers->due_ns <= now) {
        struct loop_timer *t = l->timers;
        l->timers = t->next;
        t->due_ns = 0;
        t->fn(t);
    }
    arm(l);
}

static void arm(struct loop *l)
{
    if (!l->timers) {
        lws_sul_cancel(&l->sul);
        return;
    }
    int64_t delay_ns = l->timers->due_ns - clock_mono_ns();
    lws_sul_schedule(l->lws, 0, &l->sul, on_sul, delay_ns > 1000 ? delay_ns / 1000 : 1);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    struct loop_timer **at = &l->timers;

    if (!t->due_ns)
        return;
    while (*at && *at != t)
        at = &(*at)->next;
    if (*at)
        *at = t->next;
    t->due_ns = 0;
    arm(l);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, int64_t due_ns)
{
    struct loop_timer **at = &l->timers;

    loop_timer_cancel(l, t);
    t->due_ns = due_ns > 0 ? due_ns : 1;
    while (*at && (*at)->due_ns <= t->due_ns)
        at = &(*at)->next;
    t->next = *at;
    *at = t;
    arm(l);
}

struct lws_context *loop_lws(struct loop *l)
{
    return l->lws;
}
