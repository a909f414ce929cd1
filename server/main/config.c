/* SPDX-License-Identifier: Apache-2.0 */
/* config - the configuration file: libcyaml brings the values, config_lines the lines, the table of
 * settings says what is right. */
#include "server/main/config.h"

#include <assert.h>
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/file.h"
#include "server/main/config_lines.h"
#include "server/main/options.h"

/* What libcyaml fills: one for each setting, of which one of the two is used. */
struct raw_value {
    char *text;
    char **list;
    unsigned list_count;
};

struct raw {
    struct raw_value value[SETTINGS_MAX];
};

static const cyaml_schema_value_t item_schema = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED),
};

/* The schema is made of the table, so that a setting is written down once. */
static void make_fields(cyaml_schema_field_t fields[static SETTINGS_MAX + 1])
{
    const struct setting *settings = options_settings();
    unsigned used = 0;

    for (unsigned i = 0; settings[i].name; i++) {
        assert(i < SETTINGS_MAX);
        if (settings[i].command_line_only)
            continue;
        uint32_t at = (uint32_t)(offsetof(struct raw, value) + i * sizeof(struct raw_value));
        if (settings[i].kind == SETTING_LIST)
            fields[used] = (cyaml_schema_field_t){
                .count_offset = at + (uint32_t)offsetof(struct raw_value, list_count),
                .count_size = sizeof(unsigned),
                .value = { CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *,
                                                &item_schema, 0, OPTIONS_LISTEN_MAX) },
                .data_offset = at + (uint32_t)offsetof(struct raw_value, list),
            };
        else
            fields[used] = (cyaml_schema_field_t){
                .value = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char *, 0,
                                              CYAML_UNLIMITED) },
                .data_offset = at + (uint32_t)offsetof(struct raw_value, text),
            };
        fields[used++].key = settings[i].name;
    }
    fields[used] = (cyaml_schema_field_t)CYAML_FIELD_END;
}

static int set_one(const char *path, unsigned line, const struct setting *s, const char *text,
                   struct options *o, struct err *e)
{
    struct err why = { 0 };
    int rc = s->set(o, s, text ? text : "", &why);

    return rc < 0 ? err_set(e, rc, "%s:%u: %s: %s", path, line, s->name, why.msg) : 0;
}

static int set_all(const char *path, const struct config_lines *lines, const struct raw *raw,
                   struct options *o, struct err *e)
{
    const struct setting *settings = options_settings();
    int rc = 0;

    for (unsigned i = 0; settings[i].name && rc == 0; i++) {
        const struct raw_value *v = &raw->value[i];
        if (settings[i].kind == SETTING_LIST)
            for (unsigned n = 0; n < v->list_count && rc == 0; n++)
                rc = set_one(path, lines->item[i][n], &settings[i], v->list[n], o, e);
        else if (lines->key[i])
            rc = set_one(path, lines->key[i], &settings[i], v->text, o, e);
    }
    return rc;
}

int config_parse(const char *path, const char *text, size_t length, struct options *o,
                 struct err *e)
{
    static const cyaml_config_t how = { .mem_fn = cyaml_mem, .flags = CYAML_CFG_NO_ALIAS };
    cyaml_schema_field_t fields[SETTINGS_MAX + 1] = { 0 };
    struct config_lines lines;
    cyaml_data_t *loaded = NULL;

    int rc = config_lines_read(path, text, length, &lines, e);
    if (rc < 0)
        return rc;
    bool empty = true;
    for (unsigned i = 0; i < SETTINGS_MAX; i++)
        empty = empty && !lines.key[i];
    if (empty)
        return 0;

    make_fields(fields);
    const cyaml_schema_value_t top = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw,
                                                           fields) };
    cyaml_err_t error = cyaml_load_data((const uint8_t *)text, length, &how, &top, &loaded, NULL);
    if (error != CYAML_OK)
        return err_set(e, -EINVAL, "%s:1: cannot be read: %s", path, cyaml_strerror(error));
    rc = set_all(path, &lines, loaded, o, e);
    cyaml_free(&how, &top, loaded, 0);
    return rc;
}

int config_read(const char *path, struct options *o, struct err *e)
{
    AUTO(auto_free) char *text = NULL;
    size_t length = 0;
    int rc = file_read(path, CONFIG_MAX_BYTES, &text, &length, e);

    if (rc < 0)
        return err_wrap(e, rc, "configuration");
    return config_parse(path, text, length, o, e);
}
