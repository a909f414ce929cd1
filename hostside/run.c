/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the one loop of the process, the session file, the lines for the table of stages.
 * Must never know: what a step does, what an answer means. */
#include "hostside/run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostside/agent.h"
#include "hostside/api_client.h"
#include "hostside/attach.h"
#include "hostside/domain.h"
#include "hostside/machine.h"
#include "hostside/uplink.h"
#include "hostside/worker.h"
#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/base/log.h"

#define RUN_DIR     "/run/gridbox"
#define STOP_WAIT_S 15 /* for steps under way at SIGTERM */

enum { FD_SIGNAL, FD_STEPS, FD_DOMAINS, FD_DISKS, FD_COUNT };

struct run {
    const struct run_options *options;
    const char *dir; /* of the session file */
    struct domain_driver *domains;
    struct attach_driver *disks;
    struct worker *worker;
    struct agent *agent;
    struct api_client *api;
    struct uplink uplink;
    int signal_fd;
    int64_t agent_wake_ns;              /* 0 = now */
    bool told_spec;                     /* its stage line is out */
    struct err told[UPLINK_CALL_COUNT]; /* failures of calls: each is told once, not every time */
};

/* ---- small things ---- */

static void tell_stage(const char *what)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    printf("gridbox-stage: %s %lld.%02ld\n", what, (long long)t.tv_sec, t.tv_nsec / 10000000);
    fflush(stdout);
}

static void on_stage(void *arg, const char *what)
{
    (void)arg;
    tell_stage(what);
}

/* Who dies last when dom0 is short of memory: the one that all guests hang on. */
static void protect_from_oom(void)
{
    struct err e = { 0 };
    FILE *f = fopen("/proc/self/oom_score_adj", "we");

    if (!f || fputs("-1000", f) < 0)
        err_errno(&e, "oom_score_adj");
    if (f && fclose(f) != 0)
        err_errno(&e, "oom_score_adj");
    if (e.code)
        log_warn("agent: may be killed when memory is short: %s", e.msg);
}

/* The first word of a small file, "" if there is none. */
static void read_word(const char *path, char *ret, size_t size)
{
    AUTO(auto_free) char *text = NULL;

    ret[0] = '\0';
    if (file_read(path, 4096, &text, NULL, NULL) < 0)
        return;
    text[strcspn(text, " \t\r\n")] = '\0';
    if (strlen(text) < size)
        memcpy(ret, text, strlen(text) + 1);
}

static void session_path(const struct run *r, char *ret, size_t size)
{
    snprintf(ret, size, "%s/session", r->dir);
}

static void keep_session(struct run *r)
{
    struct err e = { 0 };
    char path[300], text[160];

    session_path(r, path, sizeof path);
    snprintf(text, sizeof text, "%s %s\n", r->uplink.session, r->uplink.host);
    if (file_replace(path, text, strlen(text), 0600, &e) < 0)
        log_error("agent: cannot keep the session, a restarted agent will be unknown: %s", e.msg);
}

/* ---- calls to the server ---- */

static char *register_text(struct run *r, struct err *e)
{
    struct contract_register me = { 0 };
    struct domain_machine machine;
    const char *sim = r->options->sim_dir;
    int rc = sim ? machine_made_up(sim, &me, e) : machine_read("", &me, e);
    char *text;

    if (rc == 0)
        rc = r->domains->ops->machine(r->domains, &machine, e);
    if (rc < 0)
        return NULL;
    me.cpus = machine.cpus;
    me.memory_mib = machine.memory_mib;
    me.hvm = machine.hvm;
    snprintf(me.agent_version, sizeof me.agent_version, "%s", GRIDBOX_VERSION);
    text = contract_register_text(&me);
    if (!text)
        err_set(e, -ENOMEM, "out of memory");
    return text;
}

static void answered(struct run *r, enum uplink_call call, const struct uplink_answer *a);

static void start_call(struct run *r, enum uplink_call call)
{
    static const unsigned timeout_s[UPLINK_CALL_COUNT] = {
        [UPLINK_REGISTER] = 30, [UPLINK_SPEC] = UPLINK_WAIT_S + 15, [UPLINK_REPORT] = 20
    };
    AUTO(auto_free) char *body = NULL;
    struct err e = { 0 };
    char path[128];
    struct api_call c = { .slot = call, .path = path, .timeout_s = timeout_s[call] };

    uplink_path(&r->uplink, call, path, sizeof path);
    c.bearer = uplink_bearer(&r->uplink, call);
    if (call == UPLINK_REGISTER)
        c.body = body = register_text(r, &e);
    else if (call == UPLINK_REPORT)
        c.body = r->uplink.report;
    if (e.code == 0)
        api_client_start(r->api, &c, &e);
    if (e.code) /* as if the server had not answered */
        answered(
            r, call,
            &(struct uplink_answer){ .status = e.code, .body = e.msg, .length = strlen(e.msg) });
}

static void take_spec(struct run *r, struct contract_spec *spec)
{
    log_info("agent: spec: revision=%llu approved=%d domains=%u",
             (unsigned long long)spec->revision, spec->approved, spec->domain_count);
    if (!r->told_spec && spec->approved) {
        tell_stage("spec");
        r->told_spec = true;
    }
    agent_set_spec(r->agent, spec);
    r->agent_wake_ns = 0;
}

static void answered(struct run *r, enum uplink_call call, const struct uplink_answer *a)
{
    struct contract_spec spec = { 0 };
    struct err e = { 0 };
    enum uplink_news news = uplink_answer(&r->uplink, call, a, clock_mono_ns(), &spec, &e);

    /* The words of the same trouble differ in milliseconds; those of a refusal matter. */
    if (e.code && (e.code != r->told[call].code ||
                   (e.code == -EPROTO && strcmp(e.msg, r->told[call].msg) != 0)))
        log_warn("agent: %s", e.msg);
    r->told[call] = e;
    if (news == UPLINK_REGISTERED) {
        log_info("agent: registered as host %s", r->uplink.host);
        keep_session(r);
        tell_stage("registered");
    } else if (news == UPLINK_NEW_SPEC) {
        take_spec(r, &spec);
    }
}

/* Starts what is due; returns when to look again. */
static int64_t do_uplink(struct run *r)
{
    int64_t wake_ns;
    enum uplink_call call;

    while ((call = uplink_next(&r->uplink, clock_mono_ns(), &wake_ns)) != UPLINK_NONE)
        start_call(r, call);
    return wake_ns;
}

static void take_answers(struct run *r)
{
    struct api_done done;

    while (api_client_done(r->api, &done))
        answered(r, (enum uplink_call)done.slot,
                 &(struct uplink_answer){
                     .status = done.status, .body = done.body, .length = done.length });
}

/* ---- the loop ---- */

static void submit(void *arg, struct step *s)
{
    struct run *r = arg;

    worker_submit(r->worker, s);
}

static void take_steps(struct run *r)
{
    struct step *s;

    while ((s = worker_take(r->worker)))
        agent_finish(r->agent, s, clock_mono_ns());
    r->agent_wake_ns = 0;
}

static void do_agent(struct run *r)
{
    int64_t now_ns = clock_mono_ns();

    if (now_ns < r->agent_wake_ns)
        return;
    r->agent_wake_ns = agent_tick(r->agent, now_ns);
    uplink_set_report(&r->uplink, agent_report(r->agent), now_ns);
}

static int until_ms(int64_t ns)
{
    int64_t left = ns - clock_mono_ns();

    if (left <= 0)
        return 0;
    return left > 60 * NS_PER_S ? 60000 : (int)(left / NS_PER_MS) + 1;
}

/* False when a signal ends it. */
static bool turn(struct run *r)
{
    struct pollfd fds[FD_COUNT] = {
        [FD_SIGNAL] = { .fd = r->signal_fd },
        [FD_STEPS] = { .fd = worker_fd(r->worker) },
        [FD_DOMAINS] = { .fd = r->domains->ops->event_fd(r->domains) },
        [FD_DISKS] = { .fd = r->disks->ops->event_fd(r->disks) },
    };
    unsigned count = r->options->sim_dir ? FD_DOMAINS : FD_COUNT; /* rehearsals have no events */
    int64_t wake_ns;

    do_agent(r);
    wake_ns = do_uplink(r);
    if (r->agent_wake_ns < wake_ns)
        wake_ns = r->agent_wake_ns;
    api_client_wait(r->api, fds, count, until_ms(wake_ns));
    take_answers(r);
    if (fds[FD_STEPS].revents)
        take_steps(r);
    if (fds[FD_DOMAINS].revents) {
        r->domains->ops->drain(r->domains);
        r->agent_wake_ns = 0;
    }
    if (fds[FD_DISKS].revents) {
        r->disks->ops->drain(r->disks);
        r->agent_wake_ns = 0;
    }
    return fds[FD_SIGNAL].revents == 0;
}

/* ---- life ---- */

static int open_drivers(struct run *r, struct err *e)
{
    const char *sim = r->options->sim_dir;
    int rc = sim ? domain_sim_new(sim, &r->domains, e) : domain_libxl_new(&r->domains, e);

    if (rc < 0)
        return rc;
    return sim ? attach_sim_new(sim, &r->disks, e) : attach_nbd_new(&r->disks, e);
}

static int block_signals(struct run *r, struct err *e)
{
    sigset_t ends;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    r->signal_fd = signalfd(-1, &ends, SFD_CLOEXEC);
    return r->signal_fd < 0 ? err_errno(e, "signalfd") : 0;
}

static int start(struct run *r, struct err *e)
{
    struct agent_config config = { .submit = submit, .stage = on_stage, .arg = r };
    char path[300], token[UPLINK_TOKEN_SIZE], session[65];
    int rc;

    r->dir = r->options->sim_dir ? r->options->sim_dir : RUN_DIR;
    if (mkdir(r->dir, 0700) < 0 && errno != EEXIST)
        return err_errno(e, "make %s", r->dir);
    session_path(r, path, sizeof path);
    read_word(path, session, sizeof session);
    read_word(r->options->token_file, token, sizeof token);
    if (!session[0] && !token[0])
        return err_set(e, -ENOENT, "neither a session in %s nor a token in %s: boot this PC again",
                       path, r->options->token_file);
    uplink_init(&r->uplink, token, session);
    if ((rc = block_signals(r, e)) < 0 ||
        (rc = api_client_new(r->options->server, &r->api, e)) < 0 ||
        (rc = open_drivers(r, e)) < 0 || (rc = worker_new(r->domains, r->disks, &r->worker, e)) < 0)
        return rc;
    config.domains = r->domains;
    config.disks = r->disks;
    return agent_new(&config, &r->agent, e);
}

/* Steps under way are finished, as far as they do so soon; what is left half done the next agent
 * finds. */
static void stop(struct run *r)
{
    sigset_t alarm_only;

    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
    alarm(STOP_WAIT_S);
    worker_free(r->worker);
    agent_free(r->agent);
    if (r->disks)
        r->disks->ops->free(r->disks);
    if (r->domains)
        r->domains->ops->free(r->domains);
    api_client_free(r->api);
    uplink_done(&r->uplink);
    if (r->signal_fd >= 0)
        close(r->signal_fd);
}

int run(const struct run_options *o)
{
    struct run r = { .options = o, .signal_fd = -1 };
    struct err e = { 0 };

    if (!o->sim_dir)
        protect_from_oom();
    if (start(&r, &e) < 0) {
        log_error("agent: cannot start: %s", e.msg);
        stop(&r);
        return 1;
    }
    tell_stage("agent");
    log_info("agent: version %s, server %s", GRIDBOX_VERSION, o->server);
    while (turn(&r))
        continue;
    log_info("agent: ends, its domains carry on");
    stop(&r);
    return 0;
}
