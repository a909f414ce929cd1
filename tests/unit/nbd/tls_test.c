/* SPDX-License-Identifier: Apache-2.0 */
/* tls_test - a GnuTLS client talks to a link through memory: in pieces, in bulk, and rudely. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    size_t piece; /* bytes that the link gets at a time */
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
    (void)ms;
    return ((struct pair *)arg)->to_client.length > 0;
}

static void take_output(struct pair *p)
{
    size_t length;
    void *bytes = tls_link_output(p->link, &length);

    if (bytes)
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

static struct pair *pair_new(const char *versions, const char *key, size_t piece)
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
    assert_int_equal(tls_link_new(p->tls, &p->link), 0);
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

static void pair_free(struct pair *p)
{
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

static const struct {
    const char *versions;
    size_t piece;
} ways[] = {
    { "+VERS-TLS1.3", 1 }, { "+VERS-TLS1.3", 7 },     { "+VERS-TLS1.3", 65536 },
    { "+VERS-TLS1.2", 1 }, { "+VERS-TLS1.2", 65536 },
};

static void bytes_go_both_ways_in_any_split(void **state)
{
    char *bulk = malloc(BULK), *back = malloc(BULK);

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
        for (size_t at = 0; at < BULK;) {
            ssize_t n = gnutls_record_recv(p->client, back + at, BULK - at);
            if (n == GNUTLS_E_AGAIN && p->to_client.length > 0)
                continue;
            assert_true(n > 0);
            at += (size_t)n;
        }
        assert_memory_equal(back, bulk, BULK);
        gnutls_bye(p->client, GNUTLS_SHUT_WR);
        link_works(p);
        assert_int_equal(p->end, -EPIPE);
        pair_free(p);
    }
    free(bulk);
    free(back);
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
    struct pair *p = pair_new("+VERS-TLS1.3", KEY, 65536);

    assert_true(shake(p));
    assert_true(gnutls_record_send(p->client, "abcdefgh", 8) == 8);
    p->to_link.data[p->to_link.length - 1] ^= 1;
    link_works(p);
    assert_int_equal(p->end, -EPROTO);
    assert_int_equal(p->heard.length, 0);
    pair_free(p);
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
        cmocka_unit_test(a_wrong_key_is_the_end),
        cmocka_unit_test(old_versions_are_refused),
        cmocka_unit_test(garbage_is_the_end),
        cmocka_unit_test(renegotiation_is_refused),
        cmocka_unit_test(a_changed_bit_is_the_end),
        cmocka_unit_test(what_is_wrong_with_a_file_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
