/* SPDX-License-Identifier: Apache-2.0 */
/* tls_test - a GnuTLS client talks to a link through memory: in pieces, in bulk, and rudely.  What
 * the link says may go through a socket: then the kernel encrypts it, if it can.  GRIDBOX_KTLS=1:
 * it must. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/nbd/tls.h"

#define KEY   "00112233445566778899aabbccddeeff"
#define WRONG "ffeeddccbbaa99887766554433221100"
#define BULK  200000u

struct pair {
    char psk[64];
    struct nbd_tls *tls;
    struct tls_link *link;
    gnutls_session_t client;
    gnutls_psk_client_credentials_t key;
    struct buf to_link, to_client;
    int ours, theirs; /* < 0: what the link says goes through memory too */
    bool deaf;        /* the client does not look into its socket */
    size_t piece;     /* bytes that the link gets at a time */
    struct buf heard;
    ssize_t end; /* what tls_link_read said last, if not -EAGAIN */
};

static ssize_t client_push(gnutls_transport_ptr_t arg, const void *bytes, size_t length)
{
    buf_add(&((struct pair *)arg)->to_link, bytes, length);
    return (ssize_t)length;
}

static ssize_t client_pull(gnutls_transport_ptr_t arg, void *bytes, size_t length)
{
    struct pair *p = arg;

    if (p->theirs >= 0 && !p->deaf)
        return recv(p->theirs, bytes, length, MSG_DONTWAIT);
    if (p->to_client.length == 0) {
        gnutls_transport_set_errno(p->client, EAGAIN);
        return -1;
    }
    if (length > p->to_client.length)
        length = p->to_client.length;
    memcpy(bytes, p->to_client.data, length);
    buf_drop(&p->to_client, length);
    return (ssize_t)length;
}

static int client_ready(gnutls_transport_ptr_t arg, unsigned ms)
{
    struct pair *p = arg;
    struct pollfd wait = { p->theirs, POLLIN, 0 };

    (void)ms;
    return p->theirs >= 0 ? poll(&wait, 1, 0) : p->to_client.length > 0;
}

static void wait_for_client(struct pair *p)
{
    struct pollfd wait = { p->theirs, POLLIN, 0 };

    if (p->theirs >= 0)
        assert_int_equal(poll(&wait, 1, 20000), 1);
}

static void take_output(struct pair *p)
{
    size_t length;
    void *bytes = tls_link_output(p->link, &length);

    if (bytes && p->ours >= 0)
        assert_int_equal(send(p->ours, bytes, length, MSG_DONTWAIT), length);
    else if (bytes)
        buf_add(&p->to_client, bytes, length);
    free(bytes);
}

/* All that the client has sent, in pieces. */
static void link_works(struct pair *p)
{
    size_t done = 0;
    uint8_t plain[1000];

    while (done < p->to_link.length && p->end == -EAGAIN) {
        const uint8_t *at = (const uint8_t *)p->to_link.data + done;
        size_t left = p->to_link.length - done < p->piece ? p->to_link.length - done : p->piece;
        size_t length = left;
        ssize_t n;
        while ((n = tls_link_read(p->link, &at, &left, plain, sizeof plain)) > 0)
            buf_add(&p->heard, plain, (size_t)n);
        p->end = n;
        if (n == -EAGAIN)
            assert_int_equal(left, 0);
        done += length - left;
        take_output(p);
    }
    buf_drop(&p->to_link, done);
}

static void connect_them(struct pair *p)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    p->theirs = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(p->theirs, (struct sockaddr *)&at, sizeof at), 0);
    p->ours = accept(listener, NULL, NULL);
    assert_true(p->ours >= 0);
    close(listener);
}

static struct pair *pair_over(bool socket, const char *versions, const char *key, size_t piece)
{
    struct pair *p = calloc(1, sizeof *p);
    struct nbd_tls_files files = { .psk = p->psk };
    gnutls_datum_t datum = { (unsigned char *)(uintptr_t)key, (unsigned)strlen(key) };
    char priority[120];

    strcpy(p->psk, "/tmp/tls_test.XXXXXX");
    int fd = mkstemp(p->psk);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "u:" KEY "\n", 35), 35);
    close(fd);
    assert_int_equal(nbd_tls_new(&files, &p->tls, NULL), 0);
    p->ours = p->theirs = -1;
    if (socket)
        connect_them(p);
    assert_int_equal(tls_link_new(p->tls, p->ours, &p->link), 0);
    buf_init(&p->to_link, 16 * BULK);
    buf_init(&p->to_client, 16 * BULK);
    buf_init(&p->heard, 16 * BULK);
    p->piece = piece;
    p->end = -EAGAIN;
    snprintf(priority, sizeof priority, "NORMAL:-VERS-ALL:%s:+ECDHE-PSK:+DHE-PSK:+PSK", versions);
    gnutls_init(&p->client, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    assert_int_equal(gnutls_priority_set_direct(p->client, priority, NULL), 0);
    gnutls_psk_allocate_client_credentials(&p->key);
    gnutls_psk_set_client_credentials(p->key, "u", &datum, GNUTLS_PSK_KEY_HEX);
    gnutls_credentials_set(p->client, GNUTLS_CRD_PSK, p->key);
    gnutls_transport_set_ptr(p->client, p);
    gnutls_transport_set_push_function(p->client, client_push);
    gnutls_transport_set_pull_function(p->client, client_pull);
    gnutls_transport_set_pull_timeout_function(p->client, client_ready);
    return p;
}

static struct pair *pair_new(const char *versions, const char *key, size_t piece)
{
    return pair_over(false, versions, key, piece);
}

static void pair_free(struct pair *p)
{
    if (p->ours >= 0) {
        close(p->ours);
        close(p->theirs);
    }
    gnutls_deinit(p->client);
    gnutls_psk_free_client_credentials(p->key);
    tls_link_free(p->link);
    nbd_tls_free(p->tls);
    buf_done(&p->to_link);
    buf_done(&p->to_client);
    buf_done(&p->heard);
    unlink(p->psk);
    free(p);
}

/* True: hands were shaken. */
static bool shake(struct pair *p)
{
    for (int i = 0; i < 20; i++) {
        int rc = gnutls_handshake(p->client);
        link_works(p);
        if (rc == 0)
            return true;
        if (rc != GNUTLS_E_AGAIN)
            return false;
        wait_for_client(p);
    }
    return false;
}

static void client_says(struct pair *p, const void *bytes, size_t length)
{
    const char *at = bytes;

    while (length > 0) {
        ssize_t n = gnutls_record_send(p->client, at, length);
        assert_true(n > 0);
        at += n;
        length -= (size_t)n;
    }
    link_works(p);
}

/* On the way that the link has found. */
static void link_says(struct pair *p, const void *bytes, size_t length)
{
    struct iovec part = { (void *)(uintptr_t)bytes, length };

    if (tls_link_in_kernel(p->link)) {
        assert_int_equal(send(p->ours, bytes, length, MSG_DONTWAIT), length);
        return;
    }
    assert_int_equal(tls_link_write(p->link, &part, 1), 0);
    take_output(p);
}

static void client_hears(struct pair *p, const char *bytes, size_t length)
{
    AUTO(buf_done) struct buf heard = { 0 };
    char part[5000];

    buf_init(&heard, length);
    while (heard.length < length) {
        ssize_t n = gnutls_record_recv(p->client, part, sizeof part);
        if (n == GNUTLS_E_AGAIN) {
            assert_true(p->theirs >= 0 || p->to_client.length > 0);
            wait_for_client(p);
            continue;
        }
        assert_true(n > 0);
        buf_add(&heard, part, (size_t)n);
    }
    assert_int_equal(heard.length, length);
    assert_memory_equal(heard.data, bytes, length);
}

static bool kernel_must(void)
{
    const char *wish = getenv("GRIDBOX_KTLS");

    return wish && strcmp(wish, "1") == 0;
}

static const struct {
    const char *versions;
    size_t piece;
} ways[] = {
    { "+VERS-TLS1.3", 1 }, { "+VERS-TLS1.3", 7 },     { "+VERS-TLS1.3", 65536 },
    { "+VERS-TLS1.2", 1 }, { "+VERS-TLS1.2", 65536 },
};

static void bytes_go_both_ways_in_any_split(void **state)
{
    char *bulk = malloc(BULK);

    (void)state;
    for (size_t i = 0; i < BULK; i++)
        bulk[i] = (char)(i * 7 + i / 251);
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct pair *p = pair_new(ways[w].versions, KEY, ways[w].piece);
        struct iovec parts[3] = { { bulk, 16 }, { bulk + 16, 1000 }, { bulk + 1016, BULK - 1016 } };
        assert_true(shake(p));
        client_says(p, bulk, BULK);
        assert_int_equal(p->heard.length, BULK);
        assert_memory_equal(p->heard.data, bulk, BULK);
        assert_int_equal(tls_link_write(p->link, parts, 2), 0);
        assert_int_equal(tls_link_write(p->link, parts + 2, 1), 0);
        take_output(p);
        client_hears(p, bulk, BULK);
        gnutls_bye(p->client, GNUTLS_SHUT_WR);
        link_works(p);
        assert_int_equal(p->end, -EPIPE);
        pair_free(p);
    }
    free(bulk);
}

static void the_kernel_may_encrypt(void **state)
{
    static const char *const versions[] = { "+VERS-TLS1.3", "+VERS-TLS1.2" };
    static char bulk[20000]; /* more than a record; the socket takes it whole */

    (void)state;
    for (size_t i = 0; i < sizeof bulk; i++)
        bulk[i] = (char)(i * 7 + i / 251);
    for (size_t v = 0; v < 2; v++) {
        struct pair *p = pair_over(true, versions[v], KEY, 65536);
        assert_true(shake(p));
        if (v > 0)
            assert_false(tls_link_in_kernel(p->link));
        else if (kernel_must())
            assert_true(tls_link_in_kernel(p->link));
        for (int round = 0; round < 10; round++) {
            link_says(p, bulk, sizeof bulk);
            client_hears(p, bulk, sizeof bulk);
            client_says(p, bulk, sizeof bulk);
        }
        assert_int_equal(p->heard.length, 10 * sizeof bulk);
        gnutls_bye(p->client, GNUTLS_SHUT_WR);
        link_works(p);
        assert_int_equal(p->end, -EPIPE);
        pair_free(p);
    }
}

/* Its socket has no room for the answer to the hello: what waits in memory must go as it is. */
static void a_full_socket_keeps_the_kernel_out(void **state)
{
    static char fill[65536];
    size_t filled = 0;
    uint8_t plain[16];

    (void)state;
    struct pair *p = pair_over(true, "+VERS-TLS1.3", KEY, 65536);
    for (ssize_t n; (n = send(p->ours, fill, sizeof fill, MSG_DONTWAIT)) > 0;)
        filled += (size_t)n;
    p->deaf = true;
    assert_int_equal(gnutls_handshake(p->client), GNUTLS_E_AGAIN);
    const uint8_t *at = (const uint8_t *)p->to_link.data;
    size_t left = p->to_link.length;
    assert_int_equal(tls_link_read(p->link, &at, &left, plain, sizeof plain), -EAGAIN);
    buf_drop(&p->to_link, p->to_link.length);
    while (filled > 0) {
        ssize_t n = recv(p->theirs, fill, filled < sizeof fill ? filled : sizeof fill, 0);
        assert_true(n > 0);
        filled -= (size_t)n;
    }
    take_output(p);
    p->deaf = false;
    assert_true(shake(p));
    assert_false(tls_link_in_kernel(p->link));
    link_says(p, "after all", 9);
    client_hears(p, "after all", 9);
    pair_free(p);
}

static void clients_may_change_their_keys(void **state)
{
    (void)state;
    for (int socket = 0; socket < 2; socket++) {
        struct pair *p = pair_over(socket, "+VERS-TLS1.3", KEY, 65536);
        assert_true(shake(p));
        client_says(p, "one", 3);
        assert_int_equal(gnutls_session_key_update(p->client, 0), 0);
        client_says(p, "two", 3);
        assert_int_equal(p->end, -EAGAIN);
        assert_int_equal(p->heard.length, 6);
        link_says(p, "three", 5);
        client_hears(p, "three", 5);
        pair_free(p);
    }
}

static void ours_change_only_where_we_encrypt(void **state)
{
    (void)state;
    for (int socket = 0; socket < 2; socket++) {
        struct pair *p = pair_over(socket, "+VERS-TLS1.3", KEY, 65536);
        assert_true(shake(p));
        assert_int_equal(gnutls_session_key_update(p->client, GNUTLS_KU_PEER), 0);
        client_says(p, "one", 3);
        if (tls_link_in_kernel(p->link)) {
            assert_int_equal(p->end, -EPROTO);
            assert_non_null(strstr(tls_link_why(p->link), "keys"));
        } else {
            assert_int_equal(p->end, -EAGAIN);
            link_says(p, "two", 3);
            client_hears(p, "two", 3);
        }
        pair_free(p);
    }
}

static void a_wrong_key_is_the_end(void **state)
{
    (void)state;
    struct pair *p = pair_new("+VERS-TLS1.3", WRONG, 65536);

    assert_false(shake(p));
    assert_int_equal(p->end, -EPROTO);
    assert_true(*tls_link_why(p->link));
    assert_int_equal(p->heard.length, 0);
    pair_free(p);
}

static void old_versions_are_refused(void **state)
{
    (void)state;
    struct pair *p = pair_new("+VERS-TLS1.1:+VERS-TLS1.0", KEY, 65536);

    assert_false(shake(p));
    assert_int_equal(p->end, -EPROTO);
    pair_free(p);
}

static void garbage_is_the_end(void **state)
{
    (void)state;
    for (int shaken = 0; shaken < 2; shaken++) {
        struct pair *p = pair_new("+VERS-TLS1.3", KEY, 65536);
        char garbage[400];
        memset(garbage, 0x47, sizeof garbage);
        if (shaken)
            assert_true(shake(p));
        buf_add(&p->to_link, garbage, sizeof garbage);
        link_works(p);
        assert_int_equal(p->end, -EPROTO);
        assert_int_equal(p->heard.length, 0);
        pair_free(p);
    }
}

static void renegotiation_is_refused(void **state)
{
    (void)state;
    struct pair *p = pair_new("+VERS-TLS1.2", KEY, 65536);

    assert_true(shake(p));
    assert_int_equal(gnutls_handshake(p->client), GNUTLS_E_AGAIN); /* again */
    link_works(p);
    assert_int_equal(gnutls_handshake(p->client), GNUTLS_E_WARNING_ALERT_RECEIVED);
    assert_int_equal(gnutls_alert_get(p->client), GNUTLS_A_NO_RENEGOTIATION);
    assert_int_equal(p->heard.length, 0);
    pair_free(p);
}

static void a_changed_bit_is_the_end(void **state)
{
    (void)state;
    for (int socket = 0; socket < 2; socket++) {
        struct pair *p = pair_over(socket, "+VERS-TLS1.3", KEY, 65536);
        char byte;
        assert_true(shake(p));
        assert_true(gnutls_record_send(p->client, "abcdefgh", 8) == 8);
        p->to_link.data[p->to_link.length - 1] ^= 1;
        link_works(p);
        assert_int_equal(p->end, -EPROTO);
        assert_int_equal(p->heard.length, 0);
        take_output(p);
        wait_for_client(p);
        assert_int_equal(gnutls_record_recv(p->client, &byte, 1), GNUTLS_E_FATAL_ALERT_RECEIVED);
        assert_int_equal(gnutls_alert_get(p->client), GNUTLS_A_BAD_RECORD_MAC);
        pair_free(p);
    }
}

static void what_is_wrong_with_a_file_is_said(void **state)
{
    static const struct nbd_tls_files files[] = {
        { .psk = "/nonexistent/psk" },
        { .psk = "/dev/null" },
        { .psk = "/etc/passwd" },
        { .certificate = "/dev/null", .key = "/dev/null" },
        { .certificate = "/nonexistent/cert", .key = "/dev/null" },
        { .certificate = "/dev/null", .key = "/nonexistent/key" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct nbd_tls *tls;
        struct err e = { 0 };
        assert_true(nbd_tls_new(&files[i], &tls, &e) < 0);
        assert_int_equal(e.msg[0], '/');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_in_any_split),
        cmocka_unit_test(the_kernel_may_encrypt),
        cmocka_unit_test(a_full_socket_keeps_the_kernel_out),
        cmocka_unit_test(clients_may_change_their_keys),
        cmocka_unit_test(ours_change_only_where_we_encrypt),
        cmocka_unit_test(a_wrong_key_is_the_end),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(garbage_is_the_end),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(a_changed_bit_is_the_end),
        cmocka_unit_test(what_is_wrong_with_a_file_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
