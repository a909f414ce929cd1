/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_test - clients that are slow, rude or mad, byte by byte: each is dealt with, and a
 * well-behaved one beside them notices nothing. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/block/blkdev.h"
#include "tests/unit/nbd/raw.h"
#include "tests/unit/nbd/rig.h"
#include "tests/unit/nbd/wire_build.h"

#define GOOD 0xa1
#define BAD  0xb2

/* A rig with a good client on disk 0, and the right to disk 1 for the bad one. */
struct scene {
    struct rig *r;
    struct wire w;
    int good;
};

static struct scene *scene_start(const struct nbd_limits *limits)
{
    struct scene *s = calloc(1, sizeof *s);

    s->r = rig_start(limits);
    rig_grant(s->r, 0, true, GOOD);
    rig_grant(s->r, 1, true, BAD);
    s->good = raw_opened(s->r, 0, GOOD, &s->w);
    return s;
}

static void scene_stop(struct scene *s)
{
    raw_expect_alive(s->good, &s->w);
    close(s->good);
    rig_stop(s->r);
    free(s);
}

static void garbage_ends_its_own_connection_only(void **state)
{
    struct scene *s = scene_start(NULL);

    (void)state;
    for (unsigned seed = 1; seed < 20; seed++) {
        int fd = seed % 2 ? raw_dial(s->r) : raw_opened(s->r, 1, BAD, &s->w);
        s->w.length = 0;
        for (unsigned i = 0; i < 4000; i++)
            s->w.bytes[s->w.length++] = (uint8_t)((i + seed) * 2654435761u >> 13);
        raw_put(fd, &s->w);
        raw_expect_end(fd);
    }
    scene_stop(s);
}

static void a_client_that_stops_in_the_middle_of_a_write_changes_nothing(void **state)
{
    struct scene *s = scene_start(NULL);

    (void)state;
    static const uint32_t lengths[] = { 4096, 1 << 20 }; /* by the shared buffer; in place */
    for (size_t i = 0; i < 2; i++) {
        int fd = raw_opened(s->r, 1, BAD, &s->w);
        wire_request(&s->w, NBDW_CMD_WRITE, 0, 1, 0, lengths[i]);
        memset(s->w.bytes + s->w.length, 0x5a, 3000);
        s->w.length += 3000;
        raw_put(fd, &s->w);
        raw_expect_alive(s->good, &s->w); /* so it has arrived */
        close(fd);
        fd = raw_opened(s->r, 1, BAD, &s->w); /* its slot and place are free again */
        raw_expect_alive(fd, &s->w);
        close(fd);
    }
    assert_int_equal(rig_count(s->r, 1, BLK_WRITE), 0);
    assert_int_equal(rig_bytes(s->r, 1)[0], 0);
    scene_stop(s);
}

static void requests_beyond_the_end_get_errors_and_the_connection_stays(void **state)
{
    static const struct {
        uint16_t type;
        uint64_t offset;
        uint32_t length, error;
    } cases[] = {
        { NBDW_CMD_READ, RIG_SIZE, 512, NBDW_EINVAL },
        { NBDW_CMD_READ, RIG_SIZE - 512, 1024, NBDW_EINVAL },
        { NBDW_CMD_READ, UINT64_MAX - 511, 1024, NBDW_EINVAL },
        { NBDW_CMD_READ, 0, 33 << 20, NBDW_EINVAL },
        { NBDW_CMD_TRIM, RIG_SIZE, 512, NBDW_EINVAL },
        { NBDW_CMD_WRITE_ZEROES, RIG_SIZE - 512, 4096, NBDW_ENOSPC },
        { NBDW_CMD_READ, 1, 1, NBDW_EINVAL },
        { 77, 0, 0, NBDW_EINVAL },
    };
    struct scene *s = scene_start(NULL);
    int fd = raw_opened(s->r, 1, BAD, &s->w);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        s->w.length = 0;
        wire_request(&s->w, cases[i].type, 0, i, cases[i].offset, cases[i].length);
        raw_put(fd, &s->w);
        raw_expect_reply(fd, i, cases[i].error);
    }
    s->w.length = 0;
    wire_request(&s->w, NBDW_CMD_WRITE, 0, 9, RIG_SIZE, 4096);
    s->w.length += 4096;
    raw_put(fd, &s->w);
    raw_expect_reply(fd, 9, NBDW_ENOSPC);
    raw_expect_alive(fd, &s->w);
    close(fd);
    scene_stop(s);
}

static void a_write_that_is_too_large_gets_its_error_before_the_end(void **state)
{
    struct scene *s = scene_start(NULL);
    int fd = raw_opened(s->r, 1, BAD, &s->w);

    (void)state;
    wire_request(&s->w, NBDW_CMD_WRITE, 0, 5, 0, 64 << 20);
    s->w.length += 100000; /* the beginning of its payload */
    raw_put(fd, &s->w);
    raw_expect_reply(fd, 5, NBDW_EINVAL);
    raw_expect_end(fd);
    scene_stop(s);
}

static void disconnect_is_answered_after_what_came_before(void **state)
{
    struct scene *s = scene_start(NULL);
    int fd = raw_opened(s->r, 1, BAD, &s->w);

    (void)state;
    rig_hold(s->r, 1, BLK_FLUSH, true);
    wire_request(&s->w, NBDW_CMD_FLUSH, 0, 1, 0, 0);
    wire_request(&s->w, NBDW_CMD_DISC, 0, 2, 0, 0);
    raw_put(fd, &s->w);
    assert_true(rig_wait_held(s->r, 1, 1));
    rig_hold(s->r, 1, BLK_FLUSH, false);
    rig_release(s->r, 1, 1);
    raw_expect_reply(fd, 1, 0);
    raw_expect_end(fd);
    scene_stop(s);
}

static void a_wrong_token_and_a_wrong_name_are_told_apart_by_nobody(void **state)
{
    struct scene *s = scene_start(NULL);
    static const char *const names[] = { "disk-0.00000000000000000000000000000000",
                                         "disk-9.a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
                                         "disk-0",
                                         "",
                                         "disk-0.",
                                         "disk-0.a1",
                                         "." };
    uint8_t first[100];

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        uint8_t reply[18 + 20 + 14];
        int fd = raw_dial(s->r);
        s->w.length = 0;
        wire_be32(&s->w, 1);
        wire_go(&s->w, NBDW_OPT_GO, names[i], NULL, 0);
        raw_put(fd, &s->w);
        raw_get(fd, reply, sizeof reply);
        if (i == 0)
            memcpy(first, reply, sizeof reply);
        assert_memory_equal(reply, first, sizeof reply);
        assert_memory_equal(reply + 38, "no such export", 14);
        close(fd);
    }
    scene_stop(s);
}

static void who_guesses_names_is_thrown_out(void **state)
{
    struct scene *s = scene_start(NULL);
    int fd = raw_dial(s->r);

    (void)state;
    s->w.length = 0;
    wire_be32(&s->w, 1);
    for (unsigned i = 0; i < 100; i++)
        wire_go(&s->w, i % 2 ? NBDW_OPT_GO : NBDW_OPT_INFO,
                "disk-0.00000000000000000000000000000000", NULL, 0);
    raw_put(fd, &s->w);
    raw_expect_end(fd);
    scene_stop(s);
}

static void a_silent_client_is_dropped_in_time(void **state)
{
    struct nbd_limits limits = { .handshake_seconds = 1 };
    struct scene *s = scene_start(&limits);

    (void)state;
    int silent = raw_dial(s->r), chatty = raw_dial(s->r);
    s->w.length = 0;
    wire_be32(&s->w, 1);
    wire_option(&s->w, NBDW_OPT_LIST, "", 0);
    raw_put(chatty, &s->w);
    raw_expect_end(silent);
    raw_expect_end(chatty);
    scene_stop(s); /* the good one, which said nothing for as long, is through and stays */
}

static void when_too_many_shake_hands_the_oldest_goes(void **state)
{
    struct nbd_limits limits = { .handshaking = 3 };
    struct scene *s = scene_start(&limits);
    int fds[4];
    char hello[18];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = raw_dial(s->r);
        raw_get(fds[i], hello, sizeof hello);
    }
    raw_expect_end(fds[0]);
    for (unsigned i = 1; i < 4; i++) {
        struct pollfd p = { .fd = fds[i], .events = POLLIN };
        assert_int_equal(poll(&p, 1, 0), 0); /* still there, nothing to say */
        close(fds[i]);
    }
    scene_stop(s);
}

static void more_connections_than_allowed_are_refused(void **state)
{
    struct nbd_limits limits = { .connections = 2 };
    struct scene *s = scene_start(&limits);
    char hello[18];

    (void)state;
    int second = raw_dial(s->r);
    raw_get(second, hello, sizeof hello);
    raw_expect_end(raw_dial(s->r));
    close(second);
    scene_stop(s);
}

/* Asks for disk 2 by GO: is it refused, and in these words? */
static bool image_is_refused(struct scene *s, const char *words)
{
    struct {
        uint8_t hello[18], head[16];
        uint32_t length;
        char text[64];
    } __attribute__((packed)) reply;
    char name[EXPORT_NAME_SIZE];
    int fd = raw_dial(s->r);

    s->w.length = 0;
    wire_be32(&s->w, 1);
    wire_go(&s->w, NBDW_OPT_GO, rig_name(name, 2, BAD), NULL, 0);
    raw_put(fd, &s->w);
    raw_get(fd, &reply, offsetof(__typeof__(reply), text));
    bool refused = ntohl(reply.length) == strlen(words);
    if (refused) {
        raw_get(fd, reply.text, strlen(words));
        assert_memory_equal(reply.text, words, strlen(words));
    }
    close(fd);
    return refused;
}

static void many_readers_of_an_image_leave_room_for_volumes(void **state)
{
    struct nbd_limits limits = { .connections = 128 };
    struct scene *s = scene_start(&limits);
    static const char words[] = "too many connections to images: try again later";
    int64_t deadline_ns = clock_mono_ns() + 20 * NS_PER_S;
    int fds[64];

    (void)state;
    rig_grant(s->r, 2, false, BAD);
    for (unsigned i = 0; i < 64; i++)
        fds[i] = raw_opened(s->r, 2, BAD, &s->w);
    assert_true(image_is_refused(s, words));
    int volume = raw_opened(s->r, 1, BAD, &s->w);
    raw_expect_alive(volume, &s->w);
    close(fds[0]);
    while (image_is_refused(s, words)) /* until it was noticed that one has gone */
        assert_true(clock_mono_ns() < deadline_ns);
    for (unsigned i = 1; i < 64; i++)
        close(fds[i]);
    close(volume);
    scene_stop(s);
}

static long resident_pages(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    long size, resident = 0;

    assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident;
}

/* All of them get through the handshake, or none can hold a place: so they name an image. */
static void a_thousand_idle_connections_disturb_nobody(void **state)
{
    struct rlimit files = { 0 };
    struct scene *s;
    static int fds[1000];

    (void)state;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    s = scene_start(NULL);
    rig_grant(s->r, 2, false, BAD);
    fds[0] = raw_opened(s->r, 2, BAD, &s->w);
    long before = resident_pages();
    for (unsigned i = 1; i < 1000; i++)
        fds[i] = raw_opened(s->r, 2, BAD, &s->w);
    assert_true((resident_pages() - before) * 4 < 1000 * 64); /* KiB: at most 64 for each */
    int64_t start = clock_mono_ns();
    for (unsigned i = 0; i < 500; i++)
        raw_expect_alive(s->good, &s->w);
    assert_true(clock_mono_ns() - start < 5 * NS_PER_S);
    raw_expect_alive(fds[999], &s->w);
    for (unsigned i = 0; i < 1000; i++)
        close(fds[i]);
    scene_stop(s);
}

/* The kernel takes the limit from when the accept was submitted, so it is set before the service
 * starts: then there is room for a few connections only. */
static void without_descriptors_new_clients_wait_and_old_ones_go_on(void **state)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct rlimit files, few;
    enum { CROWD = 20 };
    int fds[CROWD], next = dup(0);
    char hello[18];

    (void)state;
    close(next);
    getrlimit(RLIMIT_NOFILE, &files);
    for (unsigned i = 0; i < CROWD; i++)
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    few = files;
    few.rlim_cur = (rlim_t)next + CROWD + 10;
    setrlimit(RLIMIT_NOFILE, &few);
    struct scene *s = scene_start(NULL);
    a.sin_port = htons((uint16_t)atoi(strrchr(s->r->address, ':') + 1));
    for (unsigned i = 0; i < CROWD; i++)
        assert_int_equal(connect(fds[i], (struct sockaddr *)&a, sizeof a), 0);

    struct pollfd last = { .fd = fds[CROWD - 1], .events = POLLIN };
    raw_get(fds[0], hello, sizeof hello);
    assert_int_equal(poll(&last, 1, 300), 0);
    raw_expect_alive(s->good, &s->w);
    for (unsigned i = 0; i < CROWD - 1; i++)
        close(fds[i]);
    assert_int_equal(poll(&last, 1, 10000), 1);
    raw_get(last.fd, hello, sizeof hello);
    close(last.fd);
    setrlimit(RLIMIT_NOFILE, &files);
    scene_stop(s);
}

/* It sends reads for 2 GiB and takes no answer: its share of memory is used up and no more is read
 * from it. */
static void a_client_that_reads_no_answers_stops_only_itself(void **state)
{
    struct scene *s = scene_start(NULL);
    int fd = raw_opened(s->r, 1, BAD, &s->w);

    (void)state;
    for (unsigned i = 0; i < 2048; i++)
        wire_request(&s->w, NBDW_CMD_READ, 0, i, 0, 1 << 20);
    raw_put(fd, &s->w);
    for (unsigned i = 0; i < 100; i++)
        raw_expect_alive(s->good, &s->w);
    /* 8 requests are its share; a few more fit into the sockets' own buffers. */
    assert_true(rig_count(s->r, 1, BLK_READ) < 100);
    close(fd);
    scene_stop(s);
}

/* A flood of small reads that is taken in one go: the good client is answered while it
 * lasts, and each of the flood's requests is answered, in its order. */
static void ten_thousand_small_requests_are_answered_in_turns(void **state)
{
    struct scene *s = scene_start(NULL);
    int fd = raw_opened(s->r, 1, BAD, &s->w);
    enum { MANY = 10000, GOOD_READS = 50 };
    uint8_t data[BLK_SECTOR];

    (void)state;
    for (unsigned sent = 0; sent < MANY; sent += 1000) {
        s->w.length = 0;
        for (unsigned i = 0; i < 1000; i++)
            wire_request(&s->w, NBDW_CMD_READ, 0, sent + i, 0, sizeof data);
        raw_put(fd, &s->w);
    }
    for (unsigned i = 0; i < GOOD_READS; i++)
        raw_expect_alive(s->good, &s->w);
    for (unsigned i = 0; i < MANY; i++) {
        raw_expect_reply(fd, i, 0);
        raw_get(fd, data, sizeof data);
    }
    close(fd);
    scene_stop(s);
}

static void many_greedy_clients_leave_room_for_others(void **state)
{
    struct scene *s = scene_start(NULL);
    enum { GREEDY = 40 };
    int fds[GREEDY];

    (void)state;
    rig_grant(s->r, 2, false, BAD);
    for (unsigned i = 0; i < GREEDY; i++) { /* 40 × 32 MiB: more than all may have */
        fds[i] = raw_opened(s->r, 2, BAD, &s->w);
        wire_request(&s->w, NBDW_CMD_READ, 0, i, 0, 32 << 20);
        raw_put(fds[i], &s->w);
    }
    for (unsigned i = 0; i < 100; i++)
        raw_expect_alive(s->good, &s->w);
    /* Nobody is forgotten: each gets its answer when others have taken theirs. */
    for (unsigned i = 0; i < GREEDY; i++) {
        static uint8_t data[32 << 20];
        raw_expect_reply(fds[i], i, 0);
        raw_get(fds[i], data, sizeof data);
        close(fds[i]);
    }
    scene_stop(s);
}

static void *release_soon(void *arg)
{
    struct rig *r = arg;

    nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    rig_hold(r, 0, BLK_WRITE, false);
    rig_release(r, 0, 1);
    return NULL;
}

static void stopping_waits_for_running_requests(void **state)
{
    struct rig *r = rig_start(NULL);
    struct wire *w = calloc(1, sizeof *w);
    pthread_t thread;

    (void)state;
    rig_grant(r, 0, true, GOOD);
    int fd = raw_opened(r, 0, GOOD, w);
    rig_hold(r, 0, BLK_WRITE, true);
    wire_request(w, NBDW_CMD_WRITE, 0, 1, 0, 512);
    w->length += 512;
    raw_put(fd, w);
    assert_true(rig_wait_held(r, 0, 1));
    pthread_create(&thread, NULL, release_soon, r);
    nbd_service_stop(r->service);
    assert_int_equal(rig_count(r, 0, BLK_WRITE), 1);
    pthread_join(thread, NULL);
    r->service = NULL;
    rig_stop(r);
    raw_expect_end(fd);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(garbage_ends_its_own_connection_only),
        cmocka_unit_test(a_client_that_stops_in_the_middle_of_a_write_changes_nothing),
        cmocka_unit_test(requests_beyond_the_end_get_errors_and_the_connection_stays),
        cmocka_unit_test(a_write_that_is_too_large_gets_its_error_before_the_end),
        cmocka_unit_test(disconnect_is_answered_after_what_came_before),
        cmocka_unit_test(a_wrong_token_and_a_wrong_name_are_told_apart_by_nobody),
        cmocka_unit_test(who_guesses_names_is_thrown_out),
        cmocka_unit_test(a_silent_client_is_dropped_in_time),
        cmocka_unit_test(when_too_many_shake_hands_the_oldest_goes),
        cmocka_unit_test(more_connections_than_allowed_are_refused),
        cmocka_unit_test(many_readers_of_an_image_leave_room_for_volumes),
        cmocka_unit_test(a_thousand_idle_connections_disturb_nobody),
        cmocka_unit_test(without_descriptors_new_clients_wait_and_old_ones_go_on),
        cmocka_unit_test(a_client_that_reads_no_answers_stops_only_itself),
        cmocka_unit_test(ten_thousand_small_requests_are_answered_in_turns),
        cmocka_unit_test(many_greedy_clients_leave_room_for_others),
        cmocka_unit_test(stopping_waits_for_running_requests),
    };
    return cmocka_run_group_tests_name("nbd, hostile clients", tests, NULL, NULL);
}
