/* SPDX-License-Identifier: Apache-2.0 */
/* load - writes, flushes, reads back and checks a file, past the page cache, for as long as the
 * guest lives; says once a second what came of it.
 *
 *   tiny-load FILE MIB
 *
 * Every sector of the file is stamped with the number of the write that made it, and all of its
 * bytes follow from that.  While it runs, what is read must be what was written last.  When it
 * starts on a file of an earlier life, every sector must be whole, and not older than what that
 * life had flushed.  Lines:
 *
 *   tiny-load begins flushed=N lost=N bad=N
 *   tiny-load ops=N flushes=N errors=N bad=N stall_ms=N longest_ms=N
 *
 * stall_ms: the longest request that ended in this second, or still runs; longest_ms: of all. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WRITERS     4u
#define SECTOR      512u
#define BLOCK       4096u
#define SECTORS     (BLOCK / SECTOR)
#define FLUSH_EVERY 16u
#define PAUSE_US    20000
#define STRIDE      37u /* odd: each round of writes visits every block once */
#define MAGIC       0x64616f6c2d796e69ull

struct stamp {
    uint64_t magic, seq; /* 0: from the beginning */
    uint32_t block, sector;
    uint64_t fill[(SECTOR - 24) / 8];
};

/* One thread; its blocks are those whose number modulo WRITERS is its own.  Block number WRITER of
 * the file is its note: up to which of its writes it has flushed. */
struct writer {
    unsigned number;
    uint64_t seq, flushed;
    uint64_t *last; /* of each of its blocks: the write that made it; UNKNOWN: not one write */
    uint64_t *buf;  /* BLOCK bytes, aligned */
    uint64_t random;
    _Atomic int64_t since_ns; /* of the request that runs; 0 = none */
    _Atomic int64_t longest_ns;
};
#define UNKNOWN UINT64_MAX

static int fd;
static uint32_t blocks; /* of each writer; a power of two */
static struct writer writers[WRITERS];
static _Atomic uint64_t ops, flushes, errors, bad;

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- stamps ----------------------------------------------------------------------------------*/

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static void stamp(struct stamp *s, uint64_t seq, uint32_t block, uint32_t sector)
{
    uint64_t seed = mix(seq) ^ mix((uint64_t)block << 8 | sector);

    *s = (struct stamp){ .magic = MAGIC, .seq = seq, .block = block, .sector = sector };
    for (unsigned i = 0; i < sizeof s->fill / sizeof *s->fill; i++)
        s->fill[i] = mix(seed + i);
}

static bool is_whole(const struct stamp *s, uint32_t block, uint32_t sector)
{
    struct stamp wanted;

    stamp(&wanted, s->seq, block, sector);
    return memcmp(s, &wanted, sizeof wanted) == 0;
}

static void stamp_block(void *buf, uint64_t seq, uint32_t block)
{
    for (uint32_t i = 0; i < SECTORS; i++)
        stamp((struct stamp *)buf + i, seq, block, i);
}

/* The seq that all of it has; UNKNOWN if they differ; *ret_whole: each sector for itself. */
static uint64_t seq_of(const void *buf, uint32_t block, bool *ret_whole)
{
    const struct stamp *s = buf;
    uint64_t seq = s->seq;

    *ret_whole = true;
    for (uint32_t i = 0; i < SECTORS; i++) {
        *ret_whole &= is_whole(&s[i], block, i);
        if (s[i].seq != seq)
            seq = UNKNOWN;
    }
    return seq;
}

static uint32_t block_of(const struct writer *w, uint32_t own)
{
    return WRITERS + own * WRITERS + w->number;
}

static uint32_t own_of(uint64_t seq)
{
    return (uint32_t)(seq * STRIDE) & (blocks - 1);
}

/* ---- requests --------------------------------------------------------------------------------*/

static void begin(struct writer *w)
{
    atomic_store(&w->since_ns, now_ns());
}

static bool end(struct writer *w, const char *what, bool done)
{
    int error = errno;
    int64_t took = now_ns() - atomic_load(&w->since_ns);

    if (took > atomic_load(&w->longest_ns))
        atomic_store(&w->longest_ns, took);
    atomic_store(&w->since_ns, 0);
    atomic_fetch_add(&ops, 1);
    if (!done && atomic_fetch_add(&errors, 1) == 0)
        printf("tiny-load error: %s: %s\n", what, strerror(error));
    return done;
}

static bool put(struct writer *w, uint32_t block, size_t length)
{
    begin(w);
    return end(w, "write", pwrite(fd, w->buf, length, (off_t)block * BLOCK) == (ssize_t)length);
}

static bool get(struct writer *w, uint32_t block)
{
    begin(w);
    return end(w, "read", pread(fd, w->buf, BLOCK, (off_t)block * BLOCK) == BLOCK);
}

static bool flush(struct writer *w)
{
    begin(w);
    bool done = fdatasync(fd) == 0;
    atomic_fetch_add(&flushes, 1);
    return end(w, "flush", done);
}

/* ---- the work --------------------------------------------------------------------------------*/

static void write_one(struct writer *w)
{
    uint32_t own = own_of(++w->seq);

    stamp_block(w->buf, w->seq, block_of(w, own));
    w->last[own] = put(w, block_of(w, own), BLOCK) ? w->seq : UNKNOWN;
}

static void check_one(struct writer *w)
{
    w->random = mix(w->random + 1);
    uint32_t own = (uint32_t)w->random & (blocks - 1);
    bool whole;

    if (!get(w, block_of(w, own)))
        return;
    uint64_t seq = seq_of(w->buf, block_of(w, own), &whole);
    if (whole && (w->last[own] == UNKNOWN || w->last[own] == seq))
        return;
    if (atomic_fetch_add(&bad, 1) == 0)
        printf("tiny-load bad: block %u holds write %llu, not %llu\n", block_of(w, own),
               (unsigned long long)seq, (unsigned long long)w->last[own]);
}

/* Writes down that what was written so far is durable; itself it becomes so with the next flush. */
static void note_flush(struct writer *w)
{
    if (!flush(w))
        return;
    w->flushed = w->seq;
    stamp((struct stamp *)w->buf, w->flushed, w->number, 0);
    put(w, w->number, SECTOR);
}

static void *work(void *arg)
{
    struct writer *w = arg;

    for (;;) {
        for (unsigned i = 0; i < FLUSH_EVERY; i++) {
            write_one(w);
            usleep(PAUSE_US);
            check_one(w);
            usleep(PAUSE_US);
        }
        note_flush(w);
    }
    return NULL;
}

/* ---- the file --------------------------------------------------------------------------------*/

/* Whole under its name, or not there. */
static bool make_file(const char *path, void *buf)
{
    char new[256];

    snprintf(new, sizeof new, "%s.new", path);
    int out = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = out >= 0;
    for (uint32_t block = 0; done && block < WRITERS + WRITERS * blocks; block++) {
        stamp_block(buf, 0, block);
        done = write(out, buf, BLOCK) == BLOCK;
    }
    done = done && fsync(out) == 0;
    if (out >= 0)
        close(out);
    return done && rename(new, path) == 0;
}

/* The last write of this writer up to `flushed` that went to its block `own`. */
static uint64_t last_before(uint64_t flushed, uint32_t own)
{
    for (uint64_t seq = flushed; seq > 0 && seq + blocks > flushed; seq--)
        if (own_of(seq) == own)
            return seq;
    return 0;
}

/* What an earlier life left.  Counts sectors that are older than what it had flushed. */
static bool take_up(struct writer *w, uint64_t *lost)
{
    if (!get(w, w->number))
        return false;
    const struct stamp *s = (const struct stamp *)w->buf;
    if (!is_whole(s, w->number, 0))
        atomic_fetch_add(&bad, 1);
    w->flushed = w->seq = s->seq;
    for (uint32_t own = 0; own < blocks; own++) {
        uint64_t least = last_before(w->flushed, own);
        bool whole;
        if (!get(w, block_of(w, own)))
            return false;
        w->last[own] = seq_of(w->buf, block_of(w, own), &whole);
        if (!whole)
            atomic_fetch_add(&bad, 1);
        for (uint32_t i = 0; i < SECTORS; i++) {
            *lost += s[i].seq < least;
            if (s[i].seq > w->seq)
                w->seq = s[i].seq;
        }
    }
    return true;
}

static void say(void)
{
    static int64_t longest;
    int64_t stall = 0, now = now_ns();

    for (unsigned i = 0; i < WRITERS; i++) {
        int64_t since = atomic_load(&writers[i].since_ns);
        int64_t ended = atomic_exchange(&writers[i].longest_ns, 0);
        int64_t age = since ? now - since : 0;
        stall = ended > stall ? ended : stall;
        stall = age > stall ? age : stall;
    }
    longest = stall > longest ? stall : longest;
    printf("tiny-load ops=%llu flushes=%llu errors=%llu bad=%llu stall_ms=%lld longest_ms=%lld\n",
           (unsigned long long)ops, (unsigned long long)flushes, (unsigned long long)errors,
           (unsigned long long)bad, (long long)(stall / 1000000), (long long)(longest / 1000000));
}

int main(int argc, char **argv)
{
    uint64_t lost = 0, flushed = 0, mib = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (mib == 0 || mib > 1024 || (mib & (mib - 1))) {
        printf("tiny-load error: tiny-load FILE MIB, a power of two up to 1024\n");
        return 1;
    }
    blocks = (uint32_t)((mib << 20) / BLOCK / WRITERS);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){ .number = i, .random = i };
        writers[i].buf = aligned_alloc(BLOCK, BLOCK);
        writers[i].last = calloc(blocks, sizeof *writers[i].last);
        if (!writers[i].buf || !writers[i].last)
            return 1;
    }
    if (access(argv[1], F_OK) < 0 && !make_file(argv[1], writers[0].buf)) {
        printf("tiny-load error: make %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    fd = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
    bool done = fd >= 0;
    for (unsigned i = 0; i < WRITERS && done; i++) {
        done = take_up(&writers[i], &lost);
        flushed += writers[i].flushed;
    }
    if (!done) {
        printf("tiny-load error: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    printf("tiny-load begins flushed=%llu lost=%llu bad=%llu\n", (unsigned long long)flushed,
           (unsigned long long)lost, (unsigned long long)bad);
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, &writers[i]) != 0)
            return 1;
    }
    for (;;) {
        sleep(1);
        say();
    }
}
