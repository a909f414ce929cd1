/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/* sources: server/control/json.c server/control/route.c server/base/err.c server/base/name.c */
/* clang-format on */
/* Any bytes as the body of a call and as its path: texts that are let through are clean names. */
#include "server/control/json.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/name.h"
#include "server/control/route.h"

static void fuzz_body(const char *text, size_t size)
{
    static const char *const keys[] = { "name", "image", "count", "force", NULL };
    struct err e = { 0 };
    const char *name;
    uint64_t count;
    uint32_t version;
    char image[NAME_SIZE];
    bool force;
    json_t *o;

    if (json_object_parse(text, size, &o, &e) < 0) {
        if (!e.msg[0])
            abort();
        return;
    }
    if (json_only(o, keys, &e) == 0 && json_object_size(o) > 4)
        abort();
    if (json_get_text(o, "name", true, 100, &name, &e) == 0 && strlen(name) > 100)
        abort();
    if (json_get_text(o, "image", true, 1000, &name, &e) == 0 &&
        name_split_image(name, image, &version, &e) == 0 && !name_valid(image))
        abort();
    if (json_get_u64(o, "count", 1, 1000, 0, &count, &e) == 0 && count > 1000)
        abort();
    json_get_bool(o, "force", false, &force, &e);
    json_decref(o);
}

static void fuzz_path(const char *bytes, size_t size)
{
    static const struct http_route routes[] = {
        { "GET", "/v1/volumes", HTTP_ADMIN, NULL, false },
        { "GET", "/v1/volumes/{}", HTTP_ADMIN, NULL, false },
        { "DELETE", "/v1/volumes/{}/attachment", HTTP_ADMIN, NULL, false },
        { "GET", "/{}/{}/{}/{}/x", HTTP_ADMIN, NULL, false },
    };
    static const struct router router = { { routes }, { sizeof routes / sizeof *routes }, 1 };
    const struct http_route *route;
    const char *args[HTTP_ARGS_MAX];
    char *path = malloc(size + 1);

    if (!path)
        return;
    memcpy(path, bytes, size);
    path[size] = '\0';
    json_text_clean(path);
    if (route_find(&router, "GET", path, &route, args) == 0)
        for (unsigned i = 0; i < HTTP_ARGS_MAX; i++)
            if (strchr(args[i], '/'))
                abort();
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_body((const char *)data, size);
    fuzz_path((const char *)data, size);
    return 0;
}
