/* SPDX-License-Identifier: Apache-2.0 */
/* tls - OpenSSL between two memory buffers; on the way out the kernel may take its place.  Knows
 * nothing of NBD. */
#include "server/nbd/tls.h"

#include <errno.h>
#include <limits.h>
#include <linux/tls.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/base/auto.h"
#include "server/base/buf.h"
#include "server/base/file.h"
#include "server/base/name.h"

#define OUTPUT_MAX   (64u << 20) /* more than the largest answer, encrypted */
#define PSK_FILE_MAX (1u << 20)

#define CONTROL_SET_KEYS 72 /* openssl/bio.h names it, but in a comment; 3.0 and later */

/* TLS 1.2: what has forward secrecy and is an AEAD. */
#define X509_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:-PSK"
#define PSK_CIPHERS                                                                                \
    "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES256-GCM-SHA384:DHE-PSK-AES128-GCM-SHA256:"             \
    "DHE-PSK-CHACHA20-POLY1305"
/* TLS 1.3: a pre-shared key goes with SHA-256 unless somebody says otherwise (RFC 8446 4.2.11),
 * and the cipher is chosen before the key is looked for. */
#define PSK_SUITES "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"

struct psk_user {
    struct psk_user *next;
    char *name;
    unsigned length; /* bytes of the key */
    uint8_t key[64];
};

struct nbd_tls {
    SSL_CTX *context;
    BIO_METHOD *method; /* of the buffers that a link reads and writes */
    struct psk_user *users;
};

struct tls_link {
    SSL *ssl;
    const uint8_t *in; /* while tls_link_read runs */
    size_t in_left;
    struct buf out;
    int fd;      /* < 0: the kernel must not encrypt (any more) */
    BIO *kernel; /* NULL: it does not; else OpenSSL's way to it */
    bool shaken;
    char why[160];
};

/* What went wrong in the last call; the thread's list of errors is empty afterwards. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());

    ERR_clear_error();
    return text ? text : "unknown error";
}

/* ---- credentials -----------------------------------------------------------------------------*/

static int wrong(struct err *e, const char *path)
{
    return err_set(e, -EINVAL, "%s: %s", path, reason());
}

/* Instead of OpenSSL's own, which asks at the terminal. */
static int no_passphrase(char *text, int size, int writing, void *arg)
{
    (void)text, (void)size, (void)writing, (void)arg;
    return -1;
}

static int check_clients(SSL_CTX *context, const char *ca, struct err *e)
{
    if (access(ca, R_OK) < 0)
        return err_errno(e, "%s", ca);
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);
    SSL_CTX_set_client_CA_list(context, names); /* it frees it */
    if (!names || SSL_CTX_load_verify_file(context, ca) != 1)
        return wrong(e, ca);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

static int read_certificate(SSL_CTX *context, const struct nbd_tls_files *f, struct err *e)
{
    if (access(f->key, R_OK) < 0)
        return err_errno(e, "%s", f->key);
    if (access(f->certificate, R_OK) < 0)
        return err_errno(e, "%s", f->certificate);
    if (SSL_CTX_use_certificate_chain_file(context, f->certificate) != 1)
        return wrong(e, f->certificate);
    if (SSL_CTX_use_PrivateKey_file(context, f->key, SSL_FILETYPE_PEM) != 1)
        return wrong(e, f->key);
    return f->ca ? check_clients(context, f->ca, e) : 0;
}

/* A user's key.  The file is read once: a shard must not wait for a disk. */
static unsigned find_key(SSL *ssl, const char *user, unsigned char *ret, unsigned size)
{
    const struct nbd_tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    for (const struct psk_user *u = t->users; u; u = u->next)
        if (strcmp(u->name, user) == 0 && u->length <= size) {
            memcpy(ret, u->key, u->length);
            return u->length;
        }
    return 0;
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
    rest = text;
    for (char *line; rc == 0 && (line = strsep(&rest, "\n"));)
        rc = *line ? add_user(t, line, e) : 0;
    if (rc == 0 && !t->users)
        rc = err_set(e, -EINVAL, "no line USER:HEX");
    if (rc < 0)
        return err_wrap(e, rc, "%s", path);
    SSL_CTX_set_psk_server_callback(t->context, find_key);
    return 0;
}

static int choose_ciphers(SSL_CTX *context, const struct nbd_tls_files *f, struct err *e)
{
    const char *list = !f->psk           ? X509_CIPHERS
                       : !f->certificate ? PSK_CIPHERS
                                         : X509_CIPHERS ":" PSK_CIPHERS;

    SSL_CTX_set_dh_auto(context, 1);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(context, list) != 1 ||
        (f->psk && SSL_CTX_set_ciphersuites(context, PSK_SUITES) != 1))
        return err_set(e, -EINVAL, "TLS: %s", reason());
    return 0;
}

static int buffers_read(BIO *bio, char *ret, int size);
static int buffers_write(BIO *bio, const char *bytes, int length);
static long buffers_control(BIO *bio, int command, long number, void *arg);

static int make_context(struct nbd_tls *t, struct err *e)
{
    t->context = SSL_CTX_new(TLS_server_method());
    t->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "buffers");
    if (!t->context || !t->method || BIO_meth_set_read(t->method, buffers_read) != 1 ||
        BIO_meth_set_write(t->method, buffers_write) != 1 ||
        BIO_meth_set_ctrl(t->method, buffers_control) != 1)
        return err_set(e, -ENOMEM, "TLS: %s", reason());
    SSL_CTX_set_app_data(t->context, t);
    SSL_CTX_set_default_passwd_cb(t->context, no_passphrase);
    SSL_CTX_set_options(t->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                        SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                        SSL_OP_ENABLE_KTLS);
    SSL_CTX_set_num_tickets(t->context, 0);
    SSL_CTX_set_session_cache_mode(t->context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(t->context, SSL_MODE_RELEASE_BUFFERS); /* of connections that are idle */
    return 0;
}

int nbd_tls_new(const struct nbd_tls_files *files, struct nbd_tls **ret, struct err *e)
{
    struct nbd_tls *t = calloc(1, sizeof *t);

    if (!t)
        return err_set(e, -ENOMEM, "out of memory");
    ERR_clear_error();
    int rc = make_context(t, e);
    if (rc == 0)
        rc = choose_ciphers(t->context, files, e);
    if (rc == 0 && files->certificate)
        rc = read_certificate(t->context, files, e);
    if (rc == 0 && files->psk)
        rc = read_psk(t, files->psk, e);
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
    SSL_CTX_free(t->context);
    BIO_meth_free(t->method);
    while (t->users) {
        struct psk_user *next = t->users->next;
        explicit_bzero(t->users->key, sizeof t->users->key);
        free(t->users->name);
        free(t->users);
        t->users = next;
    }
    free(t);
}

/* ---- the buffers, as OpenSSL sees them --------------------------------------------------------*/

static int buffers_read(BIO *bio, char *ret, int size)
{
    struct tls_link *l = BIO_get_data(bio);
    size_t length = size < 0 ? 0 : (size_t)size;

    BIO_clear_retry_flags(bio);
    if (l->in_left == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (length > l->in_left)
        length = l->in_left;
    memcpy(ret, l->in, length);
    l->in += length;
    l->in_left -= length;
    return (int)length;
}

/* An alert, in a record of the kernel's: a courtesy, which must not wait for room. */
static void send_alert(const struct tls_link *l, const void *bytes, size_t length)
{
    union {
        struct cmsghdr head; /* for its alignment */
        char room[CMSG_SPACE(1)];
    } control = { .room = { 0 } };
    struct iovec part = { (void *)(uintptr_t)bytes, length };
    struct msghdr m = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_TLS;
    c->cmsg_type = TLS_SET_RECORD_TYPE;
    c->cmsg_len = CMSG_LEN(1);
    *CMSG_DATA(c) = SSL3_RT_ALERT;
    m.msg_controllen = c->cmsg_len;
    (void)!sendmsg(l->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int buffers_write(BIO *bio, const char *bytes, int length)
{
    struct tls_link *l = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (l->kernel) { /* answers do not come this way, nor does OpenSSL talk but in alerts */
        send_alert(l, bytes, length < 0 ? 0 : (size_t)length);
        return length;
    }
    buf_add(&l->out, bytes, length < 0 ? 0 : (size_t)length);
    return l->out.failed ? -1 : length;
}

/* OpenSSL has the keys of what is sent from now on.  They go to the kernel if all that was said
 * before can leave first, and now: else a part of it would be encrypted twice. */
static bool give_keys(struct tls_link *l, void *keys)
{
    int fd = l->fd;

    l->fd = -1;
    if (fd < 0 || SSL_version(l->ssl) != TLS1_3_VERSION) /* in 1.2, hands are shaken still */
        return false;
    BIO *kernel = BIO_new_socket(fd, BIO_NOCLOSE); /* tells the socket that there will be TLS */
    if (!kernel)
        return false;
    ssize_t n = send(fd, l->out.data, l->out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        buf_drop(&l->out, (size_t)n);
    if (l->out.length > 0 || BIO_ctrl(kernel, CONTROL_SET_KEYS, 1, keys) <= 0) {
        BIO_free(kernel);
        return false;
    }
    l->fd = fd;
    l->kernel = kernel;
    return true;
}

static long buffers_control(BIO *bio, int command, long number, void *arg)
{
    struct tls_link *l = BIO_get_data(bio);

    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_GET_KTLS_SEND:
        return l->kernel != NULL;
    case CONTROL_SET_KEYS:
        return number != 0 /* of what is sent */ && give_keys(l, arg);
    default:
        return 0;
    }
}

/* ---- links -----------------------------------------------------------------------------------*/

int tls_link_new(const struct nbd_tls *t, int fd, struct tls_link **ret)
{
    struct tls_link *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    l->fd = fd;
    buf_init(&l->out, OUTPUT_MAX);
    l->ssl = SSL_new(t->context);
    BIO *bio = l->ssl ? BIO_new(t->method) : NULL;
    if (!bio) {
        ERR_clear_error();
        tls_link_free(l);
        return -ENOMEM;
    }
    BIO_set_data(bio, l);
    BIO_set_init(bio, 1);
    SSL_set_bio(l->ssl, bio, bio); /* it frees it */
    SSL_set_accept_state(l->ssl);
    *ret = l;
    return 0;
}

void tls_link_free(struct tls_link *l)
{
    if (!l)
        return;
    SSL_free(l->ssl);
    BIO_free(l->kernel);
    buf_done(&l->out);
    free(l);
}

/* What a call of OpenSSL means that answered with rc <= 0. */
static ssize_t not_done(struct tls_link *l, int rc)
{
    int error = SSL_get_error(l->ssl, rc);

    if (error == SSL_ERROR_WANT_READ)
        return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return -EPIPE;
    snprintf(l->why, sizeof l->why, "TLS: %s", l->out.failed ? "out of memory" : reason());
    return -EPROTO;
}

static ssize_t shake_or_read(struct tls_link *l, void *plain, size_t size)
{
    ERR_clear_error(); /* SSL_get_error() looks at what others have left */
    if (!l->shaken) {
        int rc = SSL_do_handshake(l->ssl);
        if (rc != 1)
            return not_done(l, rc);
        l->shaken = true;
    }
    int n = SSL_read(l->ssl, plain, size > INT_MAX ? INT_MAX : (int)size);
    if (l->kernel && SSL_get_key_update_type(l->ssl) != SSL_KEY_UPDATE_NONE) {
        snprintf(l->why, sizeof l->why, "TLS: it asks for new keys, which the kernel cannot take");
        return -EPROTO;
    }
    return n > 0 ? n : not_done(l, n);
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

bool tls_link_in_kernel(const struct tls_link *l)
{
    return l->kernel;
}

static int write_part(struct tls_link *l, const uint8_t *at, size_t length)
{
    ERR_clear_error();
    while (length > 0) {
        int n = SSL_write(l->ssl, at, length > INT_MAX ? INT_MAX : (int)length);
        if (n <= 0)
            return -ENOMEM; /* the only way in which our buffer fails */
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Parts that are one record together, at the cost of a copy. */
static int write_record(struct tls_link *l, const struct iovec *parts, unsigned count)
{
    static _Thread_local uint8_t record[TLS_RECORD_BYTES];
    size_t length = 0;

    for (unsigned i = 0; i < count; i++) {
        memcpy(record + length, parts[i].iov_base, parts[i].iov_len);
        length += parts[i].iov_len;
    }
    return write_part(l, record, length);
}

int tls_link_write(struct tls_link *l, const struct iovec *parts, unsigned count)
{
    size_t length = 0;
    int rc = 0;

    for (unsigned i = 0; i < count; i++)
        length += parts[i].iov_len;
    if (count > 1 && length <= TLS_RECORD_BYTES)
        return write_record(l, parts, count);
    for (unsigned i = 0; i < count && rc == 0; i++)
        rc = write_part(l, parts[i].iov_base, parts[i].iov_len);
    return rc;
}

void tls_link_bye(struct tls_link *l)
{
    if (l->shaken && !*l->why)
        (void)SSL_shutdown(l->ssl);
}

void *tls_link_output(struct tls_link *l, size_t *ret_length)
{
    if (l->out.length == 0)
        return NULL;
    void *bytes = l->out.data;

    l->fd = l->kernel ? l->fd : -1; /* it may wait in a queue: the keys must not overtake it */
    *ret_length = l->out.length;
    buf_init(&l->out, OUTPUT_MAX);
    return bytes;
}

const char *tls_link_why(const struct tls_link *l)
{
    return l->why;
}
