/* SPDX-License-Identifier: Apache-2.0 */
/* service_test - the service over loopback, as libnbd sees it. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/net.h"
#include "server/block/blkdev.h"
#include "tests/unit/nbd/rig.h"

#define TOKEN 0xa1

static struct nbd_handle *client(void)
{
    struct nbd_handle *h = nbd_create();

    assert_non_null(h);
    nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION);
    return h;
}

static int dial(struct nbd_handle *h, const struct rig *r, const char *name)
{
    char host[NET_ADDRESS_SIZE], *port;

    snprintf(host, sizeof host, "%s", r->address);
    port = strrchr(host, ':');
    *port++ = '\0';
    nbd_set_export_name(h, name);
    return nbd_connect_tcp(h, host, port);
}

static struct nbd_handle *connected(const struct rig *r, unsigned n, uint8_t token_byte)
{
    struct nbd_handle *h = client();
    char name[EXPORT_NAME_SIZE];

    if (dial(h, r, rig_name(name, n, token_byte)) < 0)
        fail_msg("%s", nbd_get_error());
    return h;
}

static void hang_up(struct nbd_handle *h)
{
    nbd_shutdown(h, 0);
    nbd_close(h);
}

static void fill(uint8_t *buf, size_t length, uint32_t seed)
{
    for (size_t i = 0; i < length; i++)
        buf[i] = (uint8_t)((i + seed) * 2654435761u >> 9);
}

/* ---- every command --------------------------------------------------------------------------- */

static void the_handshake_tells_what_the_export_can(void **state)
{
    struct rig *r = rig_start(NULL);

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    assert_int_equal(nbd_get_size(h), RIG_SIZE);
    assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM), 512);
    assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_PREFERRED), 4096);
    assert_int_equal(nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM), 32 << 20);
    assert_int_equal(nbd_is_read_only(h), 0);
    assert_int_equal(nbd_can_multi_conn(h), 0);
    assert_int_equal(nbd_can_flush(h), 1);
    assert_int_equal(nbd_can_fua(h), 1);
    assert_int_equal(nbd_can_trim(h), 1);
    assert_int_equal(nbd_can_zero(h), 1);
    assert_int_equal(nbd_can_fast_zero(h), 0);
    assert_int_equal(nbd_can_cache(h), 1);
    assert_int_equal(nbd_can_df(h), 1);
    assert_int_equal(nbd_can_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION), 1);
    hang_up(h);
    rig_stop(r);
}

static void write_and_read_back(struct rig *r, struct nbd_handle *h, size_t length, uint64_t offset)
{
    uint8_t *out = malloc(length), *in = calloc(1, length);

    fill(out, length, (uint32_t)offset);
    assert_int_equal(nbd_pwrite(h, out, length, offset, 0), 0);
    assert_memory_equal(rig_bytes(r, 0) + offset, out, length);
    assert_int_equal(nbd_pread(h, in, length, offset, 0), 0);
    assert_memory_equal(in, out, length);
    free(out);
    free(in);
}

static void data_of_every_size_arrives_unchanged(void **state)
{
    static const size_t lengths[] = { 512, 4096, 16384, 65536, 66048, 1 << 20, 32 << 20 };

    (void)state;
    for (int structured = 0; structured < 2; structured++) {
        struct rig *r = rig_start(NULL);
        struct nbd_handle *h = client();
        char name[EXPORT_NAME_SIZE];
        rig_grant(r, 0, true, TOKEN);
        nbd_set_request_structured_replies(h, structured);
        assert_int_equal(dial(h, r, rig_name(name, 0, TOKEN)), 0);
        assert_int_equal(nbd_get_structured_replies_negotiated(h), structured);
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            write_and_read_back(r, h, lengths[i], 512 * (i + 1));
        hang_up(h);
        rig_stop(r);
    }
}

static void flush_fua_trim_zero_and_cache_reach_the_device(void **state)
{
    struct rig *r = rig_start(NULL);
    static uint8_t buf[8192];

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    fill(buf, sizeof buf, 1);
    assert_int_equal(nbd_pwrite(h, buf, sizeof buf, 0, LIBNBD_CMD_FLAG_FUA), 0);
    assert_int_equal(nbd_flush(h, 0), 0);
    assert_int_equal(nbd_zero(h, 4096, 0, LIBNBD_CMD_FLAG_NO_HOLE | LIBNBD_CMD_FLAG_FUA), 0);
    assert_int_equal(nbd_trim(h, 4096, 4096, LIBNBD_CMD_FLAG_FUA), 0);
    assert_int_equal(nbd_cache(h, 8192, 0, 0), 0);
    assert_int_equal(nbd_pread(h, buf, sizeof buf, 0, 0), 0);
    for (size_t i = 0; i < sizeof buf; i++)
        assert_int_equal(buf[i], 0);
    for (unsigned op = BLK_READ; op <= BLK_CACHE; op++)
        assert_true(rig_count(r, 0, op) > 0);
    hang_up(h);
    rig_stop(r);
}

struct extents {
    uint64_t covered;
    unsigned count;
    bool zero_first;
};

static int on_extent(void *arg, const char *context, uint64_t offset, uint32_t *entries, size_t n,
                     int *error)
{
    struct extents *x = arg;

    (void)context, (void)offset, (void)error;
    x->count = (unsigned)(n / 2);
    x->zero_first = entries[1] & LIBNBD_STATE_ZERO;
    for (size_t i = 0; i < n; i += 2)
        x->covered += entries[i];
    return 0;
}

static void block_status_covers_what_was_asked(void **state)
{
    struct rig *r = rig_start(NULL);
    struct extents all = { 0 }, one = { 0 };
    uint8_t buf[4096];

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    fill(buf, sizeof buf, 1);
    assert_int_equal(nbd_pwrite(h, buf, sizeof buf, 1 << 20, 0), 0);
    assert_int_equal(
        nbd_block_status(h, 4 << 20, 0, (nbd_extent_callback){ on_extent, &all, NULL }, 0), 0);
    assert_true(all.count >= 1 && all.covered <= 4 << 20 && all.covered > 0);
    assert_int_equal(nbd_block_status(h, 4096, 0, (nbd_extent_callback){ on_extent, &one, NULL },
                                      LIBNBD_CMD_FLAG_REQ_ONE),
                     0);
    assert_int_equal(one.count, 1);
    assert_true(one.covered <= 4096);
    hang_up(h);
    rig_stop(r);
}

static void export_name_works_for_old_clients(void **state)
{
    struct rig *r = rig_start(NULL);
    char name[EXPORT_NAME_SIZE];

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    for (unsigned zeroes = 0; zeroes < 2; zeroes++) {
        struct nbd_handle *h = nbd_create();
        nbd_set_handshake_flags(h, zeroes ? 0 : LIBNBD_HANDSHAKE_FLAG_NO_ZEROES);
        assert_int_equal(dial(h, r, rig_name(name, 0, TOKEN)), 0);
        write_and_read_back(r, h, 4096, 4096);
        hang_up(h);
        h = nbd_create();
        nbd_set_handshake_flags(h, 0);
        assert_int_equal(dial(h, r, rig_name(name, 0, 0x33)), -1);
        nbd_close(h);
    }
    rig_stop(r);
}

static int on_name(void *arg, const char *name, const char *description)
{
    (void)name, (void)description;
    ++*(unsigned *)arg;
    return 0;
}

static void the_list_names_nothing(void **state)
{
    unsigned names = 0;
    struct rig *r = rig_start(NULL);
    struct nbd_handle *h = client();

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    nbd_set_opt_mode(h, true);
    assert_int_equal(dial(h, r, ""), 0);
    assert_int_equal(nbd_opt_list(h, (nbd_list_callback){ on_name, &names, NULL }), 0);
    assert_int_equal(names, 0);
    nbd_opt_abort(h);
    nbd_close(h);
    rig_stop(r);
}

static void a_device_error_becomes_an_error_and_the_connection_lives(void **state)
{
    struct rig *r = rig_start(NULL);
    static const int errors[] = { -EIO, -ENOSPC, -ESHUTDOWN };
    uint8_t buf[512] = { 0 };

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    for (size_t i = 0; i < 3; i++) {
        rig_fail(r, 0, BLK_WRITE, 1, errors[i]);
        assert_int_equal(nbd_pwrite(h, buf, sizeof buf, 0, 0), -1);
        assert_int_equal(nbd_get_errno(), -errors[i]);
    }
    rig_fail(r, 0, BLK_READ, 1, -EIO);
    assert_int_equal(nbd_pread(h, buf, sizeof buf, 0, 0), -1);
    assert_int_equal(nbd_get_errno(), EIO);
    assert_int_equal(nbd_pwrite(h, buf, sizeof buf, 0, 0), 0);
    assert_int_equal(nbd_pread(h, buf, sizeof buf, 0, 0), 0);
    hang_up(h);
    rig_stop(r);
}

/* ---- many requests --------------------------------------------------------------------------- */

#define FLIGHT 300 /* more than a peer may have under way */

static void answers_come_out_of_order_and_none_is_lost(void **state)
{
    struct rig *r = rig_start(NULL);
    static uint8_t bufs[FLIGHT][4096];
    int64_t cookies[FLIGHT];
    uint8_t one[512] = { 1 };

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    fill(rig_bytes(r, 0), FLIGHT * 4096, 0);
    rig_bytes(r, 0);
    rig_hold(r, 0, BLK_WRITE, true);
    int64_t held = nbd_aio_pwrite(h, one, sizeof one, 60 << 20, NBD_NULL_COMPLETION, 0);
    for (unsigned i = 0; i < FLIGHT; i++)
        cookies[i] = nbd_aio_pread(h, bufs[i], 4096, i * 4096, NBD_NULL_COMPLETION, 0);
    for (unsigned i = 0; i < FLIGHT; i++)
        while (nbd_aio_command_completed(h, (uint64_t)cookies[i]) == 0)
            assert_true(nbd_poll(h, 10000) > 0);
    assert_int_equal(nbd_aio_command_completed(h, (uint64_t)held), 0);
    for (unsigned i = 0; i < FLIGHT; i++)
        assert_memory_equal(bufs[i], rig_bytes(r, 0) + i * 4096, 4096);
    assert_int_equal(rig_release(r, 0, 10), 1);
    while (nbd_aio_command_completed(h, (uint64_t)held) == 0)
        assert_true(nbd_poll(h, 10000) > 0);
    hang_up(h);
    rig_stop(r);
}

static void large_requests_of_one_client_take_turns(void **state)
{
    struct rig *r = rig_start(NULL);
    enum { N = 8 };
    uint8_t *bufs[N];
    int64_t cookies[N];

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    fill(rig_bytes(r, 0), RIG_SIZE, 5);
    rig_bytes(r, 0);
    for (unsigned i = 0; i < N; i++) {
        bufs[i] = calloc(1, 32 << 20);
        cookies[i] = nbd_aio_pread(h, bufs[i], 32 << 20, i * 512, NBD_NULL_COMPLETION, 0);
    }
    for (unsigned i = 0; i < N; i++) {
        while (nbd_aio_command_completed(h, (uint64_t)cookies[i]) == 0)
            assert_true(nbd_poll(h, 10000) > 0);
        assert_memory_equal(bufs[i], rig_bytes(r, 0) + i * 512, 32 << 20);
        free(bufs[i]);
    }
    hang_up(h);
    rig_stop(r);
}

/* ---- one connection, and its end ------------------------------------------------------------- */

struct second {
    struct rig *rig;
    struct nbd_handle *handle;
    atomic_bool in;
    pthread_t thread;
};

static void *connect_second(void *arg)
{
    struct second *s = arg;

    s->handle = connected(s->rig, 0, TOKEN);
    s->in = true;
    return NULL;
}

static void a_new_connection_waits_until_the_old_one_is_drained(void **state)
{
    struct rig *r = rig_start(NULL);
    struct second s = { .rig = r };
    static uint8_t old[4096], new[4096];

    (void)state;
    memset(old, 1, sizeof old);
    memset(new, 2, sizeof new);
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    rig_hold(r, 0, BLK_WRITE, true);
    nbd_aio_pwrite(h, old, sizeof old, 0, NBD_NULL_COMPLETION, 0);
    nbd_poll(h, 0);
    assert_true(rig_wait_held(r, 0, 1));

    pthread_create(&s.thread, NULL, connect_second, &s);
    while (nbd_aio_is_dead(h) == 0 && nbd_aio_is_closed(h) == 0)
        assert_true(nbd_poll(h, 10000) != 0); /* the first one is cut … */
    assert_false(s.in);                       /* … and the second one is not in yet */
    rig_hold(r, 0, BLK_WRITE, false);
    assert_int_equal(rig_release(r, 0, 10), 1);
    pthread_join(s.thread, NULL);

    assert_int_equal(nbd_pwrite(s.handle, new, sizeof new, 0, 0), 0);
    assert_int_equal(nbd_pread(s.handle, old, sizeof old, 0, 0), 0);
    assert_memory_equal(old, new, sizeof new); /* the late write of the old one came before */
    nbd_close(h);
    hang_up(s.handle);
    rig_stop(r);
}

/* What the old connection had sent and nobody had begun to carry out must never run. */
static void requests_that_had_not_begun_are_dropped(void **state)
{
    struct rig *r = rig_start(NULL);
    int64_t end = clock_mono_ns() + 30 * NS_PER_S;
    static uint8_t buf[4096] = { 7 };

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    rig_hold(r, 0, BLK_WRITE, true);
    for (unsigned i = 0; i < 250; i++)
        nbd_aio_pwrite(h, buf, sizeof buf, i * 4096, NBD_NULL_COMPLETION, 0);
    while (!rig_holds(r, 0, 128)) /* and then what else the sockets take */
        assert_true(nbd_poll(h, 10) >= 0 && clock_mono_ns() < end);
    while (nbd_poll(h, 100) > 0)
        ;

    struct second s = { .rig = r };
    pthread_create(&s.thread, NULL, connect_second, &s);
    while (nbd_aio_is_dead(h) == 0 && nbd_aio_is_closed(h) == 0)
        assert_true(nbd_poll(h, 10000) != 0);
    rig_hold(r, 0, BLK_WRITE, false);
    assert_int_equal(rig_release(r, 0, 1000), 128);
    pthread_join(s.thread, NULL);
    assert_int_equal(nbd_flush(s.handle, 0), 0);
    assert_int_equal(rig_count(r, 0, BLK_WRITE), 128);
    assert_int_equal(rig_bytes(r, 0)[200 * 4096], 0);
    nbd_close(h);
    hang_up(s.handle);
    rig_stop(r);
}

static void info_disturbs_nobody(void **state)
{
    struct rig *r = rig_start(NULL);
    char name[EXPORT_NAME_SIZE];

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN), *i = client();
    nbd_set_opt_mode(i, true);
    assert_int_equal(dial(i, r, rig_name(name, 0, TOKEN)), 0);
    assert_int_equal(nbd_opt_info(i), 0);
    assert_int_equal(nbd_get_size(i), RIG_SIZE);
    nbd_set_export_name(i, rig_name(name, 0, 0x44));
    assert_int_equal(nbd_opt_info(i), -1);
    nbd_opt_abort(i);
    nbd_close(i);
    assert_int_equal(nbd_flush(h, 0), 0);
    hang_up(h);
    rig_stop(r);
}

static void an_image_serves_many_connections_over_one_device(void **state)
{
    struct rig *r = rig_start(NULL);
    struct nbd_handle *h[4];
    uint8_t buf[512];

    (void)state;
    rig_grant(r, 1, false, TOKEN);
    rig_grant(r, 1, false, 0xb2);
    for (unsigned i = 0; i < 4; i++)
        h[i] = connected(r, 1, i < 2 ? TOKEN : 0xb2);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(nbd_is_read_only(h[i]), 1);
        assert_int_equal(nbd_can_multi_conn(h[i]), 1);
        assert_int_equal(nbd_pread(h[i], buf, sizeof buf, 0, 0), 0);
        nbd_set_strict_mode(h[i], 0);
        assert_int_equal(nbd_pwrite(h[i], buf, sizeof buf, 0, 0), -1);
        assert_int_equal(nbd_get_errno(), EPERM);
        assert_int_equal(nbd_pread(h[i], buf, sizeof buf, 0, 0), 0);
    }
    assert_int_equal(r->disks[1].opens, 1);
    for (unsigned i = 0; i < 4; i++)
        hang_up(h[i]);
    rig_stop(r);
}

static void a_revoked_export_is_cut_and_a_later_go_is_told_why(void **state)
{
    struct rig *r = rig_start(NULL);
    char name[EXPORT_NAME_SIZE];
    uint8_t buf[512];

    (void)state;
    rig_grant(r, 0, true, TOKEN);
    struct nbd_handle *h = connected(r, 0, TOKEN);
    export_revoke(r->exports, "disk-0", "the volume was reset: epoch 4 is over");
    assert_int_equal(r->disks[0].closes, 1);
    assert_int_equal(nbd_pread(h, buf, sizeof buf, 0, 0), -1);
    nbd_close(h);

    /* libnbd keeps the server's words for its debug output. */
    h = client();
    assert_int_equal(dial(h, r, rig_name(name, 0, TOKEN)), -1);
    nbd_close(h);
    rig_grant(r, 0, true, 0xb2);
    h = connected(r, 0, 0xb2);
    hang_up(h);
    rig_stop(r);
}

/* Lets go of the port as soon as the thread that wants it waits. */
struct holder {
    pid_t waiter;
    int fd;
};

static void *let_go_when_waited_for(void *arg)
{
    const struct holder *h = arg;
    char path[64], state = 0;

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)h->waiter);
    while (state != 'S') {
        FILE *f = fopen(path, "r");
        if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
            state = 'S';
        if (f)
            fclose(f);
    }
    close(h->fd);
    return NULL;
}

/* The kernel takes down the ring of a killed server, and its sockets, after the process is gone. */
static void a_port_that_a_killed_server_still_holds_is_waited_for(void **state)
{
    (void)state;
    struct rig *r = rig_start(NULL);
    struct holder h = { .waiter = gettid() };
    char address[NET_ADDRESS_SIZE];
    struct err e = { 0 };
    pthread_t thread;

    assert_int_equal(net_listen("127.0.0.1:0", 0, 1, &h.fd, &e), 0);
    net_local(h.fd, address);
    assert_int_equal(pthread_create(&thread, NULL, let_go_when_waited_for, &h), 0);
    int rc = nbd_service_listen(r->service, address, &e);
    pthread_join(thread, NULL);
    if (rc < 0)
        fail_msg("%s", e.msg);
    rig_stop(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_handshake_tells_what_the_export_can),
        cmocka_unit_test(data_of_every_size_arrives_unchanged),
        cmocka_unit_test(flush_fua_trim_zero_and_cache_reach_the_device),
        cmocka_unit_test(block_status_covers_what_was_asked),
        cmocka_unit_test(export_name_works_for_old_clients),
        cmocka_unit_test(the_list_names_nothing),
        cmocka_unit_test(a_device_error_becomes_an_error_and_the_connection_lives),
        cmocka_unit_test(answers_come_out_of_order_and_none_is_lost),
        cmocka_unit_test(large_requests_of_one_client_take_turns),
        cmocka_unit_test(a_new_connection_waits_until_the_old_one_is_drained),
        cmocka_unit_test(requests_that_had_not_begun_are_dropped),
        cmocka_unit_test(info_disturbs_nobody),
        cmocka_unit_test(an_image_serves_many_connections_over_one_device),
        cmocka_unit_test(a_revoked_export_is_cut_and_a_later_go_is_told_why),
        cmocka_unit_test(a_port_that_a_killed_server_still_holds_is_waited_for),
    };
    return cmocka_run_group_tests_name("nbd service", tests, NULL, NULL);
}
