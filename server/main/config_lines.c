/* SPDX-License-Identifier: Apache-2.0 */
/* config_lines - the form of the configuration file, checked with exact lines. */
#include "server/main/config_lines.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

#include "server/base/auto.h"

struct walk {
    yaml_parser_t parser;
    yaml_event_t event; /* the present one */
    bool have_event;
    const char *path;
    struct config_lines *lines;
    struct err *e;
};

static unsigned line_of(const yaml_event_t *event)
{
    return (unsigned)event->start_mark.line + 1;
}

static const char *scalar(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

/* Advances to the next event.  0 or -EINVAL. */
static int next(struct walk *w)
{
    if (w->have_event)
        yaml_event_delete(&w->event);
    w->have_event = yaml_parser_parse(&w->parser, &w->event);
    if (w->have_event)
        return 0;
    return err_set(w->e, -EINVAL, "%s:%zu: not YAML: %s", w->path, w->parser.problem_mark.line + 1,
                   w->parser.problem ? w->parser.problem : "cannot be read");
}

static int offence(const struct walk *w, unsigned line, const char *key, const char *what)
{
    return err_set(w->e, -EINVAL, "%s:%u: %s%s%s", w->path, line, key, *key ? ": " : "", what);
}

/* The index of the key that the present event is, or -EINVAL. */
static int known_key(const struct walk *w, unsigned *ret_index)
{
    const struct setting *settings = options_settings();
    char known[512] = "";

    for (unsigned i = 0; settings[i].name; i++) {
        if (settings[i].command_line_only)
            continue;
        if (strcmp(scalar(&w->event), settings[i].name) == 0) {
            *ret_index = i;
            return 0;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", settings[i].name);
    }
    return err_set(w->e, -EINVAL, "%s:%u: %.40s: unknown key; the keys are %s", w->path,
                   line_of(&w->event), scalar(&w->event), known);
}

static int walk_list(struct walk *w, unsigned index, const char *name)
{
    for (unsigned count = 0;; count++) {
        int rc = next(w);
        if (rc < 0)
            return rc;
        if (w->event.type == YAML_SEQUENCE_END_EVENT)
            return count ? 0
                         : offence(w, line_of(&w->event), name,
                                   "the list is empty: leave the key out");
        if (w->event.type != YAML_SCALAR_EVENT)
            return offence(w, line_of(&w->event), name, "an item must be one plain value");
        if (count == OPTIONS_LISTEN_MAX)
            return offence(w, line_of(&w->event), name, "too many items: at most 8");
        w->lines->item[index][count] = line_of(&w->event);
    }
}

/* A key and its value. */
static int walk_pair(struct walk *w)
{
    const struct setting *settings = options_settings();
    unsigned index = 0, line = line_of(&w->event);

    if (w->event.type != YAML_SCALAR_EVENT)
        return offence(w, line, "",
                       "a key must be one of gridboxd's settings: see gridboxd.conf(5)");
    int rc = known_key(w, &index);
    if (rc < 0)
        return rc;
    const char *name = settings[index].name;
    if (w->lines->key[index])
        return offence(w, line, name, "given twice: keep one");
    w->lines->key[index] = line;

    rc = next(w);
    if (rc < 0)
        return rc;
    if (settings[index].kind == SETTING_LIST)
        return w->event.type == YAML_SEQUENCE_START_EVENT
                   ? walk_list(w, index, name)
                   : offence(w, line, name, "must be a list, like [ADDR:PORT]");
    return w->event.type == YAML_SCALAR_EVENT ? 0
                                              : offence(w, line, name, "must be one plain value");
}

static int walk_mapping(struct walk *w)
{
    for (;;) {
        int rc = next(w);
        if (rc < 0)
            return rc;
        if (w->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        rc = walk_pair(w);
        if (rc < 0)
            return rc;
    }
}

static int walk_stream(struct walk *w)
{
    bool seen = false;

    for (;;) {
        int rc = next(w);
        if (rc < 0)
            return rc;
        switch ((int)w->event.type) {
        case YAML_STREAM_END_EVENT:
            return 0;
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (seen)
                return offence(w, line_of(&w->event), "", "a second document: one is wanted");
            seen = true;
            break;
        case YAML_MAPPING_START_EVENT:
            rc = walk_mapping(w);
            if (rc < 0)
                return rc;
            break;
        default:
            return offence(w, line_of(&w->event), "",
                           "must be lines like `state: /var/lib/gridbox`");
        }
    }
}

int config_lines_read(const char *path, const char *text, size_t length, struct config_lines *ret,
                      struct err *e)
{
    struct config_lines lines = { 0 };
    struct walk w = { .path = path, .lines = &lines, .e = e };

    if (!yaml_parser_initialize(&w.parser))
        return err_set(e, -ENOMEM, "%s: out of memory", path);
    yaml_parser_set_input_string(&w.parser, (const unsigned char *)text, length);
    int rc = walk_stream(&w);
    if (w.have_event)
        yaml_event_delete(&w.event);
    yaml_parser_delete(&w.parser);
    if (rc == 0)
        *ret = lines;
    return rc;
}
