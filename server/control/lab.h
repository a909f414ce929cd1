/* SPDX-License-Identifier: Apache-2.0 */
/* lab - hosts, their agents, their domains and how they boot: the part of control that knows them.
 *
 * Who is online is known here alone and not in the catalog: a host that has been heard of in the
 * last LAB_ONLINE_SECONDS.
 * Threads: control. */
#ifndef GRIDBOX_CONTROL_LAB_H
#define GRIDBOX_CONTROL_LAB_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/catalog/domains.h"
#include "server/catalog/hosts.h"
#include "server/lab/plan.h"

struct control;
struct control_lab;
struct http;
struct http_request;

#define LAB_ONLINE_SECONDS 75 /* an agent is heard of every 30 s at least */

/* ---- for control's own start and end
 * -----------------------------------------------------------*/

struct control_lab_options {
    const char *approve; /* rule; NULL = none */
};

/* -EINVAL: the rule. */
int control_lab_new(struct control *c, const struct control_lab_options *o,
                    struct control_lab **ret, struct err *e);
void control_lab_free(struct control_lab *l); /* NULL is legal */

/* Adds the routes of hosts, domains, agents and /boot. */
int control_lab_routes(struct http *h, struct err *e);

/* At the start, between the epochs' transaction and the grants, and whenever an epoch has moved:
 * domains that are to run and whose attachment does not fit any more get a new one (a higher
 * generation), so that their agents start them anew.  Nothing is granted here. */
int control_lab_renew(struct control *c, struct err *e);

/* In the transaction that gives a volume to somebody else, or takes it away: if it is a domain's
 * disk, its host is told that there is nothing to run on any more. */
int control_lab_disk_moved(struct control *c, const struct cat_volume *v, struct err *e);

/* In the transaction of a reset or rollback, which has raised generation and epoch: if the volume
 * is the disk of a domain that is to run and its host had it, the host gets a new attachment (fills
 * *v) and is told to start the domain anew; if the domain is not to run, the host's attachment is
 * over.
 */
int control_lab_restart(struct control *c, struct cat_volume *v, struct err *e);

struct control_boot_options {
    const char *interface, *state_dir, *files_dir;
    const char *range, *router, *dns; /* NULL = as in boot_options */
    unsigned lease_seconds;
    uint16_t http_port; /* HTTP listens there on the interface's address already */
    bool proxy, debug;
};

/* Starts the boot service.  Errors as of boot_service_start and boot_interface_read. */
int control_boot_start(struct control *c, const struct control_boot_options *o, struct err *e);
void control_boot_stop(struct control *c); /* idempotent */

/* For status: null, or {"interface", "address", "dnsmasq"}. */
json_t *control_boot_status(const struct control *c);

/* ---- between the files of this part
 * ------------------------------------------------------------*/

struct lab_boot; /* boot.c */
struct lab_rule;

const struct lab_rule *lab_rule_of(const struct control *c);
struct lab_boot *lab_boot_of(const struct control *c); /* NULL: no boot service */
void lab_boot_set(struct control *c, struct lab_boot *b);

/* The clock of boot tokens. */
void lab_clock(const struct control *c, struct cat_boot_clock *ret);

/* SHA-256 of a secret's text. */
void lab_hash(const char *secret, uint8_t ret_hash[static CAT_HASH_BYTES]);

bool lab_online(const struct control *c, const struct cat_host *h);
int64_t lab_seen_at(const struct control *c, const struct cat_host *h);

/* The agent was heard of now; writes it to the catalog once a minute, or when it applied another
 * revision. */
void lab_seen(struct control *c, struct cat_host *h, uint64_t applied_revision);
void lab_forget(struct control *c, int64_t host_id);

/* In a transaction: the host's desired state has changed; then, after it: its agent is told. */
int lab_raise(struct control *c, int64_t host_id, struct err *e);
void lab_tell(struct control *c, int64_t host_id);

/* A domain and its volume. */
int lab_domain_get(struct control *c, const char *name, struct lab_domain *ret, struct err *e);

/* All domains of a host; the caller frees *ret. */
int lab_domains_of(struct control *c, int64_t host_id, struct lab_domain **ret, size_t *ret_count,
                   struct err *e);

/* Ends the domain's attachment, if it is its host's: in the catalog at once, then at the export. */
int lab_detach(struct control *c, const struct lab_domain *d, const char *why, struct err *e);

/* The routes of one file each. */
int lab_host_routes(struct http *h, struct err *e);
int lab_domain_routes(struct http *h, struct err *e);
int lab_agent_routes(struct http *h, struct err *e);
int lab_boot_routes(struct http *h, struct err *e);

#endif
