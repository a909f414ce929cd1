/* SPDX-License-Identifier: Apache-2.0 */
/* parts - what the verbs have in common. */
#include "server/lifecycle/parts.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/catalog/events.h"
#include "server/catalog/layers.h"
#include "server/export/export.h"

static_assert(LAYER_ID_BYTES == CAT_LAYER_BYTES, "one kind of layer id");
static_assert(LAYER_CHAIN_MAX == CAT_CHAIN_MAX, "one limit of chains");

int life_event(struct lifecycle *l, struct err *e, const char *kind, const char *object,
               const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    int rc = cat_event_add(l->catalog, kind, object, text, e);
    if (rc == 0 && l->hooks.event)
        l->hooks.event(l->hooks.ctx);
    return rc;
}

void life_work(struct lifecycle *l)
{
    if (l->hooks.work)
        l->hooks.work(l->hooks.ctx);
}

const char *life_count(const struct cat_volume *v, unsigned count, char ret[static 96])
{
    if (count == 1)
        snprintf(ret, 96, "volume %s", v->name);
    else
        snprintf(ret, 96, "%u volumes", count);
    return ret;
}

int life_chain(struct lifecycle *l, const uint8_t id[static CAT_LAYER_BYTES],
               struct layer_chain *ret, struct err *e)
{
    struct cat_chain chain;
    int rc = cat_layer_chain(l->catalog, id, &chain, e);

    if (rc < 0)
        return rc;
    ret->count = chain.count;
    for (unsigned i = 0; i < chain.count; i++)
        memcpy(ret->id[i].b, chain.id[i], sizeof ret->id[i].b);
    return 0;
}

void respec_done(struct respec_list *list)
{
    free(list->item);
    *list = (struct respec_list){ 0 };
}

int respec_add(struct lifecycle *l, struct respec_list *list, const char *name, const uint8_t *top,
               const uint8_t below[static CAT_LAYER_BYTES], struct err *e)
{
    if (!l->exports)
        return 0;
    if (list->count == list->room) {
        unsigned room = list->room ? 2 * list->room : 16;
        struct respec *item = reallocarray(list->item, room, sizeof *item);
        if (!item)
            return err_set(e, -ENOMEM, "out of memory");
        list->item = item;
        list->room = room;
    }
    struct respec *r = &list->item[list->count];
    *r = (struct respec){ 0 };
    snprintf(r->name, sizeof r->name, "%s", name);
    if (top)
        memcpy(r->top.b, top, sizeof r->top.b);
    int rc = life_chain(l, below, &r->chain, e);
    if (rc == 0)
        list->count++;
    return rc;
}

void respec_send(struct lifecycle *l, const struct respec_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        export_respec(l->exports, list->item[i].name, list->item[i].top, &list->item[i].chain);
}
