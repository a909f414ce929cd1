/* SPDX-License-Identifier: Apache-2.0 */
/* Owns: the text VOLUME.GENERATION.EPOCH.
 * Must never know: devices, domains. */
#include "hostside/disk_id.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/contract/contract.h"

struct disk_id disk_id_of(const struct contract_disk *disk)
{
    struct disk_id id = { .generation = disk->generation, .epoch = disk->epoch };

    memcpy(id.volume, disk->volume, sizeof id.volume);
    return id;
}

bool disk_id_equal(const struct disk_id *a, const struct disk_id *b)
{
    return strcmp(a->volume, b->volume) == 0 && a->generation == b->generation &&
           a->epoch == b->epoch;
}

void disk_id_text(const struct disk_id *id, char ret_text[static DISK_ID_SIZE])
{
    snprintf(ret_text, DISK_ID_SIZE, "%s.%" PRIu64 ".%" PRIu64, id->volume, id->generation,
             id->epoch);
}

/* Decimal digits without leading zeros, so that each id has one text. */
static int parse_number(const char *text, uint64_t *ret)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 19 || text[digits] || (text[0] == '0' && digits > 1))
        return -EINVAL;
    *ret = strtoull(text, NULL, 10);
    return 0;
}

int disk_id_parse(const char *text, struct disk_id *ret)
{
    char copy[DISK_ID_SIZE];
    struct disk_id id = { 0 };
    char *epoch, *generation;

    if (strlen(text) >= sizeof copy)
        return -EINVAL;
    memcpy(copy, text, strlen(text) + 1);
    epoch = strrchr(copy, '.');
    if (!epoch)
        return -EINVAL;
    *epoch++ = '\0';
    generation = strrchr(copy, '.');
    if (!generation)
        return -EINVAL;
    *generation++ = '\0';
    if (!name_valid(copy) || parse_number(generation, &id.generation) < 0 ||
        parse_number(epoch, &id.epoch) < 0)
        return -EINVAL;
    memcpy(id.volume, copy, strlen(copy) + 1);
    *ret = id;
    return 0;
}
