/* SPDX-License-Identifier: Apache-2.0 */
/* progress - the progress line.  It knows nothing of what progresses. */
#include "server/cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/cli/text.h"

#define BAR_MAX     40
#define COLUMNS_MAX 300

/* "45 %  1.2 GiB of 2.6 GiB  85 MiB/s  12 s left", or what of it is known. */
static void figures(const struct progress_view *v, char *ret, size_t size)
{
    char done[TEXT_SIZE], total[TEXT_SIZE], rate[TEXT_SIZE], left[TEXT_SIZE];
    uint64_t ms = v->elapsed_ms > 0 ? (uint64_t)v->elapsed_ms : 1;
    uint64_t per_second = (uint64_t)((double)v->done * 1000 / (double)ms);

    text_bytes(v->done, done);
    text_bytes(per_second, rate);
    if (v->total == 0) {
        snprintf(ret, size, "%s  %s/s", done, rate);
        return;
    }
    uint64_t rest = v->total > v->done ? v->total - v->done : 0;
    unsigned percent = (unsigned)((double)(v->total - rest) * 100 / (double)v->total);
    snprintf(ret, size, "%3u %%  %s of %s  %s/s", percent, done, text_bytes(v->total, total), rate);
    if (per_second && rest) {
        size_t at = strlen(ret);
        snprintf(ret + at, size - at, "  %s left",
                 text_duration((int64_t)(rest / per_second) + 1, left));
    }
}

static size_t add_bar(const struct progress_view *v, char *ret, size_t cells)
{
    uint64_t done = v->done < v->total ? v->done : v->total;
    size_t full = (size_t)((double)done / (double)v->total * (double)cells);

    ret[0] = '[';
    memset(ret + 1, '#', full);
    memset(ret + 1 + full, '-', cells - full);
    ret[1 + cells] = ']';
    return cells + 2;
}

void progress_line(const struct progress_view *v, char *ret, size_t size)
{
    char what[256], numbers[160];
    size_t width = v->columns > 1 && v->columns < COLUMNS_MAX ? v->columns - 1 : 79;

    text_safe(v->what, what, sizeof what);
    figures(v, numbers, sizeof numbers);
    size_t taken = text_width(what) + 2 + strlen(numbers);
    char bar[BAR_MAX + 3] = "";
    if (v->total && taken + 2 + 2 + 10 <= width) {
        size_t cells = width - taken - 4;
        bar[add_bar(v, bar, cells < BAR_MAX ? cells : BAR_MAX)] = '\0';
    }
    if (taken > width) /* a narrow terminal: the figures matter more than the words */
        snprintf(ret, size, "%.*s", (int)width, numbers);
    else
        snprintf(ret, size, "%s  %s%s%s", what, bar, bar[0] ? "  " : "", numbers);
}

void progress_start(struct progress *p, int fd)
{
    *p = (struct progress){ .fd = isatty(fd) ? fd : -1, .start_ns = clock_mono_ns() };
}

void progress_show(struct progress *p, const char *what, uint64_t done, uint64_t total)
{
    int64_t now = clock_mono_ns();
    struct winsize ws = { 0 };

    if (p->fd < 0 || now - p->start_ns < NS_PER_S || now - p->drawn_ns < 100 * NS_PER_MS)
        return;
    if (ioctl(p->fd, TIOCGWINSZ, &ws) < 0)
        ws.ws_col = 0;
    struct progress_view v = {
        .what = what,
        .done = done,
        .total = total,
        .elapsed_ms = (now - p->start_ns) / NS_PER_MS,
        .columns = ws.ws_col,
    };
    char line[COLUMNS_MAX * 4 + 8] = "\r";
    progress_line(&v, line + 1, sizeof line - 8);
    strcat(line, "\x1b[K"); /* erases what a longer line left */
    p->drawn = file_write_all(p->fd, line, strlen(line)) == 0;
    p->drawn_ns = now;
}

void progress_end(struct progress *p)
{
    if (p->drawn && file_write_all(p->fd, "\r\x1b[K", 4) < 0)
        p->fd = -1;
    p->drawn = false;
}
