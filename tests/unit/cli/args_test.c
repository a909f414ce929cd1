/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a command line by a table, here a small one. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/cli/args.h"
#include "server/cli/commands.h"

static int run_nothing(struct cli *c, const struct cli_args *a, struct err *e)
{
    (void)c;
    (void)a;
    (void)e;
    return 0;
}

static const struct cli_option globals[] = {
    { "server", "ADDRESS", CLI_NOTHING, false, "" },
    { "json", NULL, CLI_NOTHING, false, "" },
    { "help", NULL, CLI_NOTHING, false, "" },
    { "version", NULL, CLI_NOTHING, false, "" },
    { 0 },
};
static const struct cli_command commands[] = {
    { "box",
      "make",
      "NAME",
      1,
      1,
      CLI_NOTHING,
      CLI_NOTHING,
      { { "of", "THING", CLI_NOTHING, true, "" },
        { "count", "N", CLI_NOTHING, false, "" },
        { "red", NULL, CLI_NOTHING, false, "" } },
      "",
      "box make b",
      run_nothing },
    { "box",
      "burn",
      "NAME...",
      1,
      CLI_MANY,
      CLI_NOTHING,
      CLI_NOTHING,
      { { 0 } },
      "",
      "",
      run_nothing },
    { "", "look", "", 0, 0, CLI_NOTHING, CLI_NOTHING, { { 0 } }, "", "", run_nothing },
    { 0 },
};
static const struct cli_table table = { .commands = commands, .globals = globals };

/* Splits a line at its spaces ("_" stands for an empty word) and reads it. */
static int parse(const char *line, struct cli_args *a, struct err *e)
{
    static char copy[1000];
    char *argv[64] = { copy };
    int argc = 0;

    strcpy(copy, "gridbox ");
    strcat(copy, line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "_") == 0 ? word + 1 : word;
    return args_parse(&table, argc, argv, a, e);
}

static void a_whole_command(void **state)
{
    AUTO(args_done) struct cli_args a;
    struct err e = { 0 };

    (void)state;
    assert_int_equal(parse("--json box make b --of wood --red --server=here", &a, &e), 0);
    assert_ptr_equal(a.command, &commands[0]);
    assert_int_equal(a.count, 1);
    assert_string_equal(a.words[0], "b");
    assert_string_equal(args_value(&a, "of"), "wood");
    assert_string_equal(args_value(&a, "red"), "");
    assert_null(args_value(&a, "count"));
    assert_string_equal(a.server, "here");
    assert_true(a.json);
}

static void options_may_stand_anywhere_after_the_command(void **state)
{
    AUTO(args_done) struct cli_args a;

    (void)state;
    assert_int_equal(parse("box make --of=wood=red b", &a, NULL), 0);
    assert_string_equal(args_value(&a, "of"), "wood=red");
    assert_string_equal(a.words[0], "b");
}

static void after_two_dashes_all_is_words(void **state)
{
    AUTO(args_done) struct cli_args a;

    (void)state;
    assert_int_equal(parse("box burn a -- --json -x -", &a, NULL), 0);
    assert_int_equal(a.count, 4);
    assert_string_equal(a.words[1], "--json");
    assert_string_equal(a.words[3], "-");
    assert_false(a.json);
}

static void wrong_use_is_told(void **state)
{
    static const struct {
        const char *line, *why;
    } cases[] = {
        { "", "what?" },
        { "box", "what of 'box'" },
        { "boxes", "no command 'boxes'" },
        { "box paint", "no command 'box paint'; see gridbox box --help" },
        { "make", "no command 'make'" },
        { "look here", "one word too many: 'here'" },
        { "box make --of x", "wants NAME" },
        { "box make b", "wants --of THING" },
        { "box make b --of", "a value is missing" },
        { "box make b --of=", "a value is missing" },
        { "box make b --of _", "a value is missing" },
        { "box make _ --of x", "is empty" },
        { "box make b --of x --of y", "given twice" },
        { "box make b --of x --red=1", "takes no value" },
        { "box make b --of x --blue", "no option '--blue'" },
        { "box make b --of x -b", "no option '-b'" },
        { "box burn b --of x", "no option '--of'" },
        { "box make b c --of x", "one word too many: 'c'" },
        { "--json=1 look", "takes no value" },
        { "--server", "a value is missing" },
        { "--of x box make b", "no option '--of'" },
        { "--o look", "no option '--o'" },
        { "-- --help", "no command '--help'" },
        { "look\x1b[1m", "no command 'look?[1m'" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AUTO(args_done) struct cli_args a;
        struct err e = { 0 };
        if (parse(cases[i].line, &a, &e) != -EINVAL)
            fail_msg("'%s' must be refused", cases[i].line);
        if (!strstr(e.msg, cases[i].why))
            fail_msg("'%s': '%s' lacks '%s'", cases[i].line, e.msg, cases[i].why);
    }
}

static void help_needs_nothing_else(void **state)
{
    AUTO(args_done) struct cli_args a, b, c;

    (void)state;
    assert_int_equal(parse("--help", &a, NULL), 0);
    assert_true(a.help && !a.command && !a.group);
    assert_int_equal(parse("box -h", &b, NULL), 0);
    assert_true(b.help && !b.command);
    assert_string_equal(b.group, "box");
    assert_int_equal(parse("box make --help", &c, NULL), 0);
    assert_true(c.help);
    assert_ptr_equal(c.command, &commands[0]);
}

static void numbers_have_limits(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint32_t number;
    } cases[] = {
        { "1", 0, 1 },
        { "75", 0, 75 },
        { "100", 0, 100 },
        { "101", -EINVAL, 0 },
        { "0", -EINVAL, 0 },
        { "-1", -EINVAL, 0 },
        { "+1", -EINVAL, 0 },
        { "1x", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
        { "4294967297", -EINVAL, 0 },
        { "99999999999999999999999", -EINVAL, 0 },
    };

    static const struct args_range range = { 1, 100 };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AUTO(args_done) struct cli_args a;
        char line[100] = "box make b --of x --count ";
        uint32_t number = 7;

        assert_int_equal(parse(strcat(line, cases[i].text), &a, NULL), 0);
        if (args_number(&a, "count", range, &number, NULL) != cases[i].rc)
            fail_msg("'%s'", cases[i].text);
        assert_int_equal(number, cases[i].rc ? 7 : cases[i].number);
    }
}

static void an_absent_number_keeps_its_default(void **state)
{
    AUTO(args_done) struct cli_args a;
    static const struct args_range range = { 1, 100 };
    uint32_t number = 7;

    (void)state;
    parse("box make b --of x", &a, NULL);
    assert_int_equal(args_number(&a, "count", range, &number, NULL), 0);
    assert_int_equal(number, 7);
}

/* The real table keeps the promises that args.h and help.c rest on. */
static void the_real_table_is_sound(void **state)
{
    (void)state;
    for (const struct cli_command *c = commands_table()->commands; c->verb; c++) {
        assert_true(c->min_args <= c->max_args);
        assert_true((c->max_args == 0) == (c->operands[0] == '\0'));
        assert_non_null(c->run);
        assert_true(strlen(c->summary) > 0 && c->summary[strlen(c->summary) - 1] != '.');
        assert_null(c->options[CLI_OPTIONS_MAX - 1].name);
        for (const struct cli_option *o = c->options; o->name; o++) {
            assert_true(!o->required || o->value);
            for (const struct cli_option *g = commands_table()->globals; g->name; g++)
                assert_string_not_equal(o->name, g->name);
        }
        for (const struct cli_command *d = c + 1; d->verb; d++)
            assert_true(strcmp(c->group, d->group) != 0 || strcmp(c->verb, d->verb) != 0);
    }
}

/* The example of each command is one of this command, and is rightly used. */
static void the_examples_are_right(void **state)
{
    (void)state;
    for (const struct cli_command *c = commands_table()->commands; c->verb; c++) {
        AUTO(args_done) struct cli_args a = { 0 };
        struct err e = { 0 };
        char copy[200] = "gridbox ", *argv[40];
        int argc = 0;

        assert_true(strlen(c->example) < sizeof copy - 10);
        strcat(copy, c->example);
        for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
            argv[argc++] = word;
        if (args_parse(commands_table(), argc, argv, &a, &e) < 0)
            fail_msg("%s: %s", c->example, e.msg);
        assert_ptr_equal(a.command, c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_command),
        cmocka_unit_test(options_may_stand_anywhere_after_the_command),
        cmocka_unit_test(after_two_dashes_all_is_words),
        cmocka_unit_test(wrong_use_is_told),
        cmocka_unit_test(help_needs_nothing_else),
        cmocka_unit_test(numbers_have_limits),
        cmocka_unit_test(an_absent_number_keeps_its_default),
        cmocka_unit_test(the_real_table_is_sound),
        cmocka_unit_test(the_examples_are_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
