/* SPDX-License-Identifier: Apache-2.0 */
/* tls - GnuTLS between two memory buffers.  Knows neither NBD nor sockets. */
#include "server/nbd/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/base/file.h"
#include "server/base/name.h"

#define OUTPUT_MAX   (64u << 20) /* more than the largest answer, encrypted */
#define PSK_FILE_MAX (1u << 20)

struct psk_user {
    struct psk_user *next;
    char *name;
    unsigned length; /* bytes of the key */
    uint8_t key[64];
};

struct nbd_tls {
    gnutls_certificate_credentials_t x509; /* NULL: none */
    gnutls_psk_server_credentials_t psk;   /* likewise */
    gnutls_priority_t priority;
    bool ask_client; /* for a certificate, and check it */
    struct psk_user *users;
};

struct tls_link {
    const struct nbd_tls *tls;
    gnutls_session_t session;
    const uint8_t *in; /* while tls_link_read runs */
    size_t in_left;
    struct buf out;
    bool shaken;
    char why[160];
};

/* ---- credentials -----------------------------------------------------------------------------*/

static int wrong(struct err *e, int rc, const char *path)
{
    int code = rc == GNUTLS_E_FILE_ERROR     ? -ENOENT
               : rc == GNUTLS_E_MEMORY_ERROR ? -ENOMEM
                                             : -EINVAL;

    return err_set(e, code, "%s: %s", path, gnutls_strerror(rc));
}

static int read_certificate(struct nbd_tls *t, const struct nbd_tls_files *f, struct err *e)
{
    int rc = gnutls_certificate_allocate_credentials(&t->x509);

    if (rc < 0)
        return err_set(e, -ENOMEM, "out of memory");
    if (access(f->key, R_OK) < 0)
        return err_errno(e, "%s", f->key);
    rc = gnutls_certificate_set_x509_key_file(t->x509, f->certificate, f->key, GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return wrong(e, rc, f->certificate);
    if (!f->ca)
        return 0;
    rc = gnutls_certificate_set_x509_trust_file(t->x509, f->ca, GNUTLS_X509_FMT_PEM);
    if (rc <= 0)
        return rc < 0 ? wrong(e, rc, f->ca) : err_set(e, -EINVAL, "%s: no certificate", f->ca);
    t->ask_client = true;
    return 0;
}

/* A user's key.  The file is read once: a shard must not wait for a disk. */
static int find_key(gnutls_session_t session, const char *user, gnutls_datum_t *ret)
{
    const struct tls_link *l = gnutls_transport_get_ptr(session);

    for (const struct psk_user *u = l->tls->users; u; u = u->next) {
        if (strcmp(u->name, user) != 0)
            continue;
        ret->data = gnutls_malloc(u->length); /* GnuTLS frees it */
        if (!ret->data)
            return -1;
        memcpy(ret->data, u->key, u->length);
        ret->size = u->length;
        return 0;
    }
    return -1;
}

static int add_user(struct nbd_tls *t, char *line, struct err *e)
{
    char *colon = strrchr(line, ':');
    size_t digits = colon ? strlen(colon + 1) : 0;

    if (!colon || colon == line || digits == 0 || digits % 2 || digits > 2 * sizeof t->users->key)
        return err_set(e, -EINVAL, "must be lines USER:HEX, with 2 to %zu hex digits",
                       2 * sizeof t->users->key);
    struct psk_user *u = calloc(1, sizeof *u);
    if (!u)
        return err_set(e, -ENOMEM, "out of memory");
    u->next = t->users;
    t->users = u;
    *colon = '\0';
    u->length = (unsigned)(digits / 2);
    u->name = strdup(line);
    if (!u->name)
        return err_set(e, -ENOMEM, "out of memory");
    if (hex_decode(colon + 1, u->key, u->length) < 0)
        return err_set(e, -EINVAL, "the key of '%.60s' is not in hex digits", u->name);
    return 0;
}

static int read_psk(struct nbd_tls *t, const char *path, struct err *e)
{
    AUTO(auto_free) char *text = NULL;
    char *rest;
    int rc = file_read(path, PSK_FILE_MAX, &text, NULL, e);

    if (rc < 0)
        return rc;
    if (gnutls_psk_allocate_server_credentials(&t->psk) < 0)
        return err_set(e, -ENOMEM, "out of memory");
    gnutls_psk_set_server_credentials_function(t->psk, find_key);
    rest = text;
    for (char *line; rc == 0 && (line = strsep(&rest, "\n"));)
        rc = *line ? add_user(t, line, e) : 0;
    if (rc == 0 && !t->users)
        rc = err_set(e, -EINVAL, "no line USER:HEX");
    return rc < 0 ? err_wrap(e, rc, "%s", path) : 0;
}

static int set_priority(struct nbd_tls *t, struct err *e)
{
    char text[160];

    snprintf(text, sizeof text, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2%s%s",
             t->psk ? ":+ECDHE-PSK:+DHE-PSK:+PSK" : "",
             t->x509 ? "" : ":-ECDHE-RSA:-ECDHE-ECDSA:-DHE-RSA:-RSA");
    int rc = gnutls_priority_init(&t->priority, text, NULL);
    return rc < 0 ? err_set(e, -EINVAL, "TLS: %s", gnutls_strerror(rc)) : 0;
}

int nbd_tls_new(const struct nbd_tls_files *files, struct nbd_tls **ret, struct err *e)
{
    struct nbd_tls *t = calloc(1, sizeof *t);
    int rc = 0;

    if (!t)
        return err_set(e, -ENOMEM, "out of memory");
    if (files->certificate)
        rc = read_certificate(t, files, e);
    if (rc == 0 && files->psk)
        rc = read_psk(t, files->psk, e);
    if (rc == 0)
        rc = set_priority(t, e);
    if (rc < 0) {
        nbd_tls_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void nbd_tls_free(struct nbd_tls *t)
{
    if (!t)
        return;
    if (t->x509)
        gnutls_certificate_free_credentials(t->x509);
    if (t->psk)
        gnutls_psk_free_server_credentials(t->psk);
    if (t->priority)
        gnutls_priority_deinit(t->priority);
    while (t->users) {
        struct psk_user *next = t->users->next;
        explicit_bzero(t->users->key, sizeof t->users->key);
        free(t->users->name);
        free(t->users);
        t->users = next;
    }
    free(t);
}

/* ---- what GnuTLS calls -----------------------------------------------------------------------*/

static ssize_t pull(gnutls_transport_ptr_t arg, void *bytes, size_t length)
{
    struct tls_link *l = arg;

    if (l->in_left == 0) {
        gnutls_transport_set_errno(l->session, EAGAIN);
        return -1;
    }
    if (length > l->in_left)
        length = l->in_left;
    memcpy(bytes, l->in, length);
    l->in += length;
    l->in_left -= length;
    return (ssize_t)length;
}

static int pull_ready(gnutls_transport_ptr_t arg, unsigned ms)
{
    (void)ms;
    return ((const struct tls_link *)arg)->in_left > 0;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *bytes, size_t length)
{
    struct tls_link *l = arg;

    buf_add(&l->out, bytes, length);
    if (!l->out.failed)
        return (ssize_t)length;
    gnutls_transport_set_errno(l->session, ENOMEM);
    return -1;
}

/* ---- links -----------------------------------------------------------------------------------*/

static int set_up(struct tls_link *l, const struct nbd_tls *t)
{
    int rc = gnutls_priority_set(l->session, t->priority);

    if (rc == 0 && t->x509)
        rc = gnutls_credentials_set(l->session, GNUTLS_CRD_CERTIFICATE, t->x509);
    if (rc == 0 && t->psk)
        rc = gnutls_credentials_set(l->session, GNUTLS_CRD_PSK, t->psk);
    if (rc < 0)
        return rc;
    if (t->ask_client) {
        gnutls_certificate_server_set_request(l->session, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert(l->session, NULL, 0);
    }
    gnutls_transport_set_ptr(l->session, l);
    gnutls_transport_set_pull_function(l->session, pull);
    gnutls_transport_set_pull_timeout_function(l->session, pull_ready);
    gnutls_transport_set_push_function(l->session, push);
    return 0;
}

int tls_link_new(const struct nbd_tls *t, struct tls_link **ret)
{
    struct tls_link *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    l->tls = t;
    buf_init(&l->out, OUTPUT_MAX);
    if (gnutls_init(&l->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS) < 0) {
        free(l);
        return -ENOMEM;
    }
    if (set_up(l, t) < 0) {
        tls_link_free(l);
        return -ENOMEM;
    }
    *ret = l;
    return 0;
}

void tls_link_free(struct tls_link *l)
{
    if (!l)
        return;
    gnutls_deinit(l->session);
    buf_done(&l->out);
    free(l);
}

static ssize_t broken(struct tls_link *l, int rc)
{
    snprintf(l->why, sizeof l->why, "TLS: %s", gnutls_strerror(rc));
    if (l->shaken)
        return -EPROTO;
    gnutls_alert_send_appropriate(l->session, rc);
    return -EPROTO;
}

static ssize_t shake_or_read(struct tls_link *l, void *plain, size_t size)
{
    ssize_t rc;

    while (!l->shaken) {
        rc = gnutls_handshake(l->session);
        if (rc == GNUTLS_E_AGAIN)
            return -EAGAIN;
        l->shaken = rc == 0;
        if (rc < 0 && gnutls_error_is_fatal((int)rc))
            return broken(l, (int)rc);
    }
    do {
        rc = gnutls_record_recv(l->session, plain, size);
    } while (rc == GNUTLS_E_INTERRUPTED);
    if (rc == GNUTLS_E_AGAIN)
        return -EAGAIN;
    if (rc == 0)
        return -EPIPE;
    return rc < 0 ? broken(l, (int)rc) : rc; /* a wish to renegotiate, too */
}

ssize_t tls_link_read(struct tls_link *l, const uint8_t **wire, size_t *left, void *plain,
                      size_t size)
{
    l->in = *wire;
    l->in_left = *left;
    ssize_t rc = shake_or_read(l, plain, size);
    *wire = l->in;
    *left = l->in_left;
    l->in = NULL;
    l->in_left = 0;
    return rc;
}

static int write_part(struct tls_link *l, const uint8_t *at, size_t length)
{
    while (length > 0) {
        ssize_t n = gnutls_record_send(l->session, at, length);
        if (n <= 0)
            return -ENOMEM; /* the only way in which our push() fails */
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

int tls_link_write(struct tls_link *l, const struct iovec *parts, unsigned count)
{
    size_t length = 0;
    int rc = 0;

    for (unsigned i = 0; i < count; i++)
        length += parts[i].iov_len;
    bool together = count > 1 && length <= TLS_RECORD_BYTES; /* one record, at the cost of a copy */
    if (together)
        gnutls_record_cork(l->session);
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = write_part(l, parts[i].iov_base, parts[i].iov_len);
    if (together && gnutls_record_uncork(l->session, GNUTLS_RECORD_WAIT) < 0)
        rc = -ENOMEM;
    return rc;
}

void tls_link_bye(struct tls_link *l)
{
    if (l->shaken)
        gnutls_bye(l->session, GNUTLS_SHUT_WR);
}

void *tls_link_output(struct tls_link *l, size_t *ret_length)
{
    if (l->out.length == 0)
        return NULL;
    void *bytes = l->out.data;

    *ret_length = l->out.length;
    buf_init(&l->out, OUTPUT_MAX);
    return bytes;
}

const char *tls_link_why(const struct tls_link *l)
{
    return l->why;
}
