/* SPDX-License-Identifier: Apache-2.0 */
/* hosts - rows of hosts and of the one-time tokens that their kernels boot with.
 *
 * Secrets come and go as SHA-256 only.  MAC addresses and UUIDs are lower case. */
#ifndef GRIDBOX_CATALOG_HOSTS_H
#define GRIDBOX_CATALOG_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/err.h"
#include "server/base/name.h"

struct catalog;

#define CAT_HASH_BYTES    32
#define CAT_MAC_SIZE      18
#define CAT_UUID_SIZE     37
#define CAT_MACS_MAX      16
#define CAT_ADDRESS_SIZE  64
#define CAT_TOKEN_SECONDS 600  /* a boot token's life */
#define CAT_TOKENS_MOST   4096 /* boot tokens that may live at once */
#define CAT_HOSTS_WAITING 1024 /* hosts that may wait for approval */

struct cat_host {
    int64_t id;
    char name[NAME_SIZE];
    bool approved;
    char macs[CAT_MACS_MAX][CAT_MAC_SIZE]; /* [0]: the one that it was booted from */
    unsigned mac_count;
    char uuid[CAT_UUID_SIZE]; /* "" = none */
    char cpu[128];
    uint32_t cpus;
    uint64_t memory_mib;
    bool hvm;
    char agent_version[32];
    char address[CAT_ADDRESS_SIZE]; /* of the last registration; "" = never */
    bool undionly;                  /* loader */
    int64_t registered_at, seen_at; /* seconds since 1970; 0 = never */
    bool session_used;
    uint64_t revision, applied_revision;
    unsigned domains;
};

/* -ENOENT with "there is no host …" */
int cat_host_get(struct catalog *c, const char *name, struct cat_host *ret, struct err *e);
int cat_host_by_id(struct catalog *c, int64_t id, struct cat_host *ret, struct err *e);
int cat_host_by_mac(struct catalog *c, const char *mac, struct cat_host *ret, struct err *e);
int cat_host_by_session(struct catalog *c, const uint8_t hash[static CAT_HASH_BYTES],
                        struct cat_host *ret, struct err *e);

/* -ENOENT also if several hosts have this UUID: then it says nothing. */
int cat_host_by_uuid(struct catalog *c, const char *uuid, struct cat_host *ret, struct err *e);

/* In the order of names.  Ends early with what `each` answers if that is not 0. */
int cat_host_list(struct catalog *c, int (*each)(void *ctx, const struct cat_host *h), void *ctx,
                  struct err *e);

/* Adds a row with name, approved, macs and undionly of *h; sets h->id.  -EEXIST: name or a MAC is
 * taken; -EDQUOT: too many are waiting. */
int cat_host_add(struct catalog *c, struct cat_host *h, struct err *e);

/* Name, approved, undionly of *h.  -EEXIST: the name is taken. */
int cat_host_set(struct catalog *c, const struct cat_host *h, struct err *e);

/* What a registration brings: MACs, UUID, CPU, memory, address, agent and session, which is not
 * used yet; both times are now.  MACs that belong to another host stay there. */
int cat_host_register(struct catalog *c, const struct cat_host *h,
                      const uint8_t session[static CAT_HASH_BYTES], struct err *e);

/* The agent has its session: its boot token is void from now on. */
int cat_host_use_session(struct catalog *c, int64_t id, struct err *e);

int cat_host_seen(struct catalog *c, int64_t id, int64_t seen_at, uint64_t applied_revision,
                  struct err *e);

/* Its desired state has changed: revision + 1. */
int cat_host_raise(struct catalog *c, int64_t id, struct err *e);

/* -EBUSY: it has domains.  Its attachments must be gone. */
int cat_host_remove(struct catalog *c, int64_t id, struct err *e);

/* ---- boot tokens -------------------------------------------------------------------------------
 * Ages are differences of CLOCK_BOOTTIME within one boot of this machine. */
struct cat_boot_clock {
    const char *boot_id;
    int64_t now_s;
};

struct cat_boot_token {
    char mac[CAT_MAC_SIZE];
    char address[CAT_ADDRESS_SIZE]; /* that it was given to */
    int64_t host_id;                /* that has registered with it; 0 = nobody yet */
};

/* The token of this MAC from now on; one before is void.  -EDQUOT: too many live. */
int cat_boot_token_put(struct catalog *c, const char *mac, const char *address,
                       const uint8_t hash[static CAT_HASH_BYTES],
                       const struct cat_boot_clock *clock, struct err *e);

/* -ENOENT: there is none, it is too old or void. */
int cat_boot_token_find(struct catalog *c, const uint8_t hash[static CAT_HASH_BYTES],
                        const struct cat_boot_clock *clock, struct cat_boot_token *ret,
                        struct err *e);

/* It has been used to register this host; it is good for that host until the session is used. */
int cat_boot_token_bind(struct catalog *c, const char *mac, int64_t host_id, struct err *e);

#endif
