/* SPDX-License-Identifier: Apache-2.0 */
/* What gridboxd's command line and configuration file may say, and what is told when they may not.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/file.h"
#include "server/main/config.h"
#include "server/main/options.h"

static const struct {
    const char *name;
    const char *text;
    const char *want; /* what the refusal must hold; NULL = no refusal */
} files[] = {
    { "empty", "", NULL },
    { "comment alone", "# nothing\n", NULL },
    { "all kinds", "state: /x\nhttp: [127.0.0.1:1, '[::1]:2']\nboot: eth0\nboot-debug: true\n",
      NULL },
    { "unknown key", "state: /x\n\nstaet: /y\n", "f:3: staet: unknown key; the keys are state, " },
    { "unknown key that is last", "staet: /y\nstate: /x\n", "f:1: staet: unknown key" },
    { "command line only", "config: /y\n", "f:1: config: unknown key" },
    { "twice", "state: /x\nboot: eth0\nstate: /y\n", "f:3: state: given twice" },
    { "bad address", "http:\n  - 127.0.0.1:1\n  - localhost:2\n",
      "f:3: http: 'localhost:2' is not ADDRESS:PORT" },
    { "list wanted", "\nnbd: 127.0.0.1:1\n", "f:2: nbd: must be a list" },
    { "no list wanted", "state: [a]\n", "f:1: state: must be one plain value" },
    { "list in a list", "http: [[a]]\n", "f:1: http: an item must be one plain value" },
    { "nine addresses",
      "nbd: [1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,1.1.1.1:1,"
      "1.1.1.1:1,1.1.1.1:1,\n 1.1.1.1:1]\n",
      "f:2: nbd: too many items" },
    { "no value", "state:\n", "f:1: state: must be a path" },
    { "bad switch", "boot: e\nboot-proxy: yes\n", "f:2: boot-proxy: 'yes' is not true or false" },
    { "bad size", "image-limit: 5 apples\n", "f:1: image-limit: '5 apples' is not a size" },
    { "size too large", "image-limit: 17T\n", "f:1: image-limit: " },
    { "bad lease", "dhcp-lease: 10\n",
      "f:1: dhcp-lease: '10' is not a number of seconds from 120" },
    { "bad range", "dhcp-range: 10.0.0.9-10.0.0.1\n", "f:1: dhcp-range: " },
    { "bad level", "log-level: loud\n", "f:1: log-level: 'loud' is not one of error" },
    { "bad rule", "approve: everybody\n", "f:1: approve: " },
    { "bad TLS", "nbd-tls: maybe\n", "f:1: nbd-tls: 'maybe' is not one of off, allow, require" },
    { "not a mapping", "- state\n", "f:1: must be lines like" },
    { "two documents", "state: /x\n---\nstate: /y\n", "f:2: a second document" },
    { "not YAML", "state: /x\n\tboot: eth0\n", "f:2: not YAML" },
    { "alias", "state: &a /x\nboot: *a\n", "f:2: boot: must be one plain value" },
    { "NUL byte", "state: \"/x\\0\"\n", NULL },
};

static void test_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct options o = { 0 };
        struct err e = { 0 };
        int rc = config_parse("f", files[i].text, strlen(files[i].text), &o, &e);

        if (rc != (files[i].want ? -EINVAL : 0) ||
            (files[i].want && strncmp(e.msg, files[i].want, strlen(files[i].want)) != 0))
            fail_msg("%s: %d, '%s'", files[i].name, rc, e.msg);
        options_done(&o);
    }
}

static const struct {
    const char *argv[6];
    const char *want; /* NULL = no refusal */
} lines[] = {
    { { "gridboxd" }, NULL },
    { { "gridboxd", "--state", "/x" }, NULL },
    { { "gridboxd", "--state=/x" }, NULL },
    { { "gridboxd", "--state" }, "--state: needs a value: --state DIR" },
    { { "gridboxd", "--stat", "/x" }, "unknown option '--stat': see gridboxd --help" },
    { { "gridboxd", "/x" }, "unknown option '/x'" },
    { { "gridboxd", "--http", "127.0.0.1" }, "--http: '127.0.0.1' is not ADDRESS:PORT" },
    { { "gridboxd", "--http", "127.0.0.1:65536" }, "--http: " },
    { { "gridboxd", "--boot-proxy" }, "boot-proxy needs boot" },
    { { "gridboxd", "--nbd-tls=require" }, "nbd-tls needs nbd-tls-cert and nbd-tls-key, or" },
    { { "gridboxd", "--nbd-tls=allow", "--nbd-tls-key=k" }, "nbd-tls-cert and nbd-tls-key need" },
    { { "gridboxd", "--nbd-tls=allow", "--nbd-tls-ca=c", "--nbd-tls-psk=p" },
      "nbd-tls-ca needs nbd-tls-cert" },
    { { "gridboxd", "--nbd-tls-psk=p" }, "files for TLS need nbd-tls" },
    { { "gridboxd", "--boot", "eth0", "--boot-proxy" }, NULL },
    { { "gridboxd", "--boot", "../eth0" }, "--boot: '../eth0' is not the name" },
    { { "gridboxd", "--advertise", "server" }, "--advertise: 'server' is not a numeric address" },
    { { "gridboxd", "--config", "/nonexistent/f" }, "configuration: /nonexistent/f: No such file" },
};

static int read_line(const char *const *argv, struct options *o, struct err *e)
{
    char *copy[7] = { 0 };
    int argc = 0;

    for (; argc < 6 && argv[argc]; argc++)
        copy[argc] = strdup(argv[argc]);
    int rc = options_read(argc, copy, o, e);
    while (argc)
        free(copy[--argc]);
    return rc;
}

static void test_command_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct options o = { 0 };
        struct err e = { 0 };
        int rc = read_line(lines[i].argv, &o, &e);

        if ((rc < 0) != (lines[i].want != NULL) ||
            (lines[i].want && strncmp(e.msg, lines[i].want, strlen(lines[i].want)) != 0))
            fail_msg("line %zu: %d, '%s'", i, rc, e.msg);
        options_done(&o);
    }
}

static void test_defaults(void **state)
{
    const char *const argv[6] = { "gridboxd" };
    struct options o;

    (void)state;
    assert_int_equal(read_line(argv, &o, NULL), 0);
    assert_string_equal(o.state, "/var/lib/gridbox");
    assert_string_equal(o.http[0], "127.0.0.1:8420");
    assert_null(o.http[1]);
    assert_string_equal(o.nbd[0], "127.0.0.1:10809");
    assert_null(o.boot);
    assert_int_equal(o.dhcp_lease_seconds, 3600);
    options_done(&o);
}

static void test_relative_path_becomes_absolute(void **state)
{
    const char *const argv[6] = { "gridboxd", "--state", "here/state" };
    char want[2000] = "";
    struct options o;

    (void)state;
    assert_non_null(getcwd(want, sizeof want - 20));
    strcat(want, "/here/state");
    assert_int_equal(read_line(argv, &o, NULL), 0);
    assert_string_equal(o.state, want);
    options_done(&o);
}

static void test_command_line_wins_over_file(void **state)
{
    static const char text[] = "state: /file\nnbd: [127.0.0.1:1, 127.0.0.1:2]\nlog-level: debug\n"
                               "image-limit: 2G\n";
    char path[] = "/tmp/options_test.XXXXXX";
    int fd = mkstemp(path);
    const char *const argv[6] = { "gridboxd", "--nbd", "127.0.0.1:9", "--config", path };
    struct options o;
    struct err e = { 0 };

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(file_replace(path, text, sizeof text - 1, 0600, &e), 0);
    int rc = read_line(argv, &o, &e);
    unlink(path);
    assert_int_equal(rc, 0);
    assert_string_equal(o.state, "/file");
    assert_string_equal(o.nbd[0], "127.0.0.1:9");
    assert_null(o.nbd[1]);
    assert_int_equal(o.log_level, LOG_LEVEL_DEBUG);
    assert_true(o.image_limit_bytes == 2ull << 30);
    options_done(&o);
}

static void test_help_names_every_setting(void **state)
{
    static char text[8192];
    FILE *f = fmemopen(text, sizeof text, "w");

    (void)state;
    assert_non_null(f);
    options_help(f);
    fclose(f);
    for (const struct setting *s = options_settings(); s->name; s++) {
        char option[64];
        snprintf(option, sizeof option, "  --%s ", s->name);
        assert_non_null(strstr(text, option));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_command_lines),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_relative_path_becomes_absolute),
        cmocka_unit_test(test_command_line_wins_over_file),
        cmocka_unit_test(test_help_names_every_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
