/* SPDX-License-Identifier: Apache-2.0 */
/* domains - rows of domains: what is to run where, and what the agent last said of it. */
#ifndef GRIDBOX_CATALOG_DOMAINS_H
#define GRIDBOX_CATALOG_DOMAINS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/name.h"
#include "server/catalog/hosts.h"

struct catalog;

#define CAT_DOMAIN_MIB_LEAST  32u
#define CAT_DOMAIN_MIB_MOST   1048576u
#define CAT_DOMAIN_VCPUS_MOST 128u
#define CAT_DOMAINS_OF_A_HOST 64u

struct cat_domain {
    int64_t id; /* grows in the order of creation */
    char name[NAME_SIZE];
    int64_t host_id;
    char host[NAME_SIZE];
    int64_t volume_id;
    char volume[NAME_SIZE];
    char image_name[NAME_SIZE];
    uint32_t image_version;
    uint32_t memory_mib, vcpus;
    char mac[CAT_MAC_SIZE];
    char uuid[CAT_UUID_SIZE];
    uint64_t definition; /* grows when what it is made of changes */
    bool running;        /* desired */
    uint32_t stop_seconds;
    uint64_t desired_revision; /* of the host, at which `running` changed last */
    char state[16];            /* the agent's last word */
    char detail[200];
    uint32_t domid;
};

/* Adds a row with name, host_id, volume_id, memory_mib, vcpus, mac and uuid of *d, stopped.
 *   -EEXIST      the name is taken
 *   -EADDRINUSE  the MAC or the UUID is: try others, the transaction is not spoiled
 *   -EDQUOT      the host has as many as it can have */
int cat_domain_add(struct catalog *c, struct cat_domain *d, struct err *e);

int cat_domain_get(struct catalog *c, const char *name, struct cat_domain *ret, struct err *e);

/* host_id 0: of all hosts.  In the order of creation; ends early with what `each` answers. */
int cat_domain_list(struct catalog *c, int64_t host_id,
                    int (*each)(void *ctx, const struct cat_domain *d), void *ctx, struct err *e);

/* running, stop_seconds; desired_revision becomes the host's revision, which must have been
 * raised in the same transaction. */
int cat_domain_set_running(struct catalog *c, const struct cat_domain *d, struct err *e);

/* state, detail, domid. */
int cat_domain_set_state(struct catalog *c, const struct cat_domain *d, struct err *e);

int cat_domain_remove(struct catalog *c, int64_t id, struct err *e);

#endif
