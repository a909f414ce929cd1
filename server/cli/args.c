/* SPDX-License-Identifier: Apache-2.0 */
/* args - reads a command line by the table of commands.  It knows no command by name. */
#include "server/cli/args.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/text.h"

/* A word of the user in a message: cut, without control characters. */
struct shown {
    char text[60];
};

static struct shown show(const char *word)
{
    struct shown s;

    text_safe(word, s.text, sizeof s.text);
    return s;
}

const char *args_command_name(const struct cli_command *command, char *ret, size_t size)
{
    snprintf(ret, size, "gridbox %s%s%s", command->group, command->group[0] ? " " : "",
             command->verb);
    return ret;
}

static int misuse(const struct cli_command *command, struct err *e, const char *what,
                  const char *word)
{
    char name[80];

    if (!command)
        return err_set(e, -EINVAL, "%s '%s'; see gridbox --help", what, show(word).text);
    args_command_name(command, name, sizeof name);
    return err_set(e, -EINVAL, "%s '%s'; see %s --help", what, show(word).text, name);
}

static bool group_exists(const struct cli_table *table, const char *word)
{
    for (const struct cli_command *c = table->commands; c->verb; c++)
        if (c->group[0] && strcmp(c->group, word) == 0)
            return true;
    return false;
}

/* Takes one more word as group, verb or operand. */
static int take_word(const struct cli_table *table, struct cli_args *a, const char *word,
                     struct err *e)
{
    if (a->command) {
        if (a->count >= a->command->max_args)
            return misuse(a->command, e, "one word too many:", word);
        if (word[0] == '\0')
            return err_set(e, -EINVAL, "one of the words after '%s' is empty", a->command->verb);
        a->words[a->count++] = word;
        return 0;
    }
    if (!a->group && group_exists(table, word)) {
        a->group = word;
        return 0;
    }
    for (const struct cli_command *c = table->commands; c->verb; c++)
        if (strcmp(c->group, a->group ? a->group : "") == 0 && strcmp(c->verb, word) == 0) {
            a->command = c;
            return 0;
        }
    if (a->group)
        return err_set(e, -EINVAL, "there is no command '%s %s'; see gridbox %s --help", a->group,
                       show(word).text, a->group);
    return misuse(NULL, e, "there is no command", word);
}

struct wanted {
    const char *name; /* of the option, borrowed from argv */
    size_t length;
    const char *value; /* after '=', or NULL */
};

static bool option_is(const struct cli_option *o, const struct wanted *w)
{
    return strlen(o->name) == w->length && memcmp(o->name, w->name, w->length) == 0;
}

static const struct cli_option *find_option(const struct cli_option *o, const struct wanted *w)
{
    while (o->name && !option_is(o, w))
        o++;
    return o->name ? o : NULL;
}

static void set_global(struct cli_args *a, const struct cli_option *o, const char *value)
{
    if (strcmp(o->name, "server") == 0)
        a->server = value;
    else if (strcmp(o->name, "json") == 0)
        a->json = true;
    else if (strcmp(o->name, "help") == 0)
        a->help = true;
    else
        a->version = true;
}

/* Takes an option; *ret_taken is 1 if the word after it was its value. */
static int take_option(const struct cli_table *table, struct cli_args *a, const char *word,
                       const char *next, int *ret_taken, struct err *e)
{
    const char *equals = strchr(word, '=');
    struct wanted w = {
        .name = word + 2,
        .length = equals ? (size_t)(equals - word - 2) : strlen(word + 2),
        .value = equals ? equals + 1 : NULL,
    };
    const struct cli_option *own = a->command ? find_option(a->command->options, &w) : NULL;
    const struct cli_option *o = own ? own : find_option(table->globals, &w);

    if (!o)
        return misuse(a->command, e, "there is no option", word);
    if (!o->value && w.value)
        return misuse(a->command, e, "this option takes no value:", word);
    *ret_taken = o->value && !w.value;
    const char *value = *ret_taken ? next : o->value ? w.value : "";
    if (!value || (o->value && !value[0]))
        return misuse(a->command, e, "a value is missing after", word);
    if (!own) {
        set_global(a, o, value);
        return 0;
    }
    size_t index = (size_t)(own - a->command->options);
    if (a->values[index])
        return misuse(a->command, e, "given twice:", word);
    a->values[index] = value;
    return 0;
}

static int check_complete(const struct cli_args *a, struct err *e)
{
    char name[80];

    if (a->help || a->version)
        return 0;
    if (!a->command)
        return a->group
                   ? err_set(e, -EINVAL, "what of '%s'? see gridbox %s --help", a->group, a->group)
                   : err_set(e, -EINVAL, "what? see gridbox --help");
    args_command_name(a->command, name, sizeof name);
    if (a->count < a->command->min_args)
        return err_set(e, -EINVAL, "'%s' wants %s; see %s --help", name, a->command->operands,
                       name);
    for (size_t i = 0; i < CLI_OPTIONS_MAX && a->command->options[i].name; i++) {
        const struct cli_option *o = &a->command->options[i];
        if (o->required && !a->values[i])
            return err_set(e, -EINVAL, "'%s' wants --%s %s; see %s --help", name, o->name, o->value,
                           name);
    }
    return 0;
}

int args_parse(const struct cli_table *table, int argc, char *const *argv, struct cli_args *ret,
               struct err *e)
{
    bool words_only = false;

    *ret = (struct cli_args){ 0 };
    ret->words = calloc((size_t)argc + 1, sizeof *ret->words);
    if (!ret->words)
        return err_set(e, -ENOMEM, "out of memory");
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        int taken = 0, rc;

        if (!words_only && strcmp(word, "--") == 0) {
            words_only = true;
            continue;
        }
        if (!words_only && strcmp(word, "-h") == 0)
            word = "--help";
        if (!words_only && strcmp(word, "-V") == 0)
            word = "--version";
        if (!words_only && strncmp(word, "--", 2) == 0)
            rc = take_option(table, ret, word, i + 1 < argc ? argv[i + 1] : NULL, &taken, e);
        else if (!words_only && word[0] == '-' && word[1])
            rc = misuse(ret->command, e, "there is no option", word);
        else
            rc = take_word(table, ret, word, e);
        if (rc < 0)
            return rc;
        i += taken;
    }
    return check_complete(ret, e);
}

void args_done(struct cli_args *a)
{
    free(a->words);
    a->words = NULL;
}

const char *args_value(const struct cli_args *a, const char *name)
{
    for (size_t i = 0; i < CLI_OPTIONS_MAX && a->command->options[i].name; i++)
        if (strcmp(a->command->options[i].name, name) == 0)
            return a->values[i];
    assert(!"an option that the table has not");
    return NULL;
}

int args_number(const struct cli_args *a, const char *name, struct args_range range, uint32_t *ret,
                struct err *e)
{
    const char *text = args_value(a, name);

    if (!text)
        return 0;
    size_t digits = strspn(text, "0123456789");
    unsigned long long n = digits && digits <= 10 ? strtoull(text, NULL, 10) : 0;
    if (text[digits] || n < range.least || n > range.most)
        return err_set(e, -EINVAL, "--%s '%s': use a whole number from %u to %u", name,
                       show(text).text, range.least, range.most);
    *ret = (uint32_t)n;
    return 0;
}

int args_bytes(const char *what, const char *text, uint64_t *ret, struct err *e)
{
    if (text_read_bytes(text, ret) < 0)
        return err_set(e, -EINVAL,
                       "%s '%s': use a whole number of bytes, or one with K, M, G or T behind it: "
                       "20G",
                       what, show(text).text);
    return 0;
}
