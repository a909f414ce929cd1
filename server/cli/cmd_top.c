/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_top - `gridbox top`: asks for counts, waits, asks again, draws; the terminal is given back as
 * it was, however it ends.  What a line is made of is in top.c. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/cli/cli.h"
#include "server/cli/commands.h"
#include "server/cli/text.h"
#include "server/cli/top.h"

#define INTERVAL_SECONDS 2
#define INTERVAL_RANGE   ((struct args_range){ 1, 3600 })
#define ANSWER_SECONDS   10 /* a server that takes longer is one that stalls */

/* Other screen, no cursor, no line breaks; and back. */
#define SCREEN_BEGIN "\x1b[?1049h\x1b[?25l\x1b[?7l"
#define SCREEN_END   "\x1b[?7h\x1b[?25h\x1b[?1049l"
#define SCREEN_HOME  "\x1b[H"
#define SCREEN_REST  "\x1b[J" /* erases what is below */
#define LINE_REST    "\x1b[K" /* erases what is to the right */

struct view {
    struct cli *c;
    enum top_key key;
    uint32_t seconds;
    bool live;                  /* a terminal that is redrawn */
    struct client_reply before; /* the answer of the time before */
};

static int ask(struct view *v, struct client_reply *ret, struct err *e)
{
    return client_call(v->c->client, "GET", "/v1/stats", NULL, 1, ret, e);
}

/* True when the time is over, false when somebody has had enough. */
static bool pause_for(struct view *v)
{
    int64_t end = clock_mono_ns() + (int64_t)v->seconds * NS_PER_S, rest;

    while ((rest = end - clock_mono_ns()) > 0) {
        struct pollfd p = { .fd = v->c->interrupt.fd, .events = POLLIN };
        if (poll(&p, 1, (int)(rest / NS_PER_MS) + 1) > 0 && interrupt_take(&v->c->interrupt))
            return false;
    }
    return !interrupt_take(&v->c->interrupt);
}

/* ---- drawing
 * ------------------------------------------------------------------------------------*/
/* One write for the whole screen, so that it does not flicker. */
static int draw(const char *text)
{
    AUTO(auto_free) char *screen = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&screen, &size);

    if (!out)
        return -ENOMEM;
    fputs(SCREEN_HOME, out);
    while (*text) {
        size_t length = strcspn(text, "\n");
        bool last = text[length] == '\0' || text[length + 1] == '\0';
        fprintf(out, "%.*s" LINE_REST "%s", (int)length, text, last ? "" : "\r\n");
        text += length + (text[length] == '\n');
    }
    fputs(SCREEN_REST, out);
    if (fclose(out) != 0 || !screen)
        return -ENOMEM;
    return file_write_all(STDOUT_FILENO, screen, size);
}

static int draw_table(struct view *v, const struct top *t)
{
    AUTO(auto_free) char *text = NULL;
    size_t length = 0;
    struct winsize ws = { 0 };

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0)
        ws = (struct winsize){ .ws_col = 80, .ws_row = 24 };
    struct top_size size = { .columns = ws.ws_col, .lines = ws.ws_row };
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return -ENOMEM;
    int rc = top_print(t, size, out);
    if (fclose(out) != 0 || !text)
        return -ENOMEM;
    (void)v;
    return rc < 0 ? rc : draw(text);
}

static int print_json(struct view *v, const struct top *t)
{
    AUTO(auto_json) json_t *o = top_json(t);

    if (!o || json_dumpf(o, v->c->out, JSON_COMPACT) < 0)
        return -ENOMEM;
    fputc('\n', v->c->out);
    return fflush(v->c->out) == 0 ? 0 : -errno;
}

static int show(struct view *v, const struct top *t, bool first)
{
    if (v->c->json)
        return print_json(v, t);
    if (v->live)
        return draw_table(v, t);
    if (!first)
        fputc('\n', v->c->out);
    int rc = top_print(t, (struct top_size){ 0 }, v->c->out);
    return rc < 0 ? rc : fflush(v->c->out) == 0 ? 0 : -errno;
}

/* ---- rounds
 * -------------------------------------------------------------------------------------*/
static void auto_top(struct top *t)
{
    top_done(t);
}

/* Asks once more and shows what is new. */
static int one_round(struct view *v, bool first, struct err *e)
{
    AUTO(client_reply_done) struct client_reply now = { 0 };
    AUTO(auto_top) struct top t = { 0 };

    int rc = ask(v, &now, e);
    if (rc == 0)
        rc = top_new(v->before.json, now.json, v->key, &t, e);
    if (rc < 0)
        return rc;
    rc = show(v, &t, first);
    client_reply_done(&v->before);
    v->before = now;
    now = (struct client_reply){ 0 };
    return rc < 0 ? err_set(e, rc, "standard output: %s", strerror(-rc)) : 0;
}

/* A server that is restarted is waited for on a terminal: the figures matter most just then. */
static int tell(struct view *v, const struct err *why, int rc)
{
    char text[400], safe[sizeof why->msg];

    if (!v->live || (rc != -ENOTCONN && rc != -ETIMEDOUT && rc != -EIO))
        return rc;
    snprintf(text, sizeof text, "%s\n\ntrying again; Ctrl-C ends",
             text_safe(why->msg, safe, sizeof safe));
    return draw(text);
}

static int rounds(struct view *v, bool once, struct err *e)
{
    int rc = ask(v, &v->before, e);

    for (bool first = true; rc == 0 && pause_for(v); first = false) {
        rc = one_round(v, first, e);
        if (rc == 0 && once)
            break;
        if (rc < 0 && rc != -ECANCELED)
            rc = tell(v, e, rc);
    }
    return rc == -ECANCELED ? 0 : rc; /* Ctrl-C is how it ends */
}

int cmd_top(struct cli *c, const struct cli_args *a, struct err *e)
{
    bool once = args_value(a, "once") != NULL;
    const char *key = args_value(a, "sort");
    struct view v = {
        .c = c,
        .seconds = INTERVAL_SECONDS,
        .live = !once && !c->json && isatty(STDOUT_FILENO),
    };

    int rc = args_number(a, "seconds", INTERVAL_RANGE, &v.seconds, e);
    if (rc == 0 && key)
        rc = top_key_parse(key, &v.key, e);
    if (rc < 0)
        return rc;
    client_hurry(c->client, ANSWER_SECONDS);
    interrupt_begin(&c->interrupt);
    if (v.live)
        v.live = file_write_all(STDOUT_FILENO, SCREEN_BEGIN, strlen(SCREEN_BEGIN)) == 0;
    rc = rounds(&v, once, e);
    if (v.live && file_write_all(STDOUT_FILENO, SCREEN_END, strlen(SCREEN_END)) < 0)
        c->failed = true;
    interrupt_end(&c->interrupt);
    client_reply_done(&v.before);
    return rc;
}
