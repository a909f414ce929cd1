/* SPDX-License-Identifier: Apache-2.0 */
/* guest-console DIR OUTPUT... - shows every guest's console on dom0's own, line by line.
 *
 * xenconsoled appends what guest NAME prints to DIR/guest-NAME.log.  This program follows all of
 * them, also those that appear later, and writes each line to every OUTPUT as "NAME | text".
 * It owns the size of these files (they lie in memory): what has been read is punched out of them,
 * and of a guest that prints faster than the console can show, the oldest part is skipped.
 * A guest is hostile: control sequences are dropped, lines have a limit, and a line without NAME
 * before it never comes from a guest.
 * It must never know about Xen, domains or the network. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GUESTS_MAX     128u
#define OUTPUTS_MAX    4u
#define LINE_MAX_      1000u       /* bytes of text in one output line */
#define NAME_MAX_      63u         /* bytes of a guest's name */
#define CHUNK          4096u       /* bytes read from one guest before the next one's turn */
#define KEEP           (64 << 10)  /* bytes already shown that stay in the file */
#define BACKLOG_MAX    (256 << 10) /* bytes not yet shown; beyond it the oldest are skipped */
#define PROMPT_WAIT_MS 300         /* an unfinished line is shown after this time */

enum escape {
    ESC_NONE,
    ESC_START, /* ESC was seen */
    ESC_CSI,   /* ESC [ ... until a byte of 0x40..0x7e */
    ESC_STRING /* ESC ], P, X, ^ or _ ... until BEL or ESC \ */
};

struct guest {
    char name[NAME_MAX_ + 1];
    int fd;
    ino_t inode;
    off_t at;      /* next byte to be read */
    off_t punched; /* bytes before it are gone; a multiple of KEEP */
    enum escape escape;
    bool cr;            /* the last byte was a carriage return */
    bool c2;            /* the last byte was 0xc2, the first of a C1 control in UTF-8 */
    int64_t unfinished; /* monotonic ms when the line below got its last byte; 0 = it is empty */
    size_t have;
    char line[LINE_MAX_];
};

struct follower {
    const char *dir;
    int dir_fd;
    int outputs[OUTPUTS_MAX];
    unsigned output_count;
    struct guest *guests[GUESTS_MAX];
    unsigned guest_count;
};

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* One write a line and output, so that lines of others do not end up inside.  A console that fails
 * (hung up) must not end the others. */
static void show(const struct follower *f, const struct guest *g, const char *text, size_t len)
{
    char out[NAME_MAX_ + 3 + LINE_MAX_ + 1];
    int head = snprintf(out, sizeof out, "%s | ", g->name);
    size_t total = (size_t)head + len + 1;

    memcpy(out + head, text, len);
    out[total - 1] = '\n';
    for (unsigned i = 0; i < f->output_count; i++)
        for (size_t done = 0; done < total;) {
            ssize_t n = write(f->outputs[i], out + done, total - done);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                break;
            done += (size_t)n;
        }
}

static void end_line(const struct follower *f, struct guest *g)
{
    show(f, g, g->line, g->have);
    g->have = 0;
    g->unfinished = 0;
}

/* True if the byte belongs to a control sequence, which is dropped. */
static bool in_escape(struct guest *g, unsigned char c)
{
    switch (g->escape) {
    case ESC_NONE:
        if (c != 0x1b)
            return false;
        g->escape = ESC_START;
        return true;
    case ESC_START:
        g->escape = c == '['                                                   ? ESC_CSI
                    : c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_' ? ESC_STRING
                                                                               : ESC_NONE;
        return true;
    case ESC_CSI:
        if (c >= 0x40 && c <= 0x7e)
            g->escape = ESC_NONE;
        /* A line end is none of its bytes: the sequence was cut off. */
        if (c != '\n')
            return true;
        g->escape = ESC_NONE;
        return false;
    case ESC_STRING:
        if (c == 0x07)
            g->escape = ESC_NONE;
        else if (c == 0x1b)
            g->escape = ESC_START;
        if (c != '\n')
            return true;
        g->escape = ESC_NONE;
        return false;
    }
    return false;
}

static void take_byte(const struct follower *f, struct guest *g, unsigned char c)
{
    bool after_cr = g->cr, after_c2 = g->c2;

    if (in_escape(g, c))
        return;
    g->cr = c == '\r';
    g->c2 = c == 0xc2;
    if (c == '\n') {
        end_line(f, g);
        return;
    }
    if (after_cr && c != '\r' && g->have > 0) /* it would have been written over */
        end_line(f, g);
    if ((c < 0x20 && c != '\t') || c == 0x7f)
        return;
    if (after_c2 && c < 0xa0)
        c = '?';
    g->line[g->have++] = (char)c;
    if (g->have == LINE_MAX_)
        end_line(f, g);
}

/* Gives back the memory of what was shown; the file keeps its size, so its writer notices nothing.
 */
static void punch(struct guest *g)
{
    off_t until = (g->at - KEEP) / KEEP * KEEP;

    if (until <= g->punched)
        return;
    if (fallocate(g->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, g->punched,
                  until - g->punched) == 0)
        g->punched = until;
}

static void skip_backlog(const struct follower *f, struct guest *g, off_t size)
{
    char text[80];
    off_t skipped = size - g->at - BACKLOG_MAX;

    if (skipped <= 0)
        return;
    if (g->have > 0)
        end_line(f, g);
    int len = snprintf(text, sizeof text, "(%lld bytes were printed too fast to be shown)",
                       (long long)skipped);
    show(f, g, text, (size_t)len);
    g->at += skipped;
    g->escape = ESC_NONE;
}

/* Shows at most CHUNK bytes.  True if there may be more. */
static bool follow_some(const struct follower *f, struct guest *g)
{
    char chunk[CHUNK];
    struct stat st;

    if (fstat(g->fd, &st) < 0)
        return false;
    if (st.st_size < g->at) /* somebody emptied it */
        g->at = g->punched = 0;
    skip_backlog(f, g, st.st_size);

    ssize_t n = pread(g->fd, chunk, sizeof chunk, g->at);
    if (n <= 0)
        return false;
    for (ssize_t i = 0; i < n; i++)
        take_byte(f, g, (unsigned char)chunk[i]);
    g->at += n;
    g->unfinished = g->have > 0 ? now_ms() : 0;
    punch(g);
    return n == (ssize_t)sizeof chunk;
}

/* "guest-NAME.log", NAME of letters, digits and a few others; else false. */
static bool guest_name(const char *file, char name[static NAME_MAX_ + 1])
{
    size_t len = strlen(file);

    if (len < 11 || len - 10 > NAME_MAX_ || strncmp(file, "guest-", 6) != 0 ||
        strcmp(file + len - 4, ".log") != 0)
        return false;
    memcpy(name, file + 6, len - 10);
    name[len - 10] = '\0';
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
           len - 10;
}

/* The guest of that file; a new one, or one whose file was made anew, is opened. */
static void look_at(struct follower *f, const char *file)
{
    char name[NAME_MAX_ + 1];
    struct guest *g = NULL;
    struct stat st;

    if (!guest_name(file, name))
        return;
    for (unsigned i = 0; i < f->guest_count && !g; i++)
        if (strcmp(f->guests[i]->name, name) == 0)
            g = f->guests[i];
    if (g && (fstatat(f->dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_ino == g->inode))
        return;

    int fd = openat(f->dir_fd, file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return;
    if (!g) {
        g = f->guest_count < GUESTS_MAX ? calloc(1, sizeof *g) : NULL;
        if (!g) {
            close(fd);
            return;
        }
        memcpy(g->name, name, sizeof name);
        f->guests[f->guest_count++] = g;
    } else {
        while (follow_some(f, g)) /* the end of the old file */
            ;
        close(g->fd);
    }
    g->fd = fd;
    g->inode = fstat(fd, &st) == 0 ? st.st_ino : 0;
    g->at = g->punched = 0;
}

static void look_at_all(struct follower *f)
{
    DIR *d = opendir(f->dir);
    struct dirent *entry;

    if (!d)
        return;
    while ((entry = readdir(d)))
        look_at(f, entry->d_name);
    closedir(d);
}

/* Unfinished lines are shown when their time has come.  Returns ms until the next one's, or -1. */
static int show_prompts(const struct follower *f)
{
    int64_t now = now_ms(), next = -1;

    for (unsigned i = 0; i < f->guest_count; i++) {
        struct guest *g = f->guests[i];
        if (g->unfinished == 0)
            continue;
        int64_t left = g->unfinished + PROMPT_WAIT_MS - now;
        if (left <= 0)
            end_line(f, g);
        else if (next < 0 || left < next)
            next = left;
    }
    return (int)next;
}

/* Which file it was does not matter: looking at all of them is cheap, and an overflow of the queue
 * is then no special case. */
static void take_events(struct follower *f, int inotify)
{
    char events[8192] __attribute__((aligned(8)));
    bool renewed = false;
    ssize_t n;

    while ((n = read(inotify, events, sizeof events)) > 0)
        for (char *p = events; p < events + n;) {
            struct inotify_event ev;
            memcpy(&ev, p, sizeof ev);
            renewed = renewed || (ev.mask & (IN_CREATE | IN_MOVED_TO | IN_Q_OVERFLOW));
            p += sizeof ev + ev.len;
        }
    if (renewed)
        look_at_all(f);
}

static _Noreturn void follow(struct follower *f, int inotify)
{
    struct pollfd p = { .fd = inotify, .events = POLLIN };
    bool more = true;

    look_at_all(f);
    for (;;) {
        int wait = show_prompts(f);
        if (poll(&p, 1, more ? 0 : wait) > 0)
            take_events(f, inotify);
        more = false;
        for (unsigned i = 0; i < f->guest_count; i++)
            more = follow_some(f, f->guests[i]) || more;
    }
}

int main(int argc, char **argv)
{
    struct follower f = { 0 };

    if (argc < 3 || argc > 2 + (int)OUTPUTS_MAX) {
        fprintf(stderr, "usage: guest-console DIR OUTPUT...\n");
        return 2;
    }
    f.dir = argv[1];
    f.dir_fd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (f.dir_fd < 0 || inotify < 0 ||
        inotify_add_watch(inotify, f.dir, IN_CREATE | IN_MOVED_TO | IN_MODIFY) < 0) {
        fprintf(stderr, "guest-console: %s: %s\n", f.dir, strerror(errno));
        return 1;
    }
    for (int i = 2; i < argc; i++) {
        int fd = open(argv[i], O_WRONLY | O_APPEND | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0)
            f.outputs[f.output_count++] = fd;
        else
            fprintf(stderr, "guest-console: %s: %s\n", argv[i], strerror(errno));
    }
    if (f.output_count == 0)
        return 1;
    follow(&f, inotify);
}
