/* SPDX-License-Identifier: Apache-2.0 */
/* plan - from rows of the catalog to what a host is told to do.  Pure: no catalog calls, no
 * sockets, no clock. */
#ifndef GRIDBOX_LAB_PLAN_H
#define GRIDBOX_LAB_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/catalog/domains.h"
#include "server/catalog/hosts.h"
#include "server/catalog/volumes.h"
#include "server/contract/contract.h"

/* A domain and the volume that is its disk. */
struct lab_domain {
    struct cat_domain domain;
    struct cat_volume volume;
    bool parked; /* the volume's writes wait for room */
};

/* True if the volume is attached to the domain's host, and by an attachment that still fits. */
bool lab_has_disk(const struct lab_domain *d);

/* What runs as one incarnation must never go on as another: it differs as soon as the domain's
 * definition, or generation or epoch of its volume, has moved.  1 to 2^53 - 1. */
uint64_t lab_incarnation(const struct lab_domain *d);

/* The spec of a host.
 *   domains      its own ones, all of them; at most CONTRACT_DOMAINS_MAX
 *   nbd_address  numeric, as the host reaches us
 * A domain that is wanted but has no disk to run on (somebody else took its volume) is told to be
 * stopped.  A host that waits gets no domains.  The caller ends *ret with contract_spec_done().
 * -ENOMEM, -E2BIG. */
int lab_plan(const struct cat_host *host, const struct lab_domain *domains, size_t count,
             const char *nbd_address, uint16_t nbd_port, struct contract_spec *ret, struct err *e);

/* Random ones for a new domain: a MAC of Xen's range 00:16:3e, a UUID of version 4. */
void lab_domain_mac(char ret_mac[static CONTRACT_MAC_SIZE]);
void lab_domain_uuid(char ret_uuid[static CONTRACT_UUID_SIZE]);

#endif
