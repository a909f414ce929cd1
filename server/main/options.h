/* SPDX-License-Identifier: Apache-2.0 */
/* options - what gridboxd was asked for, by its command line and its configuration file.
 *
 * One table of settings drives both: an option `--dhcp-range` is the key `dhcp-range` of the file.
 * What stands on the command line wins over the file.  Knows nothing of how any part works. */
#ifndef GRIDBOX_MAIN_OPTIONS_H
#define GRIDBOX_MAIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "server/base/err.h"
#include "server/base/log.h"

#define OPTIONS_LISTEN_MAX 8

struct options {
    char *state;                    /* directory */
    char *live;                     /* directory of the live maps; NULL: chosen */
    char *http[OPTIONS_LISTEN_MAX]; /* "ADDR:PORT"; the first unused one is NULL */
    char *nbd[OPTIONS_LISTEN_MAX];
    enum { NBD_TLS_OFF, NBD_TLS_ALLOW, NBD_TLS_REQUIRE } nbd_tls;
    char *nbd_tls_cert, *nbd_tls_key, *nbd_tls_ca, *nbd_tls_psk; /* files; NULL = none */
    char *advertise;   /* numeric address told to clients; NULL = none */
    char *boot;        /* interface; NULL = no boot service */
    char *boot_files;  /* directory; NULL = beside the program or /usr/share/gridbox/boot */
    char *dhcp_range;  /* "FIRST-LAST"; NULL = from the interface's network */
    char *dhcp_router; /* IPv4; NULL = none */
    char *dhcp_dns;    /* IPv4; NULL = none */
    char *approve;     /* rule for unknown PCs; NULL = none */
    char *config;      /* the file that was read; NULL = none */
    uint32_t dhcp_lease_seconds;
    uint64_t image_limit_bytes; /* largest virtual size that an import may have */
    bool boot_proxy, boot_debug;
    enum log_level log_level;
    bool help, version;
};

/* Reads the command line, and the file that --config names.
 *   0; then *ret is the caller's until options_done()
 *   -EINVAL  wrong use: e says what is wrong and what would be right; for the file,
 *            "FILE:LINE: key: …"
 *   -ENOENT … the file cannot be read */
int options_read(int argc, char *const *argv, struct options *ret, struct err *e);
void options_done(struct options *o); /* idempotent */

/* The text of --help. */
void options_help(FILE *out);

/* ---- for config.c
 * ------------------------------------------------------------------------------*/

struct setting {
    const char *name;  /* "dhcp-range" */
    const char *value; /* "FIRST-LAST"; NULL: a switch (true or false in the file) */
    const char *help;  /* one line */
    /* Checks and keeps one value.  -EINVAL: e says what is wrong and what would be right. */
    int (*set)(struct options *o, const struct setting *s, const char *text, struct err *e);
    size_t member; /* offsetof in struct options */
    enum setting_kind {
        SETTING_TEXT,   /* char *, heap */
        SETTING_LIST,   /* char *[OPTIONS_LISTEN_MAX]: may be given again; a list in the file */
        SETTING_NUMBER, /* a number or an enum */
        SETTING_SWITCH, /* bool */
    } kind;
    bool command_line_only;
};

/* The table; the last one has name == NULL. */
const struct setting *options_settings(void);

#endif
