/* SPDX-License-Identifier: Apache-2.0 */
/* What may come next on a command line. */
#include "tests/unit/unit.h"

#include <string.h>

#include "server/base/auto.h"
#include "server/cli/commands.h"
#include "server/cli/complete.h"

/* The words so far, separated by spaces; a space at the end: an empty word is at the cursor. */
static struct complete_ask ask(const char *line)
{
    static char copy[500];
    char *words[40];
    int count = 0;
    struct complete_ask a;

    strcpy(copy, line);
    char *rest = copy;
    while (rest)
        words[count++] = strsep(&rest, " ");
    complete_read(commands_table(), count, words, &a);
    return a;
}

static void expect(const char *line, const char *want)
{
    AUTO(buf_done) struct buf out;
    struct complete_ask a = ask(line);

    buf_init(&out, 10000);
    complete_words(commands_table(), &a, &out);
    assert_string_equal(buf_text(&out), want);
}

static void commands_and_groups(void **state)
{
    (void)state;
    expect("", "image\nvolume\nsnapshot\nhost\ndomain\nstore\nstatus\nevents\ntop\n");
    expect("s", "snapshot\nstore\nstatus\n");
    expect("volume ", "create\nlist\nshow\nattach\ndetach\nsnapshot\nrollback\nreset\nclone\n"
                      "promote\nresize\nquota\nremove\n");
    expect("volume at", "attach\n");
    expect("--json volume at", "attach\n");
    expect("nothing ", "");
    expect("status ", "");
}

static void options_of_the_command_and_of_all(void **state)
{
    (void)state;
    expect("volume attach --f", "--force\n");
    expect("volume attach v1 --", "--all\n--force\n--server\n--json\n--help\n--version\n");
    expect("volume attach -- --", "");
}

static void the_kind_of_a_word(void **state)
{
    static const struct {
        const char *line;
        enum cli_kind kind;
    } cases[] = {
        { "volume attach ", CLI_VOLUME },
        { "volume attach a b ", CLI_VOLUME },
        { "volume attach --force ", CLI_VOLUME },
        { "image import ", CLI_IMAGE },
        { "image import deb ", CLI_FILE },
        { "image import deb file ", CLI_NOTHING },
        { "image show ", CLI_IMAGE },
        { "volume create ", CLI_NOTHING },
        { "volume create v --image ", CLI_IMAGE },
        { "volume create v --count ", CLI_NOTHING },
        { "volume snapshot ", CLI_NOTHING },
        { "volume snapshot s ", CLI_VOLUME },
        { "volume rollback ", CLI_SNAPSHOT },
        { "volume rollback s v ", CLI_VOLUME },
        { "volume clone ", CLI_SOURCE },
        { "volume clone v ", CLI_NOTHING },
        { "volume promote v ", CLI_IMAGE },
        { "volume quota v ", CLI_NOTHING },
        { "snapshot remove s ", CLI_SNAPSHOT },
        { "top --sort ", CLI_SORT },
        { "domain define d --host ", CLI_HOST },
        { "host approve h --loader ", CLI_LOADER },
        { "domain stop --seconds 5 ", CLI_DOMAIN },
        { "--server x domain stop ", CLI_DOMAIN },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ask(cases[i].line).kind != cases[i].kind)
            fail_msg("'%s'", cases[i].line);
}

static void the_server_that_was_named(void **state)
{
    (void)state;
    assert_string_equal(ask("--server unix:/a volume attach ").server, "unix:/a");
    assert_string_equal(ask("volume attach --server=unix:/b ").server, "unix:/b");
    assert_null(ask("volume attach ").server);
    assert_true(ask("--server ").is_value);
}

static void nothing_at_all(void **state)
{
    struct complete_ask a;

    (void)state;
    complete_read(commands_table(), 0, NULL, &a);
    assert_string_equal(a.current, "");
    assert_null(a.command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_and_groups), cmocka_unit_test(options_of_the_command_and_of_all),
        cmocka_unit_test(the_kind_of_a_word),  cmocka_unit_test(the_server_that_was_named),
        cmocka_unit_test(nothing_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
