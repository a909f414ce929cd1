/* SPDX-License-Identifier: Apache-2.0 */
/* NBD servers good and bad: a disk comes in whole, or the import ends soon and in words. */
#include "tests/unit/control/import_rig.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/name.h"
#include "server/control/import_feed.h"
#include "server/control/import_nbd.h"
#include "server/control/import_sink.h"
#include "server/control/import_view.h"

/* A server that shakes hands in the old way, answers some reads, and then goes quiet or away. */
struct server {
    const char *hello; /* instead of the handshake */
    uint64_t size;
    unsigned reads; /* that it answers */
    uint32_t error; /* with this */
    bool cancel;    /* then: cancel the import, and stay, quiet */
    struct job_progress *progress;
    int listener;
    pthread_t thread;
};

static void say(int fd, const void *data, size_t length)
{
    if (send(fd, data, length, MSG_NOSIGNAL) < 0)
        return; /* the client may have had enough */
}

static void shake_hands(const struct server *s, int fd)
{
    struct {
        char magic[8];
        uint64_t oldstyle, size;
        uint32_t flags;
        uint8_t zeros[124];
    } __attribute__((packed))
    hello = { .oldstyle = htobe64(0x420281861253), .size = htobe64(s->size), .flags = htobe32(1) };

    memcpy(hello.magic, "NBDMAGIC", 8);
    say(fd, &hello, sizeof hello);
}

static bool answer_read(const struct server *s, int fd)
{
    struct {
        uint32_t magic;
        uint16_t flags, type;
        uint64_t cookie, offset;
        uint32_t length;
    } __attribute__((packed)) request;
    struct {
        uint32_t magic, error;
        uint64_t cookie;
    } __attribute__((packed)) reply = { .magic = htobe32(0x67446698), .error = htobe32(s->error) };

    if (recv(fd, &request, sizeof request, MSG_WAITALL) != sizeof request || request.type)
        return false;
    size_t length = be32toh(request.length);
    void *zeros = calloc(1, length);
    reply.cookie = request.cookie;
    say(fd, &reply, sizeof reply);
    if (!s->error)
        say(fd, zeros, length);
    free(zeros);
    return true;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    char rest[100];
    int fd = accept(s->listener, NULL, NULL);

    if (s->hello)
        say(fd, s->hello, strlen(s->hello));
    else
        shake_hands(s, fd);
    for (unsigned i = 0; i < s->reads && answer_read(s, fd); i++)
        ;
    if (s->cancel) {
        atomic_store(&s->progress->cancel, true);
        while (recv(fd, rest, sizeof rest, 0) > 0)
            ;
    }
    close(fd);
    return NULL;
}

/* Imports from it; the export has a secret name. */
static int play(struct import_rig *g, struct server s)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    char uri[300];

    memset(&g->progress, 0, sizeof g->progress);
    s.progress = &g->progress;
    s.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(sa.sun_path, sizeof sa.sun_path, "%.90s/nbd", g->dir);
    unlink(sa.sun_path);
    assert_int_equal(bind(s.listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(s.listener, 1), 0);
    assert_int_equal(pthread_create(&s.thread, NULL, serve, &s), 0);
    snprintf(uri, sizeof uri, "nbd+unix:///v.0123456789abcdef0123456789abcdef?socket=%s",
             sa.sun_path);
    int rc = irig_import(g, IMPORT_NBD, uri);
    pthread_join(s.thread, NULL);
    close(s.listener);
    unlink(sa.sun_path);
    assert_null(strstr(g->err.msg, "0123456789abcdef"));
    return rc;
}

static void a_whole_disk_comes_in(void **state)
{
    struct import_rig g;

    (void)state;
    irig_open(&g);
    if (play(&g, (struct server){ .size = (9u << 20) + 100, .reads = 10 }) < 0)
        fail_msg("%s", g.err.msg);
    assert_string_equal(g.result.format, "raw");
    assert_int_equal(g.result.data_bytes, 0);
    irig_expect_disk(&g, "", 0, (9u << 20) + 512);
    irig_close(&g);
}

static void bad_servers_are_refused(void **state)
{
    static const struct {
        struct server s;
        int rc;
        const char *words;
    } cases[] = {
        { { .hello = "HTTP/1.1 400 Bad Request\r\n\r\n" }, -EIO, "the NBD server: " },
        { { .hello = "" }, -EIO, "the NBD server" },
        { { .size = 0 }, -EINVAL, "is empty" },
        { { .size = RIG_LIMIT + 1 }, -EFBIG, "limit" },
        { { .size = UINT64_MAX, .reads = 1 }, -EFBIG, "the NBD server" },
        { { .size = 64u << 20, .reads = 5 }, -ECONNRESET, "was lost before" },
        { { .size = 64u << 20, .reads = 100, .error = 5 }, -EIO, "cannot read at byte 0" },
    };
    struct import_rig g;

    (void)state;
    irig_open(&g);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        irig_expect_refused(&g, play(&g, cases[i].s), cases[i].rc, cases[i].words);
    irig_expect_refused(&g, irig_import(&g, IMPORT_NBD, "nbd://127.0.0.1:1/v"), -ECONNREFUSED,
                        "refused");
    irig_expect_refused(&g, irig_import(&g, IMPORT_NBD, "http://127.0.0.1/v"), -EINVAL, "URI");
    irig_expect_refused(&g, irig_import(&g, IMPORT_NBD, "nbd+vsock://2/"), -EPERM, "transport");
    irig_close(&g);
}

static void a_server_that_hangs_does_not_hang_cancel(void **state)
{
    static const struct server servers[] = {
        { .hello = "", .cancel = true },
        { .hello = "NBDMAGIC", .cancel = true },
        { .size = 64u << 20, .cancel = true },
        { .size = 64u << 20, .reads = 3, .cancel = true },
    };
    struct import_rig g;

    (void)state;
    irig_open(&g);
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
        int64_t begin = clock_mono_ns();

        irig_expect_refused(&g, play(&g, servers[i]), -ECANCELED, "cancelled");
        assert_true(clock_mono_ns() - begin < NS_PER_S);
    }
    irig_close(&g);
}

/* The feeder is an NBD server as well: what it gives is the file, and what was kept as it was. */
static void the_feeder_gives_a_file_as_it_was_checked(void **state)
{
    static uint8_t file[300000];
    struct import_rig g;
    struct view view;
    struct feed *feed;
    struct nbd_reader *reader;
    struct sink *sink;
    const uint8_t *kept;
    int fd, peer;

    (void)state;
    for (size_t i = 0; i < sizeof file; i++)
        file[i] = (uint8_t)(i / 300);
    struct import_source source = { .limit_bytes = UINT64_MAX };
    random_bytes(&source.layer, sizeof source.layer);
    irig_open(&g);
    fd = irig_file(&g, "file", file, sizeof file, sizeof file);
    view_init(&view, fd, sizeof file);
    assert_int_equal(view_keep(&view, 1000, 10000, &kept, &g.err), 0);
    assert_memory_equal(kept, file + 1000, 10000);
    assert_int_equal(pwrite(fd, "somebody writes in between", 26, 5000), 26);

    assert_int_equal(feed_start(&view, true, &feed, &peer, &g.err), 0);
    assert_int_equal(nbd_reader_open(NULL, peer, &g.progress, &reader, &g.err), 0);
    assert_int_equal(nbd_reader_size(reader), 300032);
    assert_int_equal(sink_open(g.store, "it", 300032, &source, &g.progress, &sink, &g.err), 0);
    assert_int_equal(nbd_reader_read(reader, sink, &g.err), 0);
    assert_int_equal(sink_finish(sink, &g.result, &g.err), 0);
    sink_free(sink);
    nbd_reader_close(reader);
    assert_int_equal(feed_fault(feed), FEED_FINE);
    feed_stop(feed);
    irig_expect_disk(&g, file, sizeof file, 300032);

    /* Beyond its end there is an error, not zeros. */
    random_bytes(&source.layer, sizeof source.layer);
    assert_int_equal(feed_start(&view, false, &feed, &peer, &g.err), 0);
    assert_int_equal(nbd_reader_open(NULL, peer, &g.progress, &reader, &g.err), 0);
    assert_true(nbd_reader_size(reader) > 300032);
    assert_int_equal(
        sink_open(g.store, "it", nbd_reader_size(reader), &source, &g.progress, &sink, &g.err), 0);
    assert_int_equal(nbd_reader_read(reader, sink, &g.err), -EIO);
    assert_int_equal(feed_fault(feed), FEED_BEYOND_END);
    sink_free(sink);
    nbd_reader_close(reader);
    feed_stop(feed);
    view_done(&view);
    close(fd);
    irig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_disk_comes_in),
        cmocka_unit_test(bad_servers_are_refused),
        cmocka_unit_test(a_server_that_hangs_does_not_hang_cancel),
        cmocka_unit_test(the_feeder_gives_a_file_as_it_was_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
