/* SPDX-License-Identifier: Apache-2.0 */
/* live_file - the bytes of a live file, and whether they can be believed. */
#include "server/store/live_file.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/auto.h"

static bool same(struct disk_id a, struct disk_id b)
{
    return memcmp(a.b, b.b, sizeof a.b) == 0;
}

static const char *mount_wrong(const struct live_mount *h, const struct live_mount *want)
{
    if (h->device != want->device || h->inode != want->inode)
        return "the store lies elsewhere";
    if (h->name_space == want->name_space && (h->id != want->id || h->unique != want->unique))
        return "the store was mounted anew";
    return NULL;
}

const char *live_header_wrong(const struct live_header *h, const struct live_header *want)
{
    static const struct disk_id none;

    if (memcmp(h->magic, want->magic, sizeof h->magic) != 0)
        return "it is not a live file";
    if (h->version != want->version || h->slots != want->slots)
        return "it is of another version";
    if (!same(h->store, want->store))
        return "it is another store's";
    if (!same(h->instance, want->instance))
        return "it is older than the last server";
    if (same(want->boot, none) || !same(h->boot, want->boot))
        return "the machine was started anew";
    if (h->state != LIVE_COUNTS)
        return h->state == LIVE_VOID ? "the store had failed" : "the last server had only begun";
    if (h->entries > h->slots)
        return "it contradicts itself";
    return mount_wrong(&h->mount, &want->mount);
}

static int by_page(const void *a, const void *b)
{
    const struct live_entry *x = a, *y = b;
    int order = memcmp(x->layer.b, y->layer.b, sizeof x->layer.b);

    return order ? order : (x->page > y->page) - (x->page < y->page);
}

const char *live_table_wrong(const struct live_entry *table, uint32_t count)
{
    AUTO(auto_free) struct live_entry *pages = malloc(count * sizeof *pages + 1);
    uint32_t used = 0;

    if (!pages)
        return "out of memory";
    for (uint32_t i = 0; i < count; i++) {
        if (table[i].state > LIVE_WRITTEN)
            return "an entry of an unknown kind";
        if (table[i].state == LIVE_PAGE)
            pages[used++] = table[i];
    }
    qsort(pages, used, sizeof *pages, by_page);
    for (uint32_t i = 1; i < used; i++)
        if (by_page(&pages[i - 1], &pages[i]) == 0)
            return "two slots are the same page";
    return NULL;
}
