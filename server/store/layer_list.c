/* SPDX-License-Identifier: Apache-2.0 */
/* layer_list - the files in STATE/layers. */
#include "server/store/layer_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"
#include "server/base/name.h"

void layer_list_done(struct layer_list *l)
{
    free(l->all);
    *l = (struct layer_list){ 0 };
}

/* HEX32.map or HEX32.data; nothing else is ours. */
static bool parse_name(const char *name, struct layer_file *ret)
{
    char hex[LAYER_ID_TEXT];
    const char *suffix = name + LAYER_ID_TEXT - 1;

    if (strlen(name) < LAYER_ID_TEXT - 1)
        return false;
    memcpy(hex, name, sizeof hex - 1);
    hex[sizeof hex - 1] = '\0';
    *ret = (struct layer_file){ .has_map = strcmp(suffix, ".map") == 0,
                                .has_data = strcmp(suffix, ".data") == 0 };
    return (ret->has_map || ret->has_data) && hex_decode(hex, ret->id.b, sizeof ret->id.b) == 0;
}

static int listing_add(struct layer_list *l, struct layer_file f)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? l->capacity * 2 : 64;
        struct layer_file *all = realloc(l->all, capacity * sizeof *all);
        if (!all)
            return -ENOMEM;
        l->all = all;
        l->capacity = capacity;
    }
    l->all[l->count++] = f;
    return 0;
}

static int by_id(const void *a, const void *b)
{
    return memcmp(((const struct layer_file *)a)->id.b, ((const struct layer_file *)b)->id.b,
                  LAYER_ID_BYTES);
}

/* Each layer once. */
static void merge(struct layer_list *l)
{
    size_t kept = 0;

    qsort(l->all, l->count, sizeof *l->all, by_id);
    for (size_t i = 1; i < l->count; i++) {
        if (memcmp(l->all[i].id.b, l->all[kept].id.b, LAYER_ID_BYTES) == 0) {
            l->all[kept].has_map |= l->all[i].has_map;
            l->all[kept].has_data |= l->all[i].has_data;
        } else {
            l->all[++kept] = l->all[i];
        }
    }
    l->count = kept + 1;
}

int layer_list_read(int state_fd, const char *state, struct layer_list *ret, struct err *e)
{
    int fd = openat(state_fd, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO(auto_closedir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct layer_file f;
    struct dirent *entry;

    *ret = (struct layer_list){ 0 };
    if (!dir)
        return err_errno(e, "%s/layers", state);
    while ((entry = readdir(dir)))
        if (parse_name(entry->d_name, &f) && listing_add(ret, f) < 0) {
            layer_list_done(ret);
            return err_set(e, -ENOMEM, "out of memory");
        }
    if (ret->count)
        merge(ret);
    return 0;
}
