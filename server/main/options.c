/* SPDX-License-Identifier: Apache-2.0 */
/* options - the table of settings, the command line, --help. */
#include "server/main/options.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/net.h"
#include "server/lab/rule.h"
#include "server/main/config.h"

#define STATE_DEFAULT       "/var/lib/gridbox"
#define HTTP_DEFAULT        "127.0.0.1:8420"
#define NBD_DEFAULT         "127.0.0.1:10809"
#define IMAGE_LIMIT_DEFAULT (16ull << 40)

/* ---- what a value may be ------------------------------------------------------------------------
 */

static int keep(char **slot, const char *text, struct err *e)
{
    char *copy = strdup(text);

    if (!copy)
        return err_set(e, -ENOMEM, "out of memory");
    free(*slot);
    *slot = copy;
    return 0;
}

static char **slot_of(struct options *o, const struct setting *s)
{
    return (char **)(void *)((char *)o + s->member);
}

/* Paths are kept absolute: children (dnsmasq) work in another directory. */
static int set_path(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    if (!*text || strlen(text) >= PATH_MAX)
        return err_set(e, -EINVAL, "must be a path of 1 to %d bytes", PATH_MAX - 1);
    if (*text == '/' || s->command_line_only)
        return keep(slot_of(o, s), text, e);

    AUTO(auto_free) char *here = get_current_dir_name();
    AUTO(auto_free) char *whole = NULL;
    if (!here)
        return err_errno(e, "the working directory");
    if (asprintf(&whole, "%s/%s", here, text) < 0)
        return err_set(e, -ENOMEM, "out of memory");
    return keep(slot_of(o, s), whole, e);
}

static int set_listen(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    struct net_address unused;
    char **list = slot_of(o, s);
    int rc = net_parse(text, &unused, e);

    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < OPTIONS_LISTEN_MAX; i++)
        if (!list[i])
            return keep(&list[i], text, e);
    return err_set(e, -EINVAL, "at most %d addresses", OPTIONS_LISTEN_MAX);
}

static int set_interface(struct options *o, const struct setting *s, const char *text,
                         struct err *e)
{
    size_t length = strlen(text);

    if (length == 0 || length >= IF_NAMESIZE || strpbrk(text, "/ \t\n:,"))
        return err_set(e, -EINVAL, "'%.40s' is not the name of a network interface (ip link)",
                       text);
    return keep(slot_of(o, s), text, e);
}

static int set_ip(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    struct in6_addr a;

    if (inet_pton(AF_INET, text, &a) != 1 && inet_pton(AF_INET6, text, &a) != 1)
        return err_set(e, -EINVAL, "'%.60s' is not a numeric address like 10.0.0.1", text);
    return keep(slot_of(o, s), text, e);
}

static int set_ipv4(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    struct in_addr a;

    if (inet_pton(AF_INET, text, &a) != 1)
        return err_set(e, -EINVAL, "'%.60s' is not an IPv4 address like 10.0.0.1", text);
    return keep(slot_of(o, s), text, e);
}

static int set_range(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    const char *dash = strchr(text, '-');
    char first[16] = "";
    struct in_addr a, b;

    if (dash && dash - text < (ptrdiff_t)sizeof first)
        memcpy(first, text, (size_t)(dash - text));
    if (!dash || inet_pton(AF_INET, first, &a) != 1 || inet_pton(AF_INET, dash + 1, &b) != 1 ||
        ntohl(a.s_addr) > ntohl(b.s_addr))
        return err_set(e, -EINVAL, "'%.60s' is not FIRST-LAST like 10.0.0.100-10.0.0.200", text);
    return keep(slot_of(o, s), text, e);
}

static int set_approve(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    struct lab_rule rule;
    int rc = lab_rule_read(text, &rule, e);

    return rc < 0 ? rc : keep(slot_of(o, s), text, e);
}

/* Digits and, if units, one of K M G T (powers of 1024). */
static int number(const char *text, bool units, uint64_t *ret)
{
    static const char letters[] = "KMGT";
    char *end;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    const char *unit = units && *end ? strchr(letters, toupper((unsigned char)*end)) : NULL;
    if (unit) {
        unsigned shift = (unsigned)(unit - letters + 1) * 10;
        if (value > UINT64_MAX >> shift)
            return -EINVAL;
        value <<= shift;
        end++;
    }
    if (errno || *end)
        return -EINVAL;
    *ret = value;
    return 0;
}

static int set_lease(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    uint64_t seconds;

    (void)s;
    if (number(text, false, &seconds) < 0 || seconds < 120 || seconds > 31536000)
        return err_set(e, -EINVAL, "'%.40s' is not a number of seconds from 120 to 31536000", text);
    o->dhcp_lease_seconds = (uint32_t)seconds;
    return 0;
}

static int set_image_limit(struct options *o, const struct setting *s, const char *text,
                           struct err *e)
{
    uint64_t bytes;

    (void)s;
    if (number(text, true, &bytes) < 0 || bytes < (1u << 20) || bytes > IMAGE_LIMIT_DEFAULT)
        return err_set(e, -EINVAL, "'%.40s' is not a size from 1M to 16T, like 200G", text);
    o->image_limit_bytes = bytes;
    return 0;
}

static int set_log_level(struct options *o, const struct setting *s, const char *text,
                         struct err *e)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };

    (void)s;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            o->log_level = (enum log_level)i;
            return 0;
        }
    return err_set(e, -EINVAL, "'%.40s' is not one of error, warn, info, debug", text);
}

static int set_nbd_tls(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    static const char *const names[] = {
        [NBD_TLS_OFF] = "off", [NBD_TLS_ALLOW] = "allow", [NBD_TLS_REQUIRE] = "require"
    };

    (void)s;
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            o->nbd_tls = i;
            return 0;
        }
    return err_set(e, -EINVAL, "'%.40s' is not one of off, allow, require", text);
}

static int set_switch(struct options *o, const struct setting *s, const char *text, struct err *e)
{
    bool on = strcmp(text, "true") == 0;

    if (!on && strcmp(text, "false") != 0)
        return err_set(e, -EINVAL, "'%.40s' is not true or false", text);
    *((bool *)o + s->member) = on;
    return 0;
}

/* ---- the table ----------------------------------------------------------------------------------
 */

#define AT(member) offsetof(struct options, member)

static const struct setting settings[] = {
    { "state", "DIR", "where everything lies (" STATE_DEFAULT ")", set_path, AT(state),
      SETTING_TEXT, false },
    { "live", "DIR", "in memory: what must survive a kill (/run/gridbox)", set_path, AT(live),
      SETTING_TEXT, false },
    { "http", "ADDR:PORT", "address of the API; may be given again (" HTTP_DEFAULT ")", set_listen,
      AT(http), SETTING_LIST, false },
    { "nbd", "ADDR:PORT", "address of the NBD server; may be given again (" NBD_DEFAULT ")",
      set_listen, AT(nbd), SETTING_LIST, false },
    { "nbd-tls", "MODE", "TLS for NBD: off, allow or require (off)", set_nbd_tls, AT(nbd_tls),
      SETTING_NUMBER, false },
    { "nbd-tls-cert", "FILE", "our certificate and its chain, PEM", set_path, AT(nbd_tls_cert),
      SETTING_TEXT, false },
    { "nbd-tls-key", "FILE", "its private key, PEM", set_path, AT(nbd_tls_key), SETTING_TEXT,
      false },
    { "nbd-tls-ca", "FILE", "clients need a certificate signed by one of these, PEM", set_path,
      AT(nbd_tls_ca), SETTING_TEXT, false },
    { "nbd-tls-psk", "FILE", "pre-shared keys: lines USER:HEX, as psktool writes them", set_path,
      AT(nbd_tls_psk), SETTING_TEXT, false },
    { "advertise", "ADDR", "address that clients are told to connect to", set_ip, AT(advertise),
      SETTING_TEXT, false },
    { "boot", "IFACE", "serve PCs that boot from the network of this interface", set_interface,
      AT(boot), SETTING_TEXT, false },
    { "boot-proxy", NULL, "beside another DHCP server: answer PXE only", set_switch, AT(boot_proxy),
      SETTING_SWITCH, false },
    { "boot-files", "DIR", "where Xen and dom0's kernel and image lie", set_path, AT(boot_files),
      SETTING_TEXT, false },
    { "boot-debug", NULL, "give a root shell on the console of each PC's dom0", set_switch,
      AT(boot_debug), SETTING_SWITCH, false },
    { "dhcp-range", "FIRST-LAST", "addresses to give out (from the interface's network)", set_range,
      AT(dhcp_range), SETTING_TEXT, false },
    { "dhcp-lease", "SECONDS", "how long an address is lent (3600)", set_lease,
      AT(dhcp_lease_seconds), SETTING_NUMBER, false },
    { "dhcp-router", "ADDR", "default route told to PCs and guests (none)", set_ipv4,
      AT(dhcp_router), SETTING_TEXT, false },
    { "dhcp-dns", "ADDR", "DNS server told to PCs and guests (none)", set_ipv4, AT(dhcp_dns),
      SETTING_TEXT, false },
    { "approve", "RULE", "unknown PCs: none, all, or MAC prefixes with commas between (none)",
      set_approve, AT(approve), SETTING_TEXT, false },
    { "image-limit", "BYTES", "largest virtual size of an image, like 200G (16T)", set_image_limit,
      AT(image_limit_bytes), SETTING_NUMBER, false },
    { "log-level", "LEVEL", "error, warn, info or debug (info)", set_log_level, AT(log_level),
      SETTING_NUMBER, false },
    { "config", "FILE", "read these settings from a YAML file as well", set_path, AT(config),
      SETTING_TEXT, true },
    { .name = NULL },
};

const struct setting *options_settings(void)
{
    return settings;
}

void options_help(FILE *out)
{
    fputs("Usage: gridboxd [OPTION]...\n"
          "Serves golden images and copy-on-write volumes over NBD, and boots lab PCs.\n\n",
          out);
    for (const struct setting *s = settings; s->name; s++) {
        char left[40];
        snprintf(left, sizeof left, "--%s%s%s", s->name, s->value ? " " : "",
                 s->value ? s->value : "");
        fprintf(out, "  %-26s  %s\n", left, s->help);
    }
    fputs("  --help                      print this and exit\n"
          "  --version                   print the version and exit\n"
          "\nThe configuration file has the same keys.  See gridboxd(8), gridboxd.conf(5).\n",
          out);
}

/* ---- the command line ---------------------------------------------------------------------------
 */

static const struct setting *find(const char *name, size_t length)
{
    for (const struct setting *s = settings; s->name; s++)
        if (strlen(s->name) == length && memcmp(s->name, name, length) == 0)
            return s;
    return NULL;
}

/* A list that the command line gives replaces the one of the file. */
static void clear_list(struct options *o, const struct setting *s)
{
    char **list = slot_of(o, s);

    for (unsigned i = 0; i < OPTIONS_LISTEN_MAX; i++) {
        free(list[i]);
        list[i] = NULL;
    }
}

/* One option at argv[*at]; advances *at over its value.  seen: bit i = settings[i] was given. */
static int take(struct options *o, char *const *argv, int *at, uint32_t *seen, struct err *e)
{
    const char *word = argv[*at];

    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        o->help = true;
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        o->version = true;
        return 0;
    }
    size_t length = strcspn(word, "=");
    const struct setting *s = strncmp(word, "--", 2) == 0 ? find(word + 2, length - 2) : NULL;
    if (!s)
        return err_set(e, -EINVAL, "unknown option '%.60s': see gridboxd --help", word);

    const char *text = word[length] == '=' ? word + length + 1 : NULL;
    if (!s->value && !text)
        text = "true";
    if (!text)
        text = argv[++*at];
    if (!text)
        return err_set(e, -EINVAL, "--%s: needs a value: --%s %s", s->name, s->name, s->value);
    if (s->kind == SETTING_LIST && !(*seen & 1u << (s - settings)))
        clear_list(o, s);
    *seen |= 1u << (s - settings);
    int rc = s->set(o, s, text, e);
    return rc < 0 ? err_wrap(e, rc, "--%s", s->name) : 0;
}

static int read_command_line(struct options *o, int argc, char *const *argv, struct err *e)
{
    uint32_t seen = 0;
    int rc = 0;

    for (int at = 1; at < argc && rc == 0 && argv[at]; at++)
        rc = take(o, argv, &at, &seen, e);
    return rc;
}

/* What nobody has set. */
static int set_defaults(struct options *o, struct err *e)
{
    int rc = o->state ? 0 : keep(&o->state, STATE_DEFAULT, e);

    if (rc == 0 && !o->http[0])
        rc = keep(&o->http[0], HTTP_DEFAULT, e);
    if (rc == 0 && !o->nbd[0])
        rc = keep(&o->nbd[0], NBD_DEFAULT, e);
    return rc;
}

static int check_tls(const struct options *o, struct err *e)
{
    bool files = o->nbd_tls_cert || o->nbd_tls_key || o->nbd_tls_ca || o->nbd_tls_psk;

    if (o->nbd_tls == NBD_TLS_OFF)
        return files
                   ? err_set(e, -EINVAL, "files for TLS need nbd-tls: --nbd-tls allow, or require")
                   : 0;
    if (!o->nbd_tls_cert != !o->nbd_tls_key)
        return err_set(e, -EINVAL, "nbd-tls-cert and nbd-tls-key need each other");
    if (o->nbd_tls_ca && !o->nbd_tls_cert)
        return err_set(e, -EINVAL, "nbd-tls-ca needs nbd-tls-cert and nbd-tls-key");
    if (!o->nbd_tls_cert && !o->nbd_tls_psk)
        return err_set(e, -EINVAL,
                       "nbd-tls needs nbd-tls-cert and nbd-tls-key, or nbd-tls-psk, or all three");
    return 0;
}

static int check_whole(const struct options *o, struct err *e)
{
    int rc = check_tls(o, e);

    if (rc < 0)
        return rc;
    const char *alone = o->boot_proxy    ? "boot-proxy"
                        : o->boot_debug  ? "boot-debug"
                        : o->dhcp_range  ? "dhcp-range"
                        : o->dhcp_router ? "dhcp-router"
                        : o->dhcp_dns    ? "dhcp-dns"
                                         : NULL;

    if (!o->boot && alone)
        return err_set(e, -EINVAL, "%s needs boot: name the interface, --boot IFACE", alone);
    if (o->boot_proxy && o->dhcp_range)
        return err_set(e, -EINVAL,
                       "boot-proxy and dhcp-range exclude each other: the other DHCP server gives "
                       "out the addresses");
    return 0;
}

static int read_all(int argc, char *const *argv, struct options *o, struct err *e)
{
    AUTO(options_done) struct options line = { 0 };

    /* The command line is read twice: for the name of the file, and again to win over it. */
    int rc = read_command_line(&line, argc, argv, e);
    if (rc < 0)
        return rc;
    if (line.config && !line.help && !line.version) {
        rc = config_read(line.config, o, e);
        if (rc < 0)
            return rc;
    }
    rc = read_command_line(o, argc, argv, e);
    if (rc == 0)
        rc = set_defaults(o, e);
    return rc < 0 ? rc : check_whole(o, e);
}

int options_read(int argc, char *const *argv, struct options *ret, struct err *e)
{
    AUTO(options_done)
    struct options o = { .log_level = LOG_LEVEL_INFO,
                         .dhcp_lease_seconds = 3600,
                         .image_limit_bytes = IMAGE_LIMIT_DEFAULT };
    int rc = read_all(argc, argv, &o, e);

    if (rc < 0)
        return rc;
    *ret = o;
    o = (struct options){ 0 };
    return 0;
}

void options_done(struct options *o)
{
    for (const struct setting *s = settings; s->name; s++) {
        if (s->kind == SETTING_LIST)
            clear_list(o, s);
        else if (s->kind == SETTING_TEXT)
            free(*slot_of(o, s));
    }
    *o = (struct options){ 0 };
}
